using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Microsoft.Extensions.Logging.Abstractions;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Exports, sessions' bundles and bundles of unfinished runs under signed heads: who cannot sign leaves nothing out of them and puts nothing in.</summary>
public sealed class SignedLinesSpecs : IDisposable
{
    const string Acme = "acme";

    readonly RichRun rich = new();
    readonly SigningKeyring keys;
    readonly AuditTree tree;
    readonly HeadSigner signer;
    readonly AuditHeadLog heads;
    readonly LogProofs proofs;

    public SignedLinesSpecs()
    {
        var (engine, clock, operators) = (rich.Harness.Engine, rich.Harness.Clock, new OperatorsTenant(RunHarness.Org));
        var masters = new MasterKeyring([MasterKey.New()], "the spec");
        keys = new(rich.Host.Commands, rich.Host.Commands, masters, new(rich.Host.Commands, rich.Host.Commands, masters, operators, clock), operators, clock);
        (tree, heads) = (new(engine, clock, NullLogger<AuditTree>.Instance), new(engine, operators));
        signer = new(tree, heads, keys, rich.Host.Commands, operators, new Remembered(), HeadSettings.Default, clock, NullLogger<HeadSigner>.Instance);
        proofs = new(engine, heads, keys);
    }

    public void Dispose()
    {
        tree.Dispose();
        signer.Dispose();
        rich.Dispose();
    }

    public static TheoryData<string, string> Edits => new()
    {
        { "drop the newest event", "gap.hashes" },
        { "hide the newest event behind its hash", "end.log.statement.signature" },
        { "hide an event in the middle behind its hash", "" },
        { "put an event behind the end", "event.gid" },
        { "end earlier", "end.log" },
        { "another cause", "end.log.proof" },
        { "another feed id", "end.log.proof" },
        { "another session", "end.log.proof" },
        { "another hash between", "end.log.proof" },
        { "another time asked for", "end.log.statement.signature" },
        { "no log", "end.log" },
        { "no statement", "end.log.statement" },
        { "another head", "end.log.head" },
    };

    [Theory]
    [MemberData(nameof(Edits))]
    public async Task What_one_who_cannot_sign_changes_of_an_export_is_found(string edit, string place)
    {
        await Acts(Acme, 3);
        await Acts(RunHarness.Org, 2);
        await Acts(Acme, 3);
        await Acts(RunHarness.Org, 1);
        await Sign();
        var anchors = await Anchors();
        var lines = Lines(await Export(Acme));
        var (sound, none) = await Verify(Text(lines), anchors);
        Assert.Null(none);
        Assert.Equal((true, true), (sound!.Signature!.IsPinned, sound.Signature.IsWitnessed));
        Assert.Empty(sound.NotCovered);
        var last = lines.FindLastIndex(line => line.StartsWith("{\"event\"", StringComparison.Ordinal));
        switch (edit)
        {
            case "drop the newest event":
                lines.RemoveAt(last);
                break;
            case "hide the newest event behind its hash":
                lines[last] = await Hidden(lines[last]);
                break;
            case "hide an event in the middle behind its hash":
                lines[last - 1] = await Hidden(lines[last - 1]);
                break;
            case "put an event behind the end":
                lines.Insert(last + 1, lines[last]);
                break;
            case "end earlier":
                Of(lines, ^1, end => end["end"]!["through"] = (long)end["end"]!["through"]! - 1);
                break;
            case "another cause":
                Of(lines, last, e => e["event"]!["causation_id"] = "another");
                break;
            case "another feed id":
                Of(lines, last, e => e["event"]!["feed_id"] = 77);
                break;
            case "another session":
                Of(lines, last, e => e["event"]!["session_id"] = "other");
                break;
            case "another hash between":
                Of(lines, lines.FindIndex(line => line.StartsWith("{\"gap\"", StringComparison.Ordinal)), gap => gap["gap"]!["hashes"]![0] = new string('0', 64));
                break;
            case "another time asked for":
                Of(lines, 0, first => first["header"]!["to"] = "2026-01-01T09:00:00.000Z");
                break;
            case "no log":
                Of(lines, ^1, end => end["end"]!.AsObject().Remove("log"));
                break;
            case "no statement":
                Of(lines, ^1, end => end["end"]!["log"]!.AsObject().Remove("statement"));
                break;
            default:
                Of(lines, ^1, end => end["end"]!["log"]!["head"]!["tree_size"] = (long)end["end"]!["log"]!["head"]!["tree_size"]! + 1);
                break;
        }
        var (report, fault) = await Verify(Sealed(lines), anchors);
        Assert.Null(report);
        Assert.Contains(place, fault!.Location, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Keys_and_heads_from_elsewhere_decide_and_without_them_a_file_speaks_for_itself()
    {
        await Acts(Acme, 2);
        await Sign();
        await Acts(Acme, 1);
        await Sign();
        var (file, kept) = (await Export(Acme), (await heads.After(0, 100, default)).Select(HeadLine.Of).ToList());
        Assert.False((await Verify(file, null)).Report!.Signature!.IsPinned);
        Assert.True((await Verify(file, new(null, kept))).Report!.Signature!.IsPinned);
        Assert.EndsWith("end.log.head.kid", (await Verify(file, new(new Dictionary<string, PublicKey>()))).Fault!.Location, StringComparison.Ordinal);
        Assert.Contains("not among the heads", (await Verify(file, new(null, kept[..1]))).Fault!.Message, StringComparison.Ordinal);
        var (sound, _) = await Verify(file, null);
        var forged = kept.Select(head => head.Number == sound!.Signature!.HeadNumber ? head with { RootHash = new('0', 64) } : head);
        Assert.Contains("not signed by its own key", (await Verify(file, new(null, forged))).Fault!.Message, StringComparison.Ordinal);
        var another = new List<HeadLine>();
        foreach (var head in forged)
        {
            another.Add(head with { Signature = await keys.Sign(SigningKeys.Heads, HeadText.Typ, HeadText.Payload(head.TreeSize, head.RootHash, head.Timestamp), default) });
        }
        Assert.Contains("another one", (await Verify(file, new(null, another))).Fault!.Message, StringComparison.Ordinal);
        Assert.Throws<InvalidDataException>(() => new TrustAnchors(null, [kept[0], kept[0] with { TreeSize = 9 }]));
        // Nothing covers what came after the last head.
        await Acts(Acme, 1);
        var uncovered = await Export(Acme);
        Assert.Null((await Verify(uncovered, null)).Report!.Signature);
        Assert.EndsWith("end.log", (await Verify(uncovered, await Anchors())).Fault!.Location, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Exports_that_follow_each_other_are_joined_and_what_lies_between_them_is_named()
    {
        var (files, after) = (new List<byte[]>(), 0L);
        for (var i = 0; i < 3; i++)
        {
            await Acts(Acme, 2);
            await Acts(RunHarness.Org, 1);
            await Sign();
            var file = await Export(Acme, after);
            files.Add(file);
            after = (await Verify(file, null)).Report!.Through!.Value;
        }
        var anchors = await Anchors();
        Assert.Null(await Joined(anchors, files));
        Assert.Null(await Joined(anchors, files[1..]));
        Assert.Contains("missing", await Joined(anchors, [files[0], files[2]]), StringComparison.Ordinal);
        Assert.Contains("another order", await Joined(anchors, [files[1], files[0]]), StringComparison.Ordinal);
        Assert.Contains("there twice", await Joined(anchors, [files[0], files[0]]), StringComparison.Ordinal);
        var overlapping = await Export(Acme, (await Verify(files[1], null)).Report!.After!.Value + 1);
        Assert.Contains("are in both", await Joined(anchors, [files[0], files[1], overlapping]), StringComparison.Ordinal);
        var through = (await Verify(files[0], null)).Report!.Through!.Value;
        Assert.Contains("is of acme", await Joined(anchors, [files[0], await Export(RunHarness.Org, through)]), StringComparison.Ordinal);
        // Its head is one of the log, and nothing in the file joins it to the head before it.
        var lines = Lines(files[1]);
        Of(lines, ^1, end => end["end"]!["log"]!.AsObject().Remove("consistency"));
        Assert.Contains("not proved", await Joined(anchors, [files[0], Text(lines)]), StringComparison.Ordinal);
        // The same period of another log, which has the same keys.
        Of(lines, ^1, end => end["end"]!["log"]!["consistency"] = new JsonObject { ["hashes"] = new JsonArray(), ["tree_size"] = 1 });
        Assert.Contains("not proved", await Joined(anchors, [files[0], Text(lines)]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_newest_events_of_a_session_cannot_be_left_out_by_one_who_cannot_sign()
    {
        _ = await rich.Bundle();
        await Sign();
        var anchors = await Anchors();
        var lines = Lines(await BundleLinesSpecs.Written(
            output => SessionBundle.Write(rich.Harness.Engine, rich.Harness.Blobs, proofs, RunHarness.Org, RichRun.Session, output, default)));
        Assert.True((await Verify(Text(lines), anchors)).Report!.Signature!.IsPinned);
        for (var i = 1; i < lines.Count - 1; i++)
        {
            List<string> without = [.. lines[..i], .. lines[(i + 1)..]];
            Of(without, ^1, end =>
            {
                var events = without.Where(line => line.StartsWith("{\"event\"", StringComparison.Ordinal)).Select(line => JsonNode.Parse(line)!["event"]!).ToList();
                end["end"]!["feed_id"] = events.Count;
                var own = events.Last(e => (string?)e["stream_id"] == (string?)end["end"]!["stream_id"]);
                (end["end"]!["version"], end["end"]!["hash"]) = ((long)own["version"]!, (string?)own["hash"]);
            });
            Assert.NotNull((await Verify(Sealed(without), anchors)).Fault);
        }
        Of(lines, ^1, end => end["end"]!.AsObject().Remove("log"));
        Assert.Null((await Verify(Text(lines), null)).Fault);
        Assert.EndsWith("end.log", (await Verify(Text(lines), anchors)).Fault!.Location, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_run_that_has_not_ended_has_a_statement_about_its_newest_event_and_one_without_is_told()
    {
        var host = rich.Host;
        await rich.Do(new OpenSession(RichRun.Session, rich.Harness.Workspace, "{}", null));
        var run = await host.Send(RichRun.Session.Value, "Write.\nwrite_file {\"path\":\"report.md\",\"content\":\"hello\"}");
        await Sign();
        var early = await Bundle();
        await host.DriveOne();
        await Sign();
        var bundle = await Bundle();
        var anchors = await Anchors();
        foreach (var (one, has) in (((byte[], int)[])[(early, 2), (bundle, 5)]))
        {
            var (report, fault) = TraceVerifier.Verify(one, anchors: anchors);
            Assert.Null(fault);
            Assert.Empty(report!.NotCovered);
            Assert.True(report.Events >= has);
        }
        // Who takes the statement away, or an earlier one, is told.
        var root = JsonNode.Parse(bundle)!.AsObject();
        var (statement, through) = (root["log"]!["statement"]!.DeepClone(), (long)root["log"]!["through"]!);
        root["log"]!["through"] = through + 10;
        Assert.Equal("$.log.statement.signature", TraceVerifier.Verify(Canonical(root), anchors: anchors).Fault!.Location);
        root["log"]!["statement"] = JsonNode.Parse(early)!["log"]!["statement"]!.DeepClone();
        root["log"]!["through"] = through;
        Assert.Equal("$.log.statement.signature", TraceVerifier.Verify(Canonical(root), anchors: anchors).Fault!.Location);
        root["log"]!.AsObject().Remove("statement");
        root["log"]!.AsObject().Remove("through");
        Assert.Equal(["the newest events of a run that has not ended"], TraceVerifier.Verify(Canonical(root), anchors: anchors).Report!.NotCovered);

        // A run that has ended needs none.
        run = await Ended();
        var ended = JsonNode.Parse(await Bundle())!.AsObject();
        Assert.Null(ended["log"]!["statement"]);
        (ended["log"]!["statement"], ended["log"]!["through"]) = (statement, through);
        anchors = await Anchors();
        Assert.Equal("$.log.statement", TraceVerifier.Verify(Canonical(ended), anchors: anchors).Fault!.Location);

        async Task<byte[]> Bundle() => (await TraceBundle.Build(rich.Harness.Engine, rich.Harness.Blobs, RunHarness.Org, RichRun.Session, run, default, proofs))!;

        async Task<RunKey> Ended()
        {
            var other = await host.Send(RichRun.Session.Value, "Hello.");
            await rich.Do(new CancelRun(other, null));
            await Sign();
            return other;
        }
    }

    /// <summary>Crafted input of every kind ends in a verdict, and costs no more memory than what was not changed does, many times over.</summary>
    [Fact]
    public async Task Whatever_a_verifier_is_given_ends_in_a_verdict_in_bounded_memory()
    {
        const int mutations = 10_000;
        const long bytesMax = 16 << 20;
        var seed = Environment.TickCount;
        TestContext.Current.SendDiagnosticMessage($"seed {seed}");
        var random = new Random(seed);
        var run = await SmallRun();
        await Sign();
        await Acts(Acme, 2);
        await Sign();
        var (engine, blobs) = (rich.Harness.Engine, rich.Harness.Blobs);
        using var bundle = (await TraceBundle.Assemble(engine, blobs, RunHarness.Org, RichRun.Session, run, default, proofs))!;
        var (kept, anchors) = ((await heads.After(0, 100, default)).Select(HeadLine.Of).ToList(), await Anchors());
        (string Kind, byte[] File)[] files =
        [
            ("export", await Export(Acme)),
            ("session", await BundleLinesSpecs.Written(output => SessionBundle.Write(engine, blobs, proofs, RunHarness.Org, RichRun.Session, output, default))),
            ("bundle", bundle.ToArray()),
            ("archive", await BundleLinesSpecs.Written(output => ZipBundle.Write(bundle, blobs, output, default))),
            ("heads", Encoding.UTF8.GetBytes(string.Concat(kept.Select(head => (head with { Consistency = [new('0', 64)] }).ToJson() + "\n")))),
            ("keys", Encoding.UTF8.GetBytes(new JsonObject { ["keys"] = new JsonArray([.. anchors.Keys!.Select(key => Jwk(key.Key, key.Value))]) }.ToJsonString())),
        ];
        for (var i = 0; i < mutations; i++)
        {
            var (kind, file) = files[i % files.Length];
            var changed = Mutated(file, random);
            var before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                switch (kind)
                {
                    case "heads":
                        foreach (var (one, next) in HeadLine.Read(new StringReader(Encoding.UTF8.GetString(changed)), kind) is var read ? read.Zip(read.Skip(1)) : [])
                        {
                            _ = next.Extends(one);
                        }
                        break;
                    case "keys":
                        _ = HeadKeys.Parse(changed);
                        break;
                    default:
                        var (report, fault) = await Verify(changed, i % 2 == 0 ? anchors : null);
                        Assert.True(report is null != fault is null);
                        break;
                }
            }
            catch (InvalidDataException) when (kind is "heads" or "keys")
            {
                // This is their verdict.
            }
            catch (Exception e) when (e is not Xunit.Sdk.IAssertionException)
            {
                Assert.Fail($"seed {seed}, mutation {i} of {kind}: {e}");
            }
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < bytesMax, $"seed {seed}, mutation {i} of {kind}");
        }
    }

    /// <summary>A run that completed, with little to verify.</summary>
    async Task<RunKey> SmallRun()
    {
        await rich.Do(new OpenSession(RichRun.Session, rich.Harness.Workspace, "{}", null));
        var run = await rich.Host.Send(RichRun.Session.Value, "Hello.");
        await rich.Host.DriveOne();
        return run;
    }

    static JsonObject Jwk(string kid, PublicKey key) => new() { ["kty"] = "EC", ["crv"] = "P-256", ["kid"] = kid, ["x"] = key.X, ["y"] = key.Y };

    static readonly string[] Tokens =
    [
        "9223372036854775807", "-1", "1e999", "0.5", "null", "{}", "[]", "\"\"", "\"\\ud800\"", "{\"a\":", new string('[', 200), new string('9', 400), "\0", "\u00e9",
        "\n", "\"log\":{},",
        "{\"gap\":{\"hashes\":[],\"to\":9223372036854775807}}\n", "{\"end\":{}}\n", "PK\u0003\u0004",
    ];

    /// <summary>A file with a byte changed, a part dropped, repeated or moved, a token put in or in a number's place, or its lines in another order.</summary>
    static byte[] Mutated(byte[] file, Random random)
    {
        var (at, length) = (random.Next(file.Length), random.Next(1, 1 + Math.Min(file.Length / 4, 300)));
        var end = Math.Min(file.Length, at + length);
        var token = Encoding.UTF8.GetBytes(Tokens[random.Next(Tokens.Length)]);
        switch (random.Next(7))
        {
            case 0:
                byte[] flipped = [.. file];
                flipped[at] ^= (byte)(1 << random.Next(8));
                return flipped;
            case 1:
                return [.. file[..at], .. file[end..]];
            case 2:
                return [.. file[..end], .. file[at..]];
            case 3:
                return [.. file[..at], .. token, .. file[at..]];
            case 4:
                return file[..at];
            case 5:
                var digit = Array.FindIndex(file, at, c => c is >= (byte)'0' and <= (byte)'9');
                return digit < 0 ? file[at..] : [.. file[..digit], .. token, .. file[(digit + 1)..]];
            default:
                var lines = Encoding.Latin1.GetString(file).Split('\n');
                var (one, two) = (random.Next(lines.Length), random.Next(lines.Length));
                (lines[one], lines[two]) = (lines[two], lines[one]);
                return Encoding.Latin1.GetBytes(string.Join('\n', lines));
        }
    }

    /// <summary>Files of earlier releases and of this one, kept for ever, under the keys and heads that were kept with them.</summary>
    [Theory]
    [InlineData("cowork-export-1.ndjson", "cowork-export/1", false)]
    [InlineData("cowork-export-2.ndjson", "cowork-export/2", true)]
    [InlineData("cowork-session-1.ndjson", "cowork-session/1", false)]
    [InlineData("cowork-session-2.ndjson", "cowork-session/2", true)]
    [InlineData("cowork-trace-4-log.json", "cowork-trace/4", true)]
    [InlineData("cowork-trace-4-content.zip", "cowork-trace/4", true)]
    // A run of a data subject and its session, before and after the subject was erased.
    [InlineData("cowork-trace-4-sealed.json", "cowork-trace/4", true, "sealed-", 0)]
    [InlineData("cowork-trace-4-erased.json", "cowork-trace/4", true, "sealed-", 18)]
    [InlineData("cowork-trace-4-counterfactual.json", "cowork-trace/4", true, "sealed-", 0)]
    [InlineData("cowork-session-2-sealed.ndjson", "cowork-session/2", true, "sealed-", 0)]
    [InlineData("cowork-session-2-erased.ndjson", "cowork-session/2", true, "sealed-", 20)]
    public async Task A_file_of_every_release_stays_readable(string name, string format, bool isSigned, string log = "", int erased = 0)
    {
        var folder = Path.Combine(AppContext.BaseDirectory, "bundles");
        var anchors = new TrustAnchors(
            HeadKeys.Parse(await File.ReadAllBytesAsync(Path.Combine(folder, $"{log}jwks.json"))), HeadLine.Read(Path.Combine(folder, $"{log}heads.ndjson")));
        var file = await File.ReadAllBytesAsync(Path.Combine(folder, name));
        var (report, fault) = await Verify(file, isSigned ? anchors : null);
        Assert.Null(fault);
        Assert.Equal((format, isSigned, erased), (report!.Format, report.Signature is { IsPinned: true, IsWitnessed: true }, report.Erased ?? 0));
        Assert.Equal(isSigned, report.NotCovered.Count == 0);
        Assert.Equal(isSigned, (await Verify(file, anchors)).Fault is null);
    }

    async Task Acts(string org, int times)
    {
        for (var i = 0; i < times; i++)
        {
            var open = new OpenSession(SessionKey.New(rich.Harness.Clock.GetUtcNow()), "/w", "{}", null);
            Assert.Null((await ((ICommandExecutor)rich.Host.Commands).Execute(org, RunHarness.User, open, default)).Refused);
        }
    }

    async Task Sign()
    {
        await keys.Current(SigningKeys.Heads, default);
        Assert.True(await tree.CatchUp(default));
        await signer.Sign(default);
    }

    async Task<TrustAnchors> Anchors() => new(
        (await keys.Published(default)).ToDictionary(key => key.Kid, key => key.Public), (await heads.After(0, 100, default)).Select(HeadLine.Of));

    async Task<byte[]> Export(string org, long after = 0)
    {
        var range = await PeriodExport.Range(rich.Harness.Engine, org, null, null, after, default);
        if ((await heads.Latest(default))?.Head.TreeSize is { } size && size == range.Through - 1)
        {
            // The head's own event is what the next head covers.
            range = range with { Through = size };
        }
        return await BundleLinesSpecs.Written(output => PeriodExport.Write(rich.Harness.Engine, proofs, org, range, output, default));
    }

    /// <summary>The event as one who knows the log hides it: as if it were another tenant's.</summary>
    async Task<string> Hidden(string line)
    {
        var position = (long)JsonNode.Parse(line)!["event"]!["gid"]!;
        var hash = (await proofs.Leaves(Acme, [position], default))[0].LeafHash();
        return $"{{\"gap\":{{\"hashes\":[\"{Convert.ToHexStringLower(hash)}\"],\"to\":{position}}}}}";
    }

    static async Task<string?> Joined(TrustAnchors anchors, IEnumerable<byte[]> files)
    {
        var chain = new ExportChain();
        foreach (var file in files)
        {
            if ((await BundleFile.Verify(new MemoryStream(file), null, anchors, default, chain)).Fault is { } fault)
            {
                return fault.Message;
            }
        }
        return null;
    }

    static Task<(BundleReport? Report, TraceFault? Fault)> Verify(byte[] file, TrustAnchors? anchors) => BundleFile.Verify(new MemoryStream(file), null, anchors, default);

    static List<string> Lines(byte[] file) => [.. Encoding.UTF8.GetString(file).TrimEnd('\n').Split('\n')];

    static byte[] Text(List<string> lines) => Encoding.UTF8.GetBytes(string.Concat(lines.Select(line => line + "\n")));

    static void Of(List<string> lines, Index line, Action<JsonNode> change)
    {
        var node = JsonNode.Parse(lines[line])!;
        change(node);
        lines[line] = Encoding.UTF8.GetString(Canonical(node));
    }

    static byte[] Canonical(JsonNode node) => CanonicalJson.Of(Encoding.UTF8.GetBytes(node.ToJsonString()));

    /// <summary>The lines with count, last position and digest computed anew.</summary>
    static byte[] Sealed(List<string> lines)
    {
        var events = lines.Where(line => line.StartsWith("{\"event\"", StringComparison.Ordinal)).Select(line => JsonNode.Parse(line)!["event"]!).ToList();
        Of(lines, ^1, end =>
        {
            end["end"]!["sha256"] = Convert.ToHexStringLower(SHA256.HashData(Text(lines[..^1])));
            end["end"]!["count"] = events.Count;
            if (end["end"]!["last"] is not null)
            {
                end["end"]!["last"] = (long)events[^1]["gid"]!;
            }
        });
        return Text(lines);
    }

    sealed class Remembered : IHeadMemory
    {
        public SignedHead? Last { get; private set; }

        public string Place => "memory";

        public void Keep(SignedHead head) => Last = head;
    }
}
