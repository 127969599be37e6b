using Cowork.Application.Storage;

namespace Cowork.Application;

/// <summary>The most recently used folded states. An entry may be behind the log; the expected version of the append makes that safe.</summary>
/// <param name="bytesMax">What they may weigh together.</param>
sealed class StateCache(long bytesMax)
{
    /// <summary>Of a state beside the texts in it.</summary>
    const int StateBytes = 2_048;

    const long MostBytes = 128 << 20;

    /// <summary>Parts of the process's memory, one of which is for the states.</summary>
    const int PartsOfMemory = 32;

    long generation;

    // A state and its row hold the texts of the events, as UTF-16, and most of them both.
    readonly LastUsed<(string Org, string Stream), StreamState> states = new(bytesMax, state => StateBytes + (2 * state.Bytes));

    /// <summary>What they may weigh in this process.</summary>
    public static long OfProcess => Math.Min(MostBytes, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / PartsOfMemory);

    public StreamState? Get(string org, string stream) => states.Get((org, stream));

    /// <summary>How often everything was forgotten.</summary>
    public long Generation => Volatile.Read(ref generation);

    /// <summary>Keeps the newer of two states of a stream.</summary>
    /// <param name="of">The generation in which the state was begun: one of an earlier one may have texts that were erased.</param>
    public void Put(string org, string stream, StreamState folded, long of)
    {
        if (of == Generation)
        {
            states.Put((org, stream), folded, static (known, put) => known.Version > put.Version);
            if (of != Generation)
            {
                states.Remove((org, stream));
            }
        }
    }

    public void Clear()
    {
        Interlocked.Increment(ref generation);
        states.Clear();
    }

    public void Remove(string org, string stream) => states.Remove((org, stream));
}
