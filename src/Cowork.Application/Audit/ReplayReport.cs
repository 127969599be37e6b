using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What a replay of a run came to.</summary>
/// <param name="Verdict"><c>equal</c>: each event that the loop makes of the record has the recorded bytes and hash; <c>diverged</c>: one has not.</param>
/// <param name="Events">Events of the run's own stream that are equal.</param>
/// <param name="Steps">Steps among them: retrievals of memory, answers of the model, tool results.</param>
/// <param name="ModelRequests">Requests to the model that were made again and have the recorded digest.</param>
/// <param name="PolicyDecisions">Calls that were judged again with the recorded verdict and rule.</param>
/// <param name="Head">Hash of the last equal event, computed anew; null: none is equal.</param>
/// <param name="Unproved">What the record does not have, so that it was taken as recorded; empty: everything was proved.</param>
/// <param name="Divergence">The first one; null: there is none.</param>
public sealed record ReplayReport(
    RunKey RunId, string Verdict, long Events, int Steps, int ModelRequests, int PolicyDecisions, string? Head, IReadOnlyList<UnprovedPart> Unproved,
    ReplayDivergence? Divergence)
{
    public const string Equal = "equal";

    public const string Diverged = "diverged";
}

/// <summary>Something that a record cannot prove.</summary>
/// <param name="Part"><c>model_requests</c>, <c>policy_decisions</c> or <c>limits</c>.</param>
/// <param name="Count">How many of them.</param>
/// <param name="Reason">A sentence.</param>
public sealed record UnprovedPart(string Part, int Count, string Reason);

/// <summary>The first place where the loop makes something else than what is recorded.</summary>
/// <param name="What">
/// <c>next_step</c>: the loop would do something else; <c>model_request</c>: it would ask the model something else; <c>policy_decision</c>: it would judge a call otherwise;
/// <c>event</c>: the event would be another; <c>hash</c>: the event has not the recorded hash; <c>unreadable</c>: the record is none that a host wrote.
/// </param>
/// <param name="Step">Number of the step in the run, from 1; 0: before the first.</param>
/// <param name="Version">Of the recorded event in the run's stream.</param>
/// <param name="Event">Its id.</param>
/// <param name="Type">Its type.</param>
/// <param name="Recorded">The recorded side, at most 2 000 characters of it.</param>
/// <param name="Replayed">The other side.</param>
public sealed record ReplayDivergence(string What, int Step, long Version, Guid Event, string Type, string Recorded, string Replayed);
