using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Endpoints.Operations;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <param name="Rule">Name of the rule that decided.</param>
public sealed record StepPolicyShape([property: PolicyOutcomes] string Outcome, string Rule, string Reason);

/// <param name="By">Who decided; null: nobody has.</param>
/// <param name="Rule">Name of the rule that asks.</param>
public sealed record StepApprovalShape(
    ApprovalKey ApprovalId, [property: ApprovalStatus] string Status, string? By, string? Note, string Rule, DateTimeOffset ExpiresAt);

/// <summary>A stretch of a run: what it did, or what it waited for.</summary>
/// <param name="Index">From 1.</param>
/// <param name="Step">Number of the recorded step; null: it is none, or has no outcome yet.</param>
/// <param name="Attempt">2 or more: an earlier one was interrupted.</param>
/// <param name="Name">The model of the run, the tool, or who gave feedback.</param>
/// <param name="StartedAt">As the driver recorded it, where it did; else the time of the event before.</param>
/// <param name="FirstTokenAt">When the first piece of the answer came; null: none did, or the step is no answer.</param>
/// <param name="EndedAt">Null: it goes on.</param>
/// <param name="Model">As its provider names it.</param>
/// <param name="CostUsd">Null: the step costs nothing, or the model has no known price.</param>
/// <param name="Error">Why the step failed, or is tried again.</param>
/// <param name="Events">The events that it was folded from.</param>
public sealed record RunStepShape(
    int Index, [property: StepKind] string Kind, int? Step, int Attempt, string? Name, [property: StepStatus] string Status, DateTimeOffset StartedAt,
    DateTimeOffset? FirstTokenAt, DateTimeOffset? EndedAt, long? DurationMs, string? Model, long? InputTokens, long? OutputTokens, long? CachedTokens, decimal? CostUsd,
    string? ToolCallId, string? RequestSha256, string? StopReason, StepPolicyShape? Policy, StepApprovalShape? Approval, RunErrorShape? Error,
    IReadOnlyList<StepEvent> Events)
{
    public static RunStepShape Of(TimelineStep step, int index) => new(
        index, step.Kind, step.Step, step.Attempt, step.Name, step.Status, step.StartedAt, step.FirstTokenAt, step.EndedAt,
        step.EndedAt is { } end ? Math.Max(0, (long)(end - step.StartedAt).TotalMilliseconds) : null, step.Model, step.Usage?.InputTokens, step.Usage?.OutputTokens,
        step.CachedTokens, Money.Usd(step.Usage?.CostMicroUsd), step.ToolCallId, step.RequestSha256, step.StopReason,
        step.Policy is { } policy ? new(PolicyWords.Of(policy.Outcome), policy.Rule, policy.Reason) : null,
        step.Approval is { } approval ? new(approval.ApprovalId, approval.Status, approval.By, approval.Note, approval.Rule, approval.ExpiresAt) : null,
        RunErrorShape.Of(step.Error), step.Events);
}

/// <summary>The last event of the run's stream that the steps have.</summary>
public sealed record StepHead(long Version, string Hash);

/// <param name="AsOfGid">Position of that event.</param>
public sealed record RunStepList(
    RunKey RunId, SessionKey SessionId, [property: RunStatus] string Status, DateTimeOffset CreatedAt, DateTimeOffset? CompletedAt, long AsOfGid, StepHead Head,
    IReadOnlyList<RunStepShape> Steps);

static class RunStepEndpoints
{
    const int PageEvents = 500;

    public static void MapRunSteps(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/runs/{run_id}/steps", List).WithName("listRunSteps").WithTags("Runs")
            .WithSummary("Show what a run did and waited for, with times, costs and the events that say so")
            .TakesAsOf()
            .Produces<RunStepList>().Refuses(404, 422);

    static async Task<IResult> List(PathKey<RunKey> run, Caller caller, ReadView view, CancellationToken ct)
    {
        if (await view.FindRun(caller, run.Key, ct) is not { } row)
        {
            return ErrorResult.NotFound("run");
        }
        var events = new List<RecordedEvent>();
        var (stream, isOver) = (Run.Aggregate.Stream(row.RunId), false);
        while (!isOver)
        {
            var page = await view.Log.Load(caller.Org, stream, events.Count, PageEvents, ct);
            var seen = page.Events.TakeWhile(e => !(e.Position > view.Position)).ToList();
            events.AddRange(seen);
            isOver = seen.Count < PageEvents;
        }
        // The steps go as far as the stream did when it was read, which may be behind the row.
        var shown = events.Aggregate((RunRow?)null, Runs.Evolve) ?? row;
        return JsonResult.Of(
            200,
            new RunStepList(
                row.RunId, row.SessionId, shown.Status, shown.CreatedAt, shown.CompletedAt, events[^1].Position, new(events[^1].Version, events[^1].Hash),
                [.. RunSteps.Of(events).Select((step, i) => RunStepShape.Of(step, i + 1))]),
            AgentServiceJson.Answers.RunStepList);
    }
}
