using System.Collections.Concurrent;

using Cowork.Application.Storage;

using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Testing;

/// <summary>Does a node's jobs on the thread pool, where the host has Wolverine's local queues.</summary>
public sealed class JobsInProcess(IJobQueue queue, IReadOnlyList<IJobHandler> handlers, int parallel, TimeProvider clock) : IJobDispatcher
{
    readonly Dictionary<string, IJobHandler> handlerOf = handlers.ToDictionary(h => h.Kind);
    readonly SemaphoreSlim slots = new(parallel, parallel);
    readonly ConcurrentDictionary<Claim, Task> running = new();
    JobExecutor? executor;

    /// <summary>Until it is told to stop; what is not finished by then is given back.</summary>
    public async Task Run(CancellationToken stopping)
    {
        executor = new(queue, clock, NullLogger<JobExecutor>.Instance, stopping);
        queue.StartDispatching(this);
        var stopped = new TaskCompletionSource();
        await using (stopping.Register(stopped.SetResult))
        {
            await stopped.Task;
        }
        queue.StopDispatching();
        await Task.WhenAll(running.Values);
    }

    public bool Dispatch(Claim claim)
    {
        if (!handlerOf.TryGetValue(claim.Kind, out var handler))
        {
            return false;
        }
        var job = Task.Run(async () =>
        {
            await slots.WaitAsync();
            try
            {
                await executor!.Execute(handler, claim);
            }
            finally
            {
                slots.Release();
            }
        });
        running[claim] = job;
        _ = job.ContinueWith(_ => running.TryRemove(claim, out Task? _), TaskScheduler.Default);
        return true;
    }
}
