using System.Diagnostics;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// The spans of a trace (docs/telemetry.md): commands, appends, runs, steps, calls of models and tools, projections. A span never contains a message, prompt,
/// argument or answer. Without a listener no span is created.
/// </summary>
public static class Spans
{
    /// <summary>Largest number of links of a span: OpenTelemetry's limit.</summary>
    const int LinksMax = 128;

    public static ActivitySource Source { get; } = new("Cowork", typeof(Spans).Assembly.GetName().Version?.ToString());

    public static Activity? Command(string name, string org)
    {
        if (!Source.HasListeners())
        {
            return null;
        }
        return Source.StartActivity($"command {name}")?.SetTag("cowork.org", org);
    }

    public static Activity? Append(Commit commit)
    {
        if (Source.StartActivity("append", ActivityKind.Client) is not { IsAllDataRequested: true } span)
        {
            return null;
        }
        span.SetTag("db.system.name", "postgresql").SetTag("db.operation.name", "append").SetTag("cowork.org", commit.Org);
        span.SetTag("cowork.event_count", commit.Writes.Sum(w => w.Events.Count));
        if (commit.Writes.FirstOrDefault(w => w.Session is not null)?.Session is { } session)
        {
            span.SetTag("cowork.session_id", session.Id);
        }
        if (commit.Writes.FirstOrDefault(w => w.Run is not null)?.Run is { } run)
        {
            span.SetTag("cowork.run_id", run.Id);
        }
        return span;
    }

    /// <summary>A transaction that writes several commits. Its parent is the first recorded append, and it has links to the others.</summary>
    /// <param name="appends">The spans of the commits' appends; null: not traced.</param>
    public static Activity? Flush(IEnumerable<Activity?> appends)
    {
        var traced = appends.Where(append => append is { Recorded: true }).Select(append => append!.Context).ToList();
        return traced is [var first, .. var others]
            ? Source.StartActivity(
                "flush", ActivityKind.Client, first, [new("db.system.name", "postgresql"), new("db.operation.name", "flush")], others.Select(c => new ActivityLink(c)))
            : null;
    }

    /// <summary>
    /// A batch of an async projection. Its parent is the first recorded command of an event, and it has a link to one recorded command of each other trace.
    /// </summary>
    public static Activity? Project(string table, IReadOnlyList<RecordedEvent> events)
    {
        if (!Source.HasListeners())
        {
            return null;
        }
        var commands = events.Select(e => ContextOf(e.Correlation, e.Causation)).Where(c => c.TraceFlags == ActivityTraceFlags.Recorded)
            .DistinctBy(c => c.TraceId).Take(LinksMax + 1).ToList();
        return commands is [var first, .. var others]
            ? Source.StartActivity(
                $"project {table}", ActivityKind.Consumer, first,
                [new("cowork.projection", table), new("cowork.event_count", events.Count), new("cowork.gid", events[^1].Position)],
                others.Select(c => new ActivityLink(c)))
            : null;
    }

    /// <summary>A driver's work on a run under one claim. Its parent is the command that created the run, on any host and at any time.</summary>
    public static Activity? Run(Claim claim, StreamStart? start, string node) => !Source.HasListeners() ? null : Source.StartActivity(
        "run", ActivityKind.Consumer, ParentOf(start),
        [new("cowork.org", claim.Org), new("cowork.run_id", new RunKey(claim.Key).Id), new("cowork.epoch", claim.Epoch), new("cowork.node", node)]);

    /// <summary>The work on the notes of a completed run, in the run's trace.</summary>
    public static Activity? Notes(Claim claim, StreamStart? start) => !Source.HasListeners() ? null : Source.StartActivity(
        "notes", ActivityKind.Consumer, ParentOf(start), [new("cowork.org", claim.Org), new("cowork.run_id", new RunKey(claim.Key).Id), new("cowork.epoch", claim.Epoch)]);

    /// <summary>Links the current command to the trace of a run that another request created.</summary>
    public static void LinkToRun(StreamStart? start, Origin by)
    {
        if (Activity.Current is { IsAllDataRequested: true } span && span.Source == Source && start is not null && start.Correlation != by.Correlation
            && ParentOf(start) is var context && context != default)
        {
            span.AddLink(new(context));
        }
    }

    public static Activity? Step(NextStep step, Claim claim) => !Source.HasListeners() ? null : Source.StartActivity(
        step switch
        {
            NextStep.Start => "step begin",
            NextStep.RetrieveMemory => "step retrieve_memory",
            NextStep.AskModel => "step ask_model",
            NextStep.CallTool => "step call_tool",
            NextStep.EvaluatePolicy => "step judge_call",
            NextStep.Finish => "step finish",
            NextStep.GiveUp => "step give_up",
            NextStep.ConfirmCancel => "step confirm_cancel",
            _ => throw new UnreachableException(step.GetType().Name),
        })?.SetTag("cowork.org", claim.Org).SetTag("cowork.run_id", new RunKey(claim.Key).Id);

    public static Activity? Tool(string name, ToolContext context)
    {
        if (!Source.HasListeners())
        {
            return null;
        }
        return Source.StartActivity($"execute_tool {name}")?
            .SetTag("gen_ai.operation.name", "execute_tool").SetTag("gen_ai.tool.name", name)
            .SetTag("cowork.org", context.Org).SetTag("cowork.session_id", context.Session.Id).SetTag("cowork.run_id", context.Run.Id)
            .SetTag("cowork.attempt", context.Attempt);
    }

    /// <param name="type">A code, an SQLSTATE or the name of an exception, never a message.</param>
    public static void SetError(this Activity? span, string type) => span?.SetStatus(ActivityStatusCode.Error).SetTag("error.type", type);

    /// <summary>The span of the command that created a stream.</summary>
    static ActivityContext ParentOf(StreamStart? start) => ContextOf(start?.Correlation, start?.Causation);

    /// <summary>
    /// The span of the command that wrote an event. Only a recorded command has left its span id; without one the trace continues as not sampled.
    /// </summary>
    static ActivityContext ContextOf(string? correlation, string? causation)
    {
        if (correlation is not { Length: 32 } trace || trace.AsSpan().ContainsAnyExcept(Hex))
        {
            return default;
        }
        var span = causation is { Length: 16 } id && !id.AsSpan().ContainsAnyExcept(Hex) ? ActivitySpanId.CreateFromString(id) : default;
        return new(ActivityTraceId.CreateFromString(trace), span, span == default ? ActivityTraceFlags.None : ActivityTraceFlags.Recorded, isRemote: true);
    }

    static readonly System.Buffers.SearchValues<char> Hex = System.Buffers.SearchValues.Create("0123456789abcdef");
}
