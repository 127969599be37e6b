using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What a scratchpad is kept as: a notebook and a page among the session's artifacts, whose content is in the blob store.</summary>
/// <param name="Copy">Null: it is kept no longer. The artifacts stay.</param>
/// <param name="Files">The artifacts of the copy; none without one.</param>
public sealed record SaveScratchpad(SavedCopy? Copy, ImmutableList<KeptFile> Files)
{
    internal async ValueTask<Refusal?> Apply(UnitOfWork work, Scratchpad.Live of) =>
        await work.Do(Scratchpad.Aggregate, of.ScratchpadId, new ScratchpadCommand.Save(Copy, work.Now), of.SessionId)
        ?? await CellFiles.Discover(work, of.SessionId, Files);
}
