namespace Cowork.Projections;

/// <summary>The statuses of contract C's tasks, as a function of the run's events and its place in the session's queue.</summary>
public static class TaskStatuses
{
    /// <summary>Other tasks of the session are before it.</summary>
    public const string Queued = "queued";

    /// <summary>It is the next one of its session and waits for a host.</summary>
    public const string Ready = "ready";

    /// <summary>It has begun, and the model has said nothing yet and nothing that it asked for was judged.</summary>
    public const string Planning = "planning";

    public const string Running = "running";

    /// <summary>A call waits for somebody's approval.</summary>
    public const string AwaitingConfirmation = "awaiting_confirmation";

    public const string Completed = "completed";

    public const string Failed = "failed";

    public const string Cancelled = "cancelled";

    public static IReadOnlyList<string> All { get; } = [Queued, Planning, Ready, Running, AwaitingConfirmation, Completed, Failed, Cancelled];

    /// <param name="isFirst">It is the first in its session's queue.</param>
    public static string Of(RunRow run, bool isFirst) => run.Status switch
    {
        "queued" => isFirst ? Ready : Queued,
        "running" => run.HasActed ? Running : Planning,
        "approval_required" => AwaitingConfirmation,
        var ended => ended,
    };

    /// <summary>The statuses of rows among which tasks of a status are.</summary>
    public static IReadOnlyList<string> RowStatusesOf(string status) => status switch
    {
        Queued or Ready => [Runs.Queued],
        // The index knows a live run that is to be cancelled by another word.
        Planning or Running => ["running", Runs.Cancelling],
        AwaitingConfirmation => ["approval_required"],
        _ => [status],
    };
}
