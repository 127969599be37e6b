
using JasperFx.Events;

using Marten;
using Marten.Events.Projections;

namespace Cowork.Marten;

/// <summary>
/// The read models as Marten's inline projection. Their rows come with the commit, folded beside the state that decided it, so that all that is left
/// is to write them in the transaction of the events.
/// </summary>
sealed class RowsProjection(NpgsqlFlush statements) : IProjection
{
    /// <summary>What the writer's thread is about to save.</summary>
    public FlushPlan? Plan { get; set; }

    public Task ApplyAsync(IDocumentOperations operations, IReadOnlyList<IEvent> events, CancellationToken cancellation)
    {
        var plan = Plan ?? throw new InvalidOperationException("Events are appended through the port: whoever goes past it takes no head row.");
        foreach (var statement in statements.Rows(plan))
        {
            operations.QueueOperation(new Statement(statement));
        }
        return Task.CompletedTask;
    }
}
