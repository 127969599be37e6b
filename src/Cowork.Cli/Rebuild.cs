using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Projections;

namespace Cowork.Cli;

/// <summary><c>cowork rebuild</c>: makes the read models anew from the log, beside the live ones, while hosts go on; <c>--check</c> only compares.</summary>
static class Rebuild
{
    public static async Task<int> Run(string[] options)
    {
        var data = "data";
        var check = false;
        for (var i = 0; i < options.Length; i++)
        {
            switch (options[i])
            {
                case "--check":
                    check = true;
                    break;
                case "--data" when i + 1 < options.Length:
                    data = options[++i];
                    break;
                default:
                    return Usage.Wrong($"rebuild does not know {options[i]}, or misses its value");
            }
        }
        if (await Database(data) is not { } database)
        {
            Console.Error.WriteLine($"cowork: no private database runs on {Path.GetFullPath(data)}, and ConnectionStrings__Cowork names none.");
            return 1;
        }
        await using var engine = new NpgsqlEngine(new(database, $"cli_{Environment.ProcessId}", ReadModels.Tables));
        try
        {
            await engine.StartAsync(CancellationToken.None);
            return check ? await Check(engine.Rows) : await All(engine.Rows);
        }
        catch (Exception e) when (e is StorageUnavailableException or FoldException)
        {
            Console.Error.WriteLine($"cowork: {e.Message}");
            return 1;
        }
    }

    static async Task<string?> Database(string data) =>
        Named("ConnectionStrings__Cowork") ?? Named("DATABASE_URL") ?? PostgresAddress.FromVariables(Environment.GetEnvironmentVariable)
            ?? await PrivatePostgres.FindRunning(Path.Combine(Path.GetFullPath(data), "postgres"), CancellationToken.None);

    static string? Named(string variable) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } named ? PostgresAddress.Parse(named) : null;

    static async Task<int> All(IRows rows)
    {
        var whole = true;
        foreach (var model in ReadModels.Tables)
        {
            try
            {
                Console.WriteLine($"{model.Table}: {await rows.Rebuild(model, CancellationToken.None)} events folded");
            }
            catch (Exception e) when (e is FoldException or InvalidOperationException)
            {
                whole = false;
                Console.Error.WriteLine($"{model.Table}: left as it is. {e.Message}");
            }
        }
        return whole ? 0 : 1;
    }

    static async Task<int> Check(IRows rows)
    {
        var equal = true;
        foreach (var model in ReadModels.Tables)
        {
            var difference = await rows.FindDifference(model, CancellationToken.None);
            equal &= difference is null;
            Console.WriteLine(difference is null ? $"{model.Table}: as the log makes it" : $"{model.Table}: NOT as the log makes it, first at {difference}");
        }
        return equal ? 0 : 1;
    }
}
