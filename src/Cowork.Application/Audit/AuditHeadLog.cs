using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A head with its place among others.</summary>
/// <param name="Number">From 1, in the order in which they were signed.</param>
/// <param name="Position">Of its own event in the log.</param>
public sealed record NumberedHead(long Number, long Position, SignedHead Head)
{
    /// <summary>True: a log of so many events has nothing after the head but its own event.</summary>
    public bool IsNewest(long size) => size <= Head.TreeSize || (size == Position && Position == Head.TreeSize + 1);
}

/// <summary>Reads the signed heads of the log.</summary>
public sealed class AuditHeadLog(IEventLog log, OperatorsTenant operators)
{
    /// <summary>Those after a number, oldest first.</summary>
    public async ValueTask<IReadOnlyList<NumberedHead>> After(long number, int max, CancellationToken ct) =>
        [.. (await log.Load(operators.Org, AuditHeads.Stream, number, max, ct)).Events
            .Select(e => new NumberedHead(e.Version, e.Position, AuditHeads.HeadOf((AuditHeadsEvent.HeadSigned)e.Event)))];

    /// <summary>The last one; null: none was signed.</summary>
    public async ValueTask<NumberedHead?> Latest(CancellationToken ct) =>
        await Count(ct) is > 0 and var last ? (await After(last - 1, 1, ct))[0] : null;

    /// <summary>
    /// The first one whose tree has a position; null: none does yet. It is always the same one. A number of heads is read that grows with the logarithm of how many there are.
    /// </summary>
    public async ValueTask<NumberedHead?> Covering(long position, CancellationToken ct)
    {
        var (below, found) = (0L, await Latest(ct));
        if (found is null || found.Head.TreeSize < position)
        {
            return null;
        }
        while (found.Number - below > 1)
        {
            var middle = (await After((below + found.Number) / 2 - 1, 1, ct))[0];
            if (middle.Head.TreeSize >= position)
            {
                found = middle;
            }
            else
            {
                below = middle.Number;
            }
        }
        return found;
    }

    /// <summary>Number of heads.</summary>
    async ValueTask<long> Count(CancellationToken ct) => (await log.Load(operators.Org, AuditHeads.Stream, long.MaxValue - 1, 1, ct)).Version;
}
