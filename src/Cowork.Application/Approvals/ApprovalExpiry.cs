using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Expires an approval without a decision. A late, early or repeated job is harmless.</summary>
public sealed class ApprovalExpiry(CommandHandler commands, IRunQueries queries, TimeProvider clock) : IJobHandler
{
    /// <summary>The job's key is the approval's.</summary>
    public const string JobKind = "approval_expiry";

    const string Actor = "system";

    static readonly Origin System = new(Actor);

    static readonly TimeSpan RetryAfter = TimeSpan.FromSeconds(1);

    public string Kind => JobKind;

    /// <summary>Cancels the expiry job of a run's pending approval, which was decided.</summary>
    internal static void CancelExpiry(UnitOfWork work, Run before)
    {
        if (before is Domain.Run.Suspended { Pending: { } pending })
        {
            work.Cancel(JobKind, pending.ApprovalId.Value);
        }
    }

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        var approval = new ApprovalKey(claim.Key);
        if (await queries.Approval(claim.Org, approval, ct) is not { } place)
        {
            return false;
        }
        var finished = false;
        var early = TimeSpan.Zero;
        await commands.Commit(
            claim.Org, System,
            async work =>
            {
                (finished, early) = (false, TimeSpan.Zero);
                var expire = new RunCommand.DecideApproval(approval, ApprovalOutcome.Expired, Actor, null, work.Now);
                if (await ApprovalDecisions.Record(work, place.Run, expire) is { } decided)
                {
                    return decided;
                }
                if (await work.State(Domain.Run.Aggregate, place.Run) is Domain.Run.Suspended { Pending: { } pending } && pending.ApprovalId == approval)
                {
                    early = pending.ExpiresAt - work.Now;
                    work.Start(new Job(JobKind, claim.Key, pending.ExpiresAt));
                    return null;
                }
                work.Finish(claim);
                finished = true;
                return null;
            },
            ct, waitForStorage: true);
        if (early > TimeSpan.Zero)
        {
            // This host's clock is behind the clock that made the job due, so the job would be due again at once.
            await Task.Delay(early < RetryAfter ? early : RetryAfter, clock, ct);
        }
        return finished;
    }
}
