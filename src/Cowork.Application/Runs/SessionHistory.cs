using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What a run finds before it.</summary>
/// <param name="Runs">The session's last completed runs, oldest first.</param>
/// <param name="Since">A position in the log that is not before the run was accepted, nor before the end of the turn before it.</param>
public sealed record SessionPast(ImmutableList<RunKey> Runs, long Since);

/// <summary>
/// The earlier turns of a session that a run sees. The runs of a session end one after another, and each end is an event of the session too, so that the list
/// stays the same from the end of one run to the end of the next. A list is remembered with the session's version and follows this node's commits as long as the
/// versions follow each other. Where another node wrote they do not, and the read model is queried.
/// </summary>
public sealed class SessionHistory(CommandHandler commands, IRunQueries queries) : ICommitObserver
{
    /// <summary>Sessions that are remembered: about 2 KB each.</summary>
    const int SessionsMax = 4_096;

    readonly LastUsed<(string Org, SessionKey Session), Remembered> sessions = new(SessionsMax);

    /// <summary>The session's past as a run finds it when it begins.</summary>
    public async ValueTask<SessionPast> Before(string org, SessionKey session, RunKey run, CancellationToken ct)
    {
        var known = await commands.Known(org, Session.Aggregate, session, state => IsFirst(state, run), ct);
        return IsFirst(known.State, run) ? await Past(org, session, known, ct) : new(await Earlier(org, session, ct), long.MaxValue);
    }

    /// <summary>The past as of the end of a session's last run.</summary>
    async ValueTask<SessionPast> Past(string org, SessionKey session, KnownState<Session> known, CancellationToken ct)
    {
        // The session's last event is not before that. Its position is unknown when the whole state came from a snapshot.
        var since = known.Position > 0 ? known.Position : long.MaxValue;
        if (sessions.Get((org, session))?.AsOf(known.Version) is { } remembered)
        {
            return new(remembered, since);
        }
        var found = await Earlier(org, session, ct);
        sessions.Put((org, session), new(known.Version, found));
        return new(found, since);
    }

    /// <summary>The session's own turns, and before them those of the session that it forked from.</summary>
    async ValueTask<ImmutableList<RunKey>> Earlier(string org, SessionKey session, CancellationToken ct)
    {
        var own = await queries.Earlier(org, session, Limits.HistoryTurnsMax, ct);
        return own.Count < Limits.HistoryTurnsMax && await commands.State(org, Session.Aggregate, session, ct) is Session.Open { Fork.History: var before }
            ? [.. before.TakeLast(Limits.HistoryTurnsMax - own.Count), .. own]
            : [.. own];
    }

    /// <summary>The past of a session none of whose runs is under way or queued, and the session's version; null: one is, or there is no such session.</summary>
    internal async ValueTask<(long Version, SessionPast Past)?> Idle(string org, SessionKey session, CancellationToken ct)
    {
        var known = await commands.Known(org, Session.Aggregate, session, _ => true, ct);
        return known.State is Session.Open { Queue.IsEmpty: true } ? (known.Version, await Past(org, session, known, ct)) : null;
    }

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        foreach (var entry in entries)
        {
            if (entry.Session is { } session && (entry.Is<RunEvent.RunCompleted>() || EventTypes.TypeOf(entry.Type)?.BaseType == typeof(SessionEvent)))
            {
                sessions.Get((entry.Org, session))?.Hear(entry);
            }
        }
    }

    /// <summary>It shows by a version that is missing.</summary>
    public void OthersWrote()
    {
    }

    static bool IsFirst(Session session, RunKey run) => session is Session.Open { Queue: [var first, ..] } && first == run;

    /// <summary>A session's list at a version of the session.</summary>
    sealed class Remembered(long version, ImmutableList<RunKey> runs)
    {
        readonly Lock gate = new();
        long version = version;
        ImmutableList<RunKey>? runs = runs;
        RunKey? completed;

        /// <summary>Null: it has missed something, or is not as far.</summary>
        public ImmutableList<RunKey>? AsOf(long at)
        {
            lock (gate)
            {
                return version >= at ? runs : null;
            }
        }

        public void Hear(FeedEntry entry)
        {
            lock (gate)
            {
                if (entry.Is<RunEvent.RunCompleted>())
                {
                    completed = entry.Run;
                    return;
                }
                var isDequeued = entry.Is<SessionEvent.RunDequeued>();
                if (entry.Version <= version)
                {
                    return;
                }
                if (entry.Version != version + 1)
                {
                    runs = null;
                }
                version = entry.Version;
                if (runs is not null && isDequeued && completed is not null && completed == entry.Run)
                {
                    runs = (runs.Count < Limits.HistoryTurnsMax ? runs : runs.RemoveAt(0)).Add(completed.Value);
                }
                completed = isDequeued ? null : completed;
            }
        }
    }
}
