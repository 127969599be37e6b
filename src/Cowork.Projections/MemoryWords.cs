using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>The words of a memory. Its row in <see cref="Memories"/> has all else.</summary>
public sealed record MemoryWordsRow([property: JsonConverter(typeof(BareSessionKeyConverter))] SessionKey Session)
{
    /// <summary>What the words are taken from; the stored row keeps none of it.</summary>
    [JsonIgnore]
    public string? Text { get; init; }
}

/// <summary>The async projection of memories' words, by which <c>recall</c> finds also old ones. To index a text costs too much to do it while an append waits.</summary>
public static class MemoryWords
{
    public static AsyncProjection<MemoryWordsRow> Model { get; } = new(
        "memory_words", [.. EventTypes.NamesOf(typeof(MemoryEvent.MemoryWritten))], RowJson.Default.MemoryWordsRow, e => [Key(e)], Evolve,
        Scope: row => row.Session.Value,
        Search: row => row.Text)
    {
        Lists = RowLists.None,
    };

    static RowKey Key(RecordedEvent e) => new(e.Org, Memory.Aggregate.KeyOf(e.Stream));

    static IReadOnlyList<(RowKey Key, MemoryWordsRow? Row)> Evolve(Func<RowKey, MemoryWordsRow?> before, RecordedEvent e) => e.Event switch
    {
        MemoryEvent.MemoryWritten w => [(Key(e), new(w.SessionId) { Text = (w.Text as Content.Inline)?.Text ?? "" })],
        _ => [],
    };
}
