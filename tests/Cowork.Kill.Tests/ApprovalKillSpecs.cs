using System.Text.Json;

using Cowork.Testing;

using Npgsql;

namespace Cowork.Kill.Tests;

/// <summary>Hosts are killed around an approval: what waits goes on waiting, what was decided is done, and what was done is done once.</summary>
public sealed class ApprovalKillSpecs : DirectorySpecs
{
    const string Message = "/tool write_file {\"path\":\"report.md\",\"content\":\"hello\"}\n/say done";
    const string Yes = """{"approved":true}""";


    [Fact]
    public async Task Killed_while_approvals_are_pending_and_again_just_after_the_decisions()
    {
        var database = await TestPostgres.NewDatabase();
        var sessions = Enumerable.Range(0, 12).Select(i => $"s{i}").ToList();
        await using var first = await HostProcess.Start(Data, database);
        var turns = await Task.WhenAll(sessions.Select(async session => (await first.Http.Turn(await first.Http.NewSession(session), Message)).Is(200)));
        Assert.All(turns, turn => Assert.Equal("approval_required", turn["status"]));
        var asked = turns.Select(turn => turn.Json.GetProperty("pending_approval_ids")[0].GetString()!).ToList();
        await first.Kill();

        await using var second = await HostProcess.Start(Data, database);
        var pending = (await second.Http.Get("/approvals")).Is(200).Json.GetProperty("approvals").EnumerateArray().Select(a => a.GetProperty("approval_id").GetString()!);
        Assert.Equal(asked.Order(), pending.Order());
        // Every second one is rejected. All are answered, and nobody waits for what they lead to.
        await Task.WhenAll(asked.Select(async (id, i) => (await second.Http.Post($"/approvals/{id}/decision", i % 2 == 0 ? Yes : """{"approved":false}""")).Is(200)));
        await second.Kill();

        await using var third = await HostProcess.Start(Data, database);
        for (var i = 0; i < turns.Length; i++)
        {
            await third.Http.Until($"/runs/{turns[i]["run_id"]}", run => run["status"] == "completed");
            Assert.Equal(i % 2 == 0 ? "approved" : "rejected", (await third.Http.Get($"/approvals/{asked[i]}")).Is(200)["status"]);
            Assert.Equal(i % 2 == 0, File.Exists(Path.Combine(Data, "workspaces", sessions[i], "report.md")));
            Assert.Single(await third.Http.Events(sessions[i]), e => e.GetProperty("type").GetString() == "approval_decided");
        }
        Assert.Equal(0, await third.Stop());
        await Ledger.Check(database, [.. turns.Select(turn => turn["run_id"])]);
    }

    [Fact]
    public async Task A_response_that_is_streamed_over_a_kill_has_the_same_numbers_and_the_same_text_before_and_after()
    {
        const string Responses = "/api/v1/responses";
        var database = await TestPostgres.NewDatabase();
        var seen = new List<(long Id, string Type, JsonElement Data)>();
        string id;
        await using (var first = await HostProcess.Start(Data, database))
        {
            await first.Http.NewSession("s");
            await using var reader = await EventReader.Open(first.Http, Responses, json: JsonSerializer.Serialize(new { conversation_id = "conv_s", input = Message }));
            using var timeout = new CancellationTokenSource(Patience.Limit);
            while (seen.Count == 0 || seen[^1].Type != "response.approval_required")
            {
                seen.Add((await reader.Next(timeout.Token))!.Value);
            }
            id = seen[0].Data.GetProperty("response_id").GetString()!;
            await first.Kill();
        }
        await using var second = await HostProcess.Start(Data, database);
        await using (var rest = await EventReader.Open(second.Http, $"{Responses}/{id}/events", seen[^1].Id))
        {
            var approval = seen[^1].Data.GetProperty("approval").GetProperty("approval_id").GetString();
            (await second.Http.Post($"/approvals/{approval}/decision", Yes)).Is(200);
            seen.AddRange(await rest.ToEnd());
        }
        Assert.Equal("response.completed", seen[^1].Type);
        Assert.Equal(Enumerable.Range(0, seen.Count).Select(i => (long)i), seen.Select(e => e.Id));
        await using var whole = await EventReader.Open(second.Http, $"{Responses}/{id}/events");
        Assert.Equal(seen.Select(e => $"{e.Id} {e.Data}"), (await whole.ToEnd()).Select(e => $"{e.Id} {e.Data}"));
        await second.Stop();
        await Ledger.Check(database, [id.Replace("resp_", "run_", StringComparison.Ordinal)]);
    }

    [Fact]
    public async Task Killed_between_the_effect_and_its_record_the_approved_call_is_made_once_more_under_the_same_step()
    {
        var database = await TestPostgres.NewDatabase();
        await using var first = await HostProcess.Start(Data, database);
        var session = await first.Http.NewSession("s");
        var turn = (await first.Http.Turn(session, Message)).Is(200);
        var file = Path.Combine(Data, "workspaces", "s", "report.md");
        await using (var held = await HeldBack.Begin(database, "NEW.type = 'tool_result.v1'"))
        {
            (await first.Http.Post($"/approvals/{turn.Json.GetProperty("pending_approval_ids")[0].GetString()}/decision", Yes)).Is(200);
            await held.Caught();
            Assert.Equal("hello", await File.ReadAllTextAsync(file));
            await first.Kill();
        }
        await using var second = await HostProcess.Start(Data, database);
        var run = await second.Http.Until($"/runs/{turn["run_id"]}", got => got["status"] == "completed");
        Assert.Equal("2", run["attempt"]);
        var result = Assert.Single(await Results(second, turn["run_id"]));
        Assert.Equal((3, 2, false), (result.GetProperty("step").GetInt32(), result.GetProperty("attempt").GetInt32(), result.GetProperty("is_error").GetBoolean()));
        Assert.Equal("hello", await File.ReadAllTextAsync(file));
        Assert.Equal(["report.md"], Directory.EnumerateFileSystemEntries(Path.GetDirectoryName(file)!).Select(Path.GetFileName));
        Assert.Equal(0, await second.Stop());
        await Ledger.Check(database, [turn["run_id"]]);
    }

    [Fact]
    public async Task Killed_between_an_effect_in_the_database_and_its_record_the_token_keeps_it_from_happening_twice()
    {
        var database = await TestPostgres.NewDatabase();
        await using var first = await HostProcess.Start(Data, database);
        await first.Http.NewSession("s");
        string run;
        await using (var held = await HeldBack.Begin(database, "NEW.type = 'tool_result.v1'"))
        {
            run = (await first.Http.Turn("s", "/tool remember {\"content\":\"the launch is on Friday\"}\n/say done", wait: false)).Is(202)["run_id"];
            await held.Caught();
            await first.Kill();
        }
        await using var second = await HostProcess.Start(Data, database);
        await second.Http.Until($"/runs/{run}", got => got["status"] == "completed");
        Assert.Equal(2, Assert.Single(await Results(second, run)).GetProperty("attempt").GetInt32());
        await using var source = NpgsqlDataSource.Create(database);
        await using var remembered = source.CreateCommand("select count(*) from cowork.mt_events where type = 'memory_written.v1' and data->>'kind' = 'memory'");
        Assert.Equal(1L, await remembered.ExecuteScalarAsync());
        Assert.Equal(0, await second.Stop());
        await Ledger.Check(database, [run]);
    }

    [Fact]
    public async Task Decided_on_one_host_that_dies_of_it_the_run_goes_on_on_the_other()
    {
        var database = await TestPostgres.NewDatabase();
        await using var a = await HostProcess.Start(Path.Combine(Data, "a"), database, environment: Shared);
        await using var b = await HostProcess.Start(Path.Combine(Data, "b"), database, environment: Shared);
        var workspace = Path.Combine(Data, "workspaces", "s");
        (await a.Http.Post("/sessions", JsonSerializer.Serialize(new { session_id = "s", workspace_path = workspace }))).Is(201);
        var turn = (await a.Http.Turn("s", Message)).Is(200);
        await using (var held = await HeldBack.Begin(database, "NEW.type = 'run_resumed.v1'"))
        {
            // The host that took the decision also took the run, and now it can neither go on nor tell.
            (await b.Http.Post($"/approvals/{turn.Json.GetProperty("pending_approval_ids")[0].GetString()}/decision", Yes)).Is(200);
            await held.Caught();
            await b.Kill();
        }
        // Nobody tells the other that it is dead: the lease has to run out.
        var run = await a.Http.Until($"/runs/{turn["run_id"]}", got => got["status"] == "completed");
        Assert.Equal("1", run["attempt"]);
        Assert.Equal("hello", await File.ReadAllTextAsync(Path.Combine(workspace, "report.md")));
        Assert.Equal(0, await a.Stop());
        await Ledger.Check(database, [turn["run_id"]]);
    }

    [Fact]
    public async Task Asked_on_one_host_that_is_killed_decided_on_another_the_run_goes_on_there()
    {
        var (one, two, shared) = (TestPostgres.NewDirectory(), TestPostgres.NewDirectory(), TestPostgres.NewDirectory());
        var roots = ("Cowork__WorkspaceRoots__0", shared);
        try
        {
            var database = await TestPostgres.NewDatabase();
            await using var first = await HostProcess.Start(one, database, 0, roots);
            await using var second = await HostProcess.Start(two, database, 0, roots);
            var workspace = Path.Combine(shared, "work");
            var session = (await first.Http.Post("/sessions", JsonSerializer.Serialize(new { workspace_path = workspace }))).Is(201)["session_id"];
            var turn = (await first.Http.Turn(session, Message)).Is(200);
            var id = turn.Json.GetProperty("pending_approval_ids")[0].GetString();
            await first.Kill();
            (await second.Http.Post($"/approvals/{id}/decision", """{"approved":true}""")).Is(200);
            await second.Http.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
            Assert.Equal("hello", await File.ReadAllTextAsync(Path.Combine(workspace, "report.md")));
            await Ledger.Check(database, [turn["run_id"]]);
        }
        finally
        {
            Directory.Delete(one, recursive: true);
            Directory.Delete(two, recursive: true);
            Directory.Delete(shared, recursive: true);
        }
    }

    /// <summary>The results of tools that a run recorded.</summary>
    static async Task<IEnumerable<JsonElement>> Results(HostProcess host, string run) =>
        (await host.Http.Get($"/runs/{run}/trace")).Is(200).Json.GetProperty("events").EnumerateArray()
            .Where(e => e.GetProperty("type").GetString() == "tool_result.v1").Select(e => e.GetProperty("data"));
}
