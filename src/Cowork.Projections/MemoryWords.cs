using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>The words of a memory. Its row in <see cref="Memories"/> has all else.</summary>
/// <param name="Session">Its session; null: a user stated it.</param>
/// <param name="Project">The project whose runs alone retrieve it; null: every run may.</param>
public sealed record MemoryWordsRow([property: JsonConverter(typeof(BareSessionKeyConverter))] SessionKey? Session, ProjectKey? Project = null)
{
    /// <summary>What the words are taken from; the stored row keeps none of it.</summary>
    [JsonIgnore]
    public string? Text { get; init; }
}

/// <summary>The async projection of memories' words, by which <c>recall</c> finds also old ones. To index a text costs too much to do it while an append waits.</summary>
public static class MemoryWords
{
    public static AsyncProjection<MemoryWordsRow> Model { get; } = new(
        "memory_words", Memories.EventNames, RowJson.Default.MemoryWordsRow, e => [Key(e)], Evolve,
        Scope: row => row.Session?.Value,
        Search: row => row.Text)
    {
        Lists = RowLists.None,
        Stream = key => $"{Memory.Aggregate.Name}-{key}",
        Owned = e => [Key(e)],
    };

    /// <summary>Those that a run of a project retrieves.</summary>
    /// <param name="project">Null: the built-in one.</param>
    public static RowShare For(ProjectKey? project) => new("project", project?.Id);

    static RowKey Key(RecordedEvent e) => new(e.Org, Memory.Aggregate.KeyOf(e.Stream));

    static IReadOnlyList<(RowKey Key, MemoryWordsRow? Row)> Evolve(Func<RowKey, MemoryWordsRow?> before, RecordedEvent e) => e.Event switch
    {
        MemoryEvent.MemoryWritten w => [(Key(e), new(w.SessionId, w.Project) { Text = TextOf(w.Text) })],
        MemoryEvent.MemoryCreated c => [(Key(e), new(null, c.Project) { Text = TextOf(c.Text) })],
        MemoryEvent.MemoryChanged c when before(Key(e)) is { } row => [(Key(e), row with { Text = TextOf(c.Text) })],
        MemoryEvent.MemoryDeleted => [(Key(e), null)],
        _ => [],
    };

    static string TextOf(Content text) => (text as Content.Inline)?.Text ?? "";
}
