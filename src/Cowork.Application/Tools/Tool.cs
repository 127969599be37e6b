using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A tool that a model may call.</summary>
public interface ITool
{
    string Name { get; }

    /// <summary>The description for the model.</summary>
    string Description { get; }

    /// <summary>JSON Schema of the input, published at <c>GET /tools</c>.</summary>
    JsonElement Schema { get; }

    /// <summary>What the call would touch. The policy judges it before the call.</summary>
    ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct);

    /// <summary>
    /// Executes the call. A wrong input or an expected failure (no such file, not text) is an outcome with <c>IsError</c>, not an exception.
    /// </summary>
    Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct);
}

/// <param name="Grants">The folders that the session may use. The first is what relative paths count from.</param>
/// <param name="IdempotencyToken"><c>run:step</c>, the same at each attempt of this call.</param>
/// <param name="Attempt">2 or more: an earlier attempt may have taken effect.</param>
/// <param name="Granted">The approval of this call; null: the policy allowed it.</param>
public sealed record ToolContext(string Org, SessionKey Session, RunKey Run, Grants Grants, string IdempotencyToken, int Attempt, GrantedApproval? Granted = null)
{
    /// <summary>The trace id of the request that created the run.</summary>
    public string? Correlation { get; init; }

    /// <summary>The data subject of the run; null: nobody.</summary>
    public string? Subject { get; init; }

    /// <summary>When the run's time is over.</summary>
    public DateTimeOffset Until { get; init; } = DateTimeOffset.MaxValue;

    /// <summary>The tools of outside sources that the run's model was offered (<see cref="RunEvent.ToolsOffered"/>); null: none.</summary>
    public Content? Offered { get; init; }
}

/// <summary>A file that a call wrote below an output root of the session. Its content is in the blob store.</summary>
/// <param name="Path">As <see cref="Grants.NameOf"/> has it: relative to the session's folder, or absolute in another granted one.</param>
public sealed record WrittenFile(string Path, string Sha256, long Bytes);

/// <param name="Text">The answer for the model.</param>
public sealed record ToolOutcome(string Text, bool IsError)
{
    /// <summary>
    /// The files that the call wrote below the output root. The tool reports them, because sessions may share a folder: a scan afterwards could not tell which
    /// session wrote a file.
    /// </summary>
    public ImmutableList<WrittenFile> WrittenFiles { get; init; } = [];

    public static ToolOutcome Ok(string text) => new(text, IsError: false);

    public static ToolOutcome Error(string text) => new(text, IsError: true);
}

/// <summary>A path that a call touches, as it resolves: symlinks are followed.</summary>
/// <param name="Name">The one name of the place, as <see cref="Grants.NameOf"/> has it: what people are shown, and approvals hold for.</param>
/// <param name="Relative">Relative to the folder of the grant that decides: what rules about paths look at.</param>
/// <param name="IsOutput">It lies below an output root of that grant.</param>
public sealed record TouchedPath(string Name, string Relative, bool IsOutput)
{
    /// <summary>A file that is written there is an artifact.</summary>
    public bool IsKept => IsOutput || OutputRoot.Contains(Name);

    /// <summary>In a session with the one implicit grant.</summary>
    [return: NotNullIfNotNull(nameof(relative))]
    public static implicit operator TouchedPath?(string? relative) => FromString(relative);

    /// <summary>In a session with the one implicit grant. Null: there is no path.</summary>
    [return: NotNullIfNotNull(nameof(relative))]
    public static TouchedPath? FromString(string? relative) => relative is null ? null : new(relative, relative, OutputRoot.Contains(relative));

    public static TouchedPath Of(GrantedPath.Found found) => new(found.Name, found.Relative, found.Grant.IsOutput(found.Relative));

    public static TouchedPath Of(GrantedPath.Missing missing) => new(missing.Name, missing.Relative, missing.Grant.IsOutput(missing.Relative));

    public static TouchedPath Of(GrantedEntry entry) => new(entry.Name, entry.Relative, entry.Grant.IsOutput(entry.Relative));

    public override string ToString() => Name;
}

/// <summary>What a call would touch.</summary>
/// <param name="Kind">
/// The kind of access that policy rules name: <c>list</c>, <c>read</c>, <c>search</c>, <c>create</c>, <c>overwrite</c>, <c>delete</c>, <c>move</c>, <c>remember</c>,
/// <c>recall</c>, <c>execute</c>, <c>invalid</c>, and those of connections (<see cref="ConnectorRead"/> and the following).
/// </param>
/// <param name="Path">Null: the call has no path.</param>
/// <param name="InsideGrants">False: the path leads out of the grants.</param>
/// <param name="Invalid">Why the input is invalid: broken JSON, a missing argument. The call is not executed; the model gets this message.</param>
public sealed record CallSubject(string Kind, TouchedPath? Path = null, bool InsideGrants = true, string? Invalid = null)
{
    /// <summary>A bounded read of an outside source.</summary>
    public const string ConnectorRead = "connector_read";

    /// <summary>A read of everything that an outside source has in one place.</summary>
    public const string ConnectorScan = "connector_scan";

    /// <summary>A read of more rows than a model should have.</summary>
    public const string ConnectorBulk = "connector_bulk";

    /// <summary>A change at an outside source, or what is not known to be none.</summary>
    public const string ConnectorWrite = "connector_write";

    /// <summary>A change of structures at an outside source, or several statements in one.</summary>
    public const string ConnectorAlter = "connector_alter";

    /// <summary>The target of a move.</summary>
    public TouchedPath? Target { get; init; }

    /// <summary>Why a grant of the session does not allow the call, whatever the rules of the policy say and a person approves: a sentence; null: the grants allow it.</summary>
    public string? NotGranted { get; init; }

    /// <summary>The outside source that the call asks, for people; null: none. It is no path: rules about paths do not look at it.</summary>
    public string? Source { get; init; }

    /// <summary>The paths that the call touches.</summary>
    public IEnumerable<TouchedPath> Touched => new[] { Path, Target }.OfType<TouchedPath>().Concat(More);

    /// <summary>The names of the paths that the call touches, and the source that it asks: what an approval covers.</summary>
    public IEnumerable<string> Paths => new[] { Path?.Name, Target?.Name, Source }.OfType<string>().Concat(More.Select(path => path.Name));

    /// <summary>Further paths that the call says it touches.</summary>
    public ImmutableArray<TouchedPath> More { get; init; } = [];

    /// <summary>How long the call says it may take; 0: it says nothing.</summary>
    public int EstimateSeconds { get; init; }

    /// <summary>Characters of a subject that an event takes.</summary>
    const int RecordedCharsMax = 32_768;

    /// <summary>As the policy's decision records it; null: it is too long for an event.</summary>
    public JudgedCall? Recorded()
    {
        var recorded = new JudgedCall(
            Kind, Judged(Path), Judged(Target), More.IsEmpty ? null : [.. More.Select(Judged).OfType<JudgedPath>()], InsideGrants ? null : true, Escaped(NotGranted),
            Escaped(Source), EstimateSeconds == 0 ? null : EstimateSeconds, Escaped(Invalid));
        var chars = Touched.Sum(path => path.Name.Length + path.Relative.Length) + (NotGranted?.Length ?? 0) + (Source?.Length ?? 0) + (Invalid?.Length ?? 0);
        return chars <= RecordedCharsMax ? recorded : null;
    }

    /// <summary>What an event recorded.</summary>
    public static CallSubject Of(JudgedCall recorded) => new(recorded.Kind, Touching(recorded.Path), recorded.OutsideGrants is not true, recorded.Invalid)
    {
        Target = Touching(recorded.Target),
        NotGranted = recorded.NotGranted,
        Source = recorded.Source,
        More = [.. (recorded.More ?? []).Select(path => Touching(path)!)],
        EstimateSeconds = recorded.EstimateSeconds ?? 0,
    };

    static JudgedPath? Judged(TouchedPath? path) => path is null ? null
        : new(StorableText.Escape(path.Name), path.Relative == path.Name ? null : StorableText.Escape(path.Relative), path.IsOutput ? true : null);

    static TouchedPath? Touching(JudgedPath? path) => path is null ? null : new(path.Name, path.Relative ?? path.Name, path.IsOutput ?? false);

    static string? Escaped(string? text) => text is null ? null : StorableText.Escape(text);
}

/// <summary>The policy's verdict on a call, with the rule that decided.</summary>
public sealed record PolicyVerdict(PolicyOutcome Outcome, string Rule, string Reason);
