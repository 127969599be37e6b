using System.Text.Json;

namespace Cowork.Application;

/// <summary>
/// What a kernel says while it executes a cell, in order. Texts and MIME bundles are untrusted: a cell
/// can forge them, and HTML among them is for a page that sanitises or isolates it.
/// </summary>
public abstract record KernelMessage
{
    /// <summary>Text for a stream.</summary>
    /// <param name="Name"><c>stdout</c> or <c>stderr</c>.</param>
    /// <param name="Text">As it was written: with <c>\r</c> of progress bars and ANSI colours.</param>
    public sealed record Stream(string Name, string Text) : KernelMessage;

    /// <summary>Something to show (Jupyter's <c>display_data</c> and <c>execute_result</c>).</summary>
    /// <param name="IsResult">It is the value of the cell's last expression.</param>
    /// <param name="Data">Object of the same thing by MIME type: a string, in Base64 for what is binary, or JSON for types of JSON.</param>
    /// <param name="Metadata">Object of what belongs to each MIME type, such as the size of an image.</param>
    /// <param name="DisplayId">Name under which <see cref="UpdateDisplay"/> replaces it; null: it stays.</param>
    public sealed record Display(bool IsResult, JsonElement Data, JsonElement Metadata, string? DisplayId) : KernelMessage;

    /// <summary>Replaces everything that was displayed under the id by this kernel, in whatever cell.</summary>
    public sealed record UpdateDisplay(JsonElement Data, JsonElement Metadata, string DisplayId) : KernelMessage;

    /// <summary>Removes the cell's output.</summary>
    /// <param name="Wait">Only when the next output comes.</param>
    public sealed record ClearOutput(bool Wait) : KernelMessage;

    /// <summary>The cell's code failed.</summary>
    /// <param name="Name">Class of the exception.</param>
    /// <param name="Value">Its message.</param>
    /// <param name="Traceback">Lines or paragraphs, with ANSI colours.</param>
    public sealed record Error(string Name, string Value, IReadOnlyList<string> Traceback) : KernelMessage;

    /// <summary>Some of the cell's output is left out, here or from here on. It comes once for each cell; what is small may follow.</summary>
    /// <param name="Why">Sentence for people.</param>
    public sealed record Truncated(string Why) : KernelMessage;

    /// <summary>
    /// The first message of a cell when the kernel ended or was replaced since the cell before, and no Done told it: variables of earlier cells do not exist any more.
    /// </summary>
    /// <param name="Why">Sentence for people.</param>
    public sealed record Restarted(string Why) : KernelMessage;

    /// <summary>The cell has ended.</summary>
    /// <param name="Limit">The limit that ended it: <c>limit_time</c> and so on (<see cref="KernelLimitCodes"/>); null: none did.</param>
    /// <param name="Why">
    /// Sentence for people when no <see cref="Error"/> of the code's own explains the end, or the error with the kernel's limits when Linux may have refused something; else null.
    /// </param>
    /// <param name="Took">From the kernel's taking the code.</param>
    /// <param name="ExecutionCount">Number of the execution since the kernel's start; null: the kernel gave none.</param>
    /// <param name="IsStateLost">The kernel was restarted, or is gone: variables of this cell and of those before it do not exist any more.</param>
    public sealed record Done(KernelOutcome Outcome, string? Limit, string? Why, TimeSpan Took, int? ExecutionCount, bool IsStateLost) : KernelMessage;
}

/// <summary>How a cell ended.</summary>
public enum KernelOutcome
{
    Succeeded,

    /// <summary>The code failed, or went past a limit.</summary>
    Failed,

    /// <summary>The caller interrupted it.</summary>
    Interrupted,

    /// <summary>The kernel ended, was restarted, or its sandbox was killed.</summary>
    Died,
}

/// <summary>Codes of the limits that end a cell (contracts/decisions.md, "Scratchpads").</summary>
public static class KernelLimitCodes
{
    public const string Time = "limit_time";
    public const string Output = "limit_output";
    public const string Memory = "limit_memory";
    public const string Processes = "limit_processes";
    public const string Disk = "limit_disk";
}
