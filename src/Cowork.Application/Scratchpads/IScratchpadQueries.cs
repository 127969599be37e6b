using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What jobs and tools ask of the read model of scratchpads.</summary>
public interface IScratchpadQueries
{
    /// <summary>Scratchpads of a conversation that are not deleted, and its replays, newest first.</summary>
    ValueTask<IReadOnlyList<ScratchpadKey>> All(string org, SessionKey session, int max, CancellationToken ct);

    /// <summary>Scratchpads of a conversation that are not deleted, without replays, newest first.</summary>
    ValueTask<IReadOnlyList<ScratchpadKey>> Of(string org, SessionKey session, int max, CancellationToken ct);

    /// <summary>Replays of a scratchpad that are not deleted, newest first.</summary>
    ValueTask<IReadOnlyList<ScratchpadKey>> Replays(string org, SessionKey session, ScratchpadKey scratchpad, int max, CancellationToken ct);
}
