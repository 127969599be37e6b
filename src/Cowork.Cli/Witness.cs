using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Cli;

/// <summary>
/// <c>cowork witness</c> follows the signed heads of a log from another machine: it checks each signature, and that each head's tree begins with that of the head before it, keeps
/// the heads, and raises an alarm when the log is another one, has lost its end, or does not go on.
/// </summary>
static class Witness
{
    const int AlarmCode = 3;
    const int PageMax = 500;
    const int ShownCharsMax = 400;

    static readonly TimeSpan AnswerMax = TimeSpan.FromSeconds(30);

    sealed record Options(
        Uri? Url, string? Token, string? Drop, string State, string? Jwks, TimeSpan Every, TimeSpan? SilentMax, string? Command, Uri? Webhook, bool Once);

    public static async Task<int> Run(string[] arguments)
    {
        if (Read(arguments) is not { } options)
        {
            return Usage.Error;
        }
        using var stop = new CancellationTokenSource();
        using var interrupted = PosixSignalRegistration.Create(PosixSignal.SIGINT, signal => Stop(signal, stop));
        using var terminated = PosixSignalRegistration.Create(PosixSignal.SIGTERM, signal => Stop(signal, stop));
        try
        {
            return await Follow(options, stop.Token);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            return 0;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException or JsonException)
        {
            Console.Error.WriteLine($"cowork: {Shown(e.Message)}");
            return 1;
        }
    }

    static void Stop(PosixSignalContext signal, CancellationTokenSource stop)
    {
        signal.Cancel = true;
        stop.Cancel();
    }

    static Options? Read(string[] arguments)
    {
        var (given, once) = (new Dictionary<string, string>(), false);
        for (var i = 0; i < arguments.Length; i++)
        {
            if (arguments[i] == "--once")
            {
                once = true;
            }
            else if (arguments[i] is "--url" or "--token" or "--drop" or "--state" or "--jwks" or "--every" or "--silent" or "--command" or "--webhook" && i + 1 < arguments.Length)
            {
                given[arguments[i]] = arguments[++i];
            }
            else
            {
                Usage.Wrong($"witness has no option {VisibleText.Of(arguments[i])}, or the option lacks its value");
                return null;
            }
        }
        var drop = given.GetValueOrDefault("--drop");
        Uri? url = null;
        if (given.TryGetValue("--url", out var text) && (!Uri.TryCreate(text.TrimEnd('/') + "/", UriKind.Absolute, out url) || url.Scheme is not ("http" or "https")))
        {
            Usage.Wrong("--url is an address like https://cowork.example:26866");
            return null;
        }
        Uri? webhook = null;
        if (given.TryGetValue("--webhook", out var hook) && (!Uri.TryCreate(hook, UriKind.Absolute, out webhook) || webhook.Scheme is not ("http" or "https")))
        {
            Usage.Wrong("--webhook is an address like https://pager.example/alarm");
            return null;
        }
        if (!given.TryGetValue("--state", out var state) || url is null == drop is null || (drop is not null && !given.ContainsKey("--jwks")))
        {
            Usage.Wrong("witness needs --state DIR, and --url URL, or --drop PATH with --jwks FILE");
            return null;
        }
        if (Seconds("--every", 30) is not { } every || Seconds("--silent", 0) is not { } silent)
        {
            Usage.Wrong("--every and --silent are whole numbers of seconds");
            return null;
        }
        return new(
            url, given.GetValueOrDefault("--token") ?? Environment.GetEnvironmentVariable("COWORK_TOKEN"), drop, state, given.GetValueOrDefault("--jwks"), every,
            silent > TimeSpan.Zero ? silent : null, given.GetValueOrDefault("--command"), webhook, once);

        TimeSpan? Seconds(string name, int otherwise) =>
            !given.TryGetValue(name, out var value) ? TimeSpan.FromSeconds(otherwise)
            : int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var seconds) ? TimeSpan.FromSeconds(seconds)
            : null;
    }

    static async Task<int> Follow(Options options, CancellationToken ct)
    {
        Directory.CreateDirectory(options.State);
        KeptHeads kept;
        try
        {
            kept = new(options.State);
        }
        catch (InvalidDataException e)
        {
            await Alarm($"What this witness keeps was changed. {e.Message}", options);
            return AlarmCode;
        }
        using var http = new HttpClient(new SocketsHttpHandler { UseProxy = true }) { Timeout = AnswerMax, BaseAddress = options.Url };
        http.DefaultRequestHeaders.Authorization = options.Token is null ? null : new AuthenticationHeaderValue("Bearer", options.Token);
        var since = Stopwatch.StartNew();
        while (true)
        {
            string? alarm;
            try
            {
                var before = kept.Last?.Number ?? 0;
                alarm = options.Drop is { } drop ? await Look(drop, kept, options, ct) : await Look(http, kept, options, ct);
                if ((kept.Last?.Number ?? 0) > before)
                {
                    since.Restart();
                    Console.Out.WriteLine($"head {kept.Last!.Number} over {kept.Last.TreeSize} events of {HashChain.Timestamp(kept.Last.Timestamp)}: kept");
                }
            }
            catch (Exception e) when (e is HttpRequestException or IOException or JsonException || (e is TaskCanceledException && !ct.IsCancellationRequested))
            {
                Console.Error.WriteLine($"cowork: no head could be read, and that is tried again: {Shown(e.Message)}");
                alarm = options.Once ? $"No head could be read: {e.Message}" : null;
            }
            alarm ??= options.SilentMax is { } max && since.Elapsed > max ? $"No new head has come for {since.Elapsed.TotalSeconds:0} s." : null;
            if (alarm is not null)
            {
                await Alarm(alarm, options);
                return AlarmCode;
            }
            if (options.Once)
            {
                return 0;
            }
            await Task.Delay(options.Every, ct);
        }
    }

    /// <summary>Reads new heads of the service. Answers the alarm.</summary>
    static async Task<string?> Look(HttpClient http, KeptHeads kept, Options options, CancellationToken ct)
    {
        var keys = await Keys(http, kept, options, ct);
        if (await kept.WhyChanged(1, keys, ct) is { } changed)
        {
            return changed;
        }
        if (kept.Last is { } last)
        {
            // The last head that was kept must be there as it was.
            var again = await Page(http, last.Number - 1, 1, ct);
            if (again is [])
            {
                return $"The log has no head {last.Number} any more, which was over {last.TreeSize} events: its end is gone.";
            }
            if (!again[0].Is(last))
            {
                return $"Head {last.Number} of the log is another one than the one that was kept: the log was rewritten.";
            }
        }
        while (await Page(http, kept.Last?.Number ?? 0, PageMax, ct) is { Count: > 0 } page)
        {
            if (keys.Count == 0 && options.Jwks is null)
            {
                // The service has signed its first head since it was asked for its keys.
                keys = await Keys(http, kept, options, ct);
                if (keys.Count == 0)
                {
                    throw new JsonException("The service has heads, and names no key that signs them.");
                }
            }
            foreach (var head in page)
            {
                if (await Judge(head, kept.Last, keys) is { } wrong)
                {
                    return wrong;
                }
                if (kept.Last is { } before)
                {
                    var proof = await http.GetFromJsonAsync(
                        string.Create(CultureInfo.InvariantCulture, $"audit/consistency?from={before.TreeSize}&to={head.TreeSize}"), WitnessJson.Default.Consistency, ct);
                    if (proof?.Proof is null || !MerkleTree.Extends(
                        before.TreeSize, Bytes(before.RootHash), head.TreeSize, Bytes(head.RootHash), [.. proof.Proof.Select(Bytes)]))
                    {
                        return $"The tree of head {head.Number} does not begin with that of head {before.Number}: the first {before.TreeSize} events were changed.";
                    }
                }
                Keep(kept, head);
            }
        }
        return null;
    }

    /// <summary>
    /// Reads new heads of a file, or of a folder with a file for each. That a tree begins with that of the head before it is checked by the proof that was sent with it; a head of
    /// an earlier release has none, and is said to be unproved.
    /// </summary>
    static async Task<string?> Look(string drop, KeptHeads kept, Options options, CancellationToken ct)
    {
        var keys = HeadKeys.Parse(await RegularFile.Read(options.Jwks!, HeadKeys.BytesMax, ct));
        var heads = Directory.Exists(drop)
            ? Directory.GetFiles(drop, "head-*.json").Order(StringComparer.Ordinal).SelectMany(HeadLine.Read).ToList()
            : HeadLine.Read(drop);
        if (await kept.WhyChanged(heads is [var first, ..] ? first.Number : 1, keys, ct) is { } changed)
        {
            return changed;
        }
        if (kept.Last is { } last)
        {
            if (heads.FirstOrDefault(head => head.Number == last.Number) is not { } again)
            {
                return $"{drop} has no head {last.Number} any more: its end is gone.";
            }
            if (!again.Is(last))
            {
                return $"Head {last.Number} of {drop} is another one than the one that was kept.";
            }
        }
        foreach (var head in heads.Where(head => head.Number > (kept.Last?.Number ?? 0)))
        {
            if (await Judge(head, kept.Last, keys) is { } wrong)
            {
                return wrong;
            }
            if (kept.Last is { } before && head.Extends(before) is var extends)
            {
                if (extends == false)
                {
                    return $"The tree of head {head.Number} does not begin with that of head {before.Number}: the first {before.TreeSize} events were changed.";
                }
                if (extends is null)
                {
                    Console.Out.WriteLine($"head {head.Number} is unproved: it came without a proof that its tree begins with that of head {before.Number}");
                }
            }
            Keep(kept, head);
        }
        return null;
    }

    static async Task<string?> Judge(HeadLine head, HeadLine? before, IReadOnlyDictionary<string, PublicKey> keys) =>
        head.Number != (before?.Number ?? head.Number - 1) + 1 ? $"Head {head.Number} follows head {before!.Number}."
        : before is not null && head.TreeSize <= before.TreeSize ? $"Head {head.Number} is over {head.TreeSize} events, and the one before it over {before.TreeSize}."
        : await HeadText.WhyWrong(head.Head, keys.GetValueOrDefault) is { } why ? $"Head {head.Number} is not signed. {why}"
        : null;

    /// <summary>Keeps a head that is right. A time that goes back is no fault of the log: it is the clock of the host that signed.</summary>
    static void Keep(KeptHeads kept, HeadLine head)
    {
        if (kept.Last is { } before && head.Timestamp < before.Timestamp)
        {
            Console.Out.WriteLine(
                $"note: head {head.Number} of {HashChain.Timestamp(head.Timestamp)} is of an earlier time than head {before.Number} of {HashChain.Timestamp(before.Timestamp)}: "
                + "a clock of a host was wrong");
        }
        kept.Keep(head);
    }

    static async Task<IReadOnlyList<HeadLine>> Page(HttpClient http, long since, int limit, CancellationToken ct)
    {
        using var answer = await http.GetAsync(string.Create(CultureInfo.InvariantCulture, $"audit/heads?since={since}&limit={limit}"), ct);
        answer.EnsureSuccessStatusCode();
        using var json = JsonDocument.Parse(await answer.Content.ReadAsByteArrayAsync(ct));
        return json.RootElement.TryGetProperty("heads", out var heads) && heads.ValueKind == JsonValueKind.Array
            ? [.. heads.EnumerateArray().Select(head => HeadLine.Parse(head.GetRawText()) ?? throw new JsonException("The service answered what is no head."))]
            : throw new JsonException("The service answered no list of heads.");
    }

    /// <summary>
    /// The keys to trust: those of the file, else those of heads that the service had when it was asked first and had some. Before its first head it has none, and none are kept.
    /// </summary>
    static async Task<IReadOnlyDictionary<string, PublicKey>> Keys(HttpClient http, KeptHeads kept, Options options, CancellationToken ct)
    {
        if (options.Jwks is { } file)
        {
            return HeadKeys.Parse(await RegularFile.Read(file, HeadKeys.BytesMax, ct));
        }
        var pinned = Path.Combine(options.State, "jwks.json");
        if (!File.Exists(pinned))
        {
            if (kept.Last is not null)
            {
                throw new InvalidDataException($"{pinned} is gone, and heads were kept. Give the keys with --jwks FILE.");
            }
            var set = await http.GetByteArrayAsync("infra/jwks.json", ct);
            if (HeadKeys.Parse(set) is { Count: 0 } none)
            {
                return none;
            }
            await File.WriteAllBytesAsync(pinned, set, ct);
            Console.Out.WriteLine($"The keys of {options.Url} are trusted from now on, and kept in {pinned}.");
        }
        return HeadKeys.Parse(await File.ReadAllBytesAsync(pinned, ct));
    }

    static async Task Alarm(string what, Options options)
    {
        var line = $"ALARM {TimeProvider.System.GetUtcNow():yyyy-MM-dd'T'HH:mm:ss'Z'} {Shown(what)}";
        Console.Error.WriteLine(line);
        KeptHeads.Note(options.State, line);
        if (options.Command is { } command)
        {
            try
            {
                using var process = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", command]) { Environment = { ["COWORK_ALARM"] = line } });
                await process!.WaitForExitAsync();
            }
            catch (Exception e) when (e is System.ComponentModel.Win32Exception or InvalidOperationException)
            {
                Console.Error.WriteLine($"cowork: the command of the alarm cannot be started: {Shown(e.Message)}");
            }
        }
        if (options.Webhook is { } webhook)
        {
            try
            {
                using var http = new HttpClient { Timeout = AnswerMax };
                using var body = new StringContent(JsonSerializer.Serialize(new(line), WitnessJson.Default.AlarmBody), Encoding.UTF8, "application/json");
                using var answer = await http.PostAsync(webhook, body);
                answer.EnsureSuccessStatusCode();
            }
            catch (Exception e) when (e is HttpRequestException or TaskCanceledException)
            {
                Console.Error.WriteLine($"cowork: the alarm could not be posted: {Shown(e.Message)}");
            }
        }
    }

    static byte[] Bytes(string hex)
    {
        try
        {
            return Convert.FromHexString(hex);
        }
        catch (FormatException)
        {
            return [];
        }
    }

    static string Shown(string text) => VisibleText.Of(FileText.Truncate(text, ShownCharsMax));

    /// <summary>The heads that were kept, one to a line, each on the disk before the next one is asked for; and the alarms.</summary>
    sealed class KeptHeads
    {
        readonly string heads;

        /// <summary>Those that were there at the start, until they were looked at.</summary>
        IReadOnlyList<HeadLine> unseen;

        /// <exception cref="InvalidDataException">A line is no head.</exception>
        public KeptHeads(string folder)
        {
            heads = Path.Combine(folder, "heads.ndjson");
            unseen = File.Exists(heads) ? HeadLine.Read(heads) : [];
            Last = unseen is [.., var last] ? last : null;
        }

        public HeadLine? Last { get; private set; }

        /// <summary>
        /// Whether somebody has changed the heads that were there at the start, or left one out: each must be signed and follow the one before it. Of those that are gone from the
        /// end nothing tells, but the log is asked for them again.
        /// </summary>
        /// <param name="begin">Number of the first head that was there to keep.</param>
        public async Task<string?> WhyChanged(long begin, IReadOnlyDictionary<string, PublicKey> keys, CancellationToken ct)
        {
            HeadLine? before = null;
            foreach (var head in unseen)
            {
                ct.ThrowIfCancellationRequested();
                var why = before is null && head.Number > begin ? $"It begins with head {head.Number}, and there was head {begin}."
                    : await Judge(head, before, keys)
                        ?? (before is not null && head.Extends(before) == false ? $"The tree of head {head.Number} does not begin with that of head {before.Number}." : null);
                if (why is not null)
                {
                    return $"What this witness keeps in {heads} was changed. {why}";
                }
                before = head;
            }
            unseen = [];
            return null;
        }

        public void Keep(HeadLine head)
        {
            Append(heads, head.ToJson());
            Last = head;
        }

        public static void Note(string folder, string alarm) => Append(Path.Combine(folder, "alarms.log"), alarm);

        /// <summary>A line that a killed witness has begun is cut off first.</summary>
        static void Append(string path, string line)
        {
            using var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
            var end = file.Length;
            for (; end > 0; end--)
            {
                file.Position = end - 1;
                if (file.ReadByte() == '\n')
                {
                    break;
                }
            }
            file.SetLength(end);
            file.Position = end;
            file.Write(Encoding.UTF8.GetBytes(line + "\n"));
            file.Flush(flushToDisk: true);
        }
    }
}

/// <param name="Proof">In hex.</param>
sealed record Consistency(IReadOnlyList<string>? Proof);

sealed record AlarmBody(string Alarm);

[System.Text.Json.Serialization.JsonSourceGenerationOptions(PropertyNamingPolicy = System.Text.Json.Serialization.JsonKnownNamingPolicy.SnakeCaseLower)]
[System.Text.Json.Serialization.JsonSerializable(typeof(Consistency))]
[System.Text.Json.Serialization.JsonSerializable(typeof(AlarmBody))]
sealed partial class WitnessJson : System.Text.Json.Serialization.JsonSerializerContext;
