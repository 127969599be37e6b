using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What came before a run, as its prompt has it.</summary>
public interface IEarlierTurns
{
    /// <summary>The turns of these runs, in this order.</summary>
    ValueTask<IReadOnlyList<EarlierTurn>> Turns(string org, IReadOnlyList<RunKey> runs, CancellationToken ct);

    /// <summary>What was said in a group, in this order: the message of a run, or its reply. Null: there is no such run, or it has no reply.</summary>
    ValueTask<IReadOnlyList<Content?>> Said(string org, IReadOnlyList<GroupEntry> entries, CancellationToken ct);

    /// <summary>The beginning of a run, as far as a fork has it; null: there is no such run.</summary>
    ValueTask<EarlierPart?> Part(string org, RunCut cut, CancellationToken ct);
}

/// <summary>What starting and driving a run asks of the read models.</summary>
public interface IRunQueries : IEarlierTurns
{
    /// <summary>Runs of the tenant that wait to start, counted no further than <paramref name="atMost"/>.</summary>
    ValueTask<long> Queued(string org, long atMost, CancellationToken ct);

    /// <summary>What the tenant has, as far as the log was followed.</summary>
    ValueTask<TenantFigures> Figures(string org, CancellationToken ct);

    /// <summary>Runs of the tenant with a request to cancel them.</summary>
    ValueTask<IReadOnlyList<RunKey>> Cancelling(string org, CancellationToken ct);

    /// <summary>Where an approval belongs; null: there is none.</summary>
    ValueTask<ApprovalPlace?> Approval(string org, ApprovalKey approval, CancellationToken ct);

    /// <summary>The session's last completed runs, oldest first.</summary>
    ValueTask<IReadOnlyList<RunKey>> Earlier(string org, SessionKey session, int max, CancellationToken ct);

    /// <summary>Sessions of a project, with how many of their runs have not ended.</summary>
    ValueTask<IReadOnlyList<(SessionKey Session, int LiveRuns)>> SessionsOf(string org, ProjectKey project, int max, CancellationToken ct);

    /// <summary>Sessions that a principal created and that were not deleted, as their creation recorded them, the newest first.</summary>
    ValueTask<IReadOnlyList<Session.Open>> SessionsBy(string org, string actor, int max, CancellationToken ct);

    /// <summary>Schedules of a project.</summary>
    ValueTask<IReadOnlyList<ScheduleKey>> SchedulesOf(string org, ProjectKey project, int max, CancellationToken ct);

    /// <summary>Facts of a project, also of sessions that were deleted.</summary>
    ValueTask<IReadOnlyList<MemoryKey>> MemoriesOf(string org, ProjectKey project, int max, CancellationToken ct);

    /// <summary>The tenant's connections, newest first.</summary>
    ValueTask<IReadOnlyList<ListedConnection>> Connections(string org, int max, CancellationToken ct);

    /// <summary>The project whose memories a session's runs retrieve (<see cref="Session.Open.MemoryProject"/>), which never changes; null: the built-in one.</summary>
    ValueTask<ProjectKey?> ProjectOf(string org, SessionKey session, CancellationToken ct);

    /// <summary>Of the tenant's newest memories of a project, and of none, those that have to do with the text, best first, at the same cost however many there are.</summary>
    /// <param name="project">Null: the built-in one.</param>
    /// <param name="since">Position of something in the log: what was written before it, on any node, is found.</param>
    ValueTask<IReadOnlyList<RetrievedMemory>> Recall(string org, ProjectKey? project, string text, int max, long since, CancellationToken ct);

    /// <summary>Position up to which <see cref="Recall"/> knows the log already.</summary>
    long KnownThrough { get; }

    /// <summary>Of all memories of a project, and of none, those that have to do with the text, best first.</summary>
    ValueTask<IReadOnlyList<RetrievedMemory>> RecallAll(string org, ProjectKey? project, string text, int max, CancellationToken ct);
}

/// <summary>A run that has ended, as the model is told of it.</summary>
public sealed record EarlierTurn(RunKey RunId, Content Message, Content Reply);

/// <summary>A run up to one of its events, as the model is told of it.</summary>
/// <param name="Said">What was said after the message: calls that have no result yet are left out.</param>
public sealed record EarlierPart(Content Message, ImmutableList<ConversationEntry> Said)
{
    /// <summary>Null: the run has ended, or has not begun.</summary>
    public static EarlierPart? Of(Run state) => state switch
    {
        Run.Queued queued => new(queued.Request.Message, With([], "", queued.Feedback)),
        Run.Active active => new(active.Request.Message, With(Answered(active), active.Partial, active.Feedback)),
        Run.Suspended { Before: var active } => new(active.Request.Message, With(Answered(active), active.Partial, active.Feedback)),
        _ => null,
    };

    static ImmutableList<ConversationEntry> With(ImmutableList<ConversationEntry> said, string partial, ImmutableList<Content>? feedback) =>
        (partial.Length == 0 ? said : said.Add(new ConversationEntry.ByModel(partial, []))).AddRange((feedback ?? []).Select(text => new ConversationEntry.ByUser(text)));

    /// <summary>A provider takes no call without its result, and no reasoning without the calls that it led to.</summary>
    static ImmutableList<ConversationEntry> Answered(Run.Active run)
    {
        var last = run.Transcript.FindLastIndex(said => said is ConversationEntry.ByModel);
        if (run.Open.IsEmpty || last < 0)
        {
            return run.Transcript;
        }
        var answer = (ConversationEntry.ByModel)run.Transcript[last];
        var made = answer.Calls.RemoveAll(call => run.Open.Exists(open => open.Id == call.Id));
        return made.IsEmpty && answer.Text.Length == 0
            ? run.Transcript.RemoveAt(last)
            : run.Transcript.SetItem(last, answer with { Calls = made, Reasoning = null });
    }
}

/// <param name="Run">The run that waits for it.</param>
/// <param name="RequestedBy">Who sent the turn.</param>
/// <param name="Issuers">The persons behind the token that the turn was sent with.</param>
public sealed record ApprovalPlace(RunKey Run, string RequestedBy, IReadOnlyList<Issuer> Issuers);
