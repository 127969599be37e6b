using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>When heads are signed (docs/audit.md).</summary>
/// <param name="Every">An event waits no longer for a head that covers it.</param>
/// <param name="Publish">Heads are sent to places outside the database.</param>
public sealed record HeadSettings(TimeSpan Every, bool Publish = false)
{
    /// <summary>So many events are covered by one head at the most (contracts/decisions.md, "Beyond the contracts").</summary>
    public const int EventsMax = 10_000;

    /// <summary>Contracts/decisions.md wants a head every minute: the rest is for the tree to come along.</summary>
    public static HeadSettings Default { get; } = new(TimeSpan.FromSeconds(50));
}

/// <summary>The last head that this host has seen, kept outside the database: a database that was put back to an earlier state does not know it.</summary>
public interface IHeadMemory
{
    SignedHead? Last { get; }

    /// <summary>Where it is kept, for messages.</summary>
    string Place { get; }

    void Keep(SignedHead head);
}

/// <param name="Last">Null: none was signed.</param>
/// <param name="Number">Of the last head; 0: there is none.</param>
/// <param name="Fault">Why none is signed, as a sentence; null: they are.</param>
public sealed record HeadProgress(SignedHead? Last, long Number, string? Fault);

/// <summary>
/// Signs heads of the tree over the log as it grows: when events wait that are not covered, after a while or a number of them, and when the host stops. Every host runs one;
/// of two that sign at once one head gets into the log. A tree that does not extend the last head is not signed.
/// </summary>
public sealed partial class HeadSigner(
    AuditTree tree, AuditHeadLog heads, SigningKeyring keys, ICommandExecutor commands, OperatorsTenant operators, IHeadMemory memory, HeadSettings settings, TimeProvider clock,
    ILogger<HeadSigner> logger) : IDisposable
{
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);

    /// <summary>A host that stops does not wait longer for its last head.</summary>
    static readonly TimeSpan LastHeadMax = TimeSpan.FromSeconds(2);

    static readonly Origin By = new(Operators.HostActor);

    readonly SemaphoreSlim one = new(1, 1);
    volatile HeadProgress progress = new(null, 0, null);

    /// <summary>Size of the tree that has no news: with the last head's own event, if nothing else came.</summary>
    long quiet = -1;

    /// <summary>Timestamp at which news were seen first; null: there are none.</summary>
    long? since;

    public HeadProgress Progress => progress;

    /// <summary>Signs when it is due until the token is cancelled.</summary>
    public async Task Run(CancellationToken stopping)
    {
        tree.Grown = async (grown, ct) =>
        {
            // A tree that is far behind the log is being made: the head over all of it comes at its end.
            if (grown.Fault is null && grown.Head - grown.Size < HeadSettings.EventsMax
                && grown.Size + AuditTree.StepMax - (progress.Last?.TreeSize ?? 0) > HeadSettings.EventsMax)
            {
                await Attempt(ct);
            }
        };
        for (var isAsked = !settings.Publish; await clock.Pause(LookEvery, stopping);)
        {
            // What an earlier host had no time to send, or was not told to.
            isAsked = isAsked || await AskToPublish(stopping);
            await Look(stopping);
        }
    }

    /// <summary>Signs what the log has now, if it has news: before the host ends.</summary>
    public async Task SignLast()
    {
        using var deadline = new CancellationTokenSource(LastHeadMax, clock);
        try
        {
            // A key that is new is an event, which the head is to cover.
            await keys.Current(SigningKeys.Heads, deadline.Token);
            if (await tree.CatchUp(deadline.Token))
            {
                await Sign(deadline.Token);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or StorageUnavailableException or SecretUnreadableException or InvalidDataException)
        {
            LogLastMissed(e.Message);
        }
    }

    /// <summary>
    /// Signs a head that covers the log's end, if none does and it can be done soon. Answers the end; of a log that has nothing after the last head but that head's own event,
    /// which no head is made for, the position before it.
    /// </summary>
    public async ValueTask<long> Cover(long end, CancellationToken ct)
    {
        await SignSoon(end, ct);
        return await heads.Latest(ct) is { } last && last.IsNewest(end) ? Math.Min(end, last.Head.TreeSize) : end;
    }

    async ValueTask SignSoon(long position, CancellationToken ct)
    {
        if ((await heads.Latest(ct))?.Head.TreeSize >= position)
        {
            return;
        }
        using var deadline = new CancellationTokenSource(LastHeadMax, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, ct);
        try
        {
            if (await tree.CatchUp(either.Token))
            {
                await Sign(either.Token);
            }
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            // The head comes later.
        }
        catch (Exception e) when (e is SecretUnreadableException or InvalidDataException)
        {
            Stop(e.Message);
        }
    }

    async ValueTask<bool> AskToPublish(CancellationToken ct)
    {
        try
        {
            await commands.Execute(operators.Org, By, new PublishHeads(), ct);
            return true;
        }
        catch (Exception e) when (e is StorageUnavailableException or OperationCanceledException)
        {
            return false;
        }
    }

    async Task Look(CancellationToken ct)
    {
        var grown = tree.Progress;
        if (grown.Fault is not null || grown.Size == 0 || grown.Size == quiet || grown.Head - grown.Size >= HeadSettings.EventsMax)
        {
            since = null;
            return;
        }
        since ??= clock.GetTimestamp();
        if (clock.GetElapsedTime(since.Value) >= settings.Every)
        {
            await Attempt(ct);
        }
    }

    async ValueTask Attempt(CancellationToken ct)
    {
        try
        {
            await Sign(ct);
        }
        catch (Exception e) when (e is SecretUnreadableException or InvalidDataException || (e is OperationCanceledException && !ct.IsCancellationRequested))
        {
            Stop(e.Message);
        }
        catch (StorageUnavailableException)
        {
            // It is tried again when the database is back.
        }
    }

    /// <summary>Signs a head over the whole tree, if it has an event that no head covers and that is no head's own.</summary>
    public async Task Sign(CancellationToken ct)
    {
        await one.WaitAsync(ct);
        try
        {
            var size = tree.Progress.Size;
            var last = await heads.Latest(ct);
            if (await WhyNotExtended(last?.Head, size, ct) is { } fault)
            {
                Stop(fault);
                return;
            }
            if (last?.IsNewest(size) == true)
            {
                (quiet, since) = (size, null);
                Known(last);
                return;
            }
            var root = Convert.ToHexStringLower(await tree.Tiles.Root(size, ct));
            var now = Milliseconds(clock.GetUtcNow());
            var signature = await keys.Sign(SigningKeys.Heads, HeadText.Typ, HeadText.Payload(size, root, now), ct);
            var head = new SignedHead(size, root, now, Jws.Read(signature, HeadText.Typ)!.Kid, signature);
            await commands.Execute(operators.Org, By, new SignHead(head, last?.Head.TreeSize ?? 0, settings.Publish), ct);
            if (await heads.Latest(ct) is { } latest)
            {
                Known(latest);
                since = null;
            }
        }
        finally
        {
            one.Release();
        }
    }

    public void Dispose() => one.Dispose();

    /// <summary>Why a head over the tree would contradict one that was signed, as a sentence; null: it would not.</summary>
    async ValueTask<string?> WhyNotExtended(SignedHead? last, long size, CancellationToken ct)
    {
        if (last is not null && size < last.TreeSize)
        {
            return $"The log has {size} events, and the head that was signed at {HashChain.Timestamp(last.Timestamp)} has {last.TreeSize}.";
        }
        if (last is not null && await Root(last.TreeSize, ct) != last.RootHash)
        {
            return $"The log's first {last.TreeSize} events are not those of the head that was signed at {HashChain.Timestamp(last.Timestamp)}.";
        }
        if (last is not null && await HeadText.WhyWrong(last, await KeyOf(last, ct)) is { } wrong)
        {
            return $"The log's last head, of {HashChain.Timestamp(last.Timestamp)}, was not signed by a host. {wrong}";
        }
        if (memory.Last is not { } kept)
        {
            return null;
        }
        if (kept.TreeSize > (last?.TreeSize ?? 0))
        {
            return $"This host has seen a head over {kept.TreeSize} events ({memory.Place}), and the last one of the log is over {last?.TreeSize ?? 0}: "
                + "the database was put back to an earlier state.";
        }
        return await Root(kept.TreeSize, ct) == kept.RootHash
            ? null
            : $"The log's first {kept.TreeSize} events are not those of the head that this host saw at {HashChain.Timestamp(kept.Timestamp)} ({memory.Place}).";
    }

    async ValueTask<Func<string, PublicKey?>> KeyOf(SignedHead head, CancellationToken ct) =>
        head.Kid is not null && await keys.Find(head.Kid, ct) is { Purpose: SigningKeys.Heads } key ? _ => key.Public : static _ => null;

    async ValueTask<string> Root(long size, CancellationToken ct) => Convert.ToHexStringLower(await tree.Tiles.Root(size, ct));

    void Known(NumberedHead last)
    {
        if (progress.Fault is not null)
        {
            LogMended();
        }
        progress = new(last.Head, last.Number, null);
        memory.Keep(last.Head);
    }

    void Stop(string fault)
    {
        if (progress.Fault != fault)
        {
            LogFault(fault);
        }
        progress = progress with { Fault = fault };
    }

    static DateTimeOffset Milliseconds(DateTimeOffset at) => new(at.UtcTicks - at.UtcTicks % TimeSpan.TicksPerMillisecond, TimeSpan.Zero);

    [LoggerMessage(Level = LogLevel.Critical, Message = "No head is signed: {Fault} Somebody has changed the database, or put an old one in its place (docs/audit.md)")]
    partial void LogFault(string fault);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Heads are signed again")]
    partial void LogMended();

    [LoggerMessage(Level = LogLevel.Warning, Message = "The host stops without a last head, and the next start signs it: {Reason}")]
    partial void LogLastMissed(string reason);
}
