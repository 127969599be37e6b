using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>The next planned time of a schedule.</summary>
/// <param name="SessionId">Null: a new session for each run.</param>
/// <param name="SkillId">Null: the schedule has a prompt.</param>
/// <param name="ProjectId">Null: the schedule has a skill.</param>
public sealed record UpcomingSlot(ScheduleKey ScheduleId, string Name, DateTimeOffset Slot, SessionKey? SessionId, SkillKey? SkillId, ProjectKey? ProjectId);

public sealed record UpcomingSlotList(IReadOnlyList<UpcomingSlot> Slots);

static class UpcomingSlotEndpoints
{
    static readonly WholeNumberQuery Limit = new("limit", 1, 200, 20, "At most so many.");

    public static void MapUpcomingSlots(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/schedules/upcoming", List).WithName("listUpcomingSlots").WithTags("Schedules")
            .WithSummary("List the next planned time of each of the tenant's active schedules, the soonest first")
            .Takes(Limit)
            .Produces<UpcomingSlotList>().Refuses(422);

    static async Task<IResult> List(HttpContext http, Caller caller, IJobQueue jobs, IRows rows, CancellationToken ct)
    {
        // A schedule is one job, due at its next slot.
        var due = await jobs.Upcoming(caller.Org, Scheduler.JobKind, (int)Limit.Read(http), ct);
        var schedules = (await rows.Get(caller.Org, Schedules.Model.Table, [.. due.Select(job => job.Key)], ct))
            .Select(row => Schedules.Model.Read(row.Json.Span)).Where(row => row.NextRunAt is not null)
            .OrderBy(row => row.NextRunAt).ThenBy(row => row.ScheduleId.Value, StringComparer.Ordinal);
        return JsonResult.Of(
            200,
            new UpcomingSlotList(
                [.. schedules.Select(
                    row => new UpcomingSlot(row.ScheduleId, row.Name, row.NextRunAt!.Value, row.SessionId, row.SkillId, row.Prompt is null ? null : row.Project))]),
            AgentServiceJson.Answers.UpcomingSlotList);
    }
}
