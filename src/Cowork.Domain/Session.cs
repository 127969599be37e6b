using System.Collections.Immutable;

using static Cowork.Domain.SessionCommand;
using static Cowork.Domain.SessionEvent;

namespace Cowork.Domain;

/// <summary>Commands to a session, which contract B calls a conversation and contract C a desktop session.</summary>
public abstract record SessionCommand(DateTimeOffset Now)
{
    /// <param name="SessionId">The id in contract A: <c>sess_ULID</c>, or the client's own.</param>
    /// <param name="WorkspacePath">Absolute path of the session's folder.</param>
    /// <param name="Metadata">The client's JSON object as text, so that it returns unchanged.</param>
    /// <param name="AuthContext">A JSON object as text for policies; no answer shows it.</param>
    /// <param name="Model">The model of turns that name none; null: the project's, or the host's default, when the turn is sent.</param>
    /// <param name="Project">The project of the conversation; null: the built-in one.</param>
    /// <param name="Title">At most <see cref="Limits.TitleCharsMax"/> characters; null: the first turn gives one.</param>
    /// <param name="Goal">What the conversation is for: part of each turn's prompt.</param>
    /// <param name="Grants">The folders that the session may use, the first of which is <paramref name="WorkspacePath"/>; null: <see cref="FolderGrant.Implicit"/>.</param>
    /// <param name="Connectors">The connections that the session may use; null: those of its project.</param>
    /// <param name="Group">The group whose conversation it is; null: it is no group's.</param>
    /// <param name="Fork">Where it forked from; null: it has a beginning of its own.</param>
    public sealed record Create(
        SessionKey SessionId, string WorkspacePath, string Metadata, string? AuthContext, DateTimeOffset Now, string? Model = null, ProjectKey? Project = null,
        Content? Title = null, Content? Goal = null, ImmutableList<FolderGrant>? Grants = null, ImmutableList<ConnectorGrant>? Connectors = null, GroupKey? Group = null,
        SessionFork? Fork = null, string? Subject = null)
        : SessionCommand(Now), IExpiryCommand;

    /// <summary>Changes what a client may change of a conversation.</summary>
    /// <param name="Title">Null: the next turn gives one.</param>
    /// <param name="Goal">Null: none.</param>
    public sealed record Change(Content? Title, Content? Goal, bool Archived, DateTimeOffset Now) : SessionCommand(Now);

    /// <summary>Adds a run to the end of the session's queue, or of one of its lanes.</summary>
    /// <param name="WaitingMax">Number of runs that may wait behind the first, of all lanes together.</param>
    /// <param name="Title">The session's title, when it has none yet.</param>
    /// <param name="Lane">The id of the agent in whose queue it is; null: the one queue of a session that is no group's.</param>
    public sealed record Enqueue(RunKey RunId, int WaitingMax, DateTimeOffset Now, Content? Title = null, string? Lane = null) : SessionCommand(Now);

    /// <summary>Removes an ended run from the session's queue or lane, at any position.</summary>
    public sealed record Dequeue(RunKey RunId, DateTimeOffset Now) : SessionCommand(Now);

    /// <param name="Days">The period of retention that is over; null: somebody deletes it.</param>
    /// <param name="WithProject">Its project is being deleted.</param>
    public sealed record Delete(DateTimeOffset Now, int? Days = null, bool WithProject = false) : SessionCommand(Now);

    /// <summary>Keeps what happened in the session from expiring, also when it is deleted.</summary>
    public sealed record Hold(string Reason, DateTimeOffset Now) : SessionCommand(Now);

    public sealed record Release(DateTimeOffset Now) : SessionCommand(Now);

    /// <summary>Lets the data of a deleted session's events expire.</summary>
    public sealed record Expire(ExpiredEvents Expired, DateTimeOffset Now) : SessionCommand(Now);

    /// <summary>The data is gone.</summary>
    public sealed record FinishExpiry(long Events, long Bytes, long Blobs, string TombstonesSha256, DateTimeOffset Now) : SessionCommand(Now), IExpiryCommand;
}

public abstract record SessionEvent(DateTimeOffset At) : Event(At)
{
    /// <inheritdoc cref="SessionCommand.Create"/>
    public sealed record SessionCreated(
        SessionKey SessionId, string WorkspacePath, [property: Personal(PersonalAttribute.Object)] string Metadata,
        [property: Personal(PersonalAttribute.Object)] string? AuthContext, DateTimeOffset At, string? Model = null, ProjectKey? Project = null, Content? Title = null,
        Content? Goal = null, ImmutableList<FolderGrant>? Grants = null, ImmutableList<ConnectorGrant>? Connectors = null, GroupKey? Group = null,
        SessionFork? Fork = null, string? Subject = null)
        : SessionEvent(At);

    /// <summary>What the session is called, is for and how it is listed, after the change.</summary>
    /// <inheritdoc cref="SessionCommand.Change"/>
    public sealed record SessionChanged(Content? Title, Content? Goal, bool Archived, DateTimeOffset At) : SessionEvent(At);

    /// <summary>The run is in its queue behind <paramref name="Ahead"/> runs; 0: it may start. An archived session is active again.</summary>
    /// <param name="Title">The session's title from now on; null: it had one.</param>
    /// <param name="Lane">The id of the agent in whose queue it is; null: the one queue of a session that is no group's.</param>
    public sealed record RunQueued(RunKey RunId, int Ahead, DateTimeOffset At, Content? Title = null, string? Lane = null) : SessionEvent(At);

    /// <summary>The run has ended and the next one of its lane, if any, may start.</summary>
    public sealed record RunDequeued(RunKey RunId, RunKey? NextRunId, DateTimeOffset At) : SessionEvent(At);

    /// <param name="Days">The period of retention that was over; null: somebody deleted it.</param>
    public sealed record SessionDeleted(DateTimeOffset At, int? Days = null) : SessionEvent(At);

    /// <summary>What happened in the session does not expire, until it is released.</summary>
    public sealed record SessionHeld([property: Personal] string Reason, DateTimeOffset At) : SessionEvent(At);

    public sealed record SessionReleased(DateTimeOffset At) : SessionEvent(At);

    /// <summary>The data of the session's events expired: from now on it may be, and will be, taken out of the log.</summary>
    public sealed record SessionExpired(ExpiredEvents Expired, DateTimeOffset At) : SessionEvent(At), IExpiryEvent;

    /// <summary>The data is gone, with all that was derived from it.</summary>
    /// <param name="Bytes">That the tenant has stored less.</param>
    /// <param name="Blobs">The same of long texts and files.</param>
    /// <param name="TombstonesSha256">See <see cref="IRemovalEvent.TombstonesSha256"/>.</param>
    public sealed record SessionRemoved(long Events, long Bytes, long Blobs, DateTimeOffset At, string? TombstonesSha256 = null) : SessionEvent(At), IRemovalEvent;
}

/// <summary>The event at which a session forked from another one. What came before it is the session's past too: by reference, no event is copied.</summary>
/// <param name="SessionId">The session that it forked from.</param>
/// <param name="RunId">The run that was named; null: the session was.</param>
/// <param name="Event">The last event of the prefix.</param>
/// <param name="Hash">Its hash, which covers its stream up to there.</param>
/// <param name="FeedId">Its place in the feed of the other session.</param>
/// <param name="History">The runs that prompts show of the prefix, oldest first.</param>
/// <param name="Cuts">Those of them of which the prefix has the beginning only; null: none.</param>
public sealed record SessionFork(
    SessionKey SessionId, RunKey? RunId, EventRef Event, string Hash, long FeedId, ImmutableList<RunKey> History, ImmutableList<RunCut>? Cuts = null);

/// <summary>A run as far as a version of its stream.</summary>
/// <param name="Hash">Of the event of that version.</param>
public sealed record RunCut(RunKey RunId, long Version, string Hash);

/// <summary>
/// A conversation with an agent on one workspace. Its runs execute one at a time in the order of their turns. In the session of a group each agent has a queue of its own, a
/// lane, so that an agent that waits for an approval keeps no other one from answering.
/// </summary>
public abstract record Session
{
    public sealed record None : Session;

    /// <param name="Queue">Ids of the live runs that are in no lane; only the first may execute.</param>
    /// <param name="Model">The model of turns that name none; null: the project's, or the host's default.</param>
    /// <param name="Project">Null: the built-in one.</param>
    /// <param name="Grants">Null: <see cref="FolderGrant.Implicit"/>.</param>
    /// <param name="Connectors">Null: the connections of its project.</param>
    /// <param name="Group">The group whose conversation it is; null: it is no group's.</param>
    /// <param name="Lanes">Ids of the live runs of agents, by agent; only the first of each may execute. No lane is empty; null: there is none.</param>
    /// <param name="Fork">Where it forked from; null: it has a beginning of its own.</param>
    /// <param name="IsHeld">It does not expire.</param>
    public sealed record Open(
        SessionKey SessionId, string WorkspacePath, string? AuthContext, ImmutableList<RunKey> Queue, string? Model = null, ProjectKey? Project = null,
        Content? Title = null, Content? Goal = null, bool Archived = false, ImmutableList<FolderGrant>? Grants = null, ImmutableList<ConnectorGrant>? Connectors = null,
        GroupKey? Group = null, ImmutableSortedDictionary<string, ImmutableList<RunKey>>? Lanes = null, SessionFork? Fork = null, string? Subject = null,
        bool IsHeld = false)
        : Session, IOfSubject
    {
        /// <summary>
        /// The project whose runs alone retrieve what is remembered here; null: every run may. What the agents of a group remember stays in it: a group is a project of
        /// its own, in which nothing else begins. What is remembered of a data subject comes back in that subject's sessions alone.
        /// </summary>
        [System.Text.Json.Serialization.JsonIgnore]
        public ProjectKey? MemoryProject => Group is { } group ? new(group.Value) : Subject is { } subject ? DataSubject.MemoryProjectOf(subject) : Project;
    }

    /// <summary>The live runs are being cancelled. The log keeps all events.</summary>
    /// <param name="Days">The period of retention that was over; null: somebody deleted it.</param>
    /// <param name="DeletedAt">Null: an earlier release stored the state.</param>
    /// <param name="IsOfGroup">It was a group's.</param>
    /// <param name="Subject">As of <see cref="Open"/>.</param>
    public sealed record Deleted(
        ImmutableList<RunKey> Queue, ImmutableSortedDictionary<string, ImmutableList<RunKey>>? Lanes = null, DateTimeOffset? DeletedAt = null, int? Days = null,
        bool IsHeld = false, bool IsOfGroup = false, string? Subject = null) : Session, IOfSubject;

    /// <summary>The data of its events expired.</summary>
    /// <param name="IsRemoved">It is gone.</param>
    public sealed record Expired(bool IsRemoved) : Session;

    /// <summary>The queue of runs that are in no lane, and then the lanes.</summary>
    IEnumerable<ImmutableList<RunKey>> Queues() => this switch
    {
        Open s => [s.Queue, .. s.Lanes?.Values ?? []],
        Deleted s => [s.Queue, .. s.Lanes?.Values ?? []],
        _ => [],
    };

    /// <summary>The live runs in the order of their queues.</summary>
    public IEnumerable<RunKey> LiveRuns() => Queues().SelectMany(queue => queue);

    /// <summary>The runs that may execute: the first of each queue.</summary>
    public IEnumerable<RunKey> FirstRuns() => Queues().Where(queue => !queue.IsEmpty).Select(queue => queue[0]);

    /// <summary>The queue or lane of a live run; empty: it is in none.</summary>
    public ImmutableList<RunKey> QueueOf(RunKey run) => Queues().FirstOrDefault(queue => queue.Contains(run)) ?? [];

    /// <summary>The live runs of a lane.</summary>
    /// <param name="lane">Null: the queue of runs that are in none.</param>
    public ImmutableList<RunKey> QueueOf(string? lane) => (lane, this) switch
    {
        (null, Open s) => s.Queue,
        (null, Deleted s) => s.Queue,
        ({ } of, Open s) => s.Lanes?.GetValueOrDefault(of) ?? [],
        ({ } of, Deleted s) => s.Lanes?.GetValueOrDefault(of) ?? [],
        _ => [],
    };

    /// <summary>True: the lane is empty, or fewer than so many runs wait in all of them.</summary>
    /// <param name="lane">Null: the queue of runs that are in no lane.</param>
    public bool HasRoom(string? lane, int waitingMax) => QueueOf(lane).IsEmpty || Queues().Sum(queue => Math.Max(0, queue.Count - 1)) < waitingMax;

    public static Aggregate<SessionKey, SessionCommand, SessionEvent, Session> Aggregate { get; } = new("session", new None(), Decide, Evolve);

    public static Decision<SessionEvent> Decide(SessionCommand command, Session state) => (command, state) switch
    {
        (Create c, None) => new SessionCreated(
            c.SessionId, c.WorkspacePath, c.Metadata, c.AuthContext, c.Now, c.Model, c.Project, c.Title, c.Goal, c.Grants, c.Connectors, c.Group,
            c.Fork, c.Subject),
        (Create c, _) => Refusal.Conflict("session_exists", $"There is, or was, a session {c.SessionId}.") with { Existing = c.SessionId.Id },
        (Enqueue c, Open s) when !s.QueueOf(c.RunId).IsEmpty => Decision<SessionEvent>.Nothing,
        (Enqueue c, Open s) when !s.HasRoom(c.Lane, c.WaitingMax) =>
            Refusal.TooMany("session_queue_full", $"{c.WaitingMax} turns already wait in this session."),
        (Enqueue c, Open s) => new RunQueued(c.RunId, s.QueueOf(c.Lane).Count, c.Now, s.Title is null ? c.Title : null, c.Lane),
        (Change c, Open s) when (c.Title, c.Goal, c.Archived) == (s.Title, s.Goal, s.Archived) => Decision<SessionEvent>.Nothing,
        (Change c, Open) => new SessionChanged(c.Title, c.Goal, c.Archived, c.Now),
        (Dequeue c, Open or Deleted) => Leave(c, state.QueueOf(c.RunId)),
        (Delete { WithProject: false }, Open { IsHeld: true }) => Held,
        (Delete c, Open) => new SessionDeleted(c.Now, c.Days),
        (Hold, Open { IsHeld: true } or Deleted { IsHeld: true }) => Decision<SessionEvent>.Nothing,
        (Hold c, Open or Deleted) => new SessionHeld(c.Reason, c.Now),
        (Release c, Open { IsHeld: true } or Deleted { IsHeld: true }) => new SessionReleased(c.Now),
        (Release, Open or Deleted) => Decision<SessionEvent>.Nothing,
        (Expire, Deleted { IsHeld: true }) => Held,
        (Expire, Deleted d) when d.LiveRuns().Any() => Refusal.Conflict("session_active", "Runs of the session have not ended."),
        (Expire c, Deleted) => new SessionExpired(c.Expired, c.Now),
        (FinishExpiry c, Expired { IsRemoved: false }) => new SessionRemoved(c.Events, c.Bytes, c.Blobs, c.Now, c.TombstonesSha256),
        (Expire or FinishExpiry, Expired) => Decision<SessionEvent>.Nothing,
        (_, Expired) => Refusal.Expired("session"),
        _ => Refusal.NotFound("session"),
    };

    static Refusal Held => Refusal.Conflict("session_held", "A legal hold keeps the session.");

    public static Session Evolve(Session state, SessionEvent e) => (e, state) switch
    {
        (SessionCreated c, _) =>
            new Open(
                c.SessionId, c.WorkspacePath, c.AuthContext, [], c.Model, c.Project, c.Title, c.Goal, Grants: c.Grants, Connectors: c.Connectors, Group: c.Group,
                Fork: c.Fork, Subject: c.Subject),
        (SessionChanged c, Open s) => s with { Title = c.Title, Goal = c.Goal, Archived = c.Archived },
        (RunQueued { Lane: { } lane } q, Open s) => s with
        {
            Lanes = (s.Lanes ?? ImmutableSortedDictionary.Create<string, ImmutableList<RunKey>>(StringComparer.Ordinal)).SetItem(lane, s.QueueOf(lane).Add(q.RunId)),
            Title = q.Title ?? s.Title,
            Archived = false,
        },
        (RunQueued q, Open s) => s with { Queue = s.Queue.Add(q.RunId), Title = q.Title ?? s.Title, Archived = false },
        (RunDequeued d, Open s) => s with { Queue = s.Queue.Remove(d.RunId), Lanes = Without(s.Lanes, d.RunId) },
        (RunDequeued d, Deleted s) => s with { Queue = s.Queue.Remove(d.RunId), Lanes = Without(s.Lanes, d.RunId) },
        (SessionDeleted d, Open s) => new Deleted(s.Queue, s.Lanes, d.At, d.Days, s.IsHeld, s.Group is not null, s.Subject),
        (SessionHeld, Open s) => s with { IsHeld = true },
        (SessionHeld, Deleted s) => s with { IsHeld = true },
        (SessionReleased, Open s) => s with { IsHeld = false },
        (SessionReleased, Deleted s) => s with { IsHeld = false },
        (SessionExpired, _) => new Expired(IsRemoved: false),
        (SessionRemoved, _) => new Expired(IsRemoved: true),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    /// <summary>
    /// A title from a message: its beginning on one line, at most <see cref="Limits.TakenTitleCharsMax"/> characters, cut at a word where there is one. Null: it has
    /// nothing to show.
    /// </summary>
    public static string? TitleOf(string message)
    {
        Span<char> title = stackalloc char[Limits.TakenTitleCharsMax + 1];
        var length = 0;
        foreach (var c in message)
        {
            var isSpace = char.IsWhiteSpace(c) || char.IsControl(c);
            if (isSpace && (length == 0 || title[length - 1] == ' '))
            {
                continue;
            }
            title[length++] = isSpace ? ' ' : c;
            if (length == title.Length)
            {
                var word = title.LastIndexOf(' ');
                length = word > 0 ? word : char.IsHighSurrogate(title[length - 2]) ? length - 2 : length - 1;
                break;
            }
        }
        var whole = title[..length].TrimEnd(' ');
        return whole.IsEmpty ? null : StorableText.Escape(whole.ToString());
    }

    static ImmutableSortedDictionary<string, ImmutableList<RunKey>>? Without(ImmutableSortedDictionary<string, ImmutableList<RunKey>>? lanes, RunKey run)
    {
        foreach (var (lane, queue) in lanes ?? ImmutableSortedDictionary<string, ImmutableList<RunKey>>.Empty)
        {
            if (queue.Contains(run))
            {
                var left = queue.Count > 1 ? lanes!.SetItem(lane, queue.Remove(run)) : lanes!.Remove(lane);
                return left.IsEmpty ? null : left;
            }
        }
        return lanes;
    }

    static Decision<SessionEvent> Leave(Dequeue c, ImmutableList<RunKey> queue) => queue.IndexOf(c.RunId) switch
    {
        < 0 => Decision<SessionEvent>.Nothing,
        0 => new RunDequeued(c.RunId, queue.Count > 1 ? queue[1] : null, c.Now),
        // The run was cancelled while it waited: no other run may start because of it.
        _ => new RunDequeued(c.RunId, null, c.Now),
    };
}
