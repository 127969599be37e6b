using System.Threading.Channels;

using Cowork.Application.Storage;

namespace Cowork.Application;

/// <summary>A subscriber's bounded buffer of entries.</summary>
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
            // Full: its entries wake the reader, and the mark makes it read the log instead of them.
            Volatile.Write(ref stale, 1);
        }
    }

    /// <summary>Waits for the next entry; null: read the log again.</summary>
    public ValueTask<FeedEntry?> Read(CancellationToken ct) => buffer.Reader.ReadAsync(ct);

    internal bool TakeStale() => Interlocked.Exchange(ref stale, 0) == 1;

    /// <summary>Discards the buffered entries.</summary>
    public void Drain()
    {
        while (buffer.Reader.TryRead(out _))
        {
        }
    }

    public void Dispose() => hub.Unsubscribe(this);
}
