using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Npgsql;

namespace Cowork.Kill.Tests;

/// <summary>
/// A day's worth of traffic of every kind over two hosts, one of which is killed again and again. What the read models hold afterwards is what the log makes of itself,
/// to the byte.
/// </summary>
public sealed partial class TrafficSpecs : DirectorySpecs
{
    /// <summary>Answers that are about now, about the host that is asked, grow by being asked for, or have the last signed head.</summary>
    static readonly string[] Moving =
    [
        "/health/live", "/health/ready", "/metrics", "/metrics/series", "/projections", "/engine/dead-letters", "/audit/heads", "/audit/heads/latest", "/audit/consistency", "/audit/export",
        "/openapi.json", "/infra/jwks.json", "/groups/{group_id}/ws", "/runs/{run_id}/trace", "/sessions/{session_id}/trace", "/audit/proof",
    ];

    /// <summary>The prefix of the ids that a parameter of an address takes.</summary>
    static readonly Dictionary<string, string> Prefixes = new()
    {
        ["session_id"] = "sess_",
        ["sessionId"] = "sess_",
        ["conversation_id"] = "conv_",
        ["run_id"] = "run_",
        ["taskId"] = "run_",
        ["response_id"] = "run_",
        ["approval_id"] = "appr_",
        ["skill_id"] = "skill_",
        ["schedule_id"] = "sched_",
        ["memory_id"] = "mem_",
        ["artifact_id"] = "art_",
        ["artifactId"] = "art_",
        ["project_id"] = "proj_",
        ["group_id"] = "grp_",
        ["file_id"] = "file_",
        ["connection_id"] = "conn_",
        ["work_id"] = "work_",
        ["scratchpad_id"] = "sp_",
        ["token_id"] = "token_",
        ["left"] = "run_",
        ["right"] = "run_",
    };

    [Fact]
    public async Task After_a_day_of_traffic_with_kills_the_read_models_are_what_the_log_makes_of_itself_and_every_answer_stays()
    {
        var seed = Seeds.One(20261130);
        var random = new Random(seed);
        var database = await TestPostgres.NewDatabase();
        var zones = Directory.CreateDirectory(Path.Combine(Data, "zones")).FullName;
        (string, string)[] environment = [.. Shared, ("TZDIR", zones), ("COWORK_MASTER_KEY", Convert.ToBase64String(SHA256.HashData("a key"u8)))];
        var stays = await HostProcess.Start(Path.Combine(Data, "a"), database, environment: environment);
        var killed = HostProcess.Launch(Path.Combine(Data, "b"), database, environment: environment);
        try
        {
            await killed.Ready();
            using var operators = stays.Admin();
            var roles = (string[])["admin", "approver", "auditor", "member"];
            var token = (await operators.Post("/tokens", JsonSerializer.Serialize(new { name = "day", user = "ann", roles, org_id = "acme" }))).Is(201)["token"];
            using var traffic = new Traffic(
                () => [stays.Url, Volatile.Read(ref killed).Url], stays.Url, "acme", token, operators.DefaultRequestHeaders.Authorization!.Parameter!, seed);
            var midnight = await PlanOverMidnight(traffic.Http, await NewZones(zones));
            using var over = new CancellationTokenSource(4 * Patience.Limit);
            var clock = Stopwatch.StartNew();
            void Tell(string what) => TestContext.Current.TestOutputHelper?.WriteLine($"{clock.Elapsed.TotalSeconds:0.0} s: {what}");
            var running = traffic.Run(rounds: Seeds.Chaos ? 20 : 2, over.Token);
            while (!running.IsCompleted)
            {
                await Task.WhenAny(running, Task.Delay(random.Next(1_500, 6_000), CancellationToken.None));
                await killed.Kill();
                await using var dead = killed;
                Volatile.Write(ref killed, await HostProcess.Start(Path.Combine(Data, "b"), database, environment: environment));
            }
            await running;
            Tell($"{traffic.Told} stories");
            foreach (var (schedule, fires) in midnight)
            {
                await traffic.Http.Until($"/api/v1/schedules/{schedule}/runs", got => got.Json.GetProperty("data").GetArrayLength() == fires);
            }
            await traffic.Rest();
            var document = JsonNode.Parse((await traffic.Http.Get("/openapi.json")).Is(200).Text)!;
            Assert.Empty(Untouched(document, traffic));

            var paths = Paths(document, traffic);
            var answers = await Answers(paths, traffic.Http);
            Tell($"{answers.Count} answers");
            var (code, output) = await CoworkCli.Run(database, "rebuild", "--check");
            Assert.True(code == 0, output);
            (code, output) = await CoworkCli.Run(database, "rebuild");
            Assert.True(code == 0, output);
            var after = await Answers(paths, traffic.Http);
            var other = answers.Where(was => was.Value != after[was.Key]).Select(was => $"{was.Key} before and after the rebuild:\n{was.Value}\n{after[was.Key]}").ToList();
            Assert.True(other.Count == 0, string.Join('\n', other));
            Tell("rebuilt beside the hosts");
            Assert.Equal(0, await stays.Stop());
            Assert.Equal(0, await killed.Stop());

            // Without hosts, all tables, to the byte.
            var rows = await Rows(database);
            await Run(database, "TRUNCATE cowork.gone_rows");
            (code, output) = await CoworkCli.Run(database, "rebuild");
            Assert.True(code == 0, output);
            foreach (var (table, was) in rows.Zip(await Rows(database)).SelectMany(pair => new[] { (pair.First.Table, (pair.First.Rows, pair.Second.Rows)) }))
            {
                Assert.True(was.Item1.SequenceEqual(was.Item2), $"{table}: {string.Join('\n', was.Item1.Except(was.Item2).Take(2).Concat(was.Item2.Except(was.Item1).Take(2)))}");
            }
            (code, output) = await CoworkCli.Run(null, "verify", "--database", database);
            Assert.True(code == 0 && output.Contains("SOUND", StringComparison.Ordinal), output);
            await Ledger.CheckLog(database);
            Tell($"sound; the log has no {string.Join(", ", await Missing(database))}");
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{Seeds.Name(seed)}: {e.Message}\nThe hosts said:\n{stays.Output}\n\n{killed.Output}", e);
        }
        finally
        {
            await stays.DisposeAsync();
            await killed.DisposeAsync();
        }
    }

    /// <summary>Two zones whose clocks change soon, at midnight by standard time: in one of them the hour after it is left out, in the other one it comes a second time.</summary>
    static async Task<DateTimeOffset> NewZones(string directory)
    {
        var now = TimeProvider.System.GetUtcNow();
        var at = now.AddTicks(-(now.Ticks % TimeSpan.TicksPerMinute)).AddMinutes(now.Second < 50 ? 1 : 2);
        var source = Path.Combine(directory, "rules");
        // As summer time begins and ends elsewhere, so that the zones have a standard time.
        string Rules(string name, params (DateTimeOffset From, int Saved)[] rules) => string.Concat(
            rules.Prepend((new(2020, 10, 1, 0, 0, 0, TimeSpan.Zero), 0)).Prepend((new(2020, 3, 1, 0, 0, 0, TimeSpan.Zero), 1))
                .Select(rule => string.Create(
                    CultureInfo.InvariantCulture, $"Rule {name} {rule.From.Year} only - {rule.From:MMM} {rule.From.Day} {rule.From:H:mm}u {rule.Saved}:00 -\n")));
        var midnight = at.TimeOfDay < TimeSpan.FromHours(12) ? -at.TimeOfDay : TimeSpan.FromDays(1) - at.TimeOfDay;
        string Zone(string name) => string.Create(CultureInfo.InvariantCulture, $"Zone Spec/{name} {(midnight < TimeSpan.Zero ? "-" : "")}{midnight:h\\:mm} {name} %z\n");
        await File.WriteAllTextAsync(
            source, Rules("Gap", (at, 1), (at.AddDays(30), 0)) + Rules("Fold", (at.AddDays(-100), 1), (at, 0)) + Zone("Gap") + Zone("Fold"));
        using var compile = Process.Start(new ProcessStartInfo("/usr/sbin/zic", ["-d", directory, source]) { RedirectStandardError = true })!;
        var said = await compile.StandardError.ReadToEndAsync();
        await compile.WaitForExitAsync();
        Assert.True(compile.ExitCode == 0, said);
        foreach (var entry in Directory.EnumerateFileSystemEntries("/usr/share/zoneinfo"))
        {
            File.CreateSymbolicLink(Path.Combine(directory, Path.GetFileName(entry)), entry);
        }
        return at;
    }

    /// <summary>Plans runs around the change of the clocks. Answers how often each fires until a minute later.</summary>
    static async Task<List<(string Schedule, int Fires)>> PlanOverMidnight(HttpClient http, DateTimeOffset at)
    {
        var project = (await http.Post("/api/v1/projects", """{"name":"midnight"}""")).Is(201)["id"];
        var planned = new List<(string, int)>();
        foreach (var (zone, cron, fires) in ((string, string, int)[])
            [("Spec/Gap", "0 0 * * *", 1), ("Spec/Gap", "30 0 * * *", 1), ("Spec/Gap", "*/20 0 * * *", 1), ("Spec/Gap", "0 2 * * *", 0), ("Spec/Fold", "0 0 * * *", 0)])
        {
            var body = JsonSerializer.Serialize(new { project_id = project, cron, timezone = zone, prompt = "/say good night" });
            planned.Add(((await http.Post("/api/v1/schedules", body)).Is(201)["id"], fires));
        }
        Assert.True(TimeProvider.System.GetUtcNow() < at, "The schedules came after their midnight.");
        return planned;
    }

    /// <summary>Writing operations that no story has done.</summary>
    static IEnumerable<string> Untouched(JsonNode document, Traffic traffic)
    {
        var done = traffic.Succeeded.Select(request => (request.Method, Parts: request.Path.Split('/'))).ToList();
        return from path in document["paths"]!.AsObject()
               from operation in path.Value!.AsObject()
               let method = operation.Key.ToUpperInvariant()
               let template = path.Key.Split('/')
               // Dead letters are jobs, and none of the log.
               where method != "GET" && template[1] != "engine" && !done.Exists(request => request.Method == method && request.Parts.Length == template.Length
                   && template.Zip(request.Parts).All(pair => pair.First == pair.Second || pair.First.StartsWith('{')))
               select $"{method} {path.Key}: Traffic has no story of it. Add one, so that rebuilds are compared with what it writes.";
    }

    /// <summary>Every address that reads: those with an id with some of those that there are or were.</summary>
    static List<string> Paths(JsonNode document, Traffic traffic)
    {
        const int IdsMax = 6;
        var paths = new List<string>();
        foreach (var (template, operations) in document["paths"]!.AsObject())
        {
            // Streams do not end.
            if (operations!["get"] is not { } get || Moving.Contains(template) || template.Split('/')[^1] is "stream" or "events" or "tail")
            {
                continue;
            }
            var required = (get["parameters"]?.AsArray() ?? [])
                .Where(p => (string?)p!["in"] == "query" && ((bool?)p["required"] == true || (string?)p["name"] == "limit")).Select(p => (string)p!["name"]!);
            var query = string.Join('&', required.Select(name => name switch { "limit" => "limit=100", _ => $"{name}={{{name}}}" }));
            var names = Parameter().Matches(template + query).Select(match => match.Groups[1].Value).Distinct().ToList();
            if (names.Count == 0)
            {
                paths.Add($"{template}?{query}");
            }
            else if (names.Count == 1 && Prefixes.TryGetValue(names[0], out var prefix))
            {
                paths.AddRange(Spread(traffic.Ids[prefix], IdsMax).Select(id => $"{template}?{query}".Replace($"{{{names[0]}}}", id, StringComparison.Ordinal)));
            }
        }
        return paths;
    }

    static async Task<Dictionary<string, string>> Answers(List<string> paths, HttpClient http)
    {
        var answers = new Dictionary<string, string>();
        foreach (var some in paths.Chunk(16))
        {
            foreach (var (path, got) in some.Zip(await Task.WhenAll(some.Select(path => http.Get(path)))))
            {
                answers[path] = $"{(int)got.Status} {((int)got.Status < 400 ? Changing().Replace(got.Text, "") : got.Code)}";
            }
        }
        return answers;
    }

    /// <summary>Some of them, the first and the last among them.</summary>
    static IEnumerable<string> Spread(IEnumerable<string> ids, int max) =>
        ids.ToList() is var all && all.Count <= max ? all : Enumerable.Range(0, max).Select(i => all[i * (all.Count - 1) / (max - 1)]);

    [GeneratedRegex("\\{([^}]*)\\}")]
    private static partial Regex Parameter();

    /// <summary>A cursor is sealed anew each time, a token is used by each request, and the log grows by heads.</summary>
    [GeneratedRegex("\"(next_cursor|last_used_at)\":\"[^\"]+\"|\"as_of_gid\":[0-9]+")]
    private static partial Regex Changing();

    /// <summary>The rows of every table that is made of the log.</summary>
    static async Task<List<(string Table, List<string> Rows)>> Rows(string database)
    {
        await using var source = NpgsqlDataSource.Create(database);
        var all = new List<(string, List<string>)>();
        foreach (var table in ReadModels.Tables.Select(model => model.Table).Append("gone_rows").Append("merkle_tiles"))
        {
            await using var command = source.CreateCommand($"SELECT t::text FROM cowork.{table} t ORDER BY t::text COLLATE \"C\"");
            await using var reader = await command.ExecuteReaderAsync();
            var rows = new List<string>();
            while (await reader.ReadAsync())
            {
                rows.Add(reader.GetString(0));
            }
            all.Add((table, rows));
        }
        return all;
    }

    /// <summary>Types of events that the day did not have.</summary>
    static async Task<IEnumerable<string>> Missing(string database)
    {
        await using var source = NpgsqlDataSource.Create(database);
        await using var command = source.CreateCommand("SELECT DISTINCT type FROM cowork.mt_events");
        await using var reader = await command.ExecuteReaderAsync();
        var there = new HashSet<string>();
        while (await reader.ReadAsync())
        {
            there.Add(reader.GetString(0));
        }
        return EventTypes.ByName.Keys.Except(there).Order(StringComparer.Ordinal);
    }

    static async Task Run(string database, string sql)
    {
        await using var source = NpgsqlDataSource.Create(database);
        await using var command = source.CreateCommand(sql);
        await command.ExecuteNonQueryAsync();
    }
}
