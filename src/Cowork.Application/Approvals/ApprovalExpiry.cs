using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Ends the waiting for a decision that nobody took. Late, early or once more it does no harm.</summary>
public sealed class ApprovalExpiry(CommandHandler commands, IRunQueries queries, TimeProvider clock) : IJobHandler
{
    /// <summary>The job's key is the approval's.</summary>
    public const string JobKind = "approval_expiry";

    const string Actor = "system";

    static readonly Origin System = new(Actor);

    static readonly TimeSpan LookAgainAfter = TimeSpan.FromSeconds(1);

    public string Kind => JobKind;

    /// <summary>What a run waited for is decided: nobody needs to see to it any more.</summary>
    internal static void CallOff(UnitOfWork work, Run before)
    {
        if (before is Domain.Run.Suspended { Pending: { } asked })
        {
            work.Cancel(JobKind, Ids.Key(asked.ApprovalId, "appr")!);
        }
    }

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        if (await queries.Approval(claim.Org, claim.Key, ct) is not { } place)
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
                var expire = new RunCommand.DecideApproval($"appr_{claim.Key}", ApprovalOutcome.Expired, Actor, null, work.Now);
                if (await ApprovalDecisions.Record(work, place.Run, expire) is { } decided)
                {
                    return decided;
                }
                if (await work.State(Domain.Run.Aggregate, place.Run) is Domain.Run.Suspended { Pending: { } asked } && asked.ApprovalId == expire.ApprovalId)
                {
                    early = asked.ExpiresAt - work.Now;
                    work.Start(new Job(JobKind, claim.Key, asked.ExpiresAt));
                    return null;
                }
                work.Finish(claim);
                finished = true;
                return null;
            },
            ct, patient: true);
        if (early > TimeSpan.Zero)
        {
            // This host's clock is behind the one that the job was due by, so that it is due again at once.
            await Task.Delay(early < LookAgainAfter ? early : LookAgainAfter, clock, ct);
        }
        return finished;
    }
}
