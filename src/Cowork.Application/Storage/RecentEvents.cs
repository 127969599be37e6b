namespace Cowork.Application.Storage;

/// <summary>
/// What this node committed last, without a gap, so that what follows the log need not read it back from the database. A gap, where another node wrote, begins it anew.
/// </summary>
sealed class RecentEvents
{
    /// <summary>Events and bytes that are kept at most. Who is further behind reads the log.</summary>
    const int EventsMax = 20_000;
    const long BytesMax = 16 << 20;

    readonly Lock gate = new();
    readonly Queue<Recent> events = [];
    long first = 1, last, bytes;

    /// <summary>An event, read when it is first asked for.</summary>
    sealed class Recent(FeedEntry entry)
    {
        RecordedEvent? recorded;

        public FeedEntry Entry => entry;

        // What is sealed may be erased meanwhile.
        public RecordedEvent Recorded => entry.IsSealed ? Read() : recorded ??= Read();

        RecordedEvent Read() => new(
            entry.Org, entry.Stream, entry.Version, entry.Id, entry.Type, entry.Read(), entry.Data, entry.At, entry.Actor, entry.Hash,
            entry.Position, entry.Correlation, entry.Causation);
    }

    public void Add(IReadOnlyList<FeedEntry> entries)
    {
        lock (gate)
        {
            foreach (var entry in entries)
            {
                if (entry.Position != last + 1)
                {
                    events.Clear();
                    (first, bytes) = (entry.Position, 0);
                }
                events.Enqueue(new(entry));
                last = entry.Position;
                bytes += entry.Data.Length;
                while (events.Count > EventsMax || bytes > BytesMax)
                {
                    Drop();
                }
            }
        }
    }

    /// <summary>Forgets what everybody has folded.</summary>
    public void Trim(long through)
    {
        lock (gate)
        {
            while (first <= through && events.Count > 0)
            {
                Drop();
            }
        }
    }

    /// <summary>What <see cref="IAsyncProjectionStore.Read"/> would answer; null: the event after <paramref name="after"/> is not here.</summary>
    public LogPage? Read(IReadOnlyCollection<string> types, long after, int max)
    {
        var found = new List<Recent>();
        var through = after;
        lock (gate)
        {
            if (events.Count == 0 || after + 1 < first || after >= last)
            {
                return null;
            }
            foreach (var recent in events)
            {
                if (recent.Entry.Position <= after)
                {
                    continue;
                }
                if (found.Count == max)
                {
                    break;
                }
                through = recent.Entry.Position;
                if (types.Contains(recent.Entry.Type))
                {
                    found.Add(recent);
                }
            }
        }
        return new([.. found.Select(recent => recent.Recorded)], through);
    }

    void Drop()
    {
        bytes -= events.Dequeue().Entry.Data.Length;
        first++;
    }
}
