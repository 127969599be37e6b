namespace Cowork.Application;

/// <summary>The kernels of this host that execute nothing, the one first that has done so for the longest. Thread-safe.</summary>
public sealed class IdleKernels
{
    readonly Lock gate = new();
    readonly List<(object Kernel, string Org)> idle = [];

    /// <summary>The kernel executes nothing until the answer is disposed.</summary>
    public IDisposable Add(object kernel, string org)
    {
        lock (gate)
        {
            idle.Add((kernel, org));
        }
        return new Place(this, kernel);
    }

    /// <summary>Of the tenant's kernels it is the one that has executed nothing for the longest.</summary>
    public bool IsOldest(object kernel, string org)
    {
        lock (gate)
        {
            return idle.Find(k => k.Org == org).Kernel == kernel;
        }
    }

    sealed class Place(IdleKernels owner, object kernel) : IDisposable
    {
        public void Dispose()
        {
            lock (owner.gate)
            {
                owner.idle.RemoveAll(k => k.Kernel == kernel);
            }
        }
    }
}
