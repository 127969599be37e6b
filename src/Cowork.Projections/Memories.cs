using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>A memory, found by full text when a run starts or <c>recall</c> is called.</summary>
/// <param name="RunId">The run that it came from.</param>
/// <param name="Event">The event of that run that it was derived from.</param>
/// <param name="Notes">The result of asking a model for notes; null: no model was asked.</param>
public sealed record MemoryRow(
    MemoryKey MemoryId, string Kind, Content Text, [property: JsonConverter(typeof(BareSessionKeyConverter))] SessionKey SessionId, RunKey RunId, DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt, EventRef? Event = null, ModelNotes? Notes = null);

/// <summary>The read model of memories: retrieval at a run's start, and <c>recall</c>.</summary>
public static class Memories
{
    public static ReadModel<MemoryRow> Model { get; } = new(
        "memories", Memory.Aggregate.Name, RowJson.Default.MemoryRow, Evolve,
        Scope: row => row.SessionId.Value,
        Status: row => row.Kind)
    {
        Lists = RowLists.OfTenant | RowLists.ByScope,
    };

    public static MemoryRow? Evolve(MemoryRow? row, RecordedEvent e) => e.Event switch
    {
        MemoryEvent.MemoryWritten w => new(w.MemoryId, w.Kind, w.Text, w.SessionId, w.RunId, row?.CreatedAt ?? e.At, e.At, w.Event, w.Notes),
        _ => row,
    };
}
