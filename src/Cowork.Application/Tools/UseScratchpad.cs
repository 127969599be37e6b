using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// <c>scratchpad {action, code?, estimate_seconds?, touches?}</c>: executes code in the conversation's scratchpad, the newest one, or one that it makes. The cell is named
/// by the run's step, so that a repeated call finds the cell of the earlier one, and waits for its end or answers it.
/// </summary>
public sealed partial class UseScratchpad(
    CommandHandler handler, TextCommands commands, ICommandExecutor executor, IScratchpadQueries scratchpads, IKernels kernels, FeedHub hub, IBlobs blobs,
    TimeProvider clock) : ITool
{
    /// <summary>A call that says nothing is taken to need so long.</summary>
    const int UsualEstimate = 30;

    const int EstimateMax = 24 * 3600;

    /// <summary>Paths that a call may name.</summary>
    const int TouchesMax = 50;

    /// <summary>Characters of an answer, and of one output in it.</summary>
    const int AnswerCharsMax = 20_000;
    const int OutputCharsMax = 8_000;

    /// <summary>A timer and the time of day are two clocks, and differ by less.</summary>
    static readonly TimeSpan ClockSkew = TimeSpan.FromSeconds(1);

    /// <summary>Cells that a view shows, the last ones.</summary>
    const int CellsShown = 30;

    public string Name => "scratchpad";

    public string Description =>
        "Executes Python in the conversation's scratchpad, a notebook whose kernel keeps its variables from call to call. It works in the session's folder, without a network; "
        + $"files for the user go below {OutputRoot.Path}. action \"view\" shows the cells with their outputs, \"reset\" gives the kernel no variables.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """
        {"type":"object","required":["action"],"properties":{
          "action":{"type":"string","enum":["exec","view","reset"],"description":"What to do."},
          "code":{"type":"string","description":"With exec: the code of the cell."},
          "estimate_seconds":{"type":"integer","minimum":0,"maximum":86400,"description":"With exec: how long it may take. Above 90 a person is asked first."},
          "touches":{"type":"array","items":{"type":"string"},"description":"With exec: files that the code reads or changes, relative to the session's folder."}}}
        """);

    public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var asked = Read(input, out var error);
        if (asked is null)
        {
            return new(new CallSubject("execute", Invalid: error));
        }
        var (paths, isInside) = (ImmutableArray.CreateBuilder<TouchedPath>(), true);
        foreach (var path in asked.Touches)
        {
            using var opened = GrantedPath.Open(context.Grants, path);
            switch (opened)
            {
                case GrantedPath.Found found:
                    paths.Add(TouchedPath.Of(found));
                    break;
                case GrantedPath.Missing missing:
                    paths.Add(TouchedPath.Of(missing));
                    break;
                case GrantedPath.Invalid invalid:
                    return new(new CallSubject("execute", Invalid: invalid.Reason));
                default:
                    isInside = false;
                    break;
            }
        }
        return new(new CallSubject(asked.Action == "view" ? "read" : "execute", paths.FirstOrDefault(), isInside)
        {
            More = [.. paths.Skip(1)],
            EstimateSeconds = asked.Action == "exec" ? asked.Estimate : 0,
        });
    }

    public async Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        if (Read(input, out var error) is not { } asked)
        {
            return ToolOutcome.Error(error!);
        }
        return asked.Action switch
        {
            "view" => await View(context, ct),
            "reset" => await Reset(context, ct),
            _ => await Execute(context, asked.Code!, ct),
        };
    }

    async Task<ToolOutcome> Execute(ToolContext context, string code, CancellationToken ct)
    {
        var cell = CellOf(context.IdempotencyToken);
        if (await Begun(context, cell, ct) is not { } scratchpad)
        {
            if (await kernels.WhyUnavailable(ct) is { } why)
            {
                return ToolOutcome.Error($"No code can be executed here. {why}");
            }
            var begun = await Begin(context, cell, code, ct);
            if (begun.Refused is { } refused)
            {
                return ToolOutcome.Error(refused.Detail);
            }
            scratchpad = begun.Scratchpad;
        }
        try
        {
            return await Outcome(context, scratchpad, cell, ct);
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // A host that stops leaves the cell to the call's next attempt. A run that is cancelled, or is past its time, does not.
            if (context.Until - clock.GetUtcNow() < ClockSkew
                || await handler.LatestState(context.Org, Domain.Run.Aggregate, context.Run, CancellationToken.None) is not Domain.Run.Active { CancelRequested: false })
            {
                await executor.Execute(context.Org, ByAgent(context), new InterruptCell(scratchpad, cell), CancellationToken.None);
            }
            throw;
        }
    }

    /// <summary>The cell that a step of a run executes.</summary>
    public static CellKey CellOf(RunKey run, int step) => CellOf($"{run.Id}:{step}");

    static CellKey CellOf(string token) => new(Ids.KeyOf($"cell of {token}"));

    /// <summary>The scratchpad that has the cell of an earlier attempt; null: none has.</summary>
    async ValueTask<ScratchpadKey?> Begun(ToolContext context, CellKey cell, CancellationToken ct)
    {
        if (context.Attempt > 1)
        {
            foreach (var scratchpad in await scratchpads.Of(context.Org, context.Session, Limits.ScratchpadsPerSessionMax, ct))
            {
                if (await handler.LatestState(context.Org, Scratchpad.Aggregate, scratchpad, ct) is Scratchpad.Live live && live.Find(cell) is not null)
                {
                    return scratchpad;
                }
            }
        }
        return null;
    }

    /// <summary>Appends the cell to the newest scratchpad and queues it. Where there is none, or that one is full, it begins another one.</summary>
    async ValueTask<(ScratchpadKey Scratchpad, Refusal? Refused)> Begin(ToolContext context, CellKey cell, string code, CancellationToken ct)
    {
        var content = NamedText.Of(code);
        var made = new NewCell(cell, CellTypes.Code, content.Content, "python");
        async ValueTask<Refusal?> In(ScratchpadKey scratchpad, bool begins)
        {
            var command = new RunCode(scratchpad, context.Session, Content.Of("Agent's scratchpad"), made, context.Run, begins);
            return (await commands.Execute(context.Org, ByAgent(context), command, content, ct, waitForStorage: true)).Refused;
        }
        if (await scratchpads.Of(context.Org, context.Session, 1, ct) is [var newest])
        {
            var refused = await In(newest, begins: false);
            if (refused is not { Code: "scratchpad_cells_full" or "scratchpad_content_full" or "scratchpad_outputs_full" or "not_found" })
            {
                return (newest, refused);
            }
        }
        var own = new ScratchpadKey(Ids.KeyOf($"scratchpad of {context.IdempotencyToken}"));
        return (own, await In(own, begins: true));
    }

    /// <summary>Waits for the end of the cell's execution.</summary>
    async Task<ToolOutcome> Outcome(ToolContext context, ScratchpadKey scratchpad, CellKey cell, CancellationToken ct)
    {
        if (await handler.LatestState(context.Org, Scratchpad.Aggregate, scratchpad, ct) is not Scratchpad.Live live || live.Find(cell) is not { } found)
        {
            return ToolOutcome.Error("The scratchpad or its cell was deleted.");
        }
        var (execution, attempt, isStateLost) = (0, 1, false);
        await foreach (var entry in hub.FollowStream(context.Org, context.Session, Scratchpad.Aggregate.Stream(scratchpad), found.Since - 1, ct))
        {
            switch (entry.Read())
            {
                case ScratchpadEvent.CellQueued queued when queued.CellId == cell && execution == 0:
                    execution = queued.Execution;
                    break;
                case ScratchpadEvent.CellStarted started when started.Execution == execution:
                    (attempt, isStateLost) = (started.Attempt, isStateLost || started.IsStateLost == true);
                    break;
                case ScratchpadEvent.CellCompleted done when done.Execution == execution:
                    return await Told(done, attempt, isStateLost, scratchpad, ct);
            }
        }
        throw new OperationCanceledException(ct);
    }

    /// <param name="wasStateLost">The variables of earlier cells were gone when it began.</param>
    async ValueTask<ToolOutcome> Told(ScratchpadEvent.CellCompleted done, int attempt, bool wasStateLost, ScratchpadKey scratchpad, CancellationToken ct)
    {
        var text = new StringBuilder();
        var outputs = await blobs.Outputs(done.Result.Outputs, ct);
        Append(text, outputs);
        if (done.Result.Error is { } error && !outputs.OfType<NotebookOutput.Error>().Any())
        {
            text.AppendLine($"{error.Code}: {error.Message}");
        }
        if (text.Length == 0)
        {
            text.AppendLine("(no output)");
        }
        if (attempt > 1)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"(The kernel was lost meanwhile: this is attempt {attempt}, and variables of earlier cells are gone.)");
        }
        else if (wasStateLost)
        {
            text.AppendLine("(The kernel is a new one: variables of earlier cells are gone.)");
        }
        if (done.IsStateLost)
        {
            text.AppendLine("(The kernel has no variables any more.)");
        }
        var files = done.Result.Files ?? [];
        foreach (var file in files)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"Wrote {VisibleText.Of(file.Path)} ({file.Bytes} bytes).");
        }
        text.Append(CultureInfo.InvariantCulture, $"[{scratchpad}, {done.CellId}]");
        return new(FileText.Truncate(text.ToString(), AnswerCharsMax), IsError: done.Result.Error is not null)
        {
            WrittenFiles = [.. files.Select(file => new WrittenFile(file.Path, file.Sha256, file.Bytes))],
        };
    }

    async Task<ToolOutcome> View(ToolContext context, CancellationToken ct)
    {
        if (await Newest(context, ct) is not { } live)
        {
            return ToolOutcome.Ok("There is no scratchpad yet.");
        }
        var text = new StringBuilder($"Scratchpad {live.ScratchpadId}, {live.Cells.Count} cells.\n");
        foreach (var (index, cell) in live.Cells.Index().TakeLast(CellsShown))
        {
            text.Append(CultureInfo.InvariantCulture, $"\n[{index}] {cell.Type}\n").AppendLine(FileText.Truncate(await blobs.Text(cell.Content, ct), OutputCharsMax));
            if (cell.Result is { } result)
            {
                text.AppendLine("->");
                Append(text, await blobs.Outputs(result.Outputs, ct));
            }
        }
        return ToolOutcome.Ok(FileText.Truncate(text.ToString(), AnswerCharsMax));
    }

    async Task<ToolOutcome> Reset(ToolContext context, CancellationToken ct)
    {
        if (await Newest(context, ct) is not { } live)
        {
            return ToolOutcome.Ok("There is no scratchpad yet.");
        }
        var refused = (await executor.Execute(context.Org, ByAgent(context), new RestartKernel(live.ScratchpadId), ct, waitForStorage: true)).Refused;
        return refused is null ? ToolOutcome.Ok("The kernel has no variables any more.") : ToolOutcome.Error(refused.Detail);
    }

    async ValueTask<Scratchpad.Live?> Newest(ToolContext context, CancellationToken ct) =>
        await scratchpads.Of(context.Org, context.Session, 1, ct) is [var newest]
            ? await handler.LatestState(context.Org, Scratchpad.Aggregate, newest, ct) as Scratchpad.Live
            : null;

    /// <summary>Outputs as text: images are named and not inlined.</summary>
    static void Append(StringBuilder text, ImmutableList<NotebookOutput> outputs)
    {
        foreach (var output in outputs)
        {
            text.AppendLine(FileText.Truncate(
                output switch
                {
                    NotebookOutput.Stream s => Colours().Replace(s.Text, "").TrimEnd('\n'),
                    NotebookOutput.Error e => Colours().Replace(e.Traceback.IsEmpty ? $"{e.Name}: {e.Value}" : string.Join('\n', e.Traceback), ""),
                    NotebookOutput.Display d => Shown(d),
                    _ => "",
                },
                OutputCharsMax));
        }
    }

    static string Shown(NotebookOutput.Display display)
    {
        var images = display.Data.Where(form => form.Mime.StartsWith("image/", StringComparison.Ordinal))
            .Select(form => string.Create(CultureInfo.InvariantCulture, $"[{form.Mime}, {form.Data.Length} characters: shown in the scratchpad]"));
        var text = display.Data.Find(form => form.Mime == "text/plain") ?? display.Data.Find(form => form.Mime is "text/markdown" or "text/latex" or "text/html" || form.IsJson);
        return string.Join('\n', images.Concat(text is null ? [] : [text.Data]));
    }

    static Origin ByAgent(ToolContext context) => new(RunDriver.Actor, context.Correlation);

    /// <summary>Null: the error says what is wrong.</summary>
    static Asked? Read(JsonElement input, out string? error)
    {
        var action = ToolInput.Text(input, "action", required: true, out error);
        if (error is null && action is not ("exec" or "view" or "reset"))
        {
            error = "The argument \"action\" must be exec, view or reset.";
        }
        if (error is not null)
        {
            return null;
        }
        var code = ToolInput.Text(input, "code", required: action == "exec", out error);
        if (error is null && code is not null && Encoding.UTF8.GetByteCount(code) > Limits.CellContentBytesMax)
        {
            error = $"The argument \"code\" has more than {Limits.CellContentBytesMax} bytes.";
        }
        if (error is not null)
        {
            return null;
        }
        var estimate = ToolInput.Number(input, "estimate_seconds", UsualEstimate, 0, EstimateMax, out error);
        if (error is not null)
        {
            return null;
        }
        var touches = new List<string>();
        if (input.TryGetProperty("touches", out var named) && named.ValueKind != JsonValueKind.Null)
        {
            if (named.ValueKind != JsonValueKind.Array || named.GetArrayLength() > TouchesMax || named.EnumerateArray().Any(path => path.ValueKind != JsonValueKind.String))
            {
                error = $"The argument \"touches\" must be a list of at most {TouchesMax} paths.";
                return null;
            }
            touches.AddRange(named.EnumerateArray().Select(path => path.GetString()!));
        }
        return new(action!, code, (int)estimate, touches);
    }

    sealed record Asked(string Action, string? Code, int Estimate, IReadOnlyList<string> Touches);

    /// <summary>Colours of a terminal.</summary>
    [GeneratedRegex("\u001b\\[[0-9;]*[A-Za-z]")]
    private static partial Regex Colours();
}
