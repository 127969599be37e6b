namespace Cowork.Application;

/// <summary>The folded states that were used last. An entry may be behind the log: the expected version of an append is what makes it safe.</summary>
sealed class StateCache(int capacity)
{
    readonly Dictionary<(string Org, string Stream), LinkedListNode<((string Org, string Stream) Key, StreamState State)>> entries = [];
    readonly LinkedList<((string Org, string Stream) Key, StreamState State)> byUse = new();
    readonly Lock gate = new();

    public StreamState? Get(string org, string stream)
    {
        lock (gate)
        {
            if (!entries.TryGetValue((org, stream), out var node))
            {
                return null;
            }
            byUse.Remove(node);
            byUse.AddFirst(node);
            return node.Value.State;
        }
    }

    /// <summary>Keeps the newer of two states of a stream.</summary>
    public void Put(string org, string stream, StreamState folded)
    {
        lock (gate)
        {
            if (entries.TryGetValue((org, stream), out var node))
            {
                if (node.Value.State.Version > folded.Version)
                {
                    return;
                }
                byUse.Remove(node);
            }
            else if (entries.Count == capacity)
            {
                entries.Remove(byUse.Last!.Value.Key);
                byUse.RemoveLast();
            }
            entries[(org, stream)] = byUse.AddFirst(((org, stream), folded));
        }
    }

    public void Remove(string org, string stream)
    {
        lock (gate)
        {
            if (entries.Remove((org, stream), out var node))
            {
                byUse.Remove(node);
            }
        }
    }
}
