using Cowork.Application.Storage;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>The event that a projection cannot fold.</summary>
/// <param name="StreamId">The event's stream.</param>
public sealed record PoisonShape(long Gid, Guid EventId, string Type, string StreamId, string Error, DateTimeOffset ParkedAt);

/// <param name="Position">The projection has folded every event up to this position, and no later one.</param>
/// <param name="LagEvents">Log positions that the projection has not processed.</param>
public sealed record ProjectionShape(string Name, long Position, long LagEvents, DateTimeOffset UpdatedAt, PoisonShape? Parked);

public sealed record ProjectionList(long HeadGid, IReadOnlyList<ProjectionShape> Projections);

static class ProjectionEndpoints
{
    public static void MapProjections(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/projections", List).WithName("listProjections").RequireOperator().WithTags("Operations")
            .WithSummary("How far the projections that follow the log have come, and what stands in the way of one that is parked")
            .Produces<ProjectionList>().Refuses();

    static async Task<IResult> List(IAsyncProjectionStore following, CancellationToken ct)
    {
        var progress = await following.Progress(ct);
        return JsonResult.Of(
            200,
            new ProjectionList(progress.Head, [.. progress.Models.Select(m => new ProjectionShape(
                m.Table, m.Checkpoint.Position, progress.Head - m.Checkpoint.Position, m.Checkpoint.At, m.Parked is { } poison ? Shape(poison) : null))]),
            OperationsJson.Answers.ProjectionList);
    }

    static PoisonShape Shape(Poison poison) => new(poison.Position, poison.EventId, poison.Type, poison.Stream, poison.Error, poison.At);
}
