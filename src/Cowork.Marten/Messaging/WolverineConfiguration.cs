using System.Reflection;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using JasperFx.CodeGeneration;

using Wolverine;
using Wolverine.ErrorHandling;

namespace Cowork.Marten;

/// <summary>
/// Wolverine as Cowork uses it: in this process and in memory. Commands are messages that are invoked, jobs are messages in local queues; what must survive the
/// process is in the log and in the table of jobs.
/// </summary>
public static class WolverineConfiguration
{
    /// <summary>The assembly that the build fills with the code of the handlers.</summary>
    const string Generated = "Cowork.Marten.Generated";

    static readonly TimeSpan[] BusyRetries = [TimeSpan.FromMilliseconds(50), TimeSpan.FromMilliseconds(100), TimeSpan.FromMilliseconds(250)];

    /// <summary>Every kind of command that there is: a new one needs no line here.</summary>
    public static IEnumerable<Type> CommandTypes => Implementations(typeof(ICommand));

    /// <summary>Every kind of job that there is: a new one needs no line here.</summary>
    public static IEnumerable<Type> JobHandlerTypes => Implementations(typeof(IJobHandler));

    /// <summary>The messages that must have a handler whose code the build has written.</summary>
    public static IEnumerable<Type> MessageTypes =>
        [.. CommandTypes.Select(c => typeof(Execute<>).MakeGenericType(c)), .. JobHandlerTypes.Select(j => typeof(PerformJob<>).MakeGenericType(j))];

    /// <param name="options">They say how many jobs of each kind the node does at once.</param>
    /// <param name="generateInto">The directory that the handlers' code is about to be written to; null: the build has written it.</param>
    public static void Apply(WolverineOptions wolverine, StorageOptions options, string? generateInto = null)
    {
        wolverine.ServiceName = "cowork";
        wolverine.ApplicationAssembly = generateInto is null ? Assembly.Load(Generated) : typeof(WolverineConfiguration).Assembly;
        wolverine.CodeGeneration.TypeLoadMode = TypeLoadMode.Static;
        if (generateInto is not null)
        {
            wolverine.CodeGeneration.GeneratedCodeOutputPath = generateInto;
        }
        wolverine.Discovery.DisableConventionalDiscovery();
        foreach (var command in CommandTypes)
        {
            wolverine.Discovery.IncludeType(typeof(ExecuteHandler<>).MakeGenericType(command));
        }
        foreach (var handler in JobHandlerTypes)
        {
            wolverine.Discovery.IncludeType(typeof(PerformJobHandler<>).MakeGenericType(handler));
            var parallel = handler == typeof(RunDriver) ? options.SlotsOf(Run.Aggregate.Name) : options.Parallel;
            wolverine.LocalQueue(QueueOf(handler)).BufferedInMemory().MaximumParallelMessages(parallel);
            wolverine.Publish(rule =>
            {
                rule.Message(typeof(PerformJob<>).MakeGenericType(handler));
                rule.ToLocalQueue(QueueOf(handler));
            });
        }
        // A run takes as long as it takes; its limits are the driver's.
        wolverine.DefaultExecutionTimeout = TimeSpan.FromDays(7);
        wolverine.OnException<StreamBusyException>().RetryWithCooldown(BusyRetries).WithFullJitter();
        wolverine.Durability.Mode = DurabilityMode.Solo;
        wolverine.Durability.DurabilityAgentEnabled = false;
        wolverine.Durability.DurabilityMetricsEnabled = false;
        wolverine.Durability.DrainTimeout = TimeSpan.FromSeconds(5);
    }

    static string QueueOf(Type jobHandler) => $"jobs-{jobHandler.Name.ToLowerInvariant()}";

    static IEnumerable<Type> Implementations(Type port) =>
        port.Assembly.GetTypes().Where(t => t is { IsAbstract: false, IsInterface: false } && t.IsAssignableTo(port)).OrderBy(t => t.Name, StringComparer.Ordinal);
}
