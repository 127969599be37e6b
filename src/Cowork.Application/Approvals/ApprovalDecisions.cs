using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Records a person's decision on an approval in its run and resumes the run.</summary>
public sealed record DecideApproval(RunKey Run, ApprovalKey Approval, ApprovalOutcome Outcome, string By, string? Note, RequestKey? Header) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await ApprovalDecisions.Record(work, Run, new RunCommand.DecideApproval(Approval, Outcome, By, Note, work.Now, work.By.Issuers));
        return Header is null ? refused : await Header.Claim(work, Domain.Run.Aggregate, Run) ?? refused;
    }
}

/// <summary>Records decisions on approvals. The first decision is final and resumes the run, on any node.</summary>
public sealed class ApprovalDecisions(ICommandExecutor commands, IRunQueries queries, ApprovalOptions options)
{
    /// <summary>Records a decision. Refused: the approval is unknown, was decided otherwise, has expired, or the caller may not decide.</summary>
    /// <param name="note">Storable text of at most <see cref="Limits.NoteCharsMax"/> characters.</param>
    /// <param name="header">The idempotency key that the same commit claims.</param>
    public async ValueTask<CommandResult> Decide(
        string org, Origin by, ApprovalKey approval, bool approved, string? note, RequestKey? header, CancellationToken ct)
    {
        if (await queries.Approval(org, approval, ct) is not { } place)
        {
            return new(Refusal.NotFound("approval"), []);
        }
        if (options.FourEyes && Issuer.MayBeOne(place.RequestedBy, place.Issuers, by.Actor, by.Issuers ?? []))
        {
            return new(
                new("four_eyes", 403, "The sender of the turn must not decide about its calls; another person must. Who issues a token counts as one with its user."), []);
        }
        var outcome = approved ? ApprovalOutcome.Approved : ApprovalOutcome.Rejected;
        return await commands.Execute(org, by, new DecideApproval(place.Run, approval, outcome, by.Actor, note, header), ct);
    }

    /// <summary>Records the decision in the run. A new decision starts the run's job.</summary>
    internal static async ValueTask<Refusal?> Record(UnitOfWork work, RunKey run, RunCommand.DecideApproval decision)
    {
        var before = await work.State(Run.Aggregate, run);
        if (await work.Do(Run.Aggregate, run, decision, Turns.SessionOf(before), run) is { } refused)
        {
            return refused;
        }
        if (!ReferenceEquals(before, await work.State(Run.Aggregate, run)))
        {
            ApprovalExpiry.CancelExpiry(work, before);
            work.Start(new Job(Run.Aggregate.Name, run.Value));
        }
        return null;
    }
}
