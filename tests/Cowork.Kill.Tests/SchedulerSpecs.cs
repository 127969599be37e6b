using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>Schedules on several hosts over one database, that are paused and killed: each planned time is decided once, and its run is there (faults.md, rows 26 to 29).</summary>
public sealed class SchedulerSpecs : DirectorySpecs
{
    readonly int seed = Seeds.One(20261121);

    [Theory]
    [InlineData(2)]
    [InlineData(8)]
    public async Task Many_hosts_on_one_database_start_each_planned_run_once_also_with_one_that_was_paused(int count)
    {
        var database = await TestPostgres.NewDatabase();
        List<HostProcess> hosts = [];
        try
        {
            hosts.AddRange(Enumerable.Range(0, count).Select(i => HostProcess.Launch(Path.Combine(Data, $"{i}"), database, environment: Shared)));
            foreach (var host in hosts)
            {
                await host.Ready();
            }
            var schedules = await Planned(hosts[0].Http, schedules: 4, "all");
            await Slots(hosts[^1].Http, schedules, atLeast: 4);
            // For longer than its lease.
            hosts[0].Pause();
            await Slots(hosts[^1].Http, schedules, atLeast: 18);
            hosts[0].Continue();
            await Slots(hosts[0].Http, schedules, atLeast: 21);
            await Settled(hosts[0].Http, schedules);
            foreach (var host in hosts)
            {
                Assert.Equal(0, await host.Stop());
            }
            await Ledger.Check(database, []);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{e.Message}\nThe hosts said:\n{string.Join("\n\n", hosts.Select(host => host.Output))}", e);
        }
        finally
        {
            foreach (var host in hosts)
            {
                await host.DisposeAsync();
            }
        }
    }

    [Fact]
    public async Task A_host_killed_again_and_again_between_claim_and_run_loses_no_planned_time_and_doubles_none()
    {
        var random = new Random(seed);
        var database = await TestPostgres.NewDatabase();
        var host = await HostProcess.Start(Data, database);
        try
        {
            var schedules = await Planned(host.Http, schedules: 8, "all");
            for (var kills = 0; kills < 6; kills++)
            {
                // Each second eight slots are decided: the blow falls into the midst of it.
                await Slots(host.Http, schedules, atLeast: 2 * (kills + 1));
                await Task.Delay(random.Next(700, 1_100));
                await host.Kill();
                await host.DisposeAsync();
                host = await HostProcess.Start(Data, database);
            }
            await Settled(host.Http, schedules);
            Assert.Equal(0, await host.Stop());
            await Ledger.Check(database, []);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"seed {seed}: {e.Message}\nThe host said:\n{host.Output}", e);
        }
        finally
        {
            await host.DisposeAsync();
        }
    }

    /// <summary>Schedules of a run each second, each in a session of its own.</summary>
    static async Task<List<string>> Planned(HttpClient http, int schedules, string misfire)
    {
        var skill = (await http.Post("/skills", """{"name":"planned","prompt_template":"/say {a}"}""")).Is(201)["skill_id"];
        var made = new List<string>();
        for (var i = 0; i < schedules; i++)
        {
            var session = await http.NewSession($"planned-{i}");
            var body = new { name = $"s{i}", session_id = session, skill_id = skill, @params = new { a = i }, interval_seconds = 1, misfire, overlap = "queue" };
            made.Add((await http.Post("/scheduled-runs", JsonSerializer.Serialize(body))).Is(201)["schedule_id"]);
        }
        return made;
    }

    /// <summary>Waits until so many planned times of each were decided.</summary>
    static async Task Slots(HttpClient http, List<string> schedules, int atLeast)
    {
        foreach (var id in schedules)
        {
            await http.Until($"/scheduled-runs/{id}/runs?limit=1000", got => Lines(got).Count >= atLeast);
        }
    }

    /// <summary>Pauses them, waits for their runs, and goes through every planned time.</summary>
    static async Task Settled(HttpClient http, List<string> schedules)
    {
        foreach (var id in schedules)
        {
            (await http.Post($"/scheduled-runs/{id}/pause")).Is(200);
        }
        foreach (var id in schedules)
        {
            var ledger = await http.Until(
                $"/scheduled-runs/{id}/runs?limit=1000", got => Lines(got).All(line => line.GetProperty("status").GetString() is null or "completed"));
            DateTimeOffset? next = null;
            foreach (var line in Lines(ledger).AsEnumerable().Reverse())
            {
                var slot = line.GetProperty("slot").GetDateTimeOffset();
                Assert.True(next is null || slot == next, $"{id}: {slot:O} instead of {next:O}");
                next = (line.GetProperty("through").ValueKind == JsonValueKind.Null ? slot : line.GetProperty("through").GetDateTimeOffset()).AddSeconds(1);
                var isSkipped = line.GetProperty("outcome").GetString() == "skipped";
                Assert.Equal(isSkipped, line.GetProperty("run_id").ValueKind == JsonValueKind.Null);
                Assert.False(isSkipped, $"Nothing was away for a hundred slots: {line}");
            }
        }
    }

    static List<JsonElement> Lines(Got ledger) => [.. ledger.Is(200).Json.GetProperty("runs").EnumerateArray()];
}
