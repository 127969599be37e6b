namespace Cowork.Application.Storage;

/// <summary>
/// The slots of a node: how many jobs of each kind it does at once, and who has them. A tenant's first job of a kind takes any slot that is free. A tenant that has
/// some takes another as long as it has fewer than <see cref="PerFreeSlot"/> times the slots that would still be free, so that one tenant alone takes four fifths,
/// each further one takes its part of the rest, and a slot is kept for a tenant that has none. Thread-safe.
/// </summary>
public sealed class JobSlots
{
    /// <summary>Slots that a tenant may have for each that it leaves free.</summary>
    public const int PerFreeSlot = 4;

    readonly Lock gate = new();
    readonly Func<string, int> slotsOf;
    readonly Dictionary<(string Kind, string Org), int> taken = [];
    readonly Dictionary<string, int> used = [];
    HashSet<(string Kind, string Org)> waiting = [];

    /// <param name="slotsOf">Slots of a kind of job.</param>
    public JobSlots(Func<string, int> slotsOf) => this.slotsOf = slotsOf;

    /// <summary>Whether a tenant with so many slots may take one more of those that are free.</summary>
    public static bool Lets(int has, int free) => free > 0 && (has == 0 || has < (long)PerFreeSlot * (free - 1));

    /// <summary>Takes a slot if the tenant may have one more, and none of its jobs has been waiting for one.</summary>
    public bool TryTake(string kind, string org)
    {
        lock (gate)
        {
            var has = taken.GetValueOrDefault((kind, org));
            if (!Lets(has, slotsOf(kind) - used.GetValueOrDefault(kind)) || (has > 0 && waiting.Contains((kind, org))))
            {
                return false;
            }
            Add(kind, org);
            return true;
        }
    }

    /// <summary>
    /// Takes a slot for a job that a look has claimed, if the tenant may have one more. What the look knew of the slots may be older than a commit that has taken some.
    /// </summary>
    public bool TryTakeFound(string kind, string org)
    {
        lock (gate)
        {
            if (!Lets(taken.GetValueOrDefault((kind, org)), slotsOf(kind) - used.GetValueOrDefault(kind)))
            {
                return false;
            }
            Add(kind, org);
            return true;
        }
    }

    /// <summary>Takes a slot for a job that the node has already.</summary>
    public void Take(string kind, string org)
    {
        lock (gate)
        {
            Add(kind, org);
        }
    }

    /// <summary>Gives a slot back. True: jobs wait for slots, so that it is time to look for them.</summary>
    public bool Leave(string kind, string org)
    {
        lock (gate)
        {
            used[kind]--;
            if (--taken[(kind, org)] == 0)
            {
                taken.Remove((kind, org));
            }
            return waiting.Count > 0;
        }
    }

    /// <summary>The tenants whose due jobs found no slot at the last look.</summary>
    public void SetWaiting(IEnumerable<(string Kind, string Org)> queues)
    {
        lock (gate)
        {
            waiting = [.. queues];
        }
    }

    /// <summary>
    /// Jobs of the kind wait for a slot that this tenant may give up: its own wait, or those of a tenant that has none.
    /// </summary>
    public bool WantsRoom(string kind, string org)
    {
        lock (gate)
        {
            return waiting.Any(w => w.Kind == kind && (w.Org == org || taken.GetValueOrDefault(w) == 0));
        }
    }

    /// <summary>What the tenants have of each kind, and what is free of the kinds that are in use.</summary>
    public (IReadOnlyList<(string Kind, string Org, int Count)> Taken, IReadOnlyList<(string Kind, int Free)> Free) Now()
    {
        lock (gate)
        {
            return ([.. taken.Select(t => (t.Key.Kind, t.Key.Org, t.Value))], [.. used.Select(u => (u.Key, slotsOf(u.Key) - u.Value))]);
        }
    }

    void Add(string kind, string org)
    {
        taken[(kind, org)] = taken.GetValueOrDefault((kind, org)) + 1;
        used[kind] = used.GetValueOrDefault(kind) + 1;
    }
}
