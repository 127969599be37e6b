using System.Globalization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>Export of a period of the tenant's log.</summary>
static class EventExports
{
    static readonly TimeQuery From = new("from", "Only events from this time on; without it, from the first.");
    static readonly TimeQuery To = new("to", "Only events before this time; without it, all that there are.");

    static readonly WholeNumberQuery After = new(
        "after", 0, long.MaxValue, 0, "Only events behind this position: the gid of the last line that an earlier export of the same period has.");

    public static void MapEventExports(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/audit/export", Export).WithName("getEventExport").WithTags("Audit").RequireAuditor().WithMetadata(new Exports("events", Period))
            .WithSummary("Every event of the tenant in a period, in order, as lines of JSON; cowork verify checks it offline")
            .Takes(From).Takes(To).Takes(After)
            .Produces<string>(200, StreamedFile.Lines).Refuses(422);

    static async Task<IResult> Export(HttpContext http, Caller caller, IEventLog log, LogProofs proofs, HeadSigner signer, TimeProvider clock, CancellationToken ct)
    {
        var (from, to, after) = (From.Read(http), To.Read(http), After.Read(http));
        if (from > to)
        {
            return ErrorResult.Invalid(To.Name, "Must not be before from.");
        }
        var range = await PeriodExport.Range(log, caller.Org, from, to, after, ct);
        if (after > range.Through)
        {
            return ErrorResult.Invalid(After.Name, string.Create(CultureInfo.InvariantCulture, $"The period ends at position {range.Through}."));
        }
        if (!HeadAsGet.IsHead(http))
        {
            var covered = await signer.Cover(range.Through, ct);
            // A period that is not over ends with what is covered now, as one without an end does.
            range = to is null || to > clock.GetUtcNow() ? range with { Through = Math.Max(covered, range.After) } : range;
        }
        return new StreamedFile(StreamedFile.Lines, $"events-{caller.Org}.ndjson", (output, aborted) => PeriodExport.Write(log, proofs, caller.Org, range, output, aborted));
    }

    /// <summary>The period that a request asks for: <c>2026-01-01T00:00:00.000Z/..</c>, in the form of ISO 8601-2 for open ends.</summary>
    static string Period(HttpContext http) => $"{Bound(From.Read(http))}/{Bound(To.Read(http))}";

    static string Bound(DateTimeOffset? time) => time is { } at ? HashChain.Timestamp(at) : "..";
}
