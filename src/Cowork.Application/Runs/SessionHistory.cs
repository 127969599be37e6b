using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What a run finds before it.</summary>
/// <param name="Runs">The session's last completed runs, oldest first.</param>
/// <param name="Since">A position in the log that is not before the run was accepted, nor before the end of the turn before it.</param>
public sealed record SessionPast(ImmutableList<RunKey> Runs, long Since);

/// <summary>
/// Which turns of its session a run that begins comes after. The runs of a session end one after another, and each end is an event of the session too: from
/// the version at which a run became the first of the queue to its own end, the answer is the same. So a list is right for a run when it is of a version at
/// which the run was first, and it is kept up with what this node commits as long as the versions follow each other; where another node wrote, they do not,
/// and the rows are asked.
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
        var isFirst = IsFirst(known.State, run);
        // That the run is the first of the queue happened no later than the session's last event. Where that lies is not known when all of it came from a snapshot.
        var since = isFirst && known.Position > 0 ? known.Position : long.MaxValue;
        if (isFirst && sessions.Get((org, session))?.AsOf(known.Version) is { } remembered)
        {
            return new(remembered, since);
        }
        ImmutableList<RunKey> found = [.. await queries.Earlier(org, session, Limits.HistoryTurnsMax, ct)];
        if (isFirst)
        {
            sessions.Put((org, session), new(known.Version, found));
        }
        return new(found, since);
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
