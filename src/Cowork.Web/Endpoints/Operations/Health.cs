using Cowork.Application;
using Cowork.Marten;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

public sealed record Liveness([property: HealthStatus] string Status);

/// <param name="Parked">Projections that cannot fold their next event. Their answers are old; everything else works.</param>
/// <param name="AuditFault">Why no head of the log is signed, because somebody has changed the database, or why one cannot be sent to a place outside. Null: all is well.</param>
public sealed record Readiness([property: HealthStatus] string Status, string Engine, IReadOnlyList<string> Parked, string? AuditFault);

/// <summary>Whether the blob store has room, looked at when somebody asks, at most once in a while.</summary>
public sealed class DiskRoom(IBlobs blobs, TimeProvider clock)
{
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(5);

    readonly Lock gate = new();
    long? lookedAt;
    bool isThere;

    public bool IsThere
    {
        get
        {
            lock (gate)
            {
                if (lookedAt is not { } looked || clock.GetElapsedTime(looked) > LookEvery)
                {
                    (lookedAt, isThere) = (clock.GetTimestamp(), blobs.HasRoom());
                }
                return isThere;
            }
        }
    }
}

static class HealthEndpoints
{
    public static void MapHealth(this IEndpointRouteBuilder routes)
    {
        var health = routes.MapGroup("/health").WithTags("Operations").AllowAnonymous();
        health.MapGet("", IResult (HostLifecycle lifecycle, DiskRoom room) =>
                WhyNotReady(lifecycle, room) ?? (IResult)JsonResult.Of(200, new Liveness("ok"), OperationsJson.Answers.Liveness))
            .WithName("getHealth").WithSummary("The host can do its work: the same as /health/ready, in the words of the original service")
            .Produces<Liveness>().Refuses(503);
        health.MapGet("/live", () => JsonResult.Of(200, new Liveness("live"), OperationsJson.Answers.Liveness))
            .WithName("getLiveness").WithSummary("The process answers")
            .Produces<Liveness>();
        health.MapGet("/ready", Ready).WithName("getReadiness")
            .WithSummary("The database answers too, and runs go on")
            .Produces<Readiness>().Refuses(503);
    }

    static IResult Ready(HostLifecycle lifecycle, Projector projector, DiskRoom room, AuditTree tree, HeadSigner heads, HeadPublisher publisher) =>
        WhyNotReady(lifecycle, room) ?? (IResult)JsonResult.Of(
            200, new Readiness("ready", StorageEngine.Name, projector.Parked, AuditFault(tree, heads, publisher)),
            OperationsJson.Answers.Readiness);

    /// <summary>Why no head is signed, or heads are not sent; null: they are.</summary>
    internal static string? AuditFault(AuditTree tree, HeadSigner heads, HeadPublisher publisher) =>
        tree.Progress.Fault ?? heads.Progress.Fault ?? WhyNotSent(publisher);

    static string? WhyNotSent(HeadPublisher publisher) =>
        publisher.Progress.FirstOrDefault(target => target.Error is not null) is { } target ? $"Heads cannot be sent to {target.Name}: {target.Error}" : null;

    static ErrorResult? WhyNotReady(HostLifecycle lifecycle, DiskRoom room) =>
        lifecycle.WhyNoKey is { } why ? new(503, "secrets_unreadable", why) { RetryAfter = 5 }
        : !lifecycle.IsReady ? ErrorResult.Unavailable("The host waits for its database.")
        : !room.IsThere ? new(503, "storage_full", "There is no room on the disk of the blob store.") { RetryAfter = 5 }
        : null;
}
