using System.Globalization;
using System.IO.Pipelines;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Bundles of sessions and exports of periods: complete, the same every time, and checked line by line in bounded memory.</summary>
public sealed class BundleLinesSpecs : IDisposable
{
    readonly RichRun rich = new();

    public void Dispose() => rich.Dispose();

    [Fact]
    public async Task A_sessions_bundle_has_its_feed_what_its_runs_used_and_the_blobs_and_is_sound()
    {
        var file = await Session();
        var (report, fault) = await Verify(file);
        Assert.Null(fault);
        Assert.Equal((SessionBundle.Format, RichRun.Session.Id, 2, 1), (report!.Format, report.SessionId, report.Runs, report.Blobs));
        Assert.Equal(file, await Session());
        var lines = Lines(file);
        Assert.Equal(report.Events, lines.Count(line => line["event"] is not null));
        // The earlier turn is in the session itself.
        Assert.Equal(["skill_version_added.v1", "memory_changed.v1"], lines.Where(line => line["related"] is not null).Select(line => (string)line["related"]!["type"]!));
        Assert.Contains("cell_completed.v1", lines.Select(line => (string?)line["event"]?["type"]));
        Assert.Equal(report.Digest, (string?)lines[^1]["end"]!["sha256"]);
    }

    [Fact]
    public async Task An_export_has_every_event_of_the_tenant_and_goes_on_behind_a_position()
    {
        _ = await rich.Bundle();
        var all = (await rich.Harness.Engine.Feed(RunHarness.Org, null, 0, 1_000, default)).Entries;
        var (report, fault) = await Verify(await Period(null, null));
        Assert.Null(fault);
        Assert.Equal((PeriodExport.Format, all.Count, all[^1].Position), (report!.Format, report.Events, report.Through));
        var rest = await Period(null, null, after: all[9].Position);
        (report, fault) = await Verify(rest);
        Assert.Null(fault);
        Assert.Equal((all.Count - 10, all[9].Position), (report!.Events, report.After));
        Assert.Equal(all[10].Position, (long)Lines(rest)[1]["event"]!["gid"]!);
        Assert.Equal(0, (await Verify(await Period(null, null, after: all[^1].Position))).Report!.Events);
    }

    [Fact]
    public async Task Periods_meet_without_a_gap_and_without_an_event_in_both()
    {
        var host = rich.Harness.AddHost("clock");
        List<DateTimeOffset> times = [];
        for (var i = 0; i < 7; i++)
        {
            times.Add(rich.Harness.Clock.GetUtcNow());
            await host.OpenSession($"s{i}");
            rich.Harness.Clock.Advance(TimeSpan.FromMinutes(1));
        }
        List<string> told = [];
        foreach (var (from, to) in times.Prepend(DateTimeOffset.MinValue).Zip(times.Append(DateTimeOffset.MaxValue)))
        {
            var file = await Period(from == DateTimeOffset.MinValue ? null : from, to == DateTimeOffset.MaxValue ? null : to);
            Assert.Null((await Verify(file)).Fault);
            var events = Lines(file).Select(line => line["event"]).OfType<JsonObject>().ToList();
            Assert.All(events, e => Assert.InRange(DateTimeOffset.Parse((string)e["ts"]!, CultureInfo.InvariantCulture), from, to - TimeSpan.FromTicks(1)));
            told.AddRange(events.Select(e => (string)e["id"]!));
        }
        Assert.Equal((await rich.Harness.Engine.Feed(RunHarness.Org, null, 0, 1_000, default)).Entries.Select(e => e.Id.ToString()), told);
    }

    [Fact]
    public async Task What_no_reader_sees_is_left_out_and_the_chain_goes_on_over_it()
    {
        var host = rich.Harness.AddHost("issuer");
        async Task Do(ICommand command) =>
            Assert.Null((await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, command, default)).Refused);
        var (token, secret) = (TokenKey.New(rich.Harness.Clock.GetUtcNow()), new string('5', 64));
        await Do(new IssueToken(token, "n", "ann", ["member"], secret));
        await Do(new OpenSession(SessionKey.Own("other"), "/w", "{}", "{\"department\":\"topsecret\"}"));
        var run = await host.Send("other", "hello");
        await host.DriveOne();
        var bundle = (await TraceBundle.Build(rich.Harness.Engine, rich.Harness.Blobs, RunHarness.Org, new("other"), run, default))!;
        var session = await Written(output => SessionBundle.Write(rich.Harness.Engine, rich.Harness.Blobs, null, RunHarness.Org, new("other"), output, default));
        foreach (var file in (byte[][])[bundle, session, await Period(null, null)])
        {
            Assert.Null((await Verify(file)).Fault);
            var text = Encoding.UTF8.GetString(file);
            Assert.DoesNotContain("topsecret", text, StringComparison.Ordinal);
            Assert.DoesNotContain(secret, text, StringComparison.Ordinal);
            Assert.Contains("\"withheld\":\"auth_context\"", text, StringComparison.Ordinal);
        }
        // Nobody says that of an event that has nothing to hide.
        var lines = Encoding.UTF8.GetString(session).TrimEnd('\n').Split('\n');
        lines[2] = lines[2][..^2] + ",\"withheld\":\"auth_context\"}}";
        Assert.Equal("line 3.event.withheld", (await Verify(Sealed(lines))).Fault!.Location);
    }

    public static TheoryData<string, string> Edits => new()
    {
        { "change a byte", "line 5" },
        { "drop a line", "line " },
        { "swap two lines", "line " },
        { "repeat a line", "line " },
        { "cut the last line", "end" },
        { "cut within a line", "line " },
        { "something behind the end", "end" },
        { "another tenant", "line " },
        { "count", "line " },
        { "white space", "line 3" },
        { "unknown line", "line 4" },
        { "unknown member", "line 4" },
        { "unknown format", "line 1.format" },
        { "no header", "line 1" },
        { "two members", "line 4" },
        { "deep nesting", "line 4" },
        { "huge number", "line 4" },
        { "a member twice", "line 4" },
        { "empty line", "line 4" },
        { "no object", "line 4" },
    };

    [Theory]
    [MemberData(nameof(Edits))]
    public async Task What_was_changed_is_found_in_both_kinds(string edit, string place)
    {
        foreach (var file in (byte[][])[await Session(), await Period(null, null)])
        {
            var lines = Encoding.UTF8.GetString(file).TrimEnd('\n').Split('\n').ToList();
            switch (edit)
            {
                case "change a byte":
                    lines[4] = lines[4].Replace("\"actor\":\"", "\"actor\":\"x", StringComparison.Ordinal);
                    break;
                case "drop a line":
                    lines.RemoveAt(5);
                    break;
                case "swap two lines":
                    (lines[5], lines[6]) = (lines[6], lines[5]);
                    break;
                case "repeat a line":
                    lines.Insert(5, lines[5]);
                    break;
                case "cut the last line":
                    lines.RemoveAt(lines.Count - 1);
                    break;
                case "cut within a line":
                    lines[^1] = lines[^1][..^3];
                    break;
                case "something behind the end":
                    lines.Add(lines[^1]);
                    break;
                case "another tenant":
                    lines[0] = lines[0].Replace("\"tenant_id\":\"default\"", "\"tenant_id\":\"acme\"", StringComparison.Ordinal);
                    break;
                case "count":
                    lines[^1] = lines[^1].Replace("\"count\":", "\"count\":1", StringComparison.Ordinal);
                    break;
                case "white space":
                    lines[2] += " ";
                    break;
                case "unknown line":
                    lines[3] = "{\"note\":{}}";
                    break;
                case "unknown member":
                    lines[3] = lines[3].Replace("\"version\":", "\"verse\":1,\"version\":", StringComparison.Ordinal);
                    break;
                case "unknown format":
                    lines[0] = lines[0].Replace("/2\"", "/9\"", StringComparison.Ordinal);
                    break;
                case "no header":
                    lines[0] = lines[0][..lines[0].IndexOf(",\"header\"", StringComparison.Ordinal)] + "}";
                    break;
                case "two members":
                    lines[3] = lines[3][..^1] + ",\"z\":{}}";
                    break;
                case "deep nesting":
                    lines[3] = string.Concat(Enumerable.Repeat("{\"event\":", 1_000)) + "1" + new string('}', 1_000);
                    break;
                case "huge number":
                    lines[3] = "{\"event\":{\"gid\":1e999}}";
                    break;
                case "a member twice":
                    lines[3] = "{\"event\":{},\"event\":{}}";
                    break;
                case "empty line":
                    lines[3] = "";
                    break;
                default:
                    lines[3] = "[]";
                    break;
            }
            var end = edit == "cut within a line" ? "" : "\n";
            var (report, fault) = await Verify(Encoding.UTF8.GetBytes(string.Join('\n', lines) + end));
            Assert.Null(report);
            Assert.StartsWith(place, fault!.Location, StringComparison.Ordinal);
        }
    }

    /// <summary>Who computes the digest of the lines anew is still found where an event, a stream or the feed says what must be there.</summary>
    [Fact]
    public async Task No_line_of_a_session_can_be_dropped_or_moved_by_one_who_computes_the_digest()
    {
        var lines = Encoding.UTF8.GetString(await Session()).TrimEnd('\n').Split('\n');
        for (var i = 1; i < lines.Length - 1; i++)
        {
            // Settings of a host may be gone.
            Assert.Equal(lines[i].StartsWith("{\"blob\"", StringComparison.Ordinal), (await Verify(Sealed([.. lines[..i], .. lines[(i + 1)..]]))).Fault is null);
        }
        Assert.Null((await Verify(Sealed(lines))).Fault);
    }

    [Fact]
    public async Task Of_an_export_only_the_newest_event_of_a_stream_can_be_dropped_by_one_who_computes_the_digest()
    {
        _ = await rich.Bundle();
        var lines = Encoding.UTF8.GetString(await Period(null, null)).TrimEnd('\n').Split('\n');
        var streams = lines.Select(line => (string?)JsonNode.Parse(line)!["event"]?["stream_id"]).ToList();
        for (var i = 1; i < lines.Length - 1; i++)
        {
            var isNewest = streams.LastIndexOf(streams[i]) == i;
            Assert.Equal(isNewest, (await Verify(Sealed([.. lines[..i], .. lines[(i + 1)..]]))).Fault is null);
        }
    }

    [Theory]
    [InlineData("{\"format\":\"cowork-export/1\",\"header\":{\"after\":0,\"from\":null,\"tenant_id\":\"t\",\"to\":null}}\n")]
    [InlineData("{\"format\":\"cowork-session/1\",\"header\":{\"session_id\":\"s\",\"tenant_id\":\"t\"}}\n")]
    public async Task A_file_without_end_is_refused_at_its_longest_line(string header)
    {
        await using var endless = new EndlessStream(Encoding.UTF8.GetBytes(header));
        var before = GC.GetAllocatedBytesForCurrentThread();
        var (report, fault) = await BundleFile.Verify(endless, null, null, default);
        Assert.Null(report);
        Assert.Equal("line 2", fault!.Location);
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 3L * LineReaderBytesMax);
    }

    const long LineReaderBytesMax = 192L << 20;

    async Task<byte[]> Session()
    {
        if (rich.Later == default)
        {
            _ = await rich.Bundle();
        }
        return await Written(output => SessionBundle.Write(rich.Harness.Engine, rich.Harness.Blobs, null, RunHarness.Org, RichRun.Session, output, default));
    }

    async Task<byte[]> Period(DateTimeOffset? from, DateTimeOffset? to, long after = 0)
    {
        var range = await PeriodExport.Range(rich.Harness.Engine, RunHarness.Org, from, to, after, default);
        return await Written(output => PeriodExport.Write(rich.Harness.Engine, null, RunHarness.Org, range, output, default));
    }

    internal static async Task<byte[]> Written(Func<PipeWriter, Task> write)
    {
        using var file = new MemoryStream();
        var output = PipeWriter.Create(file, new(leaveOpen: true));
        await write(output);
        await output.CompleteAsync();
        return file.ToArray();
    }

    internal static async Task<(BundleReport? Report, TraceFault? Fault)> Verify(byte[] file) => await BundleFile.Verify(new MemoryStream(file), null, null, default);

    static List<JsonNode> Lines(byte[] file) => [.. Encoding.UTF8.GetString(file).TrimEnd('\n').Split('\n').Select(line => JsonNode.Parse(line)!)];

    /// <summary>A file of these lines with counts and digest computed anew.</summary>
    static byte[] Sealed(string[] lines)
    {
        var before = Encoding.UTF8.GetBytes(string.Concat(lines[..^1].Select(line => line + "\n")));
        var end = JsonNode.Parse(lines[^1])!;
        var events = lines.Where(line => line.StartsWith("{\"event\"", StringComparison.Ordinal)).Select(line => JsonNode.Parse(line)!["event"]!).ToList();
        end["end"]!["sha256"] = Convert.ToHexStringLower(SHA256.HashData(before));
        end["end"]!["count"] = events.Count;
        if (end["end"]!["last"] is not null)
        {
            end["end"]!["last"] = (long)events[^1]["gid"]!;
        }
        return [.. before, .. CanonicalJson.Of(Encoding.UTF8.GetBytes(end.ToJsonString())), (byte)'\n'];
    }

    /// <summary>A begin, and letters for ever.</summary>
    sealed class EndlessStream(byte[] begin) : ReadOnlyStream
    {
        int read;

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (read < begin.Length)
            {
                var length = Math.Min(begin.Length - read, buffer.Length);
                begin.AsSpan(read, length).CopyTo(buffer.Span);
                read += length;
                return new(length);
            }
            buffer.Span.Fill((byte)'x');
            return new(buffer.Length);
        }
    }
}
