using Cowork.Application;
using Cowork.Testing;

using Npgsql;

namespace Cowork.Web.Tests;

/// <summary>The command line against a host's database and its bundles.</summary>
public sealed class CliSpecs : IDisposable
{
    readonly string directory = Directory.CreateTempSubdirectory("cowork-cli-").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public async Task Read_models_that_differ_from_the_log_are_found_while_the_host_runs()
    {
        var database = await TestPostgres.NewDatabase();
        await using var host = await LiveHost.Start(settings => settings with { Database = database });
        await Ran(host);
        Assert.Equal(0, (await CoworkCli.Run(database, "rebuild", "--check")).Code);
        await Spoil(database);
        var (code, output) = await CoworkCli.Run(database, "rebuild", "--check");
        Assert.Equal(1, code);
        Assert.Contains("runs: NOT equal to the log, first at default", output);
        Assert.Contains("metrics: NOT equal to the log, first at default", output);
    }

    [Fact]
    public async Task Read_models_are_made_anew_while_the_host_runs()
    {
        var database = await TestPostgres.NewDatabase();
        await using var host = await LiveHost.Start(settings => settings with { Database = database });
        var run = await Ran(host);
        await Spoil(database);
        foreach (string[] again in (string[][])[["rebuild"], ["rebuild", "--check"]])
        {
            var (code, output) = await CoworkCli.Run(database, again);
            Assert.True(code == 0, output);
        }
        Assert.Equal("completed", (await host.Http.Get($"/runs/{run}")).Is(200)["status"]);
    }

    [Fact]
    public async Task A_subject_is_erased_where_no_host_lives_and_the_log_says_by_whom()
    {
        var database = await TestPostgres.NewDatabase();
        var archive = await SaidByAnn(database);
        const string Erasures = "SELECT count(*)::text FROM cowork.mt_events WHERE type = 'subject_erased.v1'";
        Assert.Equal((1, "0"), ((await Subjects(database, "no\n", "erase", "ann")).Code, await Ask(database, Erasures)));
        Assert.True(File.Exists(archive));

        var (code, output) = await Subjects(database, "ann\n", "erase", "ann", "--by", "Bo of privacy");
        Assert.True(code == 0, output);
        Assert.Contains("erased     \"ann\": ", output, StringComparison.Ordinal);
        Assert.Equal("operator:Bo of privacy", await Ask(database, "SELECT data->>'by' FROM cowork.mt_events WHERE type = 'subject_erased.v1' AND user_name = data->>'by'"));
        Assert.Equal("0", await Ask(database, "SELECT count(*)::text FROM cowork.jobs WHERE kind = 'subject_erasure'"));
        foreach (var table in (string[])["mt_events", "sessions", "runs", "groups", "messages", "memories", "memory_words", "snapshots", "texts"])
        {
            Assert.Equal((table, "0"), (table, await Ask(database, $"SELECT count(*)::text FROM cowork.{table} t WHERE t::text ILIKE '%{Word}%'")));
        }
        Assert.False(File.Exists(archive));
        (code, output) = await Subjects(database, "", "erase", "ann");
        Assert.True(code == 0 && output.Contains("by operator:Bo of privacy", StringComparison.Ordinal), output);
        (code, output) = await CoworkCli.Run(null, "verify", "--database", database);
        Assert.True(code == 0 && output.Contains("events with erased texts", StringComparison.Ordinal), output);
    }

    [Fact]
    public async Task An_archive_that_lies_elsewhere_is_left_to_a_host_and_the_erasure_is_not_said_to_be_complete()
    {
        var database = await TestPostgres.NewDatabase();
        var archive = await SaidByAnn(database);
        var (code, output) = await CoworkCli.Run(
            database, ["subjects", "erase", "ann", "--yes", "--data", directory], ("Cowork__Blobs", Path.Combine(directory, "elsewhere")));
        Assert.True(code == 1 && output.Contains(Path.GetFileName(archive), StringComparison.Ordinal), output);
        Assert.True(File.Exists(archive));
        Assert.StartsWith("erasing    \"ann\": ", (await Subjects(database, "", "list")).Output, StringComparison.Ordinal);
        await using var host = await Host(database);
        await host.Http.Until("/subjects/ann", got => got.Is(200)["state"] == "erased");
        Assert.False(File.Exists(archive));
    }

    [Fact]
    public async Task Hosts_that_live_hear_of_an_erasure_on_the_command_line_at_once()
    {
        var database = await TestPostgres.NewDatabase();
        await using var host = await Host(database);
        var run = (await host.Http.Turn((await host.Http.Post("/sessions", """{"subject":"ann"}""")).Is(201)["session_id"], $"/say {Word}")).Is(200)["run_id"];
        Assert.Contains(Word, (await host.Http.Get($"/runs/{run}")).Is(200).Text, StringComparison.Ordinal);
        Assert.Equal(1, (await Subjects(database, "", "erase", "bo", "--yes")).Code);
        var (code, output) = await Subjects(database, "", "erase", "ann", "--yes");
        Assert.True(code == 0, output);
        Assert.DoesNotContain(Word, (await host.Http.Get($"/runs/{run}")).Is(200).Text, StringComparison.Ordinal);
        var erased = (await host.Http.Get("/subjects/ann")).Is(200);
        Assert.Equal(("erased", $"operator:{Environment.UserName}"), (erased["state"], erased["erased_by"]));
    }

    const string Word = "zephyrquartz";

    /// <summary>A host whose blobs and master key outlive it.</summary>
    Task<LiveHost> Host(string database) => LiveHost.Start(settings =>
    {
        MasterKeyFile.Open(MasterKeyFile.In(directory));
        Directory.CreateDirectory(settings.Data);
        File.Copy(MasterKeyFile.In(directory), MasterKeyFile.In(settings.Data));
        return settings with { Database = database, Blobs = Path.Combine(directory, "blobs") };
    });

    /// <summary>What the subject ann said in a session and in a group that is archived; the host has ended. Answers the path of the archive.</summary>
    async Task<string> SaidByAnn(string database)
    {
        await using var host = await Host(database);
        (await host.Http.Turn((await host.Http.Post("/sessions", """{"subject":"ann"}""")).Is(201)["session_id"], $"/say {Word}")).Is(200);
        var group = (await host.Http.Post("/groups", $$"""{"title":"{{Word}}","subject":"ann"}""")).Is(201)["group_id"];
        var archive = (await host.Http.Post($"/groups/{group}/archive", """{"reason":"done"}""")).Is(200)["r2_path"];
        await host.Http.Until($"/groups/{group}", shown => shown["status"] == "archived");
        archive = Path.Combine(directory, "blobs", archive);
        Assert.Contains(Word, await File.ReadAllTextAsync(archive), StringComparison.Ordinal);
        return archive;
    }

    Task<(int Code, string Output)> Subjects(string database, string input, params string[] args) =>
        CoworkCli.Run(database, ["subjects", .. args, "--data", directory], input);

    static async Task<string?> Ask(string database, string sql)
    {
        await using var source = NpgsqlDataSource.Create(database);
        await using var ask = source.CreateCommand(sql);
        return (string?)await ask.ExecuteScalarAsync();
    }

    [Theory]
    [InlineData(0, "usage: cowork COMMAND", "migrate", "--help")]
    [InlineData(0, "usage: cowork COMMAND", "-h")]
    [InlineData(2, "there is no command frobnicate", "frobnicate")]
    [InlineData(2, "migrate has no option --helpp", "migrate", "--helpp")]
    [InlineData(2, "subjects has the commands list and erase NAME", "subjects", "erase")]
    [InlineData(2, "subjects list has no option --yes", "subjects", "list", "--yes")]
    [InlineData(2, "--org is no name of a tenant", "subjects", "erase", "ann", "--org", "a b")]
    [InlineData(2, "--by is no name", "subjects", "erase", "ann", "--by", "a\u202eb")]
    [InlineData(2, "--format is one of cowork-trace/4, ", "verify", "--format", "x", "bundle.json")]
    [InlineData(2, "--jwks lacks its value.", "verify", "bundle.json", "--jwks")]
    [InlineData(2, "verify has no option --x.", "verify", "--x")]
    public async Task How_a_command_is_called_is_told(int exitCode, string told, params string[] arguments)
    {
        var (code, output) = await CoworkCli.Run(database: null, arguments);
        Assert.Equal(exitCode, code);
        Assert.Contains(told, output, StringComparison.Ordinal);
        if (exitCode == 2)
        {
            Assert.EndsWith("cowork help lists the commands and their options.", output.TrimEnd(), StringComparison.Ordinal);
            Assert.Equal(2, output.TrimEnd().Split('\n').Length);
        }
    }

    /// <summary>A run that is completed and counted. Answers its id.</summary>
    static async Task<string> Ran(LiveHost host)
    {
        var run = (await host.Http.Turn(await host.Http.NewSession(), "/say hello")).Is(200)["run_id"];
        await host.Http.Until("/metrics", got => got.Json.GetProperty("status_counts").GetProperty("completed").GetInt64() == 1);
        return run;
    }

    static async Task Spoil(string database)
    {
        await using var source = NpgsqlDataSource.Create(database);
        await using var spoil = source.CreateCommand("update cowork.runs set row = '{}', status = 'queued'; delete from cowork.metrics");
        await spoil.ExecuteNonQueryAsync();
    }

    [Fact]
    public async Task A_fetched_bundle_is_verified_and_a_changed_one_is_not()
    {
        await using var host = await LiveHost.Start();
        var session = await host.Http.NewSession();
        var run = (await host.Http.Turn(session, "/tool list_files {}\n/say hello")).Is(200)["run_id"];
        var file = Path.Combine(directory, "bundle.json");
        var bundle = await host.Http.GetByteArrayAsync($"/runs/{run}/trace");
        await File.WriteAllBytesAsync(file, bundle);
        var (code, output) = await CoworkCli.Run(null, "verify", file);
        Assert.True(code == 0 && output.StartsWith($"SOUND      \"{file}\": run \"{run}\" completed, ", StringComparison.Ordinal), output);

        bundle[bundle.AsSpan().IndexOf("hello"u8)] ^= 1;
        await File.WriteAllBytesAsync(file, bundle);
        (code, output) = await CoworkCli.Run(null, "verify", file);
        Assert.True(code == 1 && output.StartsWith($"NOT SOUND  \"{file}\" at \"$.events[", StringComparison.Ordinal), output);
    }

    [Fact]
    public async Task A_fetched_bundle_is_replayed_offline_and_two_are_compared()
    {
        await using var host = await LiveHost.Start();
        var files = new List<string>();
        foreach (var message in (string[])["/tool list_files {}\n/say hello", "/tool list_files {\"path\":\".\"}\n/say hello"])
        {
            var run = (await host.Http.Turn(await host.Http.NewSession(), message)).Is(200)["run_id"];
            files.Add(Path.Combine(directory, $"{run}.json"));
            await File.WriteAllBytesAsync(files[^1], await host.Http.GetByteArrayAsync($"/runs/{run}/trace"));
            var (code, output) = await CoworkCli.Run(null, "replay", files[^1]);
            Assert.True(code == 0 && output.StartsWith($"EQUAL      \"{files[^1]}\": run \"{run}\", ", StringComparison.Ordinal) && !output.Contains("not proved", StringComparison.Ordinal), output);
        }
        var (differs, told) = await CoworkCli.Run(null, ["diff", .. files]);
        Assert.True(differs == 1 && told.Contains("first difference: step ", StringComparison.Ordinal), told);
        Assert.Equal(0, (await CoworkCli.Run(null, "diff", files[0], files[0])).Code);

        // An archive with contents is replayed too; what is sound and cannot be replayed is no fault of the bundle.
        var (archive, lines, erased) = (Path.Combine(directory, "run.zip"), Path.Combine(directory, "session.ndjson"), Path.Combine(directory, "erased.json"));
        var session = (await host.Http.Post("/sessions", """{"subject":"ann"}""")).Is(201)["session_id"];
        var said = (await host.Http.Turn(session, "/say hello")).Is(200)["run_id"];
        await File.WriteAllBytesAsync(archive, await host.Http.GetByteArrayAsync($"/runs/{said}/trace?include=content"));
        await File.WriteAllBytesAsync(lines, await host.Http.GetByteArrayAsync($"/sessions/{session}/trace"));
        (await host.Http.Delete("/subjects/ann")).Is(202);
        await host.Http.Until("/subjects/ann", got => got.Is(200)["state"] == "erased");
        await File.WriteAllBytesAsync(erased, await host.Http.GetByteArrayAsync($"/runs/{said}/trace"));
        foreach (var (file, code, begin, words) in ((string, int, string, string)[])
            [(archive, 0, "EQUAL", said), (lines, 2, "UNREAD", "GET /runs/ID/trace"), (erased, 2, "UNREAD", "were erased")])
        {
            var (found, output) = await CoworkCli.Run(null, "replay", file);
            Assert.True(found == code && output.StartsWith(begin, StringComparison.Ordinal) && output.Contains(words, StringComparison.Ordinal), output);
        }

        var bundle = await File.ReadAllBytesAsync(files[0]);
        bundle[bundle.AsSpan().IndexOf("hello"u8)] ^= 1;
        await File.WriteAllBytesAsync(files[0], bundle);
        var (changed, line) = await CoworkCli.Run(null, "replay", "--json", files[0], "/there/is/no/such/file");
        var verdicts = line.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(text => System.Text.Json.Nodes.JsonNode.Parse(text)!).ToList();
        Assert.Equal((2, "diverged", "unread"), (changed, (string?)verdicts[0]["verdict"], (string?)verdicts[1]["verdict"]));
        Assert.StartsWith("$.events[", (string?)verdicts[0]["location"], StringComparison.Ordinal);
        Assert.Equal(1, (await CoworkCli.Run(null, "replay", files[0])).Code);
    }

    [Fact]
    public async Task Every_file_gets_one_verdict_on_a_line_of_its_own_and_none_can_print_another()
    {
        string Named(string name, string content)
        {
            var path = Path.Combine(directory, name);
            File.WriteAllText(path, content);
            return path;
        }
        var fifo = Path.Combine(directory, "fifo");
        using (var made = System.Diagnostics.Process.Start("mkfifo", [fifo]))
        {
            await made.WaitForExitAsync();
        }
        var lying = "{\"format\":\"x\\u001b[2K\\rSOUND\\n" + new string('x', 5_000) + "\"}";
        (string File, string Verdict)[] files =
        [
            (Named("object", "{}"), "not_sound"), (Named("list", "[]"), "not_sound"), (Named("text", "\"text\""), "not_sound"), (Named("empty", ""), "not_sound"),
            (Named("huge", "{\"a\":1e999}"), "not_sound"), (Named("twice", "{\"a\":1,\"a\":1}"), "not_sound"), (Named("lying", lying), "not_sound"),
            (Named("line\nSOUND \u001b[2K\u202e\"", lying), "not_sound"), (directory, "unread"), (fifo, "unread"), ("/dev/zero", "unread"),
            (Path.Combine(directory, "missing"), "unread"), (Named("last", "{}"), "not_sound"),
        ];
        var (code, output) = await CoworkCli.Run(null, ["verify", .. files.Select(file => file.File)]);
        Assert.Equal(2, code);
        var lines = output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(files.Select(file => file.Verdict == "unread" ? "UNREAD    " : "NOT SOUND "), lines.Select(line => line[..10]));
        Assert.All(lines, line => Assert.True(line.Length < 1_200 && line.All(c => c is >= ' ' and < '\x7f' or '…'), line));

        (code, output) = await CoworkCli.Run(null, ["verify", "--json", .. files.Select(file => file.File)]);
        Assert.Equal(2, code);
        Assert.Equal(
            files, output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => System.Text.Json.Nodes.JsonNode.Parse(line)!)
                .Select(verdict => (verdict["file"]!.GetValue<string>(), verdict["verdict"]!.GetValue<string>())));
        Assert.Equal(1, (await CoworkCli.Run(null, "verify", files[0].File, files[1].File)).Code);
    }

    [Fact]
    public async Task The_doctor_lists_the_models_and_tells_no_key()
    {
        var (code, output) = await CoworkCli.Run(
            "Host=nowhere", ["doctor", "--data", directory],
            ("Cowork__Models__claude__Provider", "anthropic"), ("Cowork__Models__claude__Model", "claude-x"), ("ANTHROPIC_API_KEY", "sk-ant-secret"),
            ("Cowork__Models__gpt__Provider", "openai"), ("OPENAI_API_KEY", null),
            ("Cowork__Models__local__Provider", "openai"), ("Cowork__Models__local__BaseUrl", "http://localhost:11434/v1?key=secret"));
        Assert.Equal(0, code);
        Assert.Contains("ok       models       claude: anthropic claude-x at the provider's own address, with a key (the default)\n", output);
        Assert.Contains("missing  models       gpt: openai gpt at the provider's own address, without a key\n", output);
        Assert.Contains("Cowork__Models__gpt__KeyVariable=", output);
        Assert.Contains("ok       models       local: openai local at http://localhost:11434/v1, without a key\n", output);
        Assert.Contains("ok       models       offline: built in, needs no key and no network\n", output);
        Assert.DoesNotContain("secret", output);
    }

    [Fact]
    public async Task The_doctor_tells_what_is_wrong_with_a_model()
    {
        var (code, output) = await CoworkCli.Run(
            "Host=nowhere", ["doctor", "--data", directory], ("Cowork__Models__m__Provider", "openai"), ("Cowork__Models__m__Key", "sk secret"));
        Assert.Equal(1, code);
        Assert.Contains("MISSING  host         cowork: Cowork:Models:m: the key holds a space", output);
        Assert.DoesNotContain("secret", output);
    }

    [Fact]
    public async Task The_doctor_finds_what_these_specs_run_with_and_without_a_configured_model_the_offline_one()
    {
        var (code, output) = await CoworkCli.Run("Host=nowhere", "doctor", "--data", directory);
        Assert.Equal(0, code);
        Assert.Contains("ok       models       offline: built in, needs no key and no network (the default)\n", output);
        Assert.All(["PostgreSQL", "time zones", "cells", "notebooks", "Node.js", "npm", "Chromium"], what => Assert.Contains($"ok       {what,-12} ", output));
    }

    [Theory]
    [InlineData("verify")]
    [InlineData("verify", "/there/is/no/such/file")]
    [InlineData("verify", "--what", "/dev/null")]
    [InlineData("verify", "--format", "cowork-trace/9", "/dev/null")]
    [InlineData("replay")]
    [InlineData("replay", "--what", "/dev/null")]
    [InlineData("diff", "/dev/null")]
    [InlineData("diff", "/dev/null", "/there/is/no/such/file")]
    [InlineData("rebuild", "--what")]
    [InlineData("sing")]
    public async Task A_wrong_call_says_so(params string[] args) => Assert.Equal(2, (await CoworkCli.Run(null, args)).Code);
}
