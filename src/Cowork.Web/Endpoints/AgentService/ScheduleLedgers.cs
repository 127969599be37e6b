using System.Text.Json;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>A schedule of either kind: with a skill and an interval, or with a prompt and a cron expression.</summary>
/// <param name="SessionId">Null: a new session for each run.</param>
/// <param name="SkillId">Null: it has a prompt.</param>
/// <param name="SkillVersion">Null: the latest version when due.</param>
/// <param name="Params">Null: it has a prompt.</param>
/// <param name="Prompt">Null: it has a skill.</param>
/// <param name="ProjectId">Null: it has a skill.</param>
/// <param name="IntervalSeconds">Null: it has a cron expression.</param>
/// <param name="Cron">Null: it has an interval.</param>
/// <param name="Timezone">Of the expression.</param>
/// <param name="NextRunAt">The next planned time; null: paused, or no more comes.</param>
/// <param name="CreatedBy">For whom its runs act.</param>
public sealed record ScheduleOfEitherKind(
    ScheduleKey ScheduleId, string Name, [property: ScheduleStatus] string Status, SessionKey? SessionId, SkillKey? SkillId, int? SkillVersion, JsonElement? Params,
    string? Prompt, ProjectKey? ProjectId, long? IntervalSeconds, string? Cron, string? Timezone, [property: MisfirePolicy] string Misfire,
    [property: OverlapPolicy] string Overlap, DateTimeOffset? NextRunAt, DateTimeOffset? LastRunAt, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

/// <summary>What became of a planned time, or what was done to the schedule.</summary>
/// <param name="Version">Its place in the schedule's stream.</param>
/// <param name="Slot">The planned time; null: it is about none.</param>
/// <param name="Through">The last planned time of a series; null: one.</param>
/// <param name="Count">How many they are; null: one, or too many to count.</param>
/// <param name="Status">Of the run.</param>
/// <param name="Reason">Why there is no run: <c>missed</c>, <c>overlap</c>, or the code of what refused it.</param>
/// <param name="By">Who did it; <c>system</c>: the host.</param>
/// <param name="NextRunAt">The planned time after it; null: there is none.</param>
public sealed record ScheduleLedgerEntry(
    long Version, [property: ScheduleEntryKind] string Kind, DateTimeOffset? Slot, DateTimeOffset? Through, long? Count, RunKey? RunId, [property: RunStatus] string? Status,
    int? SkillVersion, string? Reason, string? Detail, string By, DateTimeOffset At, DateTimeOffset? NextRunAt);

/// <param name="NextBefore">Sent as <c>before</c>, it leads to the entries behind these; null: there are none.</param>
public sealed record ScheduleLedger(ScheduleOfEitherKind Schedule, IReadOnlyList<ScheduleLedgerEntry> Entries, long? NextBefore);

static class ScheduleLedgerEndpoints
{
    static readonly WholeNumberQuery Before = new("before", 1, long.MaxValue, long.MaxValue, "Only entries before this place in the schedule's stream.");

    public static void MapScheduleLedgers(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/schedules/{schedule_id}/ledger", Show).WithName("getScheduleLedger").WithTags("Schedules")
            .WithSummary("A schedule of either kind with all that became of its planned times and that was done to it, newest first")
            .Takes(Before).Takes(Lists.Limit)
            .Produces<ScheduleLedger>().Refuses(404, 422);

    static async Task<IResult> Show(
        PathKey<ScheduleKey> schedule, HttpContext http, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct)
    {
        var (before, limit) = (Before.Read(http), (int)Lists.Limit.Read(http));
        if (await view.Rows.Get(caller.Org, Schedules.Model.Table, schedule.Key.Value, ct) is not { } stored)
        {
            return ErrorResult.NotFound("schedule");
        }
        var found = await ScheduleEntry.Last(view.Log, caller.Org, schedule.Key, Math.Min(before - 1, stored.Version), limit + 1, ct);
        var shown = new List<ScheduleLedgerEntry>();
        foreach (var entry in found.Take(limit))
        {
            var status = entry.RunId is { } run ? (await view.RunRow(caller.Org, run, ct))?.Status : null;
            shown.Add(new(
                entry.Version, entry.Kind, entry.Slot, entry.Through, entry.Count, entry.RunId, status, entry.SkillVersion, entry.Reason, entry.Detail, entry.By, entry.At,
                entry.Next));
        }
        var row = Schedules.Model.Read(stored.Json.Span);
        return JsonResult.Of(
            200, new(await Details(row, blobs, ct), shown, found.Count > limit ? shown[^1].Version : null), AgentServiceJson.Answers.ScheduleLedger);
    }

    static async ValueTask<ScheduleOfEitherKind> Details(ScheduleRow row, IBlobs blobs, CancellationToken ct) => new(
        row.ScheduleId, row.Name, row.Status, row.SessionId, row.SkillId, row.SkillVersion, row.Params is { } given ? await blobs.JsonObject(given, ct) : null,
        row.Prompt is { } prompt ? await blobs.Text(prompt, ct) : null, row.Prompt is null ? null : row.Project, (row.Timing as Timing.Interval)?.Seconds,
        (row.Timing as Timing.Times)?.Expression, (row.Timing as Timing.Times)?.Zone, row.Misfire, row.Overlap, row.NextRunAt, row.LastRunAt, row.CreatedBy, row.CreatedAt,
        row.UpdatedAt);
}
