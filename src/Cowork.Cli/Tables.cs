using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Projections;

namespace Cowork.Cli;

/// <summary>The tables of the configured database, for commands that work with them while hosts run.</summary>
static class Tables
{
    /// <summary>Makes and migrates them as a host does that starts, then works. Answers the exit code.</summary>
    public static async Task<int> Open(string data, Func<StorageEngine, Task<int>> work)
    {
        try
        {
            if (await Find(data) is not { } database)
            {
                Console.Error.WriteLine($"cowork: no private database runs in {data}, and ConnectionStrings__Cowork names no other one.");
                return 1;
            }
            var options = new StorageOptions(database.Host, $"cli_{Environment.ProcessId}", ReadModels.Tables)
            {
                OwnerConnectionString = database.Owner,
                StartupOptions = database.StartupOptions,
                VectorDimensions = Dimensions(),
                MasterKeys = () => MasterKeys(data),
            };
            await using var engine = StorageEngine.New(options);
            await engine.StartAsync(CancellationToken.None);
            return await work(engine);
        }
        catch (Exception e) when (e is StorageUnavailableException or FoldException or InvalidOperationException or ArgumentException)
        {
            Console.Error.WriteLine($"cowork: {e.Message}");
            return 1;
        }
    }

    /// <summary>Those that are there; null: none are, and texts of data subjects stay sealed.</summary>
    public static MasterKeyring? MasterKeys(string data) =>
        !string.IsNullOrWhiteSpace(Environment.GetEnvironmentVariable(MasterKeySource.Variable)) || File.Exists(MasterKeyFile.In(data))
            ? MasterKeySource.Read(Environment.GetEnvironmentVariable, data)
            : null;

    /// <summary>The configured database, else the private one that runs; null: there is neither.</summary>
    static async Task<DatabaseAddress?> Find(string data)
    {
        var given = FromVariable("ConnectionStrings__Cowork") ?? FromVariable("DATABASE_URL") ?? PostgresAddress.FromVariables(Environment.GetEnvironmentVariable);
        if (given is not null)
        {
            return new(given, FromVariable("ConnectionStrings__CoworkOwner"), (await DatabaseProbe.Ask(given, CancellationToken.None)).StartupOptions);
        }
        var postgres = Path.Combine(data, "postgres");
        return await PrivatePostgres.FindRunning(postgres, CancellationToken.None) is { } host
            ? new(host, await PrivatePostgres.FindRunningForOwner(postgres, CancellationToken.None), StartupOptions: true)
            : null;
    }

    /// <summary>What hosts are told of their embedding model, so that the owner makes the table and index that they need.</summary>
    /// <exception cref="ArgumentException">It is no number of dimensions.</exception>
    static int? Dimensions() => Environment.GetEnvironmentVariable("Cowork__Embeddings__Dimensions") switch
    {
        null or "" => null,
        var text when int.TryParse(text, System.Globalization.CultureInfo.InvariantCulture, out var number) && number is >= 1 and <= EmbeddingSettings.DimensionsMax => number,
        _ => throw new ArgumentException($"Cowork__Embeddings__Dimensions must be 1 to {EmbeddingSettings.DimensionsMax}."),
    };

    static string? FromVariable(string variable) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } address ? PostgresAddress.Parse(address) : null;
}
