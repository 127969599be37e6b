using System.Formats.Tar;
using System.IO.Compression;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;

using Npgsql;

namespace Cowork.Web.Tests;

/// <summary>
/// Databases of the last release, one of each of its engines, dumped while runs were under way on a host that was killed. They open as they are; what was
/// seen before is seen again, to the byte, and what was unfinished goes on. Members that answers have had since then are beside what was seen before.
/// </summary>
public sealed partial class LastReleaseSpecs
{
    static readonly TimeSpan LongAgo = TimeSpan.FromDays(36_500);

    [Theory]
    [InlineData("npgsql")]
    [InlineData("marten")]
    public async Task A_database_of_the_last_release_opens_and_shows_what_it_showed(string engine)
    {
        var expected = JsonNode.Parse(await Unpacked(engine, "expected.json.gz"))!;
        await using var host = await Open(engine);
        await host.Services.GetRequiredService<StorageEngine>().Store.Storage.Database.AssertDatabaseMatchesConfigurationAsync();
        // The tree over the log is made beside it.
        await host.Http.Until("/metrics", got =>
        {
            var audit = got.Is(200).Json.GetProperty("host").GetProperty("audit");
            return audit.GetProperty("tree_size").GetInt64() > 0 && audit.GetProperty("tree_lag_events").GetInt64() == 0;
        });
        Assert.Null(await new MerkleRebuild(host.Services.GetRequiredService<IMerkleStore>()).FindDifference(CancellationToken.None));
        foreach (var (session, text) in expected["feed_texts"]!.AsObject())
        {
            Assert.Equal(text!.GetValue<string>(), AsBefore((await host.Http.Get($"/sessions/{session}/events?since_id=0&limit=1000")).Is(200).Text));
        }
        foreach (var (session, page) in expected["feeds"]!.AsObject().Where(feed => !feed.Key.StartsWith("held_", StringComparison.Ordinal) && !feed.Key.StartsWith("waits_", StringComparison.Ordinal)))
        {
            var feed = AsBefore((await host.Http.Get($"/sessions/{session}/events?since_id=0&limit=1000")).Is(200).Text);
            Assert.Equal($"{session} {page!["sha256_of_first_page"]}", $"{session} {Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(feed)))}");
        }
        foreach (var (run, text) in expected["trace_texts"]!.AsObject())
        {
            var bundle = (await host.Http.Get($"/runs/{run}/trace")).Is(200).Text;
            Assert.Equal(text!.GetValue<string>(), InSecondFormat(bundle));
            Assert.Null(TraceVerifier.Verify(Encoding.UTF8.GetBytes(bundle)).Fault);
        }
        foreach (var (path, member, of) in ((string, string, string)[])
            [("/approvals?status=all&limit=1000", "approvals", "approvals"), ("/skills?limit=1000", "skills", "skills"), ("/scheduled-runs?limit=1000", "scheduled_runs", "schedules")])
        {
            AssertSame(expected[of]!, JsonNode.Parse((await host.Http.Get(path)).Is(200).Text)![member]!);
        }
        foreach (var (run, was) in expected["runs"]!.AsObject().Where(run => run.Value!["status"]!.GetValue<string>() is "completed" or "failed" or "cancelled"))
        {
            var now = JsonNode.Parse((await host.Http.Get($"/runs/{run}")).Is(200).Text)!;
            AssertSame(was!, now);
        }
        foreach (var (run, _) in expected["trace_texts"]!.AsObject())
        {
            var replay = (await host.Http.Post($"/runs/{run}/replay")).Is(200);
            Assert.True(replay["verdict"] == "equal", replay.Text);
            // What that release did not record is told; its requests to the model are proved with the names of the tools that it had.
            Assert.DoesNotContain("model_requests\",", replay.Text, StringComparison.Ordinal);
        }
        foreach (var memory in expected["memories"]!.AsArray())
        {
            AssertSame(memory!, JsonNode.Parse((await host.Http.Get($"/memories/{memory!["memory_id"]}")).Is(200).Text)!);
        }
        foreach (var replay in expected["replays"]!.AsArray())
        {
            (string, string)[] headers = replay!["idempotency_key_header"] is { } key ? [("idempotency-key", key.GetValue<string>())] : [];
            var answer = (await host.Http.Post(replay["path"]!.GetValue<string>(), replay["body_text"]!.GetValue<string>(), headers)).Text;
            var first = JsonNode.Parse(replay["answer_text"]!.GetValue<string>())!;
            Assert.Equal(replay["answer_text"]!.GetValue<string>(), Shown(JsonNode.Parse(answer)!, first).ToJsonString(RelaxedEscaping));
        }
        foreach (var (name, status) in ((string, HttpStatusCode)[])[("ann", HttpStatusCode.OK), ("bob", HttpStatusCode.Unauthorized), ("acme", HttpStatusCode.OK), ("admin", HttpStatusCode.OK)])
        {
            using var client = host.Client(expected["tokens_with_secrets"]![name]!["token"]!.GetValue<string>());
            Assert.Equal((name, status), (name, (await client.Get("/sessions")).Status));
        }
        foreach (var artifact in expected["artifacts"]!.AsArray())
        {
            var content = await host.Http.GetByteArrayAsync($"/artifacts/{artifact!["artifact_id"]}/versions/{artifact["version"]}/content");
            Assert.Equal(artifact["sha256"]!.GetValue<string>(), Convert.ToHexStringLower(SHA256.HashData(content)));
        }
        // What that release named is found by its name.
        var skill = expected["skills"]![0]!;
        await host.Http.Until(
            $"/skills?limit=1000&q={Uri.EscapeDataString(skill["name"]!.GetValue<string>().ToUpperInvariant())}",
            got => got.Is(200).Text.Contains(skill["skill_id"]!.GetValue<string>(), StringComparison.Ordinal));
        var letters = JsonNode.Parse((await host.Http.Get("/engine/dead-letters")).Is(200).Text)!["dead_letters"]!.AsArray();
        Assert.Equal(
            expected["dead_letters"]?["dead_letters"]?.AsArray().Select(letter => $"{letter!["kind"]} {letter["key"]}") ?? [], letters.Select(letter => $"{letter!["kind"]} {letter["key"]}"));
    }

    [Theory]
    [InlineData("npgsql")]
    [InlineData("marten")]
    public async Task What_was_unfinished_in_the_last_release_goes_on(string engine)
    {
        var expected = JsonNode.Parse(await Unpacked(engine, "expected.json.gz"))!;
        string Named(string name) => expected["named"]![name]!.GetValue<string>();
        string ApprovalOf(string name) => expected["approvals"]!.AsArray()
            .Single(a => a!["run_id"]!.GetValue<string>() == Named(name) && a["status"]!.GetValue<string>() == "pending")!["approval_id"]!.GetValue<string>();
        await using var host = await Open(engine);
        Task Comes(string name, string status, int attempt) => host.Http.Until(
            $"/runs/{Named(name)}", run => run["status"] == status && run.Json.GetProperty("attempt").GetInt32() == attempt);

        foreach (var held in (string[])["held_1", "held_2", "held_3"])
        {
            await Comes(held, "running", 2);
        }
        await Comes("held_short", "completed", 2);
        await Comes("held_unstarted", "completed", 1);
        (await host.Http.Post($"/approvals/{ApprovalOf("pending_write")}/decision", """{"approved":true}""")).Is(200);
        (await host.Http.Post($"/approvals/{ApprovalOf("pending_delete")}/decision", """{"approved":false}""")).Is(200);
        foreach (var held in (string[])["held_1", "held_2", "held_3"])
        {
            (await host.Http.Post($"/runs/{Named(held)}/cancel")).Is(202);
            await Comes(held, "cancelled", 2);
        }
        foreach (var waiting in (string[])["pending_write", "pending_delete", "behind_pending", "queued_1a", "queued_1b", "queued_2a", "queued_3a", "queued_3b"])
        {
            await Comes(waiting, "completed", 1);
        }
        foreach (var (run, reply) in expected["unfinished"]!["replies_when_they_have_gone_on"]!.AsObject())
        {
            Assert.Equal(reply!.GetValue<string>(), (await host.Http.Get($"/runs/{run}"))["reply"]);
        }
        Assert.Equal("New.", (await host.Http.Turn("alpha", "/say New.")).Is(200)["reply"]);
        Assert.Equal("New.", (await host.Http.Turn("long", "/say New.")).Is(200)["reply"]);

        await host.Services.GetRequiredService<Application.Projector>().CatchUp(default);
        foreach (var model in ReadModels.Tables)
        {
            Assert.Null(await host.Services.GetRequiredService<IRows>().FindDifference(model, default));
        }
    }

    [Theory]
    [InlineData("npgsql")]
    [InlineData("marten")]
    public async Task What_the_last_release_showed_at_earlier_moments_is_shown_also_what_it_deleted(string engine)
    {
        await using var host = await Open(engine);
        var (there, moments, position, deleted) = (new Dictionary<string, List<string>>(), new List<(long At, string Kind, string[] Keys)>(), 0L, 0);
        await foreach (var e in host.Services.GetRequiredService<IEventLog>().Scan(0, default))
        {
            position = e.Position;
            var kind = e.Event switch
            {
                Domain.SessionEvent.SessionCreated or Domain.SessionEvent.SessionDeleted => "sessions",
                Domain.SkillEvent.SkillCreated or Domain.SkillEvent.SkillDeleted => "skills",
                _ => null,
            };
            if (kind is null || e.Org != "default")
            {
                continue;
            }
            var (keys, key) = (there.TryGetValue(kind, out var known) ? known : there[kind] = [], e.Stream[(e.Stream.IndexOf('-', StringComparison.Ordinal) + 1)..]);
            if (e.Event is Domain.SessionEvent.SessionDeleted or Domain.SkillEvent.SkillDeleted)
            {
                deleted += keys.Remove(key) ? 1 : 0;
            }
            else
            {
                keys.Insert(0, key);
            }
            moments.Add((e.Position, kind, [.. keys]));
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{moments.Count} moments, {deleted} deleted");
        foreach (var (at, kind, keys) in moments)
        {
            var list = JsonNode.Parse((await host.Http.Get($"/{kind}?limit=1000&as_of={at}")).Is(200).Text)![kind]!.AsArray();
            var prefix = kind == "skills" ? "skill_" : "sess_";
            var shown = list.Select(one => one![kind == "skills" ? "skill_id" : "session_id"]!.GetValue<string>())
                .Select(id => id.StartsWith(prefix, StringComparison.Ordinal) ? id[prefix.Length..] : id);
            Assert.Equal($"{at} {string.Join(' ', keys)}", $"{at} {string.Join(' ', shown)}");
        }
    }

    static void AssertSame(JsonNode expected, JsonNode actual)
    {
        var shown = Shown(actual, expected);
        Assert.True(JsonNode.DeepEquals(expected, shown), $"expected {expected.ToJsonString()}\nactual   {shown.ToJsonString()}");
    }

    static readonly JsonSerializerOptions RelaxedEscaping = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Of an answer, or of each in a list, the members that it had in the last release.</summary>
    static JsonNode Shown(JsonNode answer, JsonNode before) => before switch
    {
        JsonArray list when answer is JsonArray answers && answers.Count == list.Count => new JsonArray([.. answers.Zip(list, (now, was) => Shown(now!, was!))]),
        JsonObject was when answer is JsonObject now => new JsonObject(
            now.Where(member => was.ContainsKey(member.Key)).Select(member => KeyValuePair.Create(member.Key, member.Value?.DeepClone()))),
        _ => answer,
    };

    /// <summary>A page of a feed without the names that bundles have for the same, which its events have since.</summary>
    static string AsBefore(string feed) => NamesOfBundles().Replace(feed, "");

    [GeneratedRegex("""
        ,"event_id":"[0-9a-f-]{36}","feed_id":(?:[0-9]+|null),"actor":"[^"]*","stored_type":"[a-z0-9_.]+"(?=})
        """)]
    private static partial Regex NamesOfBundles();

    /// <summary>A bundle without what the formats after the second one added.</summary>
    static string InSecondFormat(string bundle)
    {
        var root = JsonNode.Parse(bundle)!.AsObject();
        root["format"] = TraceBundle.SecondFormat;
        void Remove(IEnumerable<JsonNode?> from, params IReadOnlyList<string> members)
        {
            foreach (var (of, member) in from.SelectMany(of => members.Select(member => (of!.AsObject(), member))))
            {
                Assert.True(of.Remove(member), member);
            }
        }
        Remove([root["run"]], RunSummary.SinceThirdFormat);
        Remove(root["events"]!.AsArray(), "event_type", "payload", "session_id");
        Remove(root["artifacts"]!.AsArray(), "id", "kind");
        Remove([root["head"]], "digest");
        root.Remove("digests");
        root.Remove("related");
        TamperedBundles.Seal(root);
        return Encoding.UTF8.GetString(CanonicalJson.Of(Encoding.UTF8.GetBytes(root.ToJsonString())));
    }

    /// <summary>A host on a copy of the database, with the blobs of the directory that it worked with. The sessions' folders are not where they were.</summary>
    static Task<LiveHost> Open(string engine) => LiveHost.Start(async settings =>
    {
        await using (var connection = new NpgsqlConnection(settings.Database + ";Pooling=false"))
        {
            await connection.OpenAsync();
            await Restore(connection, await Unpacked(engine, "dump.sql.gz"));
        }
        Directory.CreateDirectory(settings.Data);
        await using var packed = File.OpenRead(FileOf(engine, "data.tar.gz"));
        await using var unpacked = new GZipStream(packed, CompressionMode.Decompress);
        await TarFile.ExtractToDirectoryAsync(unpacked, settings.Data, overwriteFiles: false);
        // Its runs began long ago, and so did its keys.
        return settings with { Runs = settings.Runs with { IdempotencyKept = LongAgo, Limits = settings.Runs.Limits with { Time = LongAgo } } };
    });

    /// <summary>What psql does with a plain dump: statements, and rows after <c>COPY … FROM stdin</c>.</summary>
    static async Task Restore(NpgsqlConnection connection, string dump)
    {
        using var lines = new StringReader(dump);
        var statements = new StringBuilder();
        while (lines.ReadLine() is { } line)
        {
            if (!line.StartsWith("COPY ", StringComparison.Ordinal))
            {
                statements.AppendLine(line);
                continue;
            }
            await Run();
            await using var rows = await connection.BeginTextImportAsync(line.TrimEnd(';'));
            while (lines.ReadLine() is { } row && row != "\\.")
            {
                await rows.WriteAsync(row + "\n");
            }
        }
        await Run();

        async Task Run()
        {
            await using var command = new NpgsqlCommand(statements.ToString(), connection);
            await command.ExecuteNonQueryAsync();
            statements.Clear();
        }
    }

    static async Task<string> Unpacked(string engine, string file)
    {
        await using var packed = File.OpenRead(FileOf(engine, file));
        await using var unpacked = new GZipStream(packed, CompressionMode.Decompress);
        using var reader = new StreamReader(unpacked, Encoding.UTF8);
        return await reader.ReadToEndAsync();
    }

    static string FileOf(string engine, string file) => Path.Combine(AppContext.BaseDirectory, "releases", $"{engine}.{file}");
}
