namespace Cowork.Application;

/// <summary>
/// A lock for each key, granted in the order of arrival. Who needs several takes them in the order of the keys, so that no two holders wait for each other. A key without
/// holders takes no memory.
/// </summary>
sealed class KeyedLock
{
    readonly Dictionary<string, (SemaphoreSlim Semaphore, int Users)> gates = [];
    readonly Lock sync = new();
    volatile bool isIdle = true;

    /// <summary>Nobody has a lock.</summary>
    public bool IsIdle => isIdle;

    /// <summary>Whether somebody has the lock of one of the keys, or waits for it.</summary>
    public bool IsAnyHeld(IEnumerable<string> keys)
    {
        lock (sync)
        {
            return keys.Any(gates.ContainsKey);
        }
    }

    public ValueTask<Held> Enter(string key, CancellationToken ct) => Enter([key], ct);

    /// <summary>Waits for the locks of all keys. From the call on each of them counts as held.</summary>
    public async ValueTask<Held> Enter(IEnumerable<string> keys, CancellationToken ct)
    {
        var held = new Held(this, Join(keys));
        try
        {
            await held.WaitForAll(ct);
            return held;
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    List<(string Key, SemaphoreSlim Semaphore)> Join(IEnumerable<string> keys)
    {
        var joined = new List<(string, SemaphoreSlim)>();
        lock (sync)
        {
            foreach (var key in keys.Distinct().Order(StringComparer.Ordinal))
            {
                var (known, users) = gates.GetValueOrDefault(key);
                var semaphore = known ?? new(1, 1);
                gates[key] = (semaphore, users + 1);
                joined.Add((key, semaphore));
            }
            isIdle = gates.Count == 0;
        }
        return joined;
    }

    void Leave(string key)
    {
        lock (sync)
        {
            var (semaphore, users) = gates[key];
            if (users > 1)
            {
                gates[key] = (semaphore, users - 1);
            }
            else
            {
                gates.Remove(key);
                semaphore.Dispose();
            }
            isIdle = gates.Count == 0;
        }
    }

    /// <summary>The locks of some keys, until it is disposed of.</summary>
    public sealed class Held : IDisposable
    {
        readonly KeyedLock owner;
        readonly List<(string Key, SemaphoreSlim Semaphore)> joined;
        int granted;

        internal Held(KeyedLock owner, List<(string Key, SemaphoreSlim Semaphore)> joined) => (this.owner, this.joined) = (owner, joined);

        public IEnumerable<string> Keys => joined.Select(lockOf => lockOf.Key);

        internal async ValueTask WaitForAll(CancellationToken ct)
        {
            foreach (var (_, semaphore) in joined)
            {
                await semaphore.WaitAsync(ct);
                granted++;
            }
        }

        public void Dispose()
        {
            foreach (var (i, (key, semaphore)) in joined.Index())
            {
                if (i < granted)
                {
                    semaphore.Release();
                }
                owner.Leave(key);
            }
            joined.Clear();
        }
    }
}
