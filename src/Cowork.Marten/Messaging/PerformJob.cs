using Cowork.Application.Storage;

using Wolverine;
using Wolverine.Runtime;

namespace Cowork.Marten;

/// <summary>
/// A job that this node holds, on its way to the handler of its kind. It lies in memory: the row in the table of jobs is the job, so that a message that is lost
/// with its node costs nothing but the time until another node claims the row.
/// </summary>
public sealed record PerformJob<THandler>(Claim Claim)
    where THandler : IJobHandler;

/// <summary>Runs a kind of job in Wolverine's pipeline.</summary>
public static class PerformJobHandler<THandler>
    where THandler : IJobHandler
{
    public static Task Handle(PerformJob<THandler> message, THandler handler, JobExecutor executor) => executor.Execute(handler, message.Claim);
}

/// <summary>Sends each job as the message of its kind to a local queue.</summary>
sealed class WolverineJobDispatcher(IWolverineRuntime runtime, IEnumerable<IJobHandler> handlers) : IJobDispatcher
{
    readonly Dictionary<string, Func<Claim, object>> messageOf = handlers.ToDictionary(handler => handler.Kind, MessageOf);

    public bool Dispatch(Claim claim)
    {
        if (!messageOf.TryGetValue(claim.Kind, out var message))
        {
            return false;
        }
        var sent = new MessageBus(runtime).PublishAsync(message(claim), new DeliveryOptions { TenantId = claim.Org });
        if (!sent.IsCompletedSuccessfully)
        {
            sent.AsTask().GetAwaiter().GetResult();
        }
        return true;
    }

    static Func<Claim, object> MessageOf(IJobHandler handler) =>
        typeof(WolverineJobDispatcher).GetMethod(nameof(Wrap), System.Reflection.BindingFlags.NonPublic | System.Reflection.BindingFlags.Static)!
            .MakeGenericMethod(handler.GetType()).CreateDelegate<Func<Claim, object>>();

    static PerformJob<THandler> Wrap<THandler>(Claim claim)
        where THandler : IJobHandler =>
        new(claim);
}
