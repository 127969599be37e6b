using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Replays and compares runs of this host's log. A tenant has one at a time on each host, and each ends after <see cref="TimeMax"/>: events are read in pages, so that it
/// holds no more of a run than the run's driver does.
/// </summary>
public sealed class RunReplays(IEventLog log, IBlobs blobs, TimeProvider clock)
{
    /// <summary>Many times what a run within the default limits needs.</summary>
    public static readonly TimeSpan TimeMax = TimeSpan.FromSeconds(30);

    readonly KeyedLock gate = new();

    /// <summary>Runs the loop of a run again on what is recorded.</summary>
    public async ValueTask<(ReplayReport? Report, Refusal? Refused)> Replay(string org, RunKey run, CancellationToken ct) =>
        await WhyErased(org, run, ct) is { } erased ? (null, erased) : await InTime(org, within => RunReplay.Of(new LoggedRun(log, blobs, org, run), within), ct);

    /// <summary>Aligns two runs of a tenant.</summary>
    public async ValueTask<(RunDifference? Difference, Refusal? Refused)> Compare(string org, RunKey left, RunKey right, CancellationToken ct) =>
        (await WhyErased(org, left, ct) ?? await WhyErased(org, right, ct)) is { } erased ? (null, erased)
            : await InTime(org, within => RunDiff.Of(new LoggedRun(log, blobs, org, left), new LoggedRun(log, blobs, org, right), within), ct);

    /// <summary>The refusal of what reads the texts of a run whose data subject was erased; null: they are there.</summary>
    async ValueTask<Refusal?> WhyErased(string org, RunKey run, CancellationToken ct)
    {
        var stream = Run.Aggregate.Stream(run);
        return (await log.Load(org, stream, 0, 1, ct)).Events is [{ Event: RunEvent.RunCreated { Subject: { } subject } }] && log.Keys?.Of(org, subject, stream) is null
            ? Refusal.Conflict("erased", $"The texts of {run} were erased with the personal data of {subject}.")
            : null;
    }

    async ValueTask<(T? Done, Refusal? Refused)> InTime<T>(string org, Func<CancellationToken, Task<T>> work, CancellationToken ct)
        where T : class
    {
        using var turn = await gate.Enter(org, ct);
        using var deadline = new CancellationTokenSource(TimeMax, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(ct, deadline.Token);
        try
        {
            return (await work(either.Token), null);
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested && !ct.IsCancellationRequested)
        {
            return (null, new(
                "run_too_large", 422, $"It takes longer than {TimeMax.TotalSeconds:0} s: get the run's bundle (GET /runs/…/trace) and use cowork replay or cowork diff."));
        }
    }
}
