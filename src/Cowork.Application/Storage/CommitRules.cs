using Cowork.Domain;

namespace Cowork.Application.Storage;

/// <summary>What every engine asks of a commit before it looks at any stream. A breach is a bug of the caller.</summary>
public static class CommitRules
{
    /// <param name="isTable">True for the names of the engine's read models.</param>
    /// <exception cref="ArgumentException">The commit is empty, a write is, its events are not numbered in a row, or it names what there is not.</exception>
    public static void Check(Commit commit, Func<string, bool> isTable)
    {
        if (commit.Writes.Count == 0 && commit.Jobs.Count == 0 && commit.Cancelled.Count == 0 && commit.Done is null)
        {
            throw new ArgumentException("A commit of nothing.", nameof(commit));
        }
        foreach (var (kind, key) in commit.Cancelled)
        {
            if (commit.Jobs.Any(job => job.Kind == kind && job.Key == key))
            {
                throw new ArgumentException($"The {kind} job {key} is started and cancelled at once.", nameof(commit));
            }
        }
        foreach (var pin in commit.Pins)
        {
            if (pin.Version < 1 || commit.Writes.Any(write => write.Stream == pin.Stream))
            {
                throw new ArgumentException($"{pin.Stream} is pinned at {pin.Version}, and written to or not there.", nameof(commit));
            }
        }
        foreach (var write in commit.Writes)
        {
            if (write.Events.Count == 0)
            {
                throw new ArgumentException($"A write of no event to {write.Stream}.", nameof(commit));
            }
            for (var i = 0; i < write.Events.Count; i++)
            {
                var e = write.Events[i];
                if (e.Org != commit.Org || e.Stream != write.Stream || e.Version != write.Expected + i + 1)
                {
                    throw new ArgumentException($"{e.Org} {e.Stream} {e.Version} in a write to {commit.Org} {write.Stream} after {write.Expected}.", nameof(commit));
                }
                if (!EventTypes.ByName.ContainsKey(e.Type))
                {
                    throw new ArgumentException($"No event is called {e.Type}.", nameof(commit));
                }
            }
            foreach (var row in write.Rows)
            {
                if (!isTable(row.Table))
                {
                    throw new ArgumentException($"There is no read model {row.Table}.", nameof(commit));
                }
            }
        }
    }
}
