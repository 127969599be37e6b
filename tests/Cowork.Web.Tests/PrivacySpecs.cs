using System.Diagnostics;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Projections;
using Cowork.Testing;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Cowork.Web.Tests;

/// <summary>Personal data: what a data subject's key seals, and what is left of it when the key is destroyed.</summary>
public sealed class PrivacySpecs
{
    const string Word = "zephyrquartz";

    static readonly string Long = string.Join(' ', Enumerable.Repeat(Word, 8_000));

    [Fact]
    public async Task What_a_subject_said_is_sealed_in_the_log_and_nowhere_after_the_erasure()
    {
        await using var host = await LiveHost.Start();
        // Contract C takes nobody without a token.
        using var http = host.Client(host.AdminToken);
        var said = await Say(http);
        var opened = await CleanUp(host, http, said.Ids["group_id"]);
        Assert.Empty(await Found(host, "mt_events"));
        Assert.Empty(Files(host));
        Assert.Contains(Word, opened, StringComparison.Ordinal);
        var archive = $"/groups/{said.Ids["group_id"]}/archive";
        (await http.Post(archive, $$"""{"reason":"{{Word}} has moved"}""")).Is(200);
        Assert.Contains(Word, (await http.Get(archive)).Is(200).Text, StringComparison.Ordinal);
        foreach (var path in said.Paths)
        {
            Assert.True((await http.Get(path)).Is(200).Text.Contains(Word, StringComparison.Ordinal), path);
        }
        var before = Encoding.UTF8.GetBytes((await http.Get($"/runs/{said.Run}/trace")).Is(200).Text);
        AssertSound(before, erased: false);
        Assert.Equal("equal", (await http.Post($"/runs/{said.Run}/replay")).Is(200)["verdict"]);
        var from = (await http.Events(said.Session)).First(e => e.GetProperty("type").GetString() == "llm_response").GetProperty("id").GetInt64();
        var otherwise = JsonSerializer.Serialize(new { from_event = from, message = $"/say {Word} would be", approvals = "reject" });
        var counterfactual = (await http.Post($"/runs/{said.Run}/counterfactual", otherwise)).Is(200)["run_id"];
        Assert.Contains(Word, (await http.Get($"/runs/{counterfactual}")).Is(200).Text, StringComparison.Ordinal);
        AssertSound(Encoding.UTF8.GetBytes((await http.Get($"/runs/{counterfactual}/trace")).Is(200).Text), erased: false);
        Assert.Empty(await Found(host, "mt_events"));

        var erasing = (await http.Delete("/subjects/ann")).Is(202);
        Assert.Contains(erasing["state"], (string[])["erasing", "erased"]);
        // From the commit on nobody reads it, whatever the job has done.
        await AssertGone(http, said);
        var erased = await http.Until("/subjects/ann", got => got.Is(200)["state"] == "erased");
        Assert.NotEqual("0", erased["streams"]);
        Assert.StartsWith("user:", erased["erased_by"], StringComparison.Ordinal);
        await AssertGone(http, said);
        Assert.Empty(await Found(host, null));
        Assert.Empty(Files(host));
        var rows = host.Services.GetRequiredService<StorageEngine>().Rows;
        foreach (var model in ReadModels.Tables)
        {
            Assert.True(await rows.FindDifference(model, CancellationToken.None) is not { } difference, $"{model.Table}");
        }

        (await http.Post($"/sessions/{said.Session}/turn", """{"message":"again"}""")).IsProblem(409, "subject_erased");
        (await http.Post("/sessions", """{"subject":"ann"}""")).IsProblem(409, "subject_erased");
        (await http.Post($"/runs/{said.Run}/replay")).IsProblem(409, "erased");
        Assert.Equal(409, (int)(await http.Post($"/runs/{said.Run}/counterfactual", otherwise)).Status);
        (await http.Get(archive)).IsProblem(404, "erased");
        Assert.Equal(("failed", "erased"), ((await http.Get($"/api/v1/files/{said.Ids["file_id"]}")).Is(200)["status"], (await http.Get($"/api/v1/files/{said.Ids["file_id"]}"))["status_code"]));
        Assert.DoesNotContain(Word, (await http.Get($"/runs/{counterfactual}")).Is(200).Text, StringComparison.Ordinal);
        AssertSound(Encoding.UTF8.GetBytes((await http.Get($"/runs/{counterfactual}/trace")).Is(200).Text), erased: true);
        AssertSound(before, erased: false);
        AssertSound(Encoding.UTF8.GetBytes((await http.Get($"/runs/{said.Run}/trace")).Is(200).Text), erased: true);
        await using (var connection = new NpgsqlConnection(host.Database))
        {
            await connection.OpenAsync();
            Assert.NotEqual(0, await ErasedEvents.Count(connection, "cowork", long.MaxValue, CancellationToken.None));
            Assert.Equal(0, await ErasedEvents.Count(connection, "nowhere", long.MaxValue, CancellationToken.None));
        }
        await AssertNothingFails(http, said);
        (await http.Delete("/subjects/ann")).Is(202);
        (await http.Delete("/subjects/nobody")).IsProblem(404, "not_found");
        (await http.Delete($"/sessions/{said.Session}")).Is(204);
        Assert.DoesNotContain(Word, (await http.Get("/audit/export")).Is(200).Text, StringComparison.Ordinal);
        // Another's words are there as before.
        Assert.Contains("meanwhile", (await http.Get($"/runs/{said.Other}")).Is(200).Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Texts_count_as_erased_where_the_log_says_so_and_nowhere_else()
    {
        await using var host = await LiveHost.Start(settings => settings with { Heads = new(TimeSpan.FromSeconds(1)) });
        var session = (await host.Http.Post("/sessions", """{"subject":"ann"}""")).Is(201)["session_id"];
        var run = (await host.Http.Turn(session, $"/tool write_file {{\"path\":\".anton/output/a.md\",\"content\":\"{Word}\"}}\n/say {Word}")).Is(200)["run_id"];
        var (before, anchors) = (await Covered(), new TrustAnchors(HeadKeys.Parse(Encoding.UTF8.GetBytes((await host.Http.Get("/infra/jwks.json")).Is(200).Text))));
        var whole = await host.Http.GetByteArrayAsync($"/sessions/{session}/trace");
        Assert.Null(TraceVerifier.Verify(before, anchors: anchors).Fault);
        foreach (var (place, e) in JsonNode.Parse(before)!["events"]!.AsArray().Index().Where(e => e.Item!.AsObject().ContainsKey("content_key")))
        {
            var fault = TraceVerifier.Verify(TamperedBundles.Blanked(before, other => (string)other["id"]! == (string)e!["id"]!), anchors: anchors).Fault;
            Assert.True(fault?.Location == $"$.events[{place}].content_key", $"{e!["type"]}: {fault}");
        }
        (await host.Http.Delete("/subjects/ann")).Is(202);
        await host.Http.Until("/subjects/ann", got => got.Is(200)["state"] == "erased");
        var after = await Covered();
        Assert.NotEqual(0, TraceVerifier.Verify(after, anchors: anchors).Report?.Erased);
        foreach (var (place, forge) in ((string, Action<JsonArray>)[])
            [("$.events[0].content_key", related => related.Remove(Erasure(related))), ("$.related[", related => Erasure(related)["actor"] = "user:eve")])
        {
            var root = JsonNode.Parse(after)!.AsObject();
            forge(root["related"]!.AsArray());
            Assert.StartsWith(place, TraceVerifier.Verify(TamperedBundles.Sealed(root), anchors: anchors).Fault?.Location ?? "sound", StringComparison.Ordinal);
        }
        // One that was made up for a person whom nobody erased is none of the log's.
        var made = JsonNode.Parse(after)!.AsObject();
        var erasure = Erasure(made["related"]!.AsArray());
        erasure["actor"] = "user:eve";
        TamperedBundles.Rehash(erasure.AsObject());
        Assert.Equal("$.log.proof", TraceVerifier.Verify(TamperedBundles.Sealed(made), anchors: anchors).Fault?.Location);

        var lines = await Lines(await host.Http.GetByteArrayAsync($"/sessions/{session}/trace"));
        Assert.True(lines is { Fault: null, Report.Erased: > 0 }, $"{lines.Fault}");
        Assert.True((await Lines(whole)) is { Fault: null, Report.Erased: null });
        foreach (var (bundle, name) in ((byte[], string)[])[(whole, "the texts were not erased"), (await host.Http.GetByteArrayAsync($"/sessions/{session}/trace"), "nothing says")])
        {
            Assert.Contains(name, (await Lines(Forged(bundle))).Fault?.Message ?? "sound", StringComparison.Ordinal);
        }

        async Task<byte[]> Covered() => Encoding.UTF8.GetBytes(
            (await host.Http.Until($"/runs/{run}/trace", got => got.Is(200).Json.TryGetProperty("log", out _))).Text);

        static Task<(BundleReport? Report, TraceFault? Fault)> Lines(byte[] bundle) => BundleFile.Verify(new MemoryStream(bundle), null, null, default);
    }

    static JsonNode Erasure(JsonArray related) => related.Single(e => (string?)e!["type"] == "subject_erased.v1")!;

    /// <summary>A session's bundle without the key of its first run's first event, or without the erasure; digest and count are right, and nothing is signed.</summary>
    static byte[] Forged(byte[] bundle)
    {
        var lines = Encoding.UTF8.GetString(bundle).TrimEnd('\n').Split('\n').ToList();
        if (lines.FindIndex(line => line.Contains("\"content_key\"", StringComparison.Ordinal) && line.Contains("\"stream_id\":\"run-", StringComparison.Ordinal)) is >= 0 and var at)
        {
            var line = JsonNode.Parse(lines[at])!;
            line["event"]!.AsObject().Remove("content_key");
            lines[at] = Encoding.UTF8.GetString(TamperedBundles.Canonical(line));
        }
        else
        {
            lines.RemoveAll(line => line.Contains("\"subject_erased.v1\"", StringComparison.Ordinal));
        }
        var end = JsonNode.Parse(lines[^1])!;
        end["end"]!.AsObject().Remove("log");
        end["end"]!["sha256"] = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes(string.Concat(lines.SkipLast(1).Select(line => line + "\n")))));
        lines[^1] = Encoding.UTF8.GetString(TamperedBundles.Canonical(end));
        return Encoding.UTF8.GetBytes(string.Concat(lines.Select(line => line + "\n")));
    }

    [Fact]
    public async Task A_turn_that_races_with_the_erasure_is_refused_or_leaves_no_word()
    {
        await using var host = await LiveHost.Start();
        await using var second = await LiveHost.Start(settings => settings with { Database = host.Database, MasterKeys = _ => host.Services.GetRequiredService<MasterKeyring>() });
        var random = new Random(Seeds.One(84));
        for (var i = 0; i < 4; i++)
        {
            var session = (await host.Http.Post("/sessions", $$"""{"subject":"person-{{i}}"}""")).Is(201)["session_id"];
            var turns = Enumerable.Range(0, 4).Select(n => (n % 2 == 0 ? host : second).Http.Turn(session, $"{Word}\n/tool remember {{\"content\":\"{Word}\"}}\n/say {Word}", wait: random.Next(2) == 0)).ToList();
            for (var spin = random.Next(400); spin > 0; spin--)
            {
                await Task.Yield();
            }
            (await second.Http.Delete($"/subjects/person-{i}")).Is(202);
            foreach (var turn in await Task.WhenAll(turns))
            {
                Assert.Contains((int)turn.Status, (int[])[200, 202, 409]);
            }
            // Both hosts show nothing from now on.
            foreach (var at in (LiveHost[])[host, second])
            {
                // Until the job has been there, the session is not shown at all.
                var events = await at.Http.Get($"/sessions/{session}/events?since_id=0&limit=1000");
                Assert.Contains((int)events.Status, (int[])[200, 404]);
                var seen = events.Text + (await at.Http.Get("/runs?limit=100")).Is(200).Text;
                Assert.False(seen.Contains(Word, StringComparison.Ordinal), $"round {i}: {seen}");
            }
            await host.Http.Until($"/subjects/person-{i}", got => got.Is(200)["state"] == "erased");
        }
        foreach (var run in (await host.Http.Get("/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray().Where(e => e.GetProperty("type").GetString() == "run_created"))
        {
            await host.Http.Until($"/runs/{run.GetProperty("run_id").GetString()}", got => got.Is(200)["status"] is "completed" or "cancelled" or "failed");
        }
        Assert.Empty(await Found(host, null));
    }

    [Fact]
    public async Task The_other_host_and_a_copy_made_afterwards_show_nothing()
    {
        await using var host = await LiveHost.Start();
        var keys = host.Services.GetRequiredService<MasterKeyring>();
        await using var second = await LiveHost.Start(settings => settings with { Database = host.Database, MasterKeys = _ => keys });
        var session = (await host.Http.Post("/sessions", $$$"""{"subject":"ann","metadata":{"note":"{{{Word}}}"}}""")).Is(201)["session_id"];
        var run = (await host.Http.Turn(session, $"/say {Word}")).Is(200)["run_id"];
        string[] paths = [$"/runs/{run}", $"/runs/{run}/trace", $"/sessions/{session}", $"/sessions/{session}/events?since_id=0&limit=1000", "/runs?limit=100", "/events?limit=1000"];
        await second.Http.Until($"/runs/{run}", got => got.Is(200).Text.Contains(Word, StringComparison.Ordinal));
        (await host.Http.Delete("/subjects/ann")).Is(202);
        foreach (var path in paths)
        {
            Assert.DoesNotContain(Word, (await second.Http.Get(path)).Text, StringComparison.Ordinal);
        }
        (await second.Http.Turn(session, "/say again")).IsProblem(409, "subject_erased");
        await second.Http.Until("/subjects/ann", got => got.Is(200)["state"] == "erased");

        await using var third = await LiveHost.Start(async settings =>
        {
            var dump = await Program("pg_dump", host.Database, "");
            Assert.DoesNotContain(Word, dump, StringComparison.Ordinal);
            await Program("psql", settings.Database!, dump, "-q", "-v", "ON_ERROR_STOP=1");
            return settings with { MasterKeys = _ => keys };
        });
        foreach (var path in paths)
        {
            Assert.DoesNotContain(Word, (await third.Http.Get(path)).Is(200).Text, StringComparison.Ordinal);
        }
        Assert.Equal("erased", (await third.Http.Get("/subjects/ann")).Is(200)["state"]);
        Assert.Empty(await Found(third, null));
    }

    [Fact]
    public async Task A_file_of_a_subject_is_found_by_runs_of_the_same_subject_alone()
    {
        await using var host = await LiveHost.Start();
        var http = host.Http;
        const string Ask = """
            where is the heron?
            /tool search_files {"query":"heron"}
            /tool list_files {"path":"files"}
            /tool read_file {"path":"files/heron.txt"}
            /say done
            """;
        const string List = "/tool list_files {\"path\":\"files\"}\n/say done";
        var file = (await http.Upload($"{Word} has seen the heron", "heron.txt", ("subject", "ann"))).Is(201)["id"];
        await http.Until($"/api/v1/files/{file}", got => got.Is(200)["status"] == "ready");
        foreach (var (subject, finds) in ((string?, bool)[])[(null, false), ("bob", false), ("ann", true)])
        {
            var session = (await http.Post("/sessions", JsonSerializer.Serialize(new { subject }))).Is(201)["session_id"];
            foreach (var message in (string[])[Ask, "Where is the heron?"])
            {
                var run = (await http.Turn(session, message)).Is(200)["run_id"];
                Assert.Equal(finds, (await http.Get($"/runs/{run}/trace")).Is(200).Text.Contains(Word, StringComparison.Ordinal));
            }
        }
        // People find it as ever; who puts a file into a conversation wants it there.
        Assert.Contains(Word, (await http.Get("/api/v1/files/search?q=heron")).Is(200).Text, StringComparison.Ordinal);
        var conversation = (await http.Post("/api/v1/conversations", "{}")).Is(201)["id"];
        await http.Upload($"{Word} has seen the heron", "heron.txt", ("subject", "ann"), ("conversation_id", conversation));
        var own = $"sess_{conversation[(conversation.IndexOf('_', StringComparison.Ordinal) + 1)..]}";
        Assert.Contains("heron.txt", await Trace(List), StringComparison.Ordinal);

        // One that is just uploaded has no text yet; its job ends all the same.
        var late = (await http.Upload($"{Word} later", "late.txt", ("subject", "ann"))).Is(201)["id"];
        (await http.Delete("/subjects/ann")).Is(202);
        (await http.Upload($"{Word} refused", "refused.txt", ("subject", "ann"))).IsProblem(409, "subject_erased");
        var broken = $"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n{Word}\r\n--b\r\nContent-Disposition: no\r\n\r\nx\r\n--b--\r\n";
        Assert.InRange((int)(await http.UploadRaw(broken, "multipart/form-data; boundary=b")).Status, 400, 422);
        await http.Until("/subjects/ann", got => got.Is(200)["state"] == "erased");
        foreach (var gone in (string[])[file, late])
        {
            Assert.Equal("erased", (await http.Until($"/api/v1/files/{gone}", got => got.Is(200)["status"] == "failed"))["status_code"]);
        }
        Assert.DoesNotContain(PersonalAttribute.Text, await Trace(List), StringComparison.Ordinal);
        Assert.Empty(Files(host));
        await using var connection = new NpgsqlConnection(host.Database);
        await connection.OpenAsync();
        await using var jobs = new NpgsqlCommand("SELECT count(*) FROM cowork.jobs WHERE kind = 'file_extraction'", connection);
        await Patience.Until(async () => await jobs.ExecuteScalarAsync() is 0L, "no file is extracted any more");

        async Task<string> Trace(string message) =>
            (await http.Get($"/runs/{(await http.Turn(own, message)).Is(200)["run_id"]}/trace")).Is(200).Text;
    }

    [Fact]
    public async Task A_key_that_is_gone_without_an_erasure_stops_what_needs_it_and_is_named()
    {
        await using var host = await LiveHost.Start();
        var session = (await host.Http.Post("/sessions", """{"subject":"ann"}""")).Is(201)["session_id"];
        var run = (await host.Http.Turn(session, $"/say {Word}")).Is(200)["run_id"];
        (await host.Http.Turn((await host.Http.Post("/sessions", """{"subject":"bob"}""")).Is(201)["session_id"], "/say goodbye")).Is(200);
        (await host.Http.Delete("/subjects/bob")).Is(202);
        await host.Http.Until("/subjects/bob", got => got.Is(200)["state"] == "erased");
        await using var connection = new NpgsqlConnection(host.Database);
        await connection.OpenAsync();
        Assert.Null(await SubjectFaults.Find(connection, "cowork", CancellationToken.None));
        foreach (var (change, named) in ((string, string)[])
        [
            ("UPDATE cowork.subject_keys SET wrapped = NULL, master_id = NULL, erased = 3 WHERE subject = 'ann'", "ann of default the key was destroyed"),
            ("UPDATE cowork.subject_keys SET pending = true WHERE subject = 'ann'", "ann of default the table subject_keys tells of an erasure"),
            ("UPDATE cowork.subject_keys SET key_id = 'other' WHERE subject = 'ann'", "ann of default the table subject_keys has another key"),
            ("DELETE FROM cowork.subject_keys WHERE subject = 'ann'", "ann of default the log has a key"),
            ("INSERT INTO cowork.subject_keys (tenant_id, subject, key_id) VALUES ('default', 'ghost', 'k')", "ghost of default the table subject_keys has a key that"),
            ("UPDATE cowork.subject_keys SET erased = 0 WHERE subject = 'bob'", "bob of default the log has an erasure, and the table"),
            ("UPDATE cowork.subject_keys SET wrapped = 'w', master_id = 'm' WHERE subject = 'bob'", "bob of default the log has an erasure, and the key"),
            ("UPDATE cowork.subject_keys SET pending = true WHERE subject = 'bob'", "bob of default the log has the end"),
            ("ALTER TABLE cowork.subject_keys RENAME TO subject_kept", "of default the log has a key"),
            ("DELETE FROM cowork.subject_streams", "subject_streams does not know its stream"),
        ])
        {
            await using var transaction = await connection.BeginTransactionAsync();
            await Execute(connection, change);
            Assert.Contains(named, (await SubjectFaults.Find(connection, "cowork", CancellationToken.None))?.Message, StringComparison.Ordinal);
        }

        await Execute(connection, "CREATE TABLE public.kept AS TABLE cowork.subject_keys");
        await Execute(connection, "UPDATE cowork.subject_keys SET wrapped = NULL, master_id = NULL, erased = 3 WHERE subject = 'ann'");
        await using (var second = await LiveHost.Start(settings => settings with { Database = host.Database, MasterKeys = _ => host.Services.GetRequiredService<MasterKeyring>() }))
        {
            foreach (var http in (HttpClient[])[host.Http, second.Http])
            {
                Assert.Equal("unreadable", (await http.Get("/subjects/ann")).Is(200)["state"]);
                (await http.Get($"/runs/{run}/trace")).IsProblem(503, "secrets_unreadable");
                (await http.Turn(session, "/say lost")).IsProblem(503, "secrets_unreadable");
                (await http.Get("/subjects/bob")).Is(200);
            }
        }
        await Execute(connection, "DELETE FROM cowork.subject_keys; INSERT INTO cowork.subject_keys SELECT * FROM public.kept");
        (await host.Http.Turn(session, "/say again")).Is(200);
        Assert.Contains(Word, (await host.Http.Get($"/runs/{run}/trace")).Is(200).Text, StringComparison.Ordinal);
        await using (var lost = new NpgsqlCommand("SELECT count(*) FROM cowork.mt_events WHERE data::text LIKE '%[erased]%'", connection))
        {
            Assert.Equal(0L, await lost.ExecuteScalarAsync());
        }

        // An erasure finds the streams again that the table has lost.
        var subjects = host.Services.GetRequiredService<ISubjectStore>();
        Assert.Null(await subjects.FindMissingStream(CancellationToken.None));
        await Execute(connection, "DELETE FROM cowork.subject_streams WHERE subject = 'ann'");
        Assert.NotNull(await subjects.FindMissingStream(CancellationToken.None));
        Assert.NotEqual(0, await subjects.RestoreStreams(CancellationToken.None));
        Assert.Null(await SubjectFaults.Find(connection, "cowork", CancellationToken.None));
        // And the log counts, whatever becomes of the row.
        await Execute(connection, "DELETE FROM cowork.subject_keys WHERE subject = 'ann'");
        (await host.Http.Delete("/subjects/ann")).Is(202);
        await host.Http.Until("/subjects/ann", got => got.Is(200)["state"] == "erased");
        Assert.Empty(await Found(host, null));
    }

    static async Task Execute(NpgsqlConnection connection, string sql)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync();
    }

    [Fact]
    public async Task A_name_that_no_address_carries_is_refused_and_one_of_yesterday_is_erased()
    {
        await using var host = await LiveHost.Start();
        foreach (var name in (string[])["a/b", "../../etc", "a\\b", ".", "..", "/", "a\tb"])
        {
            var problem = (await host.Http.Post("/sessions", JsonSerializer.Serialize(new { subject = name }))).IsProblem(422, "invalid_request");
            Assert.Contains("subject", problem.Text, StringComparison.Ordinal);
            (await host.Http.Upload("text", "a.txt", ("subject", name))).Is(422);
        }
        foreach (var name in (string[])["...", "a.b", "50%25 off", "a%2Fb"])
        {
            (await host.Http.Post("/sessions", JsonSerializer.Serialize(new { subject = name }))).Is(201);
            Assert.Equal(name, (await host.Http.Delete($"/subjects/{Uri.EscapeDataString(name)}")).Is(202)["subject"]);
        }
        var subjects = host.Services.GetRequiredService<Subjects>();
        foreach (var name in (string[])["a/b", "a//b", "../../etc", "a\\b", ".", ".."])
        {
            Assert.Null(await subjects.Ensure("default", name, CancellationToken.None));
            var address = name is "." or ".." ? name.Replace(".", "%252E", StringComparison.Ordinal) : Uri.EscapeDataString(name);
            Assert.Equal((name, "active"), ((await host.Http.Get($"/subjects/{address}")).Is(200)["subject"], (await host.Http.Get($"/subjects/{address}"))["state"]));
            var erased = (await host.Http.Delete($"/subjects/{address}")).Is(202);
            Assert.Equal((name, $"/subjects/{address}"), (erased["subject"], erased.Headers.Location?.OriginalString));
        }
    }

    /// <summary>Has a group's controller end its session with the word for a reason, and answers what the tenant's feed says of it.</summary>
    static async Task<string> CleanUp(LiveHost host, HttpClient http, string group)
    {
        var commands = host.Services.GetRequiredService<ICommandExecutor>();
        var (of, by, until) = (GroupKey.FromId(group), new Origin("app:desk"), DateTimeOffset.MaxValue);
        var shown = (await http.Get($"/groups/{group}")).Is(200);
        var open = new OpenGroupSession(
            of, shown["org_id"], shown.Json.GetProperty("members")[0].GetProperty("user_id").GetString()!, "kid", "desk", until, new("desk", "1", until));
        Assert.Null((await commands.Execute("default", by, open, CancellationToken.None)).Refused);
        Assert.Null((await commands.Execute("default", by, new CleanUpGroupSession(of, "kid", $"{Word} is done", new("desk", "2", until)), CancellationToken.None)).Refused);
        return (await http.Get("/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray()
            .Single(e => e.GetProperty("type").GetString() == "group_cleaned_up").ToString();
    }

    /// <summary>Asks every address that shows something, now and as of a time before the erasure, and starts every schedule.</summary>
    static async Task AssertNothingFails(HttpClient http, Said said)
    {
        var failed = new List<string>();
        var asked = 0;
        var description = JsonNode.Parse((await http.Get("/openapi.json")).Is(200).Text)!;
        foreach (var (template, item) in description["paths"]!.AsObject())
        {
            if (item!["get"] is not { } get || (get["responses"]?["200"]?["content"] as JsonObject)?.ContainsKey("text/event-stream") == true)
            {
                continue;
            }
            var path = said.Ids.Aggregate(template, (to, id) => to.Replace($"{{{id.Key}}}", id.Value, StringComparison.Ordinal));
            var parameters = get["parameters"]?.AsArray().Where(parameter => (string?)parameter!["in"] == "query").ToList() ?? [];
            var wanted = parameters.Where(parameter => (bool?)parameter!["required"] == true).Select(parameter => (string)parameter!["name"]!)
                .Select(name => $"{name}={Uri.EscapeDataString(said.Ids.GetValueOrDefault(name, "zephyr"))}").ToList();
            foreach (var query in parameters.Any(parameter => (string?)parameter!["name"] == "as_of") ? [wanted, [.. wanted, $"as_of={said.Position}"]] : new[] { wanted })
            {
                var got = await http.Get($"{path}?{string.Join('&', query)}");
                asked++;
                failed.AddRange((int)got.Status >= 500 || got.Text.Contains(Word, StringComparison.OrdinalIgnoreCase) ? [$"{got.Path}: {(int)got.Status} {got.Text}"] : []);
            }
        }
        Assert.Empty(failed);
        Assert.True(asked > 100, $"{asked} requests");
        foreach (var (template, item) in description["paths"]!.AsObject())
        {
            foreach (var method in (string[])["post", "patch", "put"])
            {
                var path = said.Ids.Aggregate(template, (to, id) => to.Replace($"{{{id.Key}}}", id.Value, StringComparison.Ordinal));
                if (path != template && item![method] is { } change && !change.ToJsonString().Contains("text/event-stream", StringComparison.Ordinal))
                {
                    var got = await http.Send(new(method.ToUpperInvariant()), path, ProbeBodies.Of(template, fromEvent: 1));
                    failed.AddRange((int)got.Status >= 500 || got.Text.Contains(Word, StringComparison.OrdinalIgnoreCase) ? [$"{method} {got.Path}: {(int)got.Status} {got.Text}"] : []);
                }
            }
        }
        Assert.Empty(failed);

        var (planned, prompted) = ($"/scheduled-runs/{said.Ids["schedule_id"]}", $"/api/v1/schedules/{said.Ids["prompt_schedule_id"]}");
        var shown = (await http.Get(planned)).Is(200);
        Assert.Equal((PersonalAttribute.Text, "{}"), (shown["name"], shown.Json.GetProperty("params").GetRawText()));
        (await http.Post($"{planned}/trigger")).IsProblem(409, "subject_erased");
        (await http.Post($"{prompted}/run")).IsProblem(409, "subject_erased");
        (await http.Send(HttpMethod.Patch, prompted, $$"""{"prompt":"{{Word}} again"}""")).IsProblem(409, "subject_erased");
        (await http.Post($"{planned}/pause")).Is(200);
        (await http.Post($"{planned}/resume")).Is(200);
        var slots = await http.Until($"{planned}/runs", got => got.Is(200).Json.GetProperty("runs").GetArrayLength() > 0);
        Assert.Equal("subject_erased", slots.Json.GetProperty("runs")[0].GetProperty("reason").GetString());
        (await http.Delete(planned)).Is(204);
        (await http.Delete(prompted)).Is(204);
    }

    /// <summary>Runs a program of PostgreSQL for a database, and answers what it wrote.</summary>
    static async Task<string> Program(string name, string database, string input, params string[] options)
    {
        var of = new NpgsqlConnectionStringBuilder(database);
        var start = new ProcessStartInfo(
            Path.Combine(PostgresBinaries.Choose(null).Directory, name), [.. options, "-h", of.Host!, "-p", $"{of.Port}", "-U", of.Username!, of.Database!])
        { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        using var program = Process.Start(start)!;
        var (output, errors) = (program.StandardOutput.ReadToEndAsync(), program.StandardError.ReadToEndAsync());
        await program.StandardInput.WriteAsync(input);
        program.StandardInput.Close();
        await program.WaitForExitAsync();
        Assert.True(program.ExitCode == 0, $"{name}: {await errors}");
        return await output;
    }

    static void AssertSound(byte[] bundle, bool erased)
    {
        var (report, fault) = TraceVerifier.Verify(bundle);
        Assert.True(fault is null, $"{fault}");
        Assert.Equal(erased, report!.Erased > 0);
        Assert.Equal(!erased, Encoding.UTF8.GetString(bundle).Contains(Word, StringComparison.Ordinal));
    }

    static async Task AssertGone(HttpClient http, Said said)
    {
        foreach (var path in (string[])[.. said.Paths, $"/sessions/{said.Session}/trace", $"/runs/{said.Run}?as_of={said.Position}"])
        {
            Assert.True(!(await http.Get(path)).Text.Contains(Word, StringComparison.OrdinalIgnoreCase), path);
        }
    }

    /// <summary>Says the word in every place that a subject has.</summary>
    static async Task<Said> Say(HttpClient http)
    {
        var other = (await http.Turn((await http.Post("/sessions", """{"subject":"bob"}""")).Is(201)["session_id"], "/say meanwhile")).Is(200)["run_id"];
        var session = (await http.Post("/sessions", $$$$"""{"subject":"ann","metadata":{"note":"{{{{Word}}}}","auth_context":{"of":"{{{{Word}}}}"}}}""")).Is(201)["session_id"];
        var turn = (await http.Turn(session, $$"""
            {{Word}}
            /tool remember {"content":"{{Word}} leaves at nine"}
            /tool write_file {"path":".anton/output/{{Word}}.md","content":"# {{Word}}"}
            /tool search_files {"query":"{{Word}}"}
            /tool write_file {"path":"{{Word}}.txt","content":"{{Word}}"}
            /say {{Word}} it is
            """)).Is(200);
        var run = turn["run_id"];
        Assert.True(turn["status"] == "approval_required", turn.Text);
        var approval = turn.Json.GetProperty("pending_approval_ids")[0].GetString();
        (await http.Post($"/approvals/{approval}/decision", $$"""{"approved":false,"note":"{{Word}}"}""")).Is(200);
        (await http.Until($"/runs/{run}", got => got.Is(200)["status"] == "completed")).Is(200);
        var longer = (await http.Turn(session, $"/say {Long}")).Is(200)["run_id"];
        var conversation = (await http.Post("/api/v1/conversations", $$"""{"subject":"ann","title":"{{Word}}","goal":"{{Word}}"}""")).Is(201)["id"];
        var pad = (await http.Post(
            "/api/v1/scratchpads", JsonSerializer.Serialize(new { conversation_id = conversation, title = Word, cells = new[] { new { type = "markdown", content = Long } } }))).Is(201)["id"];
        var cell = (await http.Get($"/api/v1/scratchpads/{pad}")).Is(200).Json.GetProperty("cells")[0].GetProperty("id").GetString();
        var artifact = (await http.Events(session)).First(e => e.GetProperty("type").GetString() == "artifact_discovered").GetProperty("payload").GetProperty("artifact_id").GetString()!;
        var memory = (await http.Post("/api/v1/memories", $$"""{"subject":"ann","content":"{{Word}}"}""")).Is(201)["id"];
        (await http.Send(HttpMethod.Patch, $"/api/v1/memories/{memory}", $$"""{"content":"{{Word}} too"}""")).Is(200);
        var file = (await http.Upload($"{Word} in a file", $"{Word}.txt", ("subject", "ann"))).Is(201)["id"];
        await http.Until($"/api/v1/files/{file}", got => got.Is(200)["status"] == "ready");
        var work = (await http.Post(
            "/myworks", JsonSerializer.Serialize(new { subject = "ann", bucket = "listings", label = Word, preview = Word, tags = new[] { Word }, metadata = new { of = Word }, payload = new { text = Long } })))
            .Is(201).Json.GetProperty("data").GetProperty("work").GetProperty("work_id").GetString();
        var group = (await http.Post("/groups", $$"""{"subject":"ann","title":"{{Word}}"}""")).Is(201)["group_id"];
        (await http.Post($"/groups/{group}/messages", $$"""{"text":"/say {{Word}} again"}""")).Is(202);
        var desktop = (await http.Post("/api/cowork/sessions", """{"subject":"ann"}""")).Is(201)["sessionId"];
        var task = (await http.Post($"/api/cowork/sessions/{desktop}/tasks", $$"""{"prompt":"/sleep 300\n/say {{Word}}"}""")).Is(201)["taskId"];
        (await http.Post($"/api/cowork/tasks/{task}/feedback", $$"""{"feedback":"{{Word}}"}""")).Is(202);
        await http.Until($"/api/cowork/tasks/{task}", got => got.Is(200)["status"] == "completed");
        var notes = Path.Combine((await http.Get($"/sessions/{desktop}")).Is(200)["workspace_path"], "notes.md");
        await File.WriteAllTextAsync(notes, $"{Word} at nine");
        (await http.Post("/api/cowork/context/sync", JsonSerializer.Serialize(new { files = new[] { notes } }))).Is(200);
        Assert.Contains(Word, (await http.Post("/api/cowork/context/query", """{"query":"zephyrquartz","topK":3}""")).Is(200).Text, StringComparison.Ordinal);
        var skill = (await http.Post("/skills", """{"name":"greet","prompt_template":"/say {what}"}""")).Is(201)["skill_id"];
        var planned = (await http.Post("/scheduled-runs", JsonSerializer.Serialize(new
        {
            session_id = session,
            skill_id = skill,
            name = $"{Word} hourly",
            interval_seconds = 1,
            active = false,
            @params = new { what = Word },
        }))).Is(201)["schedule_id"];
        var prompted = (await http.Post(
            "/api/v1/schedules", JsonSerializer.Serialize(new { project_id = ProjectKey.General.Id, conversation_id = conversation, cron = "0 9 * * 1", prompt = $"{Word} weekly" })))
            .Is(201)["id"];
        (await http.Send(HttpMethod.Patch, $"/api/v1/schedules/{prompted}", $$"""{"prompt":"/say {{Word}} otherwise"}""")).Is(200);
        await http.Until($"/groups/{group}/messages", got => got.Is(200).Text.Contains("\"done\"", StringComparison.Ordinal));
        string[] named = [.. ((string[])["sessions", "scheduled-runs", "api/v1/schedules", "scratchpads", "artifacts", "api/v1/files", "groups"]).Select(list => $"/{list}?q=zephyrQ")];
        foreach (var list in named)
        {
            await http.Until(list, got => got.Is(200).Text.Contains(Word, StringComparison.Ordinal));
        }
        await http.Until($"/api/v1/conversations/search?q={Word}", got => got.Is(200).Text.Contains(Word, StringComparison.Ordinal));
        var position = (await http.Get("/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray().Last().GetProperty("gid").GetInt64();
        return new(
            session, run, other, position,
            [
                $"/sessions/{session}", $"/sessions/{session}/events?since_id=0&limit=1000", $"/sessions/{session}/memories", $"/runs/{run}",
                $"/runs/{longer}", $"/runs/{run}/trace", $"/api/v1/conversations/{conversation}", $"/api/v1/scratchpads/{pad}", $"/api/v1/memories/{memory}", $"/api/v1/files/{file}",
                $"/api/v1/files/{file}/content", $"/myworks/{work}", "/myworks?q=zephyr", $"/groups/{group}", $"/groups/{group}/messages", $"/api/cowork/tasks/{task}",
                "/approvals?status=all", $"/api/v1/conversations/search?q={Word}", "/events?limit=1000", $"/scheduled-runs/{planned}", $"/api/v1/schedules/{prompted}",
                "/schedules/upcoming", .. named,
            ],
            new(StringComparer.Ordinal)
            {
                ["session_id"] = session,
                ["sessionId"] = desktop,
                ["run_id"] = run,
                ["taskId"] = task,
                ["scratchpad_id"] = pad,
                ["memory_id"] = memory,
                ["file_id"] = file,
                ["work_id"] = work!,
                ["group_id"] = group,
                ["approval_id"] = approval!,
                ["skill_id"] = skill,
                ["schedule_id"] = planned,
                ["prompt_schedule_id"] = prompted,
                ["conversation_id"] = conversation,
                ["project_id"] = ProjectKey.General.Id,
                ["subject"] = "ann",
                ["left"] = run,
                ["right"] = longer,
                ["cron"] = "0 9 * * 1",
                ["version"] = "1",
                ["artifact_id"] = artifact,
                ["artifactId"] = artifact,
                ["cell_id"] = cell!,
            });
    }

    /// <summary>Tables with the word, plain, in base64 or in hexadecimal.</summary>
    static async Task<IReadOnlyList<string>> Found(LiveHost host, string? only)
    {
        await using var connection = new NpgsqlConnection(host.Database);
        await connection.OpenAsync();
        var tables = new List<string>();
        await using (var ask = new NpgsqlCommand("SELECT tablename::text FROM pg_tables WHERE schemaname = 'cowork'", connection))
        await using (var reader = await ask.ExecuteReaderAsync())
        {
            while (await reader.ReadAsync())
            {
                tables.Add(reader.GetString(0));
            }
        }
        var found = new List<string>();
        foreach (var table in tables.Where(table => only is null || table == only))
        {
            await using var ask = new NpgsqlCommand($"SELECT t::text FROM cowork.{table} t", connection);
            await using var reader = await ask.ExecuteReaderAsync();
            while (await reader.ReadAsync())
            {
                if (Forms.FirstOrDefault(form => reader.GetString(0).Contains(form, StringComparison.OrdinalIgnoreCase)) is { } form)
                {
                    var text = reader.GetString(0);
                    var at = text.IndexOf(form, StringComparison.OrdinalIgnoreCase);
                    found.Add($"{table}: …{text[Math.Max(0, at - 120)..Math.Min(text.Length, at + 60)]}");
                }
            }
        }
        return found;
    }

    /// <summary>
    /// Files of the host with the word, but for PostgreSQL's, those in the folders of sessions, which are their owners', and the one that the host holds locked, whose name it is.
    /// </summary>
    static List<string> Files(LiveHost host) =>
        [.. Directory.EnumerateFiles(host.Data, "*", new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = 0 })
            .Where(path => !path.StartsWith(Path.Combine(host.Data, "postgres"), StringComparison.Ordinal) && !path.StartsWith(Path.Combine(host.Data, "workspaces"), StringComparison.Ordinal))
            .Where(path => path != Path.Combine(host.Data, "node"))
            .Where(path => Encoding.Latin1.GetString(File.ReadAllBytes(path)) is var text && Forms.Any(form => text.Contains(form, StringComparison.OrdinalIgnoreCase)))];

    /// <summary>In base64 a text has one of three forms, by where it begins; its ends depend on what stands beside it.</summary>
    static readonly string[] Forms =
    [
        Word, Convert.ToHexString(Encoding.UTF8.GetBytes(Word)),
        .. Enumerable.Range(0, 3).Select(shift => Convert.ToBase64String(Encoding.UTF8.GetBytes(new string(' ', shift) + Word))[4..12]),
    ];

    /// <param name="Paths">GETs that show the word.</param>
    /// <param name="Ids">What of the subject an address may name, by the name of its parameter.</param>
    sealed record Said(string Session, string Run, string Other, long Position, IReadOnlyList<string> Paths, Dictionary<string, string> Ids);
}
