using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What the tools <c>remember</c> and <c>recall</c> keep and find.</summary>
public interface IMemories
{
    /// <summary>
    /// Keeps the content and answers its key. The same <see cref="ToolContext.IdempotencyToken"/> names the same memory, so a
    /// repeated attempt keeps it once. Null: the session's project was deleted.
    /// </summary>
    ValueTask<MemoryKey?> Remember(ToolContext context, string content, CancellationToken ct);

    /// <summary>Memories of the session's project, and of none, that share a word with the query, best first.</summary>
    ValueTask<IReadOnlyList<(Provenance From, string Text)>> Recall(ToolContext context, string query, int limit, CancellationToken ct);
}
