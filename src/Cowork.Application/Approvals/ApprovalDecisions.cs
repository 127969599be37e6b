using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Puts a person's decision on an approval into its run, which goes on because of it.</summary>
/// <param name="Run">Key of the run.</param>
public sealed record DecideApproval(string Run, string ApprovalId, ApprovalOutcome Outcome, string By, string? Note, RequestKey? Header) : ICommand
{
    /// <summary>
    /// Makes what the request is answered with, kept for who sends it again; it is given the time of the decision, null when the same one had been taken before.
    /// </summary>
    [JsonIgnore]
    public Func<DateTimeOffset?, ValueTask<StoredAnswer>>? Answer { get; init; }

    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var before = await work.State(Domain.Run.Aggregate, Run);
        var refused = await ApprovalDecisions.Record(work, Run, new RunCommand.DecideApproval(ApprovalId, Outcome, By, Note, work.Now));
        var isDecided = !ReferenceEquals(before, await work.State(Domain.Run.Aggregate, Run));
        var stored = refused is null && Answer is not null ? await Answer(isDecided ? work.Now : null) : null;
        // A key that was used before speaks first, whatever became of the approval since.
        return Header is null ? refused : await Header.Claim(work, null, stored) ?? refused;
    }
}

/// <summary>Takes decisions on approvals. The first one holds, and lets the run go on, on whatever node.</summary>
public sealed class ApprovalDecisions(ICommandExecutor commands, IRunQueries queries, ApprovalOptions options)
{
    /// <summary>Decides, or answers why not: nobody asks, it was decided otherwise, it expired, or it is for somebody else to decide.</summary>
    /// <param name="approval">Key of the approval.</param>
    /// <param name="note">Storable, at most <see cref="Limits.NoteCharsMax"/> characters.</param>
    /// <param name="header">Claimed together with the decision.</param>
    /// <param name="answer">See <see cref="DecideApproval.Answer"/>.</param>
    public async Task<Refusal?> Decide(
        string org, Origin by, string approval, bool approved, string? note, RequestKey? header, Func<DateTimeOffset?, ValueTask<StoredAnswer>>? answer,
        CancellationToken ct)
    {
        if (await queries.Approval(org, approval, ct) is not { } place)
        {
            return Refusal.NotFound("approval");
        }
        if (options.FourEyes && place.RequestedBy == by.Actor)
        {
            return new Refusal("four_eyes", 403, "Somebody else than who sent the turn has to decide.");
        }
        var outcome = approved ? ApprovalOutcome.Approved : ApprovalOutcome.Rejected;
        return await commands.Execute(
            org, by, new DecideApproval(place.Run, $"appr_{approval}", outcome, by.Actor, note, header) { Answer = answer }, ct);
    }

    /// <summary>Puts the decision into the run, and has the run driven on if it is one.</summary>
    internal static async ValueTask<Refusal?> Record(UnitOfWork work, string run, RunCommand.DecideApproval decision)
    {
        var before = await work.State(Run.Aggregate, run);
        if (await work.Do(Run.Aggregate, run, decision, Turns.SessionOf(before), run) is { } refused)
        {
            return refused;
        }
        if (!ReferenceEquals(before, await work.State(Run.Aggregate, run)))
        {
            ApprovalExpiry.CallOff(work, before);
            work.Start(new Job(Run.Aggregate.Name, run));
        }
        return null;
    }
}
