namespace Cowork.Marten;

/// <summary>A job in the hands of this node.</summary>
/// <param name="node">The name under which it was claimed.</param>
sealed class HeldJob(string node)
{
    readonly TaskCompletionSource<HeldJobOutcome> ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public string Node { get; } = node;

    /// <summary>Never disposed: somebody may look at its token at any time, and it has no timer.</summary>
    public CancellationTokenSource Lost { get; } = new();

    /// <summary>What became of it here.</summary>
    public Task<HeldJobOutcome> Ended => ended.Task;

    /// <summary>Somebody waits for its end, and sees to it when it fails.</summary>
    public bool IsWatched { get; set; }

    public void End(HeldJobOutcome how) => ended.TrySetResult(how);
}

/// <summary>How a node came to hold a job no longer.</summary>
abstract record HeldJobOutcome
{
    public sealed record Done : HeldJobOutcome;

    /// <summary>It is not done, and anybody's again.</summary>
    public sealed record GivenBack : HeldJobOutcome;

    /// <summary>Another node has it, or may have it.</summary>
    public sealed record Lost : HeldJobOutcome;

    /// <summary>It could not be done.</summary>
    public sealed record Failed(Exception Why) : HeldJobOutcome;
}
