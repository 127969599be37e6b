namespace Cowork.Marten;

/// <summary>Remembers what was used lately, in two generations: between one and two times its capacity. Used by one thread.</summary>
sealed class RecentCache<TKey>(int capacity)
    where TKey : notnull
{
    Dictionary<TKey, long> young = [];
    Dictionary<TKey, long> old = [];

    public bool TryGet(TKey key, out long value)
    {
        if (young.TryGetValue(key, out value))
        {
            return true;
        }
        if (old.TryGetValue(key, out value))
        {
            Put(key, value);
            return true;
        }
        return false;
    }

    public void Put(TKey key, long value)
    {
        if (young.Count >= capacity && !young.ContainsKey(key))
        {
            (old, young) = (young, old);
            young.Clear();
        }
        young[key] = value;
    }

    public void Clear()
    {
        young.Clear();
        old.Clear();
    }
}
