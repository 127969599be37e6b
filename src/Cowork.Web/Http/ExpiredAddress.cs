using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>
/// What is said of a session or run whose period of retention was over (docs/retention.md): a command at its address, and a bundle of it, is answered 410 <c>expired</c> to those
/// who see all of a tenant. Everybody else hears what he would hear if it had never been.
/// </summary>
static class ExpiredAddress
{
    /// <summary>The answer in place of a refusal.</summary>
    public static async ValueTask<ErrorResult> Of(ErrorResult refused, HttpContext http)
    {
        if (refused is not ({ Status: 404, Code: "not_found" } or { Status: 410, Code: "expired" }) || Caller.Find(http) is not { } caller)
        {
            return refused;
        }
        if (!Sees(caller))
        {
            return refused is { Status: 410 } ? ErrorResult.NotFound(refused.Missing ?? "session") : refused;
        }
        return refused is { Status: 404 } && !HttpMethods.IsGet(http.Request.Method) && !HttpMethods.IsHead(http.Request.Method)
            && await Expired(caller.Org, http.Request.RouteValues, http.RequestServices, http.RequestAborted) is { } what
                ? ErrorResult.Of(Refusal.Expired(what))
                : refused;
    }

    /// <summary>True: the caller sees what of a tenant is hidden from its members.</summary>
    public static bool Sees(Caller caller) => caller.Roles.Contains(Roles.Auditor) || caller.Roles.Contains(Roles.Admin);

    /// <summary>What the address names, if its data expired; null: it did not, or nothing of the kind is named.</summary>
    static async ValueTask<string?> Expired(string org, RouteValueDictionary named, IServiceProvider services, CancellationToken ct)
    {
        if ((named["session_id"] ?? named["sessionId"]) is string id)
        {
            return SessionKey.Parse(id) is { } key && await IsExpired(key) ? "session" : null;
        }
        if ((named["run_id"] ?? named["taskId"]) is not string name || RunKey.Parse(name) is not { } run)
        {
            return null;
        }
        return (await services.GetRequiredService<IEventLog>().Load(org, Run.Aggregate.Stream(run), 0, 1, ct)).Events switch
        {
            [{ Event: Tombstone }] => "run",
            [{ Event: RunEvent.RunCreated created }] when await IsExpired(created.SessionId) => "run",
            _ => null,
        };

        async ValueTask<bool> IsExpired(SessionKey of) =>
            await services.GetRequiredService<CommandHandler>().LatestState(org, Session.Aggregate, of, ct) is Session.Expired;
    }
}
