using System.Diagnostics;

using Cowork.Testing;

using Npgsql;

namespace Cowork.Web.Tests;

/// <summary>The command line against a host's database and its bundles.</summary>
public sealed class CliSpecs : IDisposable
{
    readonly string directory = Directory.CreateTempSubdirectory("cowork-cli-").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public async Task Read_models_are_compared_with_the_log_and_made_anew_while_the_host_runs()
    {
        var database = await TestPostgres.NewDatabase();
        await using var host = await LiveHost.Start(settings => settings with { Database = database });
        var session = await host.Http.NewSession();
        var run = (await host.Http.Turn(session, "/say hello")).Is(200)["run_id"];
        await host.Http.Until("/metrics", got => got.Json.GetProperty("status_counts").GetProperty("completed").GetInt64() == 1);
        Assert.Equal(0, (await Cowork(database, "rebuild", "--check")).Code);

        await using (var source = NpgsqlDataSource.Create(database))
        await using (var spoil = source.CreateCommand("update cowork.runs set row = '{}', status = 'queued'; delete from cowork.metrics"))
        {
            await spoil.ExecuteNonQueryAsync();
        }
        var (code, output) = await Cowork(database, "rebuild", "--check");
        Assert.Equal(1, code);
        Assert.Contains("runs: NOT as the log makes it, first at default", output);
        Assert.Contains("metrics: NOT as the log makes it, first at default tenant", output);

        Assert.Equal(0, (await Cowork(database, "rebuild")).Code);
        Assert.Equal(0, (await Cowork(database, "rebuild", "--check")).Code);
        Assert.Equal("completed", (await host.Http.Get($"/runs/{run}")).Is(200)["status"]);
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
        var (code, output) = await Cowork(null, "verify", file);
        Assert.True(code == 0 && output.Contains($"sound. {run}, completed", StringComparison.Ordinal), output);

        bundle[bundle.AsSpan().IndexOf("hello"u8)] ^= 1;
        await File.WriteAllBytesAsync(file, bundle);
        (code, output) = await Cowork(null, "verify", file);
        Assert.True(code == 1 && output.Contains("NOT sound. $.events[", StringComparison.Ordinal), output);
    }

    [Theory]
    [InlineData("verify")]
    [InlineData("verify", "/there/is/no/such/file")]
    [InlineData("rebuild", "--what")]
    [InlineData("sing")]
    public async Task A_wrong_call_says_so(params string[] args) => Assert.Equal(2, (await Cowork(null, args)).Code);

    internal static async Task<(int Code, string Output)> Cowork(string? database, params string[] args)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "cowork.dll"), .. args]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["ConnectionStrings__Cowork"] = database;
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, output + await errors);
    }
}
