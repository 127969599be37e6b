using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Marten;

using Npgsql;

namespace Cowork.Cli;

/// <summary>
/// <c>cowork verify --database CONNECTION</c> verifies a whole log where it lies, and changes nothing. Progress goes to the error stream, the verdict to the output.
/// </summary>
static class VerifyLog
{
    const string Operators = "default";
    const int ShownCharsMax = 400;

    static readonly TimeSpan TellEvery = TimeSpan.FromSeconds(2);

    public static async Task<int> Run(string[] options)
    {
        var (json, given) = (false, new Dictionary<string, string>());
        for (var i = 0; i < options.Length; i++)
        {
            if (options[i] == "--json")
            {
                json = true;
            }
            else if (options[i] is "--database" or "--schema" or "--state" or "--heads" or "--jwks" && i + 1 < options.Length)
            {
                given[options[i]] = options[++i];
            }
            else
            {
                return Usage.Wrong($"verify --database has no option {VisibleText.Of(options[i])}, or the option lacks its value");
            }
        }
        using var stop = new CancellationTokenSource();
        using var interrupted = PosixSignalRegistration.Create(PosixSignal.SIGINT, signal =>
        {
            signal.Cancel = true;
            stop.Cancel();
        });
        try
        {
            var verdict = await Judge(given, stop.Token);
            Console.Out.WriteLine(json ? JsonSerializer.Serialize(verdict, LogVerdictJson.Default.LogLine) : Line(verdict));
            return verdict.Word == "sound" ? 0 : 1;
        }
        catch (Exception e) when (e is NpgsqlException or IOException or UnauthorizedAccessException or ArgumentException or InvalidDataException or JsonException
            or OperationCanceledException or StorageUnavailableException or FormatException or System.Net.Sockets.SocketException or TimeoutException)
        {
            var why = e is OperationCanceledException ? "The check was interrupted; with --state it goes on from where it was." : e.Message;
            Console.Out.WriteLine(
                json ? JsonSerializer.Serialize(new LogLine("unread") { Message = why }, LogVerdictJson.Default.LogLine) : $"UNREAD     the database: {Shown(why)}");
            return Usage.Error;
        }
    }

    static async Task<LogLine> Judge(Dictionary<string, string> given, CancellationToken ct)
    {
        var heads = given.TryGetValue("--heads", out var file) ? HeadLine.ReadSome(file).Select(line => line.Head).ToList() : [];
        var keys = given.TryGetValue("--jwks", out var jwks) ? HeadKeys.Parse(await RegularFile.Read(jwks, HeadKeys.BytesMax, ct)) : null;
        var state = given.GetValueOrDefault("--state");
        var from = state is not null && File.Exists(state)
            ? JsonSerializer.Deserialize(await File.ReadAllBytesAsync(state, ct), LogVerdictJson.Default.LogVerifierState) ?? LogVerifierState.Begin
            : LogVerifierState.Begin;
        var address = new NpgsqlConnectionStringBuilder(PostgresAddress.Parse(given["--database"])) { Pooling = false, Options = "-c default_transaction_read_only=on" };
        await using var connection = new NpgsqlConnection(address.ConnectionString);
        await connection.OpenAsync(ct);
        var (clock, told) = (Stopwatch.StartNew(), TimeSpan.Zero);
        var verifier = new LogVerifier(connection, given.GetValueOrDefault("--schema", "cowork"), Operators, new(keys, heads))
        {
            Progress = now =>
            {
                if (clock.Elapsed - told > TellEvery)
                {
                    told = clock.Elapsed;
                    Console.Error.WriteLine(string.Create(
                        CultureInfo.InvariantCulture, $"{now.Position} events verified, {(now.Position - from.Position) / clock.Elapsed.TotalSeconds:0} events/s"));
                    Keep(state, now);
                }
            },
        };
        var verdict = await verifier.Verify(from, ct);
        var (reached, fault, notCovered) = verdict;
        fault ??= await SubjectFaults.Find(connection, given.GetValueOrDefault("--schema", "cowork"), ct);
        if (fault is null)
        {
            Keep(state, reached);
        }
        var erased = fault is null ? await ErasedEvents.Count(connection, given.GetValueOrDefault("--schema", "cowork"), reached.Position, ct) : 0;
        var speed = (long)((reached.Position - from.Position) / Math.Max(clock.Elapsed.TotalSeconds, 0.001));
        return fault is null
            ? new(
                "sound", reached.Position, reached.Head?.Number, reached.Head?.Head.TreeSize, reached.Head?.Head.Timestamp, notCovered, speed, keys is not null,
                reached.Unhashed, erased > 0 ? erased : null, reached.Expired > 0 ? reached.Expired : null)
            {
                HeadsBack = verdict.HeadsBack > 0 ? verdict.HeadsBack : null,
                FirstHeadBack = verdict.FirstHeadBack,
            }
            : new("not_sound", reached.Position) { FirstBad = fault.Position, Through = fault.Through, Stream = fault.Stream, Message = fault.Message };
    }

    static void Keep(string? path, LogVerifierState state)
    {
        if (path is not null)
        {
            File.WriteAllBytes(path + ".next", JsonSerializer.SerializeToUtf8Bytes(state, LogVerdictJson.Default.LogVerifierState));
            File.Move(path + ".next", path, overwrite: true);
        }
    }

    static string Line(LogLine v)
    {
        if (v.Word != "sound")
        {
            var place = v.FirstBad == v.Through ? $"event {v.FirstBad}" : $"an event from {v.FirstBad} to {v.Through}";
            return $"NOT SOUND  the log, first at {place}{(v.Stream is null ? "" : $" of \"{Shown(v.Stream)}\"")}: {Shown(v.Message!)}";
        }
        var covered = v.Head is null
            ? "no signed head: whoever can compute hashes could have changed all of it"
            : $"up to head {v.Head} of {HashChain.Timestamp(v.HeadAt!.Value)} over {v.HeadTreeSize} events, {v.NotCovered} events after it are not covered by a head";
        var keys = v.Pinned == true ? "" : ", signed by keys of the log itself (--jwks FILE pins them)";
        var foreign = v.Unhashed > 0 ? $", {v.Unhashed} events of other programs without a hash" : "";
        var erased = v.Erased > 0 ? $", {v.Erased} events with erased texts" : "";
        var expired = v.Expired > 0 ? $", {v.Expired} events expired" : "";
        var back = v.HeadsBack > 0
            ? $"; note: the times of heads go back, {v.HeadsBack} in all, first at head {v.FirstHeadBack}: a clock of a host was wrong"
            : "";
        return string.Create(
            CultureInfo.InvariantCulture,
            $"SOUND      the log: {v.Events} events; {covered}{(v.Head is null ? "" : keys)}{foreign}{erased}{expired}; {v.EventsPerSecond} events/s{back}");
    }

    static string Shown(string text) => VisibleText.Of(FileText.Truncate(text, ShownCharsMax));
}

/// <summary>What <c>verify --database</c> says. Members that the verdict does not have are left out.</summary>
/// <param name="Word"><c>sound</c>, <c>not_sound</c>, or <c>unread</c>: it could not be judged.</param>
/// <param name="Events">Events that were verified, those of earlier calls with the same state included.</param>
/// <param name="Head">Number of the last head.</param>
/// <param name="NotCovered">Events after it.</param>
/// <param name="Pinned">The keys came from outside.</param>
/// <param name="Unhashed">Events that other programs wrote without a hash.</param>
/// <param name="Erased">Events with texts of a data subject that were erased; null: none.</param>
/// <param name="Expired">Events whose data expired, as later events say; null: none.</param>
sealed record LogLine(
    [property: JsonPropertyName("verdict")] string Word, long? Events = null, long? Head = null, long? HeadTreeSize = null, DateTimeOffset? HeadAt = null, long? NotCovered = null,
    long? EventsPerSecond = null, bool? Pinned = null, long? Unhashed = null, long? Erased = null, long? Expired = null)
{
    /// <summary>Position of the first bad event, or the first that it can be.</summary>
    public long? FirstBad { get; init; }

    /// <summary>The last position that it can be.</summary>
    public long? Through { get; init; }

    public string? Stream { get; init; }

    /// <summary>Heads of an earlier time than the head before them, which is no fault: a clock of a host was wrong; null: none.</summary>
    public long? HeadsBack { get; init; }

    /// <summary>Number of the first of them.</summary>
    public long? FirstHeadBack { get; init; }

    public string? Message { get; init; }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, Converters = [typeof(TimestampConverter)])]
[JsonSerializable(typeof(LogLine))]
[JsonSerializable(typeof(LogVerifierState))]
sealed partial class LogVerdictJson : JsonSerializerContext;
