using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>Hosts that hold kernels are killed and stopped in the middle of cells.</summary>
public sealed class ScratchpadKillSpecs : DirectorySpecs
{
    const string Pads = "/api/v1/scratchpads";

    static async Task<(string Session, string Pad, string[] Cells)> NewPad(HostProcess host, params string[] code)
    {
        var conversation = (await host.Http.Post("/api/v1/conversations", "{}")).Is(201)["id"];
        var cells = code.Select(content => new { type = "code", content });
        var made = (await host.Http.Post(Pads, JsonSerializer.Serialize(new { conversation_id = conversation, cells }))).Is(201);
        return ("sess_" + conversation["conv_".Length..], made["id"], [.. made.Json.GetProperty("cells").EnumerateArray().Select(c => c.GetProperty("id").GetString()!)]);
    }

    /// <summary>Queues a cell and goes away.</summary>
    static async Task Queue(HostProcess host, string pad, string cell)
    {
        await using var reader = await EventReader.Open(host.Http, $"{Pads}/{pad}/cells/{cell}/run", json: "{}");
    }

    static Task<Got> Cell(HostProcess host, string pad, string cell, Func<Got, bool> fits) => host.Http.Until($"{Pads}/{pad}/cells/{cell}", fits);

    static string Text(Got cell) => string.Concat(cell.Json.GetProperty("outputs").EnumerateArray().Select(o => o.GetProperty("data").GetString()));

    [Fact]
    public async Task A_host_killed_in_a_cell_executes_it_again_says_that_the_variables_are_lost_and_goes_on()
    {
        var database = await TestPostgres.NewDatabase();
        await using var host = await HostProcess.Start(Data, database);
        // The second cell waits in its first attempt, which leaves a file.
        var (session, pad, cells) = await NewPad(
            host, "x = 1\nprint('first')",
            "import os, time\nprint('begun', flush=True)\nif not os.path.exists('seen'):\n    open('seen', 'w').close()\n    time.sleep(100)\nprint('again', 'x' in globals())",
            "print('last')");
        await Queue(host, pad, cells[0]);
        Assert.Equal("first\n", Text(await Cell(host, pad, cells[0], c => c["status"] == "success")));
        await using var reader = await EventReader.Open(host.Http, $"{Pads}/{pad}/cells/{cells[1]}/run", json: "{}");
        var seen = new List<(long Id, string Type, JsonElement Data)>();
        while (seen.LastOrDefault().Type != "cell.output")
        {
            using var timeout = new CancellationTokenSource(Patience.Limit);
            seen.Add((await reader.Next(timeout.Token))!.Value);
        }
        await Queue(host, pad, cells[2]);
        await host.Kill();

        await using var next = await HostProcess.Start(Data, database);
        // The earlier result is there, and the reader resumes where it was cut.
        Assert.Equal("first\n", Text((await next.Http.Get($"{Pads}/{pad}/cells/{cells[0]}")).Is(200)));
        await using var resumed = await EventReader.Open(next.Http, $"{Pads}/{pad}/cells/{cells[1]}/events", seen[^1].Id);
        var rest = await resumed.ToEnd();
        Assert.Equal(seen[^1].Data.GetProperty("sequence_number").GetInt64() + 1, rest[0].Data.GetProperty("sequence_number").GetInt64());
        var started = rest.Single(e => e.Type == "cell.started").Data;
        Assert.Equal((2, true), (started.GetProperty("attempt").GetInt32(), started.GetProperty("state_lost").GetBoolean()));
        Assert.Equal("begun\nagain False\n", rest[^1].Data.GetProperty("outputs")[0].GetProperty("data").GetString());
        Assert.Equal("last\n", Text(await Cell(next, pad, cells[2], c => c["status"] == "success")));
        var types = (await next.Http.Events(session)).Select(e => e.GetProperty("type").GetString()).ToList();
        Assert.Equal(1, types.Count(type => type == "kernel_lost"));
        Assert.Equal(3, types.Count(type => type == "cell_completed"));
        Assert.Equal(0, await next.Stop());
        await Ledger.Check(database, []);
    }

    [Fact]
    public async Task An_agents_cell_goes_on_on_another_host_when_its_own_is_killed()
    {
        var database = await TestPostgres.NewDatabase();
        var blobs = Path.Combine(Data, "blobs");
        var roots = Path.Combine(Data, "work");
        Directory.CreateDirectory(roots);
        (string Name, string Value)[] shared = [("Cowork__Blobs", blobs), ("Cowork__WorkspaceRoots__0", roots)];
        await using var host = await HostProcess.Start(Path.Combine(Data, "a"), database, environment: shared);
        await using var other = await HostProcess.Start(Path.Combine(Data, "b"), database, environment: shared);
        var session = (await host.Http.Post("/sessions", JsonSerializer.Serialize(new { workspace_path = Path.Combine(roots, "w") }))).Is(201)["session_id"];
        var code = "import os, time\nif not os.path.exists('seen'):\n    open('seen', 'w').close()\n    time.sleep(100)\nprint(6 * 7)";
        var run = (await host.Http.Post($"/sessions/{session}/turn", JsonSerializer.Serialize(new { message = $"```python\n{code}\n```", wait_for_completion = false }))).Is(202)["run_id"];
        var seen = Path.Combine(roots, "w", "seen");
        await Patience.Until(() => File.Exists(seen));
        await host.Kill();
        var ended = await other.Http.Until($"/runs/{run}", got => got["status"] is "completed" or "failed");
        Assert.Equal("completed", ended["status"]);
        Assert.Contains("42", ended["reply"]);
        var types = (await other.Http.Events(session)).Select(e => e.GetProperty("type").GetString()).ToList();
        Assert.Equal((1, 1, 1), (types.Count(t => t == "cell_queued"), types.Count(t => t == "cell_completed"), types.Count(t => t == "tool_result")));
    }

    /// <summary>More scratchpads than there are kernels: those that wait get the kernels of those that are idle.</summary>
    [Fact]
    public async Task Twenty_scratchpads_at_once_all_get_on_with_eight_kernels()
    {
        await using var host = await HostProcess.Start(Data, await TestPostgres.NewDatabase(), environment: ("Cowork__Kernels__Max", "8"));
        var pads = new List<(string Session, string Pad, string[] Cells)>();
        for (var i = 0; i < 20; i++)
        {
            pads.Add(await NewPad(host, $"{i} * 2"));
        }
        var ended = await Task.WhenAll(pads.Select(p => host.Http.Post($"{Pads}/{p.Pad}/cells/{p.Cells[0]}/run", """{"stream":false}""")));
        Assert.Equal(Enumerable.Range(0, 20).Select(i => $"{i * 2}"), ended.Select(got => Text(got.Is(200))));
        var events = (await host.Http.Get("/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray();
        Assert.True(events.Count(e => e.GetProperty("type").GetString() == "kernel_stopped") >= 20 - 8);
        Assert.Equal(0, await host.Stop());
    }
}
