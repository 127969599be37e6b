using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web.Endpoints.Operations;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>Body of <c>POST /runs/{id}/counterfactual</c>.</summary>
/// <param name="FromEvent">The first event that may be another one: its id in the session's feed.</param>
/// <param name="Model">Name of a configured model, which is asked from there on; null: the run's, which is asked only what the record has no answer to.</param>
/// <param name="SkillVersions">Of skills that were active in the run, by their ids, the versions that are active instead.</param>
/// <param name="Rules">The rules of another policy, as the policy file has them.</param>
/// <param name="Policy">The content of a policy file, in place of <c>rules</c>.</param>
/// <param name="Message">Said to the run there. Not blank, at most 256 KiB.</param>
/// <param name="Allow">Names of tools whose calls are made where the record has no result; by default none is.</param>
/// <param name="Stubs">Results in place of calls: by the name of the tool, or by the hex SHA-256 of the arguments.</param>
/// <param name="BudgetUsd">What its calls of models may cost together; null: as much as the tenant's budget allows.</param>
/// <param name="Approvals">A call whose approval no record decides waits for a person, or is rejected. Default: wait.</param>
/// <param name="WaitForCompletion">Default true.</param>
/// <param name="WaitTimeoutSeconds">0 to 3600, default 300.</param>
public sealed record NewCounterfactual(
    [property: NeverNull] long? FromEvent, string? Model = null, IReadOnlyDictionary<string, int>? SkillVersions = null, [property: NeverNull] JsonElement? Rules = null,
    [property: NeverNull] JsonElement? Policy = null, string? Message = null, IReadOnlyList<string>? Allow = null, IReadOnlyDictionary<string, string>? Stubs = null,
    decimal? BudgetUsd = null, [property: UnrecordedApprovals] string? Approvals = null, bool? WaitForCompletion = null, double? WaitTimeoutSeconds = null)
    : IRequestBody<NewCounterfactual>
{
    const int DigestChars = 64;

    public static JsonTypeInfo<NewCounterfactual> Json => AgentServiceJson.Default.NewCounterfactual;

    public static IReadOnlyList<string> WaitFields => Waiting.Fields;

    public static bool IsClosed => true;

    public void Validate(ValidationErrors errors)
    {
        if (FromEvent is null or < 1)
        {
            errors.Add("$.from_event", "The id of an event of the run is required; events of a feed are counted from 1.");
        }
        if (Rules is not null && Policy is not null)
        {
            errors.Add("$.policy", "Either rules or a policy.");
        }
        if (Message is not null && string.IsNullOrWhiteSpace(Message))
        {
            errors.Add("$.message", "Must not be blank.");
        }
        else if (Message is not null && Encoding.UTF8.GetByteCount(Message) > Limits.MessageBytesMax)
        {
            errors.Add("$.message", $"A message has at most {Limits.MessageBytesMax} bytes.");
        }
        foreach (var (id, version) in SkillVersions ?? new Dictionary<string, int>())
        {
            if (SkillKey.Parse(id) is null || version < 1)
            {
                errors.Add("$.skill_versions", "The ids of skills, each with a version from 1.");
                break;
            }
        }
        if (Allow is { Count: > Limits.CounterfactualToolsMax } || Allow?.Any(name => !IsTool(name)) is true)
        {
            errors.Add("$.allow", $"At most {Limits.CounterfactualToolsMax} names of tools: {string.Join(", ", Toolbox.HostNames)}, or {OutsideToolNames.Pattern}.");
        }
        if (Stubs is { Count: > Limits.CounterfactualToolsMax } || Stubs?.Any(stub => !(IsTool(stub.Key) || IsDigest(stub.Key)) || stub.Value is null
            || Encoding.UTF8.GetByteCount(stub.Value) > Limits.MessageBytesMax) is true)
        {
            errors.Add(
                "$.stubs",
                $"At most {Limits.CounterfactualToolsMax} texts of at most {Limits.MessageBytesMax} bytes, by names of tools or digests of arguments "
                + "(lower-case hexadecimal SHA-256).");
        }
        if (BudgetUsd is < 0 or > Limits.CounterfactualBudgetUsdMax)
        {
            errors.Add("$.budget_usd", $"Must be from 0 to {Limits.CounterfactualBudgetUsdMax}.");
        }
        if (Approvals is not (null or "wait" or "reject"))
        {
            errors.Add("$.approvals", "Must be wait or reject.");
        }
        Waiting.Validate(null, WaitTimeoutSeconds, errors);
    }

    static bool IsTool(string? name) => name is not null && (Toolbox.HostNames.Contains(name) || (OutsideToolNames.IsOne(name) && name.Length <= Limits.ToolNameCharsMax));

    static bool IsDigest(string key) => key.Length == DigestChars && key.All(char.IsAsciiHexDigitLower);
}

/// <summary>What would have happened: runs that go off from recorded ones.</summary>
static class CounterfactualEndpoints
{
    public static void MapCounterfactuals(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/runs/{run_id}/counterfactual", Start).WithName("createCounterfactual").WithTags("Runs").RequireMember()
            .WithSummary("Go off from a run at one of its events, with another model, policy, skill version or message, and with no effect outside unless it is allowed")
            .TakesPrefer()
            .Produces<TurnAnswer>(200).Produces<TurnAnswer>(202).Refuses(400, 404, 409, 413, 415, 422, 429, 507);

    static async Task<IResult> Start(
        PathKey<RunKey> run, Body<NewCounterfactual> body, Caller caller, RunViews views, IRows rows, Counterfactuals counterfactuals, TurnWaiter waiter,
        HttpContext http, CancellationToken ct)
    {
        var asked = body.Value;
        if (await views.Find(caller, run.Key, ct) is not { } row || await rows.FindSession(caller, row.SessionId, ct) is not { } session)
        {
            return ErrorResult.NotFound("run");
        }
        Policy? policy = null;
        if (asked.Rules is not null || asked.Policy is not null)
        {
            (policy, var unfit) = ProposedPolicy.Read(asked.Rules, asked.Policy);
            if (policy is null)
            {
                return unfit!;
            }
        }
        var request = new CounterfactualRequest(
            asked.FromEvent!.Value, asked.Model, asked.SkillVersions?.ToDictionary(one => SkillKey.Parse(one.Key)!.Value, one => one.Value), policy, asked.Message, asked.Allow,
            asked.Stubs, asked.BudgetUsd is { } usd ? Money.MicroUsd(usd) : null, asked.Approvals == "reject");
        var (turn, refused) = await counterfactuals.Start(caller.Org, caller.Origin, row.SessionId, run.Key, request, session.Metadata, body.Key, ct);
        if (turn is null)
        {
            return ErrorResult.Of(refused!);
        }
        var wait = waiter.Time(http, asked.WaitForCompletion, asked.WaitTimeoutSeconds);
        return waiter.Answer(caller.Org, turn, wait, made => TurnAnswer.Of(made, turn.Reused), AgentServiceJson.Answers.TurnAnswer, ct);
    }
}
