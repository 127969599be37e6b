using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;
using static Cowork.Domain.SessionEvent;

namespace Cowork.Projections;

/// <summary>What is searched of a conversation: its title, or the message and the reply of one run, each without what is beyond <see cref="Messages.CharsMax"/>.</summary>
/// <param name="Run">Null: the row is the conversation's own.</param>
/// <param name="Project">The conversation's; null: the built-in one.</param>
public sealed record MessageRow(
    [property: JsonConverter(typeof(BareSessionKeyConverter))] SessionKey Session, RunKey? Run, ProjectKey? Project, string? Title = null, string? Message = null,
    string? Reply = null, DateTimeOffset? SaidAt = null, DateTimeOffset? RepliedAt = null);

/// <summary>
/// The async projection of titles and messages, by which <c>GET /api/v1/conversations/search</c> finds conversations. A text that an event names by its digest, because
/// it is longer than 64 KiB, is not found.
/// </summary>
public static class Messages
{
    /// <summary>Characters of a text that are searched.</summary>
    public const int CharsMax = 16_000;

    /// <summary>What is found: messages of a session that was deleted are not.</summary>
    public static RowOwner Owner { get; } = new("session", Sessions.Model.Table);

    public static AsyncProjection<MessageRow> Model { get; } = new(
        "messages",
        [
            .. new[] { typeof(SessionCreated), typeof(SessionChanged), typeof(RunQueued), typeof(SessionDeleted), typeof(RunCreated), typeof(AssistantReply) }
                .SelectMany(EventTypes.NamesOf),
        ],
        RowJson.Default.MessageRow, KeysOf, Evolve,
        Scope: row => row.Session.Value,
        Status: row => (row.Project ?? ProjectKey.General).Value,
        Search: row => string.Join('\n', new[] { row.Title, row.Message, row.Reply }.OfType<string>()))
    {
        Lists = RowLists.None,
        Stream = key => key.StartsWith(OfSession, StringComparison.Ordinal) ? $"{Session.Aggregate.Name}-{key[OfSession.Length..]}" : $"{Run.Aggregate.Name}-{key}",
        Owned = e => [KeysOf(e)[^1]],
    };

    /// <summary>No run's key has a space.</summary>
    const string OfSession = "session ";

    static RowKey Of(string org, SessionKey session) => new(org, OfSession + session.Value);

    static RowKey Of(string org, RunKey run) => new(org, run.Value);

    static IReadOnlyList<RowKey> KeysOf(RecordedEvent e) => e.Event switch
    {
        SessionEvent => [Of(e.Org, new SessionKey(Session.Aggregate.KeyOf(e.Stream)))],
        RunCreated c => [Of(e.Org, c.SessionId), Of(e.Org, c.RunId)],
        _ => [Of(e.Org, new RunKey(Run.Aggregate.KeyOf(e.Stream)))],
    };

    static IReadOnlyList<(RowKey Key, MessageRow? Row)> Evolve(Func<RowKey, MessageRow?> before, RecordedEvent e)
    {
        var key = KeysOf(e)[^1];
        return (e.Event, before(key)) switch
        {
            (SessionCreated c, _) => [(key, new(c.SessionId, null, c.Project, TextOf(c.Title)))],
            (SessionChanged c, { } row) => [(key, row with { Title = TextOf(c.Title) })],
            (RunQueued { Title: { } title }, { } row) => [(key, row with { Title = TextOf(title) })],
            (SessionDeleted, _) => [(key, null)],
            (RunCreated c, _) => [(key, new(c.SessionId, c.RunId, before(Of(e.Org, c.SessionId))?.Project, Message: TextOf(c.Message), SaidAt: e.At))],
            (AssistantReply a, { } row) => [(key, row with { Reply = TextOf(a.Content), RepliedAt = e.At })],
            _ => [],
        };
    }

    static string? TextOf(Content? content) => (content as Content.Inline)?.Text is { } text ? text[..Math.Min(text.Length, CharsMax)] : null;
}
