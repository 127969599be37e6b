using Cowork.Application;
using Cowork.Domain;

namespace Cowork.Connectors;

/// <summary>The sessions of this host with MCP servers: one for the credentials of a connection, kept while it is used.</summary>
sealed class McpSessions : IAsyncDisposable
{
    internal static readonly TimeSpan IdleMax = TimeSpan.FromMinutes(5);

    const int SessionsMax = 64;

    static readonly TimeSpan SweepEvery = TimeSpan.FromMinutes(1);

    readonly TimeProvider clock;
    readonly Lock gate = new();
    readonly Dictionary<Key, Entry> entries = [];
    readonly ITimer sweep;

    public McpSessions(TimeProvider clock)
    {
        this.clock = clock;
        sweep = clock.CreateTimer(_ => Close(Idle()), null, SweepEvery, SweepEvery);
    }

    /// <summary>Sessions that are open or opening.</summary>
    public int Count
    {
        get
        {
            lock (gate)
            {
                return entries.Count;
            }
        }
    }

    /// <summary>Uses a connection's session, or a new one when there is none or the server has left it.</summary>
    /// <param name="open">Opens a session, within the time of an ask.</param>
    /// <param name="mayRepeat">When a session that was used before breaks, the use is begun again with a new one.</param>
    /// <exception cref="McpFailureException">The server does not do what it is asked.</exception>
    public async ValueTask<T> Use<T>(
        ConnectionSettings settings, Func<CancellationToken, ValueTask<McpSession>> open, Func<McpSession, ValueTask<T>> use, bool mayRepeat, CancellationToken ct)
    {
        var key = new Key(settings.Org, settings.Connection, settings.Revision);
        while (true)
        {
            var (entry, isNew) = Enter(key, open);
            try
            {
                return await use(await entry.Session.WaitAsync(ct));
            }
            catch (McpFailureException e) when (e.IsBroken)
            {
                Drop(key, entry);
                if (isNew || !mayRepeat)
                {
                    throw;
                }
            }
            finally
            {
                Leave(entry);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await sweep.DisposeAsync();
        List<Entry> all;
        lock (gate)
        {
            all = [.. entries.Values];
            entries.Clear();
        }
        await Task.WhenAll(all.Select(Close));
    }

    (Entry Entry, bool IsNew) Enter(Key key, Func<CancellationToken, ValueTask<McpSession>> open)
    {
        Entry? evicted = null;
        try
        {
            lock (gate)
            {
                if (entries.TryGetValue(key, out var known) && !known.IsOver)
                {
                    known.Users++;
                    return (known, false);
                }
                if (known is null && entries.Count >= SessionsMax)
                {
                    var (oldest, entry) = entries.Where(pair => pair.Value.Users == 0).OrderBy(pair => pair.Value.LeftAt).FirstOrDefault();
                    evicted = entry ?? throw new McpFailureException("this host has as many sessions with MCP servers as it may have", false);
                    entries.Remove(oldest);
                }
                evicted ??= known;
                // Whoever asked first may go away: the session is for all who wait for it.
                return (entries[key] = new(Open(open)), true);
            }
        }
        finally
        {
            if (evicted is not null)
            {
                _ = Close(evicted);
            }
        }
    }

    async Task<McpSession> Open(Func<CancellationToken, ValueTask<McpSession>> open)
    {
        using var time = new CancellationTokenSource(ConnectorLimits.AskTime, clock);
        await Task.Yield();
        try
        {
            return await open(time.Token);
        }
        catch (OperationCanceledException)
        {
            throw new McpFailureException("it did not answer in time", true);
        }
    }

    void Leave(Entry entry)
    {
        lock (gate)
        {
            entry.Users--;
            entry.LeftAt = clock.GetTimestamp();
        }
    }

    void Drop(Key key, Entry entry)
    {
        lock (gate)
        {
            if (entries.GetValueOrDefault(key) != entry)
            {
                return;
            }
            entries.Remove(key);
        }
        _ = Close(entry);
    }

    List<Entry> Idle()
    {
        lock (gate)
        {
            var idle = entries.Where(pair => pair.Value.Users == 0 && (pair.Value.IsOver || clock.GetElapsedTime(pair.Value.LeftAt) >= IdleMax)).ToList();
            idle.ForEach(pair => entries.Remove(pair.Key));
            return [.. idle.Select(pair => pair.Value)];
        }
    }

    static void Close(List<Entry> closing) => closing.ForEach(entry => _ = Close(entry));

    static async Task Close(Entry entry)
    {
        try
        {
            await (await entry.Session).DisposeAsync();
        }
        catch (Exception e) when (e is McpFailureException || PlainReason.IsKnown(e))
        {
            // There was no session.
        }
    }

    readonly record struct Key(string Org, ConnectionKey Connection, long Revision);

    sealed class Entry(Task<McpSession> session)
    {
        public Task<McpSession> Session => session;

        public int Users { get; set; } = 1;

        public long LeftAt { get; set; }

        public bool IsOver => session.IsFaulted || session.IsCanceled || (session.IsCompletedSuccessfully && session.Result.IsOver);
    }
}
