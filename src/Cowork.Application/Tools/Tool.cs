using System.Collections.Immutable;
using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Something that a model may call.</summary>
public interface ITool
{
    string Name { get; }

    /// <summary>What the model is told about it.</summary>
    string Description { get; }

    /// <summary>JSON Schema of its input, published at <c>GET /tools</c>.</summary>
    JsonElement Schema { get; }

    /// <summary>What the call would touch, so that policy can judge it before it is made.</summary>
    CallSubject Subject(ToolContext context, JsonElement input);

    /// <summary>
    /// Makes the call. What goes wrong with the input or the world (no such file, not text) is an outcome with <c>IsError</c>, not an exception.
    /// </summary>
    Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct);
}

/// <param name="Session">Key of the session.</param>
/// <param name="Run">Key of the run.</param>
/// <param name="Workspace">Absolute path of the session's folder: its one grant (read, write, create).</param>
/// <param name="IdempotencyToken"><c>run:step</c>, the same at every attempt at this call.</param>
/// <param name="Attempt">2 and more: an earlier attempt may have had its effect.</param>
/// <param name="Granted">What a person approved of this very call.</param>
public sealed record ToolContext(string Org, string Session, string Run, string Workspace, string IdempotencyToken, int Attempt, Granted? Granted = null)
{
    /// <summary>The trace of the request that asked for the run.</summary>
    public string? Correlation { get; init; }
}

/// <summary>A file that a call wrote below the session's output root. Its bytes lie in the blob store.</summary>
/// <param name="Path">Relative to the session's folder.</param>
public sealed record WrittenFile(string Path, string Sha256, long Bytes);

/// <param name="Text">What the model gets to read.</param>
public sealed record ToolOutcome(string Text, bool IsError)
{
    /// <summary>
    /// What the call wrote below the output root, told by the tool itself: the session's folder may be another session's too, so that looking around
    /// afterwards could not tell whose a file is.
    /// </summary>
    public ImmutableList<WrittenFile> Wrote { get; init; } = [];

    public static ToolOutcome Ok(string text) => new(text, IsError: false);

    public static ToolOutcome Error(string text) => new(text, IsError: true);
}

/// <summary>What a call would touch.</summary>
/// <param name="Kind">
/// The rule's word for what is done: <c>list</c>, <c>read</c>, <c>search</c>, <c>create</c>, <c>overwrite</c>, <c>delete</c>, <c>move</c>, <c>remember</c>,
/// <c>recall</c>, <c>invalid</c>.
/// </param>
/// <param name="Path">The path as it resolves (symlinks followed) relative to the grant, null when the call has none.</param>
/// <param name="InsideGrants">False when the path leads out of every grant.</param>
/// <param name="Invalid">Why the input cannot be judged: broken JSON, a missing argument. Such a call is not made; the model is told.</param>
public sealed record CallSubject(string Kind, string? Path = null, bool InsideGrants = true, string? Invalid = null)
{
    /// <summary>Where a move leads to, resolved like <see cref="Path"/>.</summary>
    public string? To { get; init; }

    /// <summary>Every path that the call touches.</summary>
    public IEnumerable<string> Paths => new[] { Path, To }.OfType<string>();
}

/// <summary>The verdict on a call, with the rule that it follows from.</summary>
public sealed record PolicyVerdict(PolicyOutcome Outcome, string Rule, string Reason);
