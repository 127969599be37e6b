using Cowork.Application.Storage;

namespace Cowork.Application;

/// <summary>The most recently used folded states. An entry may be behind the log; the expected version of the append makes that safe.</summary>
sealed class StateCache(int capacity)
{
    readonly LastUsed<(string Org, string Stream), StreamState> states = new(capacity);

    public StreamState? Get(string org, string stream) => states.Get((org, stream));

    /// <summary>Keeps the newer of two states of a stream.</summary>
    public void Put(string org, string stream, StreamState folded) => states.Put((org, stream), folded, static (known, put) => known.Version > put.Version);

    public void Remove(string org, string stream) => states.Remove((org, stream));
}
