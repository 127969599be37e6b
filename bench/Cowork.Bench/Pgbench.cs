using System.Diagnostics;
using System.Globalization;

using Cowork.Marten;

using Npgsql;

namespace Cowork.Bench;

/// <summary>The yardstick: pgbench's prepared single INSERT of a row like an event's, on the same server.</summary>
static class Pgbench
{
    const string Script = """
        INSERT INTO bench_insert (tenant, stream, payload) VALUES ('default', 'run-01kdvkjr000000000000000001', '{"text":"forty characters of text, more or less."}');

        """;

    public static async Task Prepare(string connectionString)
    {
        await using var database = NpgsqlDataSource.Create(connectionString);
        await using var command = database.CreateCommand(
            """
            CREATE TABLE IF NOT EXISTS bench_insert (
                id bigserial PRIMARY KEY, tenant text NOT NULL, stream text NOT NULL, payload jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now())
            """);
        await command.ExecuteNonQueryAsync();
    }

    /// <summary>Transactions per second.</summary>
    public static async Task<double> Run(string connectionString, int clients, int seconds)
    {
        var script = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(script, Script);
            var server = new NpgsqlConnectionStringBuilder(connectionString);
            var pgbench = Path.Combine(PostgresBinaries.Choose(null).Directory, "pgbench");
            var start = new ProcessStartInfo(
                File.Exists(pgbench) ? pgbench : "pgbench",
                [
                    "-n", "-M", "prepared", "-f", script, "-c", $"{clients}", "-j", "2", "-T", $"{seconds}",
                    "-h", server.Host!, "-p", $"{server.Port}", "-U", server.Username!, server.Database!,
                ])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            };
            using var process = Process.Start(start)!;
            var errors = process.StandardError.ReadToEndAsync();
            var output = await process.StandardOutput.ReadToEndAsync();
            await process.WaitForExitAsync();
            var line = output.Split('\n').FirstOrDefault(l => l.StartsWith("tps = ", StringComparison.Ordinal))
                ?? throw new InvalidOperationException($"pgbench failed: {await errors}");
            return double.Parse(line["tps = ".Length..].Split(' ')[0], CultureInfo.InvariantCulture);
        }
        finally
        {
            File.Delete(script);
        }
    }
}
