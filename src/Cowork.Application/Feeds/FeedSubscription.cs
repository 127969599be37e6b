using System.Threading.Channels;

using Cowork.Application.Storage;

namespace Cowork.Application;

/// <summary>One reader's bounded buffer.</summary>
public sealed class FeedSubscription : IDisposable
{
    readonly FeedHub hub;
    readonly Channel<FeedEntry?> buffer;
    int stale;

    internal FeedSubscription(FeedHub hub, string key, int capacity)
    {
        this.hub = hub;
        Key = key;
        buffer = Channel.CreateBounded<FeedEntry?>(new BoundedChannelOptions(capacity) { SingleReader = true });
    }

    internal string Key { get; }

    internal void Offer(FeedEntry? entry)
    {
        if (entry is null)
        {
            Volatile.Write(ref stale, 1);
        }
        if (!buffer.Writer.TryWrite(entry))
        {
            // Full: there is something to wake for, and this tells the reader not to trust what is there.
            Volatile.Write(ref stale, 1);
        }
    }

    /// <summary>Waits for the next entry; null: read the log again.</summary>
    public ValueTask<FeedEntry?> Read(CancellationToken ct) => buffer.Reader.ReadAsync(ct);

    internal bool TakeStale() => Interlocked.Exchange(ref stale, 0) == 1;

    /// <summary>Forgets what came so far.</summary>
    public void Drain()
    {
        while (buffer.Reader.TryRead(out _))
        {
        }
    }

    public void Dispose() => hub.Unsubscribe(this);
}
