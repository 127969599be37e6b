using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <param name="Next">UTC, one after the other; fewer than asked for when no more come before the end of the year 9999.</param>
public sealed record SchedulePreview(IReadOnlyList<DateTimeOffset> Next);

static class SchedulePreviews
{
    static readonly TextQuery Cron = new("cron", null, "Five fields, or a macro like @daily.");
    static readonly TextQuery Zone = new("timezone", "UTC", "IANA name.");
    static readonly WholeNumberQuery Count = new("count", 1, 1000, 5, "How many times.");
    static readonly TimeQuery From = new("from", "Only times after this one; now when left out.");

    public static void MapSchedulePreview(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/schedules/preview", Preview).WithName("previewSchedule").WithTags("Schedules")
            .WithSummary("When a cron expression comes due next")
            .Takes(Cron).Takes(Zone).Takes(Count).Takes(From)
            .Produces<SchedulePreview>().Refuses(422);

    static IResult Preview(HttpContext http, NextTime nextTime, TimeProvider clock)
    {
        var (cron, zone, count) = (Cron.Read(http), Zone.Read(http), Count.Read(http));
        var at = From.Read(http) ?? clock.GetUtcNow();
        var (times, refused) = Timing.Times.Of(cron, zone, Cron.Name, Zone.Name, nextTime);
        if (times is null)
        {
            return ErrorResult.Of(refused!);
        }
        var next = new List<DateTimeOffset>();
        while (next.Count < count && times.Next(at, nextTime) is { } due)
        {
            next.Add(due);
            at = due;
        }
        return JsonResult.Of(200, new(next), PlatformJson.Answers.SchedulePreview);
    }
}
