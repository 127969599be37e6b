using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Projections;

namespace Cowork.Cli;

/// <summary><c>cowork rebuild</c> rebuilds the read models from the log beside the live ones, while hosts run; with <c>--check</c> it only compares them.</summary>
static class Rebuild
{
    public static async Task<int> Run(string[] options)
    {
        if (CommandOptions.Read("rebuild", "--check", options) is not { } given)
        {
            return Usage.Error;
        }
        if (await FindDatabase(given.Data) is not { } database)
        {
            Console.Error.WriteLine($"cowork: no private database runs in {given.Data}, and ConnectionStrings__Cowork names no other one.");
            return 1;
        }
        try
        {
            var probe = await DatabaseProbe.Ask(database, CancellationToken.None);
            await using var engine = StorageEngine.New(new(database, $"cli_{Environment.ProcessId}", ReadModels.Tables) { StartupOptions = probe.StartupOptions });
            await engine.StartAsync(CancellationToken.None);
            return given.HasFlag ? await Compare(engine.Rows) : await RebuildAll(engine.Rows);
        }
        catch (Exception e) when (e is StorageUnavailableException or FoldException or InvalidOperationException)
        {
            Console.Error.WriteLine($"cowork: {e.Message}");
            return 1;
        }
    }

    /// <summary>The connection string of the configured database, else of the private one that runs; null: there is neither.</summary>
    static async Task<string?> FindDatabase(string data) =>
        FromVariable("ConnectionStrings__Cowork") ?? FromVariable("DATABASE_URL") ?? PostgresAddress.FromVariables(Environment.GetEnvironmentVariable)
            ?? await PrivatePostgres.FindRunning(Path.Combine(data, "postgres"), CancellationToken.None);

    static string? FromVariable(string variable) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } address ? PostgresAddress.Parse(address) : null;

    static async Task<int> RebuildAll(IRows rows)
    {
        var succeeded = true;
        foreach (var model in ReadModels.Tables)
        {
            try
            {
                Console.WriteLine($"{model.Table}: {await rows.Rebuild(model, CancellationToken.None)} events folded");
            }
            catch (Exception e) when (e is FoldException or InvalidOperationException)
            {
                succeeded = false;
                Console.Error.WriteLine($"{model.Table}: not rebuilt, the old rows stay. {e.Message}");
            }
        }
        return succeeded ? 0 : 1;
    }

    static async Task<int> Compare(IRows rows)
    {
        var equal = true;
        foreach (var model in ReadModels.Tables)
        {
            var difference = await rows.FindDifference(model, CancellationToken.None);
            equal &= difference is null;
            Console.WriteLine(difference is null ? $"{model.Table}: equal to the log" : $"{model.Table}: NOT equal to the log, first at {difference}");
        }
        return equal ? 0 : 1;
    }
}
