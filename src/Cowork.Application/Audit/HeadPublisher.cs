using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A place outside the database that heads are sent to as they are made.</summary>
public interface IHeadTarget
{
    /// <summary>Tells it from others, for as long as it is configured: <c>webhook https://…</c>.</summary>
    string Name { get; }

    /// <summary>Number of the last head that it has, where that can be asked; null: what was sent is remembered in the database.</summary>
    ValueTask<long?> Last(CancellationToken ct);

    /// <summary>Sends one head; one that was sent before may come again.</summary>
    /// <exception cref="HeadNotTakenException">It was not taken.</exception>
    ValueTask Send(HeadLine head, CancellationToken ct);
}

/// <summary>A place did not take a head.</summary>
public sealed class HeadNotTakenException : Exception
{
    public HeadNotTakenException()
    {
    }

    public HeadNotTakenException(string message)
        : base(message)
    {
    }

    public HeadNotTakenException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>What was sent to places by this database's hosts.</summary>
public interface IHeadDeliveries
{
    /// <summary>Number of the last head that the place was sent; 0: none.</summary>
    ValueTask<long> Sent(string target, CancellationToken ct);

    ValueTask Sent(string target, long number, CancellationToken ct);
}

/// <summary>How far a place is.</summary>
/// <param name="Sent">Number of the last head that it has.</param>
/// <param name="Failures">Tries of this host that failed since its start.</param>
/// <param name="Error">Of the last try; null: it succeeded.</param>
public sealed record TargetProgress(string Name, long Sent, long Failures, string? Error);

/// <summary>
/// Sends heads to places outside the database, each in the order in which they were signed. It is a durable job that comes with each head, so that of several hosts one sends,
/// and what could not be sent is tried again, with pauses that grow, also by another host.
/// </summary>
public sealed class HeadPublisher(AuditHeadLog heads, IMerkleStore tree, IHeadDeliveries deliveries, IReadOnlyList<IHeadTarget> targets) : IJobHandler
{
    public const string JobKind = "heads";

    const int PageMax = 100;

    readonly MerkleTiles tiles = new(tree);
    readonly Lock gate = new();
    readonly Dictionary<string, TargetProgress> progress = targets.ToDictionary(target => target.Name, target => new TargetProgress(target.Name, 0, 0, null));

    /// <summary>The job that sends what was not sent yet.</summary>
    public static Job Job { get; } = new(JobKind, "publish");

    public string Kind => JobKind;

    public IReadOnlyList<TargetProgress> Progress
    {
        get
        {
            lock (gate)
            {
                return [.. progress.Values];
            }
        }
    }

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        var failed = new List<string>();
        foreach (var target in targets)
        {
            // One that does not answer keeps no other from its heads.
            try
            {
                await Send(target, ct);
            }
            catch (HeadNotTakenException e)
            {
                Note(target.Name, there => there with { Failures = there.Failures + 1, Error = e.Message });
                failed.Add($"{target.Name}: {e.Message}");
            }
        }
        return failed.Count > 0 ? throw new HeadNotTakenException(string.Join("; ", failed)) : false;
    }

    async ValueTask Send(IHeadTarget target, CancellationToken ct)
    {
        var known = await target.Last(ct);
        var sent = known ?? await deliveries.Sent(target.Name, ct);
        var before = sent > 0 && await heads.After(sent - 1, 1, ct) is [var last, ..] ? last : null;
        while (await heads.After(sent, PageMax, ct) is { Count: > 0 } page)
        {
            foreach (var head in page)
            {
                await target.Send(HeadLine.Of(head) with { Consistency = await Consistency(before, head, ct) }, ct);
                (sent, before) = (head.Number, head);
                if (known is null)
                {
                    await deliveries.Sent(target.Name, sent, ct);
                }
            }
            Note(target.Name, there => there with { Sent = sent, Error = null });
        }
        Note(target.Name, there => there with { Sent = sent, Error = null });
    }

    /// <summary>The proof that goes with a head; null: it is the first one, or the tree is not there to make it of, which keeps no head from being sent.</summary>
    async ValueTask<IReadOnlyList<string>?> Consistency(NumberedHead? before, NumberedHead head, CancellationToken ct)
    {
        try
        {
            return before is null ? null : [.. (await tiles.Consistency(before.Head.TreeSize, head.Head.TreeSize, ct)).Select(Convert.ToHexStringLower)];
        }
        catch (InvalidDataException)
        {
            return null;
        }
    }

    void Note(string target, Func<TargetProgress, TargetProgress> change)
    {
        lock (gate)
        {
            progress[target] = change(progress[target]);
        }
    }
}

/// <summary>Starts the job that sends what was not sent yet.</summary>
public sealed record PublishHeads : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        work.Start(HeadPublisher.Job);
        return default;
    }
}
