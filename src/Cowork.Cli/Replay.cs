using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Projections;

using static Cowork.Cli.Verify;

namespace Cowork.Cli;

/// <summary>
/// <c>cowork replay [--json] FILE…</c> runs the loop of each bundle's run again on what the bundle recorded: offline, with no model and no tool. The exit code is that of the worst
/// file, as for <c>verify</c>.
/// </summary>
static class Replay
{
    public static async Task<int> Run(string[] options)
    {
        if (options.Any(option => option is "--from-event" or "--model" or "--policy" or "--message"))
        {
            return Usage.Wrong("replay is offline and asks no model: what would have happened is told by a host, POST /runs/ID/counterfactual (docs/replay.md)");
        }
        if (BundleFiles.Of(options) is not (var json, { Count: > 0 } files))
        {
            return Usage.Wrong("replay takes --json and files; - is standard input");
        }
        using var stop = new CancellationTokenSource();
        using var interrupted = OnInterrupt(stop);
        var worst = 0;
        foreach (var file in files)
        {
            var verdict = await Judge(file, stop.Token);
            Console.Out.WriteLine(json ? JsonSerializer.Serialize(verdict, ReplayJson.Default.ReplayVerdict) : Line(verdict));
            worst = Math.Max(worst, verdict.Word switch { ReplayReport.Equal => 0, "unread" => Usage.Error, _ => 1 });
        }
        return worst;
    }

    static async Task<ReplayVerdict> Judge(string file, CancellationToken ct)
    {
        try
        {
            await using var content = await BundleFiles.Open(file, ct);
            var (run, unreadable) = await BundleFiles.Run(content, ct);
            content.Position = 0;
            var fault = (await BundleFile.Verify(content, null, null, ct)).Fault;
            if (run is null)
            {
                return unreadable!.Message == BundledRun.Erased && fault is null ? new(file, "unread", unreadable.Location, unreadable.Message)
                    : new(file, "not_sound", (fault ?? unreadable).Location, (fault ?? unreadable).Message);
            }
            var report = await RunReplay.Of(run, ct);
            // A replay that is equal does not make a bundle sound whose other parts were changed.
            return report.Divergence is { } divergence ? new(file, report.Verdict, run.PlaceOf(divergence.Event)) { Replay = report }
                : fault is not null ? new(file, "not_sound", fault.Location, fault.Message) { Replay = report }
                : new(file, report.Verdict) { Replay = report };
        }
        catch (OperationCanceledException)
        {
            return new(file, "unread", Message: "The replay was interrupted.");
        }
        catch (Exception e) when (IsUnread(e))
        {
            return new(file, "unread", Message: e.Message);
        }
    }

    static string Line(ReplayVerdict verdict)
    {
        var word = verdict.Word switch { ReplayReport.Equal => "EQUAL      ", ReplayReport.Diverged => "DIVERGED   ", "unread" => "UNREAD     ", _ => "NOT SOUND  " };
        var line = new StringBuilder(word).Append(Quoted(verdict.File));
        if (verdict.Location is { } at)
        {
            line.Append(" at ").Append(Quoted(at));
        }
        if (verdict is { Word: ReplayReport.Diverged, Replay.Divergence: { } divergence })
        {
            return line.Append($": step {divergence.Step}, {divergence.What}: recorded {Quoted(divergence.Recorded)}, replayed {Quoted(divergence.Replayed)}").ToString();
        }
        if (verdict.Message is { } message)
        {
            return line.Append(": ").Append(Shown(message)).ToString();
        }
        var report = verdict.Replay!;
        line.Append($": run {Quoted(report.RunId.Id)}, {report.Events} events, {report.Steps} steps, {report.ModelRequests} requests to the model, ")
            .Append($"{report.PolicyDecisions} decisions of the policy, {Told(report.Made)}")
            .Append(report.Past is { } past ? $" ({Told(past)} in the common past)" : "").Append($", head {report.Head}");
        return line.Append(string.Concat(report.Unproved.Select(part => $"; not proved: {part.Count} of {part.Part} ({part.Reason})"))).ToString();
    }

    static string Told(ReplayedEffects made)
    {
        var more = made.More > 0 ? $" and {made.More} more" : "";
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{made.InputTokens} + {made.OutputTokens} tokens, {made.CostUsd} USD, {made.Artifacts.Count} artifacts, {made.Memories.Count} memories{more}");
    }
}

/// <summary>
/// <c>cowork diff [--json] FILE FILE</c> aligns the runs of two bundles by step. The exit code is 0 when they are alike, 1 when not, 2 when a file cannot be read.
/// </summary>
static class Diff
{
    public static async Task<int> Run(string[] options)
    {
        if (BundleFiles.Of(options) is not (var json, [var left, var right]))
        {
            return Usage.Wrong("diff takes --json and two files");
        }
        using var stop = new CancellationTokenSource();
        using var interrupted = OnInterrupt(stop);
        var runs = new List<BundledRun>();
        foreach (var file in (string[])[left, right])
        {
            try
            {
                await using var content = await BundleFiles.Open(file, stop.Token);
                var (run, fault) = await BundleFiles.Run(content, stop.Token);
                if (run is null)
                {
                    await Console.Error.WriteLineAsync($"cowork: {Quoted(file)} at {Quoted(fault!.Location)}: {Shown(fault.Message)}");
                    return Usage.Error;
                }
                runs.Add(run);
            }
            catch (Exception e) when (IsUnread(e) || e is OperationCanceledException)
            {
                await Console.Error.WriteLineAsync($"cowork: {Quoted(file)}: {Shown(e.Message)}");
                return Usage.Error;
            }
        }
        var diff = await RunDiff.Of(runs[0], runs[1], stop.Token);
        if (json)
        {
            Console.Out.WriteLine(JsonSerializer.Serialize(diff, ReplayJson.Default.RunDifference));
        }
        else
        {
            Print(diff);
        }
        return diff is { FirstDivergence: null, Artifacts.Count: 0, Memories.Count: 0, Reply: null } && diff.Left.Status == diff.Right.Status ? 0 : 1;
    }

    static void Print(RunDifference diff)
    {
        foreach (var (side, run) in ((string, DiffedRun)[])[("left ", diff.Left), ("right", diff.Right)])
        {
            Console.Out.WriteLine(
                $"{side}  run {Quoted(run.RunId.Id)} {Shown(run.Status)}, model {Quoted(run.Model)}, {run.Steps} steps, {run.InputTokens} + {run.OutputTokens} tokens, "
                + $"{Invariant(run.CostUsd)} USD, {run.DurationMs} ms");
        }
        Console.Out.WriteLine(diff.FirstDivergence is { } first
            ? $"first difference: step {first.Step}, {first.What}: {Quoted(first.Left ?? "nothing")}, {Quoted(first.Right ?? "nothing")}"
            : "all steps are alike");
        foreach (var step in diff.Steps.Where(step => step.Differs is not null))
        {
            Console.Out.WriteLine(
                $"step {step.Step}: {step.Differs}, {Told(step.Left)} | {Told(step.Right)}, {Signed(step.Deltas.InputTokens)} {Signed(step.Deltas.OutputTokens)} tokens, "
                + $"{Signed(step.Deltas.DurationMs)} ms");
        }
        foreach (var artifact in diff.Artifacts)
        {
            Console.Out.WriteLine($"artifact {Quoted(artifact.Path)}: {artifact.LeftSha256 ?? "none"} | {artifact.RightSha256 ?? "none"}");
        }
        foreach (var memory in diff.Memories)
        {
            Console.Out.WriteLine($"{memory.Kind.Replace('_', ' ')} {memory.Number}: {memory.LeftSha256 ?? "none"} | {memory.RightSha256 ?? "none"}");
        }
        if (diff.Reply is { } reply)
        {
            Console.Out.WriteLine($"reply: {Quoted(reply.Left ?? "")} | {Quoted(reply.Right ?? "")}");
        }
    }

    static string Told(RunStep? step) => step is null ? "nothing" : Shown(step.Tool ?? step.Kind);

    static string Signed(long number) => number.ToString("+0;-0;0", System.Globalization.CultureInfo.InvariantCulture);

    static string Invariant(decimal number) => number.ToString(System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>The arguments of a command on bundles.</summary>
static class BundleFiles
{
    /// <summary>A file that seeks; standard input is held in memory.</summary>
    public static async Task<Stream> Open(string file, CancellationToken ct) => file == "-" ? new MemoryStream(await Read(file, ct), writable: false) : RegularFile.Open(file);

    /// <summary>The run of a bundle, also of one in an archive; null: it cannot be read, and why.</summary>
    public static async Task<(BundledRun? Run, TraceFault? Fault)> Run(Stream content, CancellationToken ct)
    {
        var (bytes, fault) = await BundleFile.ReadRun(content, ct);
        return bytes is null ? (null, fault) : BundledRun.Read(bytes, ct);
    }

    /// <summary>Whether the answer is wanted as JSON, and the files; null: there is another option.</summary>
    public static (bool Json, IReadOnlyList<string> Files)? Of(string[] options)
    {
        var (json, files, isOver) = (false, new List<string>(), false);
        foreach (var option in options)
        {
            if (isOver || option is not ['-', _, ..])
            {
                files.Add(option);
            }
            else if (option == "--")
            {
                isOver = true;
            }
            else if (option == "--json")
            {
                json = true;
            }
            else
            {
                return null;
            }
        }
        return (json, files);
    }
}

/// <summary>What <c>replay</c> says of one file. Members that the verdict does not have are left out.</summary>
/// <param name="Word">
/// <c>equal</c>, <c>diverged</c>, <c>not_sound</c> (the replay is equal or impossible, and the bundle was changed), or <c>unread</c> (also a sound bundle that cannot be replayed).
/// </param>
/// <param name="Location">The JSON path of the event that diverged, or of the bundle's first fault.</param>
sealed record ReplayVerdict(string File, [property: JsonPropertyName("verdict")] string Word, string? Location = null, string? Message = null)
{
    public ReplayReport? Replay { get; init; }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, Converters = [typeof(TimestampConverter)])]
[JsonSerializable(typeof(ReplayVerdict))]
[JsonSerializable(typeof(RunDifference))]
sealed partial class ReplayJson : JsonSerializerContext;
