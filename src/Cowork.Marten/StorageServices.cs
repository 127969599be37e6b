using Cowork.Application;
using Cowork.Application.Storage;

using Marten;

using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

using Wolverine;

namespace Cowork.Marten;

/// <summary>Registers the storage, its ports, and Marten and Wolverine under them.</summary>
public static class StorageServices
{
    /// <summary>
    /// Adds Marten's document store, the <see cref="StorageEngine"/> with every port that it serves, and Wolverine with the handlers of commands and jobs. The
    /// services must hold a <see cref="CommandHandler"/>, the job handlers (each also as <see cref="IJobHandler"/>) and a <see cref="JobExecutor"/>.
    /// </summary>
    public static void AddCoworkStorage(this IServiceCollection services, StorageOptions options)
    {
        // What a command says is due then, and what the engine waits for, is by one clock.
        services.AddSingleton(all => options with { Logs = all.GetRequiredService<ILoggerFactory>(), Clock = all.GetService<TimeProvider>() ?? options.Clock });
        // The writer says what became of a flush. Marten would log every lost race as an error, with the statement's parameters, which hold what people wrote.
        services.AddLogging(logging => logging.AddFilter("Marten.IDocumentStore", LogLevel.None));
        services.AddSingleton<Database>();
        services.AddMarten(all =>
        {
            var store = new StoreOptions();
            StoreConfiguration.Apply(store, all.GetRequiredService<Database>(), options);
            return store;
        }).UseLightweightSessions();
        services.AddSingleton(all => new StorageEngine(all.GetRequiredService<Database>(), all.GetRequiredService<StorageOptions>(), all.GetRequiredService<IDocumentStore>()));
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().Log);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().Positions);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().Subjects);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().SubjectStore);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().Rows);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().Jobs);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().DeadLetters);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().Snapshots);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().TokenUses);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().Groups);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().Expiry);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().Merkle);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().HeadDeliveries);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().Texts);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().Vectors);
        services.AddSingleton(all => all.GetRequiredService<StorageEngine>().AsyncProjections);
        services.AddSingleton<IJobDispatcher, WolverineJobDispatcher>();
        services.AddSingleton<ICommandExecutor, WolverineCommandExecutor>();
        services.AddWolverine(ExtensionDiscovery.ManualOnly, wolverine => WolverineConfiguration.Apply(wolverine, options));
    }
}
