using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>What there was, and is no more because its period of retention was over.</summary>
static class Expiries
{
    /// <summary>Those who see all of a tenant are told that the data of a stream expired; others, that there is no such thing.</summary>
    public static async ValueTask<IResult> NotFound(Caller caller, IEventLog log, string what, string stream, CancellationToken ct) =>
        ExpiredAddress.Sees(caller) && (await log.Load(caller.Org, stream, 0, 1, ct)).Events is [{ Event: Tombstone }]
            ? ErrorResult.Of(Refusal.Expired(what))
            : ErrorResult.NotFound(what);
}
