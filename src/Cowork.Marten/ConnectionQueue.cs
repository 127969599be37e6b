namespace Cowork.Marten;

/// <summary>
/// Where callers wait for a connection of the pool, in the order of their coming. Npgsql's own pool fails them after the time of a connection attempt, and knows
/// nothing of a server that has fewer connections to give.
/// </summary>
/// <param name="size">Connections that the pool may hold.</param>
#pragma warning disable CA1001 // A semaphore whose wait handle nobody has asked for holds nothing that would have to be given back.
sealed class ConnectionQueue(int size, TimeProvider clock)
#pragma warning restore CA1001
{
    /// <summary>How long the queue goes on with one connection less after the server had none to give.</summary>
    static readonly TimeSpan ShrunkFor = TimeSpan.FromSeconds(20);

    readonly SemaphoreSlim free = new(size);
    int shrunk;

    /// <summary>Waits for a turn, which the caller disposes of.</summary>
    public async ValueTask<Turn> Wait(CancellationToken ct)
    {
        await free.WaitAsync(ct);
        return new(this);
    }

    /// <summary>False: this is the only connection that is left, so that nothing comes back that could be waited for.</summary>
    bool TryShrink()
    {
        if (Interlocked.Increment(ref shrunk) >= size)
        {
            Interlocked.Decrement(ref shrunk);
            return false;
        }
        return true;
    }

    async Task GrowLater()
    {
        await Task.Delay(ShrunkFor, clock);
        Interlocked.Decrement(ref shrunk);
        free.Release();
    }

    /// <summary>The right to use one connection.</summary>
    public struct Turn(ConnectionQueue queue) : IDisposable
    {
        bool kept;

        /// <summary>The server had no connection to give: the queue has one less for a while. False: it has no more than one.</summary>
        public bool Shrink() => kept = queue.TryShrink();

        public readonly void Dispose()
        {
            if (kept)
            {
                _ = queue.GrowLater();
            }
            else
            {
                queue.free.Release();
            }
        }
    }
}
