namespace Cowork.Application;

/// <summary>A lock for each key, granted in the order of arrival. A key without holders takes no memory.</summary>
sealed class KeyedLock
{
    readonly Dictionary<string, (SemaphoreSlim Semaphore, int Users)> gates = [];
    readonly Lock sync = new();

    public async ValueTask<IDisposable> Enter(string key, CancellationToken ct)
    {
        SemaphoreSlim semaphore;
        lock (sync)
        {
            var (known, users) = gates.GetValueOrDefault(key);
            semaphore = known ?? new(1, 1);
            gates[key] = (semaphore, users + 1);
        }
        try
        {
            await semaphore.WaitAsync(ct);
        }
        catch
        {
            Leave(key);
            throw;
        }
        return new Held(this, key, semaphore);
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
        }
    }

    sealed class Held(KeyedLock owner, string key, SemaphoreSlim semaphore) : IDisposable
    {
        public void Dispose()
        {
            semaphore.Release();
            owner.Leave(key);
        }
    }
}
