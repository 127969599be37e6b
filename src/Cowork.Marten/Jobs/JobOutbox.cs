using Cowork.Application.Storage;

using Marten;

using Microsoft.Extensions.Logging;

using Wolverine;
using Wolverine.Marten;
using Wolverine.Runtime;

namespace Cowork.Marten;

/// <summary>Sends the messages of jobs with the transaction that commits the jobs.</summary>
sealed partial class JobOutbox(Func<IWolverineRuntime> runtime, ILogger<JobOutbox> logger)
{
    /// <summary>Puts the messages into the session's unit of work. Answers what is to be flushed after the commit; null: there is none.</summary>
    public MartenOutbox? Enlist(IDocumentSession session, IReadOnlyDictionary<(string Org, string Kind, string Key), Job> jobs)
    {
        MartenOutbox? outbox = null;
        foreach (var ((org, _, _), job) in jobs)
        {
            outbox ??= new MartenOutbox(runtime(), session);
            outbox.PublishAsync(new JobDue(job.Kind, job.Key), new DeliveryOptions { TenantId = org, ScheduledTime = job.Due }).AsTask().GetAwaiter().GetResult();
        }
        // It would flush when the session is saved, which is before the transaction is committed.
        session.Listeners.Clear();
        return outbox;
    }

    /// <summary>The commit has taken place.</summary>
    public void Flush(MartenOutbox? outbox)
    {
        try
        {
            outbox?.FlushOutgoingMessagesAsync().GetAwaiter().GetResult();
        }
#pragma warning disable CA1031 // Whatever it is, the commit has taken place, and its messages lie in the database.
        catch (Exception e)
#pragma warning restore CA1031
        {
            LogNotFlushed(logger, e);
        }
    }

    [LoggerMessage(1, LogLevel.Warning, "Messages of jobs go out later than they might")]
    static partial void LogNotFlushed(ILogger logger, Exception e);
}
