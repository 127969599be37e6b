using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Projections;

namespace Cowork.Cli;

/// <summary>
/// <c>cowork verify [--json] [--format FORMAT] [--jwks FILE] [--heads FILE] FILE…</c> checks bundles of every kind offline. Each file gets one verdict on a line of its own,
/// whatever it holds: what comes of a file or its name is escaped. Exports of a tenant must follow each other. The exit code is that of the worst file.
/// </summary>
static class Verify
{
    const int Sound = 0;
    const int NotSound = 1;
    const int Unread = Usage.Error;

    /// <summary>Bytes of a text from a bundle that a line repeats.</summary>
    const int ShownCharsMax = 400;

    public static async Task<int> Run(string[] options)
    {
        var (json, format, jwks, heads, files) = (false, (string?)null, (string?)null, (string?)null, new List<string>());
        for (var i = 0; i < options.Length; i++)
        {
            switch (options[i])
            {
                case "--json":
                    json = true;
                    break;
                case "--format" when i + 1 < options.Length:
                    format = options[++i];
                    if (!BundleFile.Formats.Contains(format))
                    {
                        return Usage.Wrong($"--format is one of {string.Join(", ", BundleFile.Formats)}, and not {VisibleText.Of(format)}");
                    }
                    break;
                case "--jwks" when i + 1 < options.Length:
                    jwks = options[++i];
                    break;
                case "--heads" when i + 1 < options.Length:
                    heads = options[++i];
                    break;
                case "--":
                    files.AddRange(options[(i + 1)..]);
                    i = options.Length;
                    break;
                case "--format" or "--jwks" or "--heads":
                    return Usage.Wrong($"{options[i]} lacks its value");
                case ['-', _, ..]:
                    return Usage.Wrong($"verify has no option {VisibleText.Of(options[i])}");
                default:
                    files.Add(options[i]);
                    break;
            }
        }
        if (files.Count == 0)
        {
            return Usage.Wrong("verify needs files; - is standard input");
        }
        TrustAnchors? anchors;
        try
        {
            anchors = await Anchors(jwks, heads);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException or ArgumentException)
        {
            return Usage.Wrong($"the keys or heads cannot be read: {Shown(e.Message)}");
        }
        using var stop = new CancellationTokenSource();
        using var interrupted = OnInterrupt(stop);
        var (worst, exports) = (Sound, new Exports());
        foreach (var file in files)
        {
            var verdict = await Judge(file, format, anchors, exports, stop.Token);
            Console.Out.WriteLine(json ? JsonSerializer.Serialize(verdict, VerdictJson.Default.Verdict) : Line(verdict));
            worst = Math.Max(worst, verdict.Word switch { "sound" => Sound, "not_sound" => NotSound, _ => Unread });
        }
        return worst;
    }

    /// <summary>What the reader brought; null: nothing.</summary>
    static async Task<TrustAnchors?> Anchors(string? jwks, string? heads) => jwks is null && heads is null ? null : new(
        jwks is null ? null : HeadKeys.Parse(await RegularFile.Read(jwks, HeadKeys.BytesMax, default)), heads is null ? null : HeadLine.ReadSome(heads));

    /// <summary>The exports of one call, which follow each other.</summary>
    sealed class Exports
    {
        public ExportChain Chain { get; set; } = new();

        /// <summary>The file with the last of them; null: there was none, or it was not sound.</summary>
        public string? Last { get; set; }
    }

    /// <summary>Ctrl-C ends the work, and the command with a verdict.</summary>
    internal static PosixSignalRegistration OnInterrupt(CancellationTokenSource stop) => PosixSignalRegistration.Create(PosixSignal.SIGINT, signal =>
    {
        signal.Cancel = true;
        stop.Cancel();
    });

    /// <summary>The file could not be read.</summary>
    internal static bool IsUnread(Exception e) => e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException or OutOfMemoryException;

    static async Task<Verdict> Judge(string file, string? format, TrustAnchors? anchors, Exports exports, CancellationToken ct)
    {
        try
        {
            await using var content = file == "-" ? Console.OpenStandardInput() : RegularFile.Open(file);
            var result = await BundleFile.Verify(content, format, anchors, ct, exports.Chain);
            var follows = exports.Last;
            if (result.Report is null or { After: not null })
            {
                // What follows a file that is not sound is judged by itself.
                (exports.Chain, exports.Last) = result.Report is null ? (new(), null) : (exports.Chain, file);
            }
            return result switch
            {
                ({ } sound, _) => new(
                    file, "sound", sound.Format, sound.NotCovered, sound.RunId, sound.Status, sound.Events, sound.Blobs, sound.Artifacts, sound.LeftOut, sound.Head,
                    sound.Digest, sound.Erased)
                {
                    Signed = sound.Signature is { } by
                        ? new(by.HeadNumber, by.TreeSize, HashChain.Timestamp(by.Timestamp), by.Kid, by.IsPinned) { Witnessed = by.IsWitnessed }
                        : null,
                    TenantId = sound.TenantId,
                    SessionId = sound.SessionId,
                    Runs = sound.Runs,
                    Streams = sound.Streams,
                    After = sound.After,
                    Through = sound.Through,
                    Expired = sound.Expired,
                    Follows = sound.After is null ? null : follows,
                },
                (_, var fault) => new(file, "not_sound") { Location = fault!.Location, Message = fault.Message },
            };
        }
        catch (OperationCanceledException)
        {
            return new(file, "unread") { Message = "The check was interrupted." };
        }
        catch (Exception e) when (IsUnread(e))
        {
            return new(file, "unread") { Message = e.Message };
        }
    }

    internal static async Task<byte[]> Read(string file, CancellationToken ct)
    {
        if (file != "-")
        {
            return await RegularFile.Read(file, TraceVerifier.BundleBytesMax, ct);
        }
        await using var input = Console.OpenStandardInput();
        return await RegularFile.Read(input, TraceVerifier.BundleBytesMax, ct);
    }

    /// <summary>The verdict stands first on the line, before anything that a file could say. What comes from a file is quoted.</summary>
    static string Line(Verdict v)
    {
        var line = new StringBuilder(v.Word switch { "sound" => "SOUND      ", "not_sound" => "NOT SOUND  ", _ => "UNREAD     " }).Append(Quoted(v.File));
        if (v.Word != "sound")
        {
            return line.Append(v.Location is null ? "" : $" at {Quoted(v.Location)}").Append($": {Shown(v.Message!)}").ToString();
        }
        line.Append(v switch
        {
            { RunId: { } run } => $": run {Quoted(run)} {Shown(v.Status!)}, {v.Events} events, {v.Blobs} blobs, {v.Artifacts} artifacts",
            { SessionId: { } session } => $": session {Quoted(session)} of {Quoted(v.TenantId!)}, {v.Events} events, {v.Runs} runs, {v.Blobs} blobs",
            _ => $": tenant {Quoted(v.TenantId!)}, {v.Events} events of {v.Streams} streams, after position {v.After}"
                + $" through {v.Through}{(v.Follows is null ? "" : $", where {Quoted(v.Follows)} ends")}",
        });
        line.Append(v.LeftOut > 0 ? $", {v.LeftOut} by digest only" : "").Append(v.Erased > 0 ? $", {v.Erased} events with erased texts" : "")
            .Append(v.Expired > 0 ? $", {v.Expired} events expired" : "").Append(v.Head is null ? "" : $", head {v.Head}").Append($", digest {v.Digest}, judged by {v.Format}");
        line.Append(v.Signed is not { } by ? ", covered by no signed head"
            : $", in the log of head {by.Head} of {by.Timestamp} signed by {(by.Pinned ? "the trusted key" : "a key of the bundle itself,")} {Shown(by.Kid)}"
                + (by.Witnessed ? ", which a witness keeps" : ""));
        return line.Append(v.NotCovered is { Count: > 0 } not ? $", which does not cover {string.Join(" and ", not)}" : "").ToString();
    }

    internal static string Quoted(string text) => $"\"{Shown(text).Replace("\"", "\\\"", StringComparison.Ordinal)}\"";

    internal static string Shown(string text) => VisibleText.Of(FileText.Truncate(text, ShownCharsMax));
}

/// <summary>What <c>verify</c> says of one file. Members that the verdict does not have are left out.</summary>
/// <param name="Word"><c>sound</c>, <c>not_sound</c>, or <c>unread</c>: it could not be judged.</param>
/// <param name="NotCovered">What the bundle's format does not cover and later ones do.</param>
/// <param name="Erased">Events with texts of a data subject that were erased; null: none.</param>
sealed record Verdict(
    string File, [property: JsonPropertyName("verdict")] string Word, string? Format = null, IReadOnlyList<string>? NotCovered = null, string? RunId = null,
    string? Status = null, long? Events = null, int? Blobs = null, int? Artifacts = null, int? LeftOut = null, string? Head = null, string? Digest = null,
    int? Erased = null)
{
    /// <summary>The first fault: a JSON path or <c>byte n</c>.</summary>
    public string? Location { get; init; }

    public string? Message { get; init; }

    /// <summary>The signed head that covers the events.</summary>
    public SignedBy? Signed { get; init; }

    public string? TenantId { get; init; }

    public string? SessionId { get; init; }

    /// <summary>Of a session.</summary>
    public int? Runs { get; init; }

    /// <summary>Of a period.</summary>
    public int? Streams { get; init; }

    /// <summary>Of a period: the events have positions above this one.</summary>
    public long? After { get; init; }

    /// <summary>Of a period: the events are all of the tenant's up to this position.</summary>
    public long? Through { get; init; }

    /// <summary>Of a period, or of a run's related events: those that have a tombstone in place of their data; null: none.</summary>
    public long? Expired { get; init; }

    /// <summary>Of a period: the file with the export that ends where it begins; null: there was none.</summary>
    public string? Follows { get; init; }
}

/// <param name="Head">Its number.</param>
/// <param name="Pinned">The key is one of those that were given; otherwise it is the bundle's own.</param>
sealed record SignedBy(long Head, long TreeSize, string Timestamp, string Kid, bool Pinned)
{
    /// <summary>The head is one of those that were given.</summary>
    public bool Witnessed { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(Verdict))]
sealed partial class VerdictJson : JsonSerializerContext;
