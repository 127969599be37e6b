using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>What a thing is called, and is found by.</summary>
/// <param name="Kind">Name of the thing's aggregate.</param>
/// <param name="Text">Folded by <see cref="PartsOfWords"/>.</param>
/// <param name="Also">What it is called beside a name that may change; null: nothing.</param>
public sealed record NameRow(string Kind, string Text, string? Also = null);

/// <summary>
/// The async projection of names, by which lists find things with <c>q</c> at any number of them. Its keys are the streams of the things, and each row is made by the event that
/// made the thing's own, so that both stand at one place in their lists.
/// </summary>
public static class Names
{
    /// <summary>Characters of a name that are compared; the rest of a longer one is not.</summary>
    public const int CharsMax = 500;

    public static AsyncProjection<NameRow> Model { get; } = new(
        "names",
        [
            .. new[]
            {
                typeof(SessionEvent.SessionCreated), typeof(SessionEvent.SessionChanged), typeof(SessionEvent.RunQueued), typeof(SessionEvent.SessionDeleted),
                typeof(SkillEvent.SkillCreated), typeof(SkillEvent.SkillVersionAdded), typeof(SkillEvent.SkillDeleted),
                typeof(ScheduleEvent.ScheduleCreated), typeof(ScheduleEvent.ScheduleChanged), typeof(ScheduleEvent.ScheduleDeleted),
                typeof(ScratchpadEvent.ScratchpadCreated), typeof(ScratchpadEvent.ScratchpadRenamed), typeof(ScratchpadEvent.ScratchpadDeleted),
                typeof(UploadedFileEvent.FileUploaded), typeof(UploadedFileEvent.FileDeleted), typeof(ArtifactEvent.ArtifactDiscovered), typeof(GroupEvent.GroupCreated),
                typeof(ConnectionEvent.ConnectionCreated), typeof(ConnectionEvent.ConnectionRenamed), typeof(ConnectionEvent.ConnectionDeleted),
                typeof(ApiTokenEvent.TokenIssued), typeof(ApiTokenEvent.TokenRevoked),
            }.SelectMany(EventTypes.NamesOf),
        ],
        RowJson.Default.NameRow, e => [Key(e)], Evolve,
        Scope: row => row.Kind,
        Search: row => row.Text)
    {
        Lists = RowLists.ByScope,
        ByParts = true,
        Stream = key => key,
        Owned = e => [Key(e)],
    };

    /// <summary>Narrows a list of things to those whose name has each word of a query as a part; null: the query has no words.</summary>
    /// <param name="kind">Name of the things' aggregate.</param>
    public static NamedLike? Like(string kind, string query) => PartsOfWords.Words(query) is { Count: > 0 } words ? new(Model.Table, kind, words) : null;

    static RowKey Key(RecordedEvent e) => new(e.Org, e.Stream);

    static IReadOnlyList<(RowKey Key, NameRow? Row)> Evolve(Func<RowKey, NameRow?> before, RecordedEvent e)
    {
        var key = Key(e);
        return (e.Event, before(key)) switch
        {
            (SessionEvent.SessionCreated { Group: null } c, _) =>
                [(key, Of(Session.Aggregate.Name, TextOf(c.Title), $"{c.SessionId}\n{TitleIn(c.Metadata)}"))],
            (SessionEvent.SessionChanged c, { } row) => [(key, Named(row, TextOf(c.Title)))],
            (SessionEvent.RunQueued { Title: { } title }, { } row) => [(key, Named(row, TextOf(title)))],
            (SkillEvent.SkillCreated c, _) => [(key, Of(Skill.Aggregate.Name, NameOf(c.Definition)))],
            (SkillEvent.SkillVersionAdded v, { } row) => [(key, Named(row, NameOf(v.Definition)))],
            (ScheduleEvent.ScheduleCreated c, _) => [(key, Of(Schedule.Aggregate.Name, TextOf(c.Target.Prompt), c.Name))],
            (ScheduleEvent.ScheduleChanged c, { } row) => [(key, Named(row, TextOf(c.Target.Prompt)))],
            (ScratchpadEvent.ScratchpadCreated c, _) => [(key, Of(Scratchpad.Aggregate.Name, TextOf(c.Title)))],
            (ScratchpadEvent.ScratchpadRenamed r, { } row) => [(key, Named(row, TextOf(r.Title)))],
            (UploadedFileEvent.FileUploaded u, _) => [(key, Of(UploadedFile.Aggregate.Name, u.Name))],
            (ArtifactEvent.ArtifactDiscovered d, _) => [(key, Of(Artifact.Aggregate.Name, $"{d.Path}\n{d.Title}"))],
            (GroupEvent.GroupCreated c, _) => [(key, Of(Group.Aggregate.Name, TextOf(c.Title)))],
            (ConnectionEvent.ConnectionCreated c, _) => [(key, Of(Connection.Aggregate.Name, c.Name))],
            (ConnectionEvent.ConnectionRenamed r, { } row) => [(key, Named(row, r.Name))],
            (ApiTokenEvent.TokenIssued t, _) => [(key, Of(ApiToken.Aggregate.Name, $"{t.Name}\n{t.User}"))],
            (SessionEvent.SessionDeleted or SkillEvent.SkillDeleted or ScheduleEvent.ScheduleDeleted or ScratchpadEvent.ScratchpadDeleted or UploadedFileEvent.FileDeleted
                or ConnectionEvent.ConnectionDeleted or ApiTokenEvent.TokenRevoked, { }) => [(key, null)],
            _ => [],
        };
    }

    static NameRow Of(string kind, string? name, string? also = null) => Named(new(kind, "", also is null ? null : Cut(also)), name);

    static NameRow Named(NameRow row, string? name) => row with { Text = PartsOfWords.Fold($"{Cut(name)}\n{row.Also}") };

    static string Cut(string? text)
    {
        var chars = Math.Min(text?.Length ?? 0, CharsMax);
        // Half of a surrogate pair is no text.
        return text is null ? "" : text[..(chars > 0 && char.IsHighSurrogate(text[chars - 1]) ? chars - 1 : chars)];
    }

    static string? TextOf(Content? content) => (content as Content.Inline)?.Text;

    static string NameOf(SkillDefinition skill) => $"{skill.Name}\n{skill.Description}";

    /// <summary>Clients of contract A give a session its title in its metadata.</summary>
    static string? TitleIn(string metadata)
    {
        using var json = JsonDocument.Parse(metadata);
        return json.RootElement.ValueKind == JsonValueKind.Object && json.RootElement.TryGetProperty("title", out var title) && title.ValueKind == JsonValueKind.String
            ? title.GetString()
            : null;
    }
}
