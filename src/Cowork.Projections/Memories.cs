using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>A memory, found by full text when a run starts or <c>recall</c> is called.</summary>
/// <param name="SessionId">The session of the run; null: a user stated it.</param>
/// <param name="RunId">The run that it came from; null: a user stated it.</param>
/// <param name="Event">The event of that run that it was derived from.</param>
/// <param name="Notes">The result of asking a model for notes; null: no model was asked.</param>
/// <param name="Project">The project whose runs alone retrieve it; null: every run may.</param>
/// <param name="Subject">The data subject whose sessions' runs alone retrieve it; null: nobody.</param>
public sealed record MemoryRow(
    MemoryKey MemoryId, string Kind, Content Text, [property: JsonConverter(typeof(BareSessionKeyConverter))] SessionKey? SessionId, RunKey? RunId,
    DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt, EventRef? Event = null, ModelNotes? Notes = null, ProjectKey? Project = null, string? Subject = null)
{
    /// <summary>The project that clients see; null: none, or its data subject's own.</summary>
    [JsonIgnore]
    public ProjectKey? ShownProject => Subject is null ? Project : null;

    /// <summary>Who said it first: the agent, or a user.</summary>
    [JsonIgnore]
    public string Source => RunId is null ? Memories.OfUser : Memories.OfAgent;
}

/// <summary>The read model of memories: retrieval at a run's start, and <c>recall</c>.</summary>
public static class Memories
{
    public const string OfUser = "user";
    public const string OfAgent = "agent";

    /// <summary>The stored names of all events of memories.</summary>
    public static IReadOnlyList<string> EventNames { get; } =
    [
        .. new[] { typeof(MemoryEvent.MemoryWritten), typeof(MemoryEvent.MemoryCreated), typeof(MemoryEvent.MemoryChanged), typeof(MemoryEvent.MemoryDeleted) }
            .SelectMany(EventTypes.NamesOf),
    ];

    /// <summary>What is listed: memories of a session that was deleted are not, nor those of groups.</summary>
    public static RowOwner Owner { get; } = new("session", Sessions.Model.Table);

    /// <summary>What runs retrieve: memories of a session that was deleted are not. Those of a group have its project, so that its own runs alone find them.</summary>
    public static RowOwner OwnerOfRetrieved { get; } = Owner with { OrTable = GroupSessions.Model.Table };

    public static ReadModel<MemoryRow> Model { get; } = new(
        "memories", Memory.Aggregate.Name, RowJson.Default.MemoryRow, Evolve,
        Scope: row => row.SessionId?.Value,
        Status: row => row.Kind)
    {
        Lists = RowLists.OfTenant | RowLists.ByScope,
    };

    public static MemoryRow? Evolve(MemoryRow? row, RecordedEvent e) => e.Event switch
    {
        MemoryEvent.MemoryWritten w => new(w.MemoryId, w.Kind, w.Text, w.SessionId, w.RunId, row?.CreatedAt ?? e.At, e.At, w.Event, w.Notes, w.Project, w.Subject),
        MemoryEvent.MemoryCreated c => new(c.MemoryId, Memory.Fact, c.Text, null, null, e.At, e.At, Project: c.Project, Subject: c.Subject),
        MemoryEvent.MemoryChanged c => row is null ? null : row with { Text = c.Text, UpdatedAt = e.At },
        MemoryEvent.MemoryDeleted => null,
        _ => row,
    };
}

/// <summary>The place of a fact in the lists of contract B. Its row in <see cref="Memories"/> has all else.</summary>
/// <param name="Session">Its session; null: a user stated it.</param>
/// <param name="Project">The project whose runs alone retrieve it; null: every run may.</param>
public sealed record MemoryPlaceRow([property: JsonConverter(typeof(BareSessionKeyConverter))] SessionKey? Session, ProjectKey? Project);

/// <summary>The read model that lists facts by project and by who said them: <c>GET /api/v1/memories</c>.</summary>
public static class MemoryPlaces
{
    public static ReadModel<MemoryPlaceRow> Model { get; } = new(
        "memory_places", Memory.Aggregate.Name, RowJson.Default.MemoryPlaceRow, Evolve,
        Scope: row => (row.Project ?? ProjectKey.General).Value,
        Status: row => row.Session is null ? Memories.OfUser : Memories.OfAgent)
    {
        Lists = RowLists.ByScope | RowLists.ByStatus | RowLists.ByScopeAndStatus,
        ListedStatuses = [Memories.OfUser],
    };

    public static MemoryPlaceRow? Evolve(MemoryPlaceRow? row, RecordedEvent e) => e.Event switch
    {
        MemoryEvent.MemoryWritten { Kind: Memory.Fact } w => new(w.SessionId, w.Subject is null ? w.Project : null),
        MemoryEvent.MemoryCreated c => new(null, c.Subject is null ? c.Project : null),
        MemoryEvent.MemoryDeleted => null,
        _ => row,
    };
}
