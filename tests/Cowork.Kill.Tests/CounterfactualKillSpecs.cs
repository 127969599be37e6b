using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>A host is killed amid counterfactuals: another goes on with each where it was, what is recorded is served as before, and nothing outside is changed.</summary>
public sealed class CounterfactualKillSpecs : DirectorySpecs
{
    const string Recorded = "/tool write_file {\"path\":\".anton/output/r.md\",\"content\":\"kestrels\"}\n/sleep 300\n/say written";
    const string Other = "/tool write_file {\"path\":\".anton/output/other.md\",\"content\":\"owls\"}\n/tool list_files {}";

    [Fact]
    public async Task Killed_amid_counterfactuals()
    {
        var database = await TestPostgres.NewDatabase();
        await using var first = await HostProcess.Start(Data, database);
        await first.Http.NewSession("s");
        var run = (await first.Http.Turn("s", Recorded)).Is(200)["run_id"];
        var from = (await first.Http.Events("s")).First(e => e.GetProperty("type").GetString() == "llm_response").GetProperty("id").GetInt64();
        var before = Written("s");
        var made = new List<string>();
        for (var i = 0; i < 8; i++)
        {
            var body = i % 2 == 0 ? JsonSerializer.Serialize(new { from_event = from, wait_for_completion = false })
                : JsonSerializer.Serialize(new { from_event = from, wait_for_completion = false, message = Other, allow = (string[])["list_files"] });
            made.Add((await first.Http.Post($"/runs/{run}/counterfactual", body))["run_id"]);
        }
        await first.Kill();

        await using var second = await HostProcess.Start(Data, database);
        foreach (var (i, other) in made.Index())
        {
            await second.Http.Until($"/runs/{other}", ended => ended["status"] == "completed");
            var session = (await second.Http.Get($"/runs/{other}")).Is(200)["session_id"];
            var sources = (await second.Http.Events(session)).Where(e => e.GetProperty("type").GetString() == "tool_result")
                .Select(e => e.GetProperty("payload").GetProperty("source").GetString()!);
            Assert.Equal(i % 2 == 0 ? ["recorded"] : (string[])["recorded", "stub", "live"], sources);
            Assert.Equal("equal", (await second.Http.Post($"/runs/{other}/replay")).Is(200)["verdict"]);
        }
        Assert.Equal(before, Written("s"));
        Assert.Equal(0, await second.Stop());
        await Ledger.Check(database, [run, .. made]);
    }

    string[] Written(string session) =>
        [.. Directory.EnumerateFiles(Path.Combine(Data, "workspaces", session), "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)];
}
