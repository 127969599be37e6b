using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Cowork.Application;
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
        Assert.Empty(await Found(host, "mt_events"));
        Assert.Empty(Files(host));
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
        (await http.Delete("/subjects/ann")).Is(202);
        (await http.Delete("/subjects/nobody")).IsProblem(404, "not_found");
        (await http.Delete($"/sessions/{said.Session}")).Is(204);
        // Another's words are there as before.
        Assert.Contains("meanwhile", (await http.Get($"/runs/{said.Other}")).Is(200).Text, StringComparison.Ordinal);
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
        await http.Until($"/groups/{group}/messages", got => got.Is(200).Text.Contains("\"done\"", StringComparison.Ordinal));
        await http.Until($"/api/v1/conversations/search?q={Word}", got => got.Is(200).Text.Contains(Word, StringComparison.Ordinal));
        var position = (await http.Get("/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray().Last().GetProperty("gid").GetInt64();
        return new(
            session, run, other, position,
            [
                $"/sessions/{session}", $"/sessions/{session}/events?since_id=0&limit=1000", $"/sessions/{session}/memories", $"/runs/{run}",
                $"/runs/{longer}", $"/runs/{run}/trace", $"/api/v1/conversations/{conversation}", $"/api/v1/scratchpads/{pad}", $"/api/v1/memories/{memory}", $"/api/v1/files/{file}",
                $"/api/v1/files/{file}/content", $"/myworks/{work}", "/myworks?q=zephyr", $"/groups/{group}", $"/groups/{group}/messages", $"/api/cowork/tasks/{task}",
                "/approvals?status=all", $"/api/v1/conversations/search?q={Word}", "/events?limit=1000",
            ]);
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
    sealed record Said(string Session, string Run, string Other, long Position, IReadOnlyList<string> Paths);
}
