namespace Cowork.Application.Storage;

/// <summary>A cache of what was used last, for any number of threads.</summary>
/// <param name="capacity">What its values may weigh together; past it the one that was used longest ago goes.</param>
/// <param name="weigh">A value's weight; null: one each.</param>
public sealed class LastUsed<TKey, TValue>(long capacity, Func<TValue, long>? weigh = null)
    where TKey : notnull
    where TValue : class
{
    readonly Dictionary<TKey, LinkedListNode<(TKey Key, TValue Value)>> entries = [];
    readonly LinkedList<(TKey Key, TValue Value)> byUse = new();
    readonly Lock gate = new();
    long weight;

    public TValue? Get(TKey key)
    {
        lock (gate)
        {
            if (!entries.TryGetValue(key, out var node))
            {
                return null;
            }
            byUse.Remove(node);
            byUse.AddFirst(node);
            return node.Value.Value;
        }
    }

    /// <summary>Puts a value in.</summary>
    /// <param name="stays">Asked with the value that is there and the new one: whether the old one stays. Null: it goes.</param>
    public void Put(TKey key, TValue value, Func<TValue, TValue, bool>? stays = null)
    {
        lock (gate)
        {
            if (entries.TryGetValue(key, out var node))
            {
                if (stays?.Invoke(node.Value.Value, value) == true)
                {
                    return;
                }
                Drop(node);
            }
            entries[key] = byUse.AddFirst((key, value));
            weight += WeightOf(value);
            while (weight > capacity)
            {
                Drop(byUse.Last!);
            }
        }
    }

    public void Remove(TKey key)
    {
        lock (gate)
        {
            if (entries.TryGetValue(key, out var node))
            {
                Drop(node);
            }
        }
    }

    public void Clear()
    {
        lock (gate)
        {
            entries.Clear();
            byUse.Clear();
            weight = 0;
        }
    }

    void Drop(LinkedListNode<(TKey Key, TValue Value)> node)
    {
        entries.Remove(node.Value.Key);
        byUse.Remove(node);
        weight -= WeightOf(node.Value.Value);
    }

    long WeightOf(TValue value) => weigh?.Invoke(value) ?? 1;
}
