using Cowork.Application.Storage;
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
/// <param name="Made">What the run used and left in other streams, made anew as far as it is equal.</param>
/// <param name="Past">Of a counterfactual the same of the beginning that it has of another run; null: the run is none.</param>
public sealed record ReplayReport(
    RunKey RunId, string Verdict, long Events, int Steps, int ModelRequests, int PolicyDecisions, string? Head, IReadOnlyList<UnprovedPart> Unproved,
    ReplayDivergence? Divergence, ReplayedEffects Made, ReplayedEffects? Past)
{
    public const string Equal = "equal";

    public const string Diverged = "diverged";
}

/// <summary>What a run used and left in other streams. A list has at most <see cref="RunEffects.ListMax"/> entries.</summary>
/// <param name="InputTokens">Of all requests to the model, failed ones among them.</param>
/// <param name="Artifacts">In the order of the log.</param>
/// <param name="Memories">What it was told to remember, and the notes on it, in the order of the log.</param>
/// <param name="More">Entries of both lists that are not shown.</param>
public sealed record ReplayedEffects(
    long InputTokens, long OutputTokens, decimal CostUsd, IReadOnlyList<ReplayedArtifact> Artifacts, IReadOnlyList<ReplayedMemory> Memories, int More);

/// <param name="Step">The call that wrote it.</param>
/// <param name="Version">Of the content at this path.</param>
public sealed record ReplayedArtifact(int Step, string Path, int Version, string Sha256, long Bytes);

/// <param name="Step">The call that kept it; null: a note on the run.</param>
/// <param name="Kind"><c>memory</c>, <c>session_summary</c> or <c>learning</c>.</param>
/// <param name="Sha256">Of its text.</param>
public sealed record ReplayedMemory(int? Step, MemoryKey MemoryId, string Kind, string Sha256);

/// <summary>Something that a record cannot prove.</summary>
/// <param name="Part"><c>model_requests</c>, <c>policy_decisions</c>, <c>limits</c>, <c>costs</c>, <c>notes</c> or <c>past_effects</c>.</param>
/// <param name="Count">How many of them.</param>
/// <param name="Reason">A sentence.</param>
public sealed record UnprovedPart(string Part, int Count, string Reason);

/// <summary>The first place where the loop makes something else than what is recorded.</summary>
/// <param name="What">
/// <c>next_step</c>: the loop would do something else; <c>model_request</c>: it would ask the model something else; <c>policy_decision</c>: it would judge a call otherwise;
/// <c>event</c>: the event would be another; <c>hash</c>: the event has not the recorded hash; <c>cost</c>, <c>artifact</c>, <c>memory</c>: what the run cost, wrote or kept would
/// be another, or is missing; <c>unreadable</c>: the record is none that a host wrote.
/// </param>
/// <param name="Step">Number of the step in the run, from 1; 0: before the first.</param>
/// <param name="Version">Of the recorded event in its stream.</param>
/// <param name="Event">Its id.</param>
/// <param name="Type">Its type.</param>
/// <param name="Recorded">The recorded side, at most 2 000 characters of it.</param>
/// <param name="Replayed">The other side.</param>
public sealed record ReplayDivergence(string What, int Step, long Version, Guid Event, string Type, string Recorded, string Replayed);

/// <summary>Ends a replay.</summary>
sealed class DivergedException(ReplayDivergence divergence) : Exception(divergence.What)
{
    /// <summary>Characters of one side of a divergence.</summary>
    const int SideCharsMax = 2_000;

    public ReplayDivergence Divergence { get; } = divergence;

    /// <param name="e">The recorded event.</param>
    /// <param name="recorded">The recorded side.</param>
    public static DivergedException At(string what, int step, RecordedEvent e, string recorded, string replayed) => new(new(
        what, step, e.Version, e.Id, EventTypes.FeedType(e.Type), FileText.Truncate(recorded, SideCharsMax), FileText.Truncate(replayed, SideCharsMax)));
}
