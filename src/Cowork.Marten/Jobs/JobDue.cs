using Wolverine;
using Wolverine.Attributes;

namespace Cowork.Marten;

/// <summary>
/// Says that there is a job to be done, or that there will be. The row in the table of jobs is the job; this is its messenger, which may come twice, late or
/// in vain. The tenant is the envelope's.
/// </summary>
[MessageIdentity("cowork.job_due")]
public sealed record JobDue(string Kind, string Key);

/// <summary>Has a job done: claims its row, and stays until this node does not hold it any more.</summary>
public static class JobDueHandler
{
    public static async Task Handle(JobDue due, Envelope envelope, JobMessages jobs, IMessageContext context, CancellationToken ct)
    {
        if (await jobs.Do(envelope.TenantId!, due, envelope.Attempts, ct) is { } later)
        {
            await context.ScheduleAsync(due, later);
        }
    }
}
