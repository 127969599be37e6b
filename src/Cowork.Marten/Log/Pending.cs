using System.Diagnostics;

using Cowork.Application;
using Cowork.Application.Storage;

namespace Cowork.Marten;

/// <summary>A commit on its way, and the caller that waits for it.</summary>
sealed class Pending(Commit commit)
{
    readonly TaskCompletionSource<AppendResult> outcome = new(TaskCreationOptions.RunContinuationsAsynchronously);
    int taken;

    public Commit Commit { get; } = commit;

    /// <summary>The append that waits for it, when somebody traces it.</summary>
    public Activity? Trace { get; } = Spans.Source.HasListeners() ? Activity.Current : null;

    /// <summary>About what the database will be sent, in bytes.</summary>
    public int Size { get; } = commit.Writes.Sum(w => w.Events.Sum(e => e.Data.Length + 400) + w.Rows.Sum(r => (r.Row?.Json.Length ?? 0) + 200))
        + ((commit.Jobs.Count + commit.Cancelled.Count) * 100);

    public Task<AppendResult> Outcome => outcome.Task;

    /// <summary>False: its caller has given up, and it must not be written.</summary>
    public bool Take() => Interlocked.CompareExchange(ref taken, 1, 0) == 0;

    /// <summary>No-op once it is being written: the outcome comes soon, and it matters.</summary>
    public void Withdraw(CancellationToken ct)
    {
        if (Interlocked.CompareExchange(ref taken, 2, 0) == 0)
        {
            outcome.TrySetCanceled(ct);
        }
    }

    public void Answer(AppendResult appended) => outcome.TrySetResult(appended);

    public void Fail(Exception e) => outcome.TrySetException(e);
}
