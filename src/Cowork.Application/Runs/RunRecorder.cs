using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>
/// Records what a driver did. One commit holds an outcome and every step that needs no tool, model or person, so that a run waits for the disk once for each
/// such call. While the database is unavailable, it waits.
/// </summary>
public sealed class RunRecorder(
    CommandHandler commands, IWorkspaces workspaces, CallPolicy calls, IReadOnlyDictionary<string, IChatClient> models, IBlobs blobs, Budgets budgets, RunOptions options,
    MemoryOptions memory, RecordedSettings settings, GroupRuns groups)
{
    /// <summary>Characters of an error's message that are kept.</summary>
    const int ErrorCharsMax = 2_000;

    internal static string ErrorText(string message) => StorableText.Escape(FileText.Truncate(message, ErrorCharsMax));

    /// <summary>The folders that the run works in, or why it has none.</summary>
    internal async ValueTask<(Grants? Folders, RunError? Fault)> Grants(DrivenRun run, Run.Active state, CancellationToken ct) =>
        await commands.State(run.Org, Session.Aggregate, state.Request.SessionId, ct) is not Session.Open session ? (null, new("session_deleted", "The session was deleted."))
        : await workspaces.Grants(run.Org, session, ct) is not { } folders
            ? (null, new("workspace_refused", "A folder of the session lies in none of the folders that its tenant may use (Cowork:WorkspaceRoots)."))
        : (folders, null);

    /// <summary>The context of a tool call, or why there is none.</summary>
    internal async ValueTask<(ToolContext? Context, RunError? Fault)> Context(DrivenRun run, Run.Active state, int step, int attempt, CancellationToken ct)
    {
        var (folders, fault) = await Grants(run, state, ct);
        return folders is null
            ? (null, fault)
            : (new(run.Org, state.Request.SessionId, run.Key, folders, $"{run.Key.Id}:{step}", attempt)
            {
                Correlation = run.By.Correlation,
                Offered = state.Offered,
                Subject = state.Subject,
                Until = state.TimeUpAt(options.Limits),
            }, null);
    }

    /// <summary>Starts or resumes the run on this node under the claim's epoch, and records the retrieved memories.</summary>
    internal async ValueTask<Refusal?> Start(DrivenRun run, string node, RunCommand.RecordMemory? memories, CancellationToken ct)
    {
        var digest = await settings.Digest(ct);
        return await commands.Commit(
            run.Org, run.By,
            async work =>
            {
                // The run may have been cancelled since the claim: there is nothing to start.
                var found = await work.State(Run.Aggregate, run.Key);
                if (found is Run.Ended)
                {
                    return null;
                }
                // Another node may have started a run that this node cached as queued, and recorded its memories.
                return await Command(work, run, new RunCommand.Start(run.Claim.Epoch, node, work.Now, digest))
                    ?? (memories is null || found is not Run.Queued ? null : await Command(work, run, memories with { Now = work.Now }));
            },
            ct, waitForStorage: true);
    }

    /// <summary>Ends the run as failed and starts the next run of the session.</summary>
    /// <param name="used">What the model's last attempt used; null: the provider said nothing, or the run fails for another reason.</param>
    /// <param name="requestSha256">What that attempt asked; null: the run fails for another reason.</param>
    internal ValueTask<Refusal?> Fail(DrivenRun run, string code, string message, CancellationToken ct, ModelUsage? used = null, string? requestSha256 = null) =>
        End(run, now => new RunCommand.Fail(run.Claim.Epoch, code, ErrorText(message), now, used, requestSha256), ct);

    /// <summary>Ends the run and starts the next run of the session.</summary>
    internal ValueTask<Refusal?> End(DrivenRun run, Func<DateTimeOffset, RunCommand> command, CancellationToken ct) => budgets.Settle(
        run,
        settle => commands.Commit(
            run.Org, run.By,
            async work =>
            {
                var session = Turns.SessionOf(await work.State(Run.Aggregate, run.Key))!.Value;
                if (await Command(work, run, command(work.Now)) is { } refused)
                {
                    return refused;
                }
                if (settle is not null && await settle(work) is { } impossible)
                {
                    return impossible;
                }
                work.Finish(run.Claim);
                return await Turns.LeaveQueue(work, session, run.Key);
            },
            ct, waitForStorage: true),
        ct);

    /// <summary>
    /// Records an outcome and the steps after it that need no tool or model: policy decisions, an approval request, or the end of the run.
    /// </summary>
    /// <param name="also">Adds more to the commit.</param>
    internal ValueTask<Refusal?> Record(
        DrivenRun run, Func<DateTimeOffset, RunCommand>? outcome, CancellationToken ct, Func<UnitOfWork, ValueTask<Refusal?>>? also = null) => commands.Commit(
        run.Org, run.By,
        async work =>
        {
            if (outcome is not null && await Command(work, run, outcome(work.Now)) is { } fenced)
            {
                return fenced;
            }
            if (also is not null && await also(work) is { } impossible)
            {
                return impossible;
            }
            while (true)
            {
                var state = await work.State(Run.Aggregate, run.Key);
                var refused = (Run.Next(state, options.Limits, work.Now), state) switch
                {
                    (NextStep.EvaluatePolicy evaluate, Run.Active active) => await EvaluatePolicy(work, run, active, evaluate.Call, ct),
                    (NextStep.Finish, Run.Active active) => await Complete(work, run, active, ct),
                    _ => null,
                };
                var after = await work.State(Run.Aggregate, run.Key);
                if (refused is not null || ReferenceEquals(after, state))
                {
                    return refused;
                }
            }
        },
        ct, waitForStorage: true);

    /// <summary>
    /// Why nothing of the driver would be recorded any more; null: as far as this host knows, it would. A driver asks before it stores a long text.
    /// </summary>
    internal async ValueTask<Refusal?> WhyFenced(DrivenRun run, CancellationToken ct)
    {
        try
        {
            return await Current(run, inLog: false, ct) is not null
                ? null
                : Refusal.Conflict("run_fenced", "The run has ended, or another claim drives it.");
        }
        catch (StorageUnavailableException)
        {
            return null;
        }
    }

    /// <summary>The run that this driver may write; null: it has ended, waits, or another claim drives it.</summary>
    /// <param name="inLog">True: as the log has it, with what other nodes wrote.</param>
    internal async ValueTask<Run.Active?> Current(DrivenRun run, bool inLog, CancellationToken ct) =>
        (inLog ? await commands.LatestState(run.Org, Run.Aggregate, run.Key, ct) : await commands.State(run.Org, Run.Aggregate, run.Key, ct)) is Run.Active active
        && active.Epoch == run.Claim.Epoch
            ? active
            : null;

    internal static async ValueTask<Refusal?> Command(UnitOfWork work, DrivenRun run, RunCommand command)
    {
        var session = Turns.SessionOf(await work.State(Run.Aggregate, run.Key));
        return await work.Do(Run.Aggregate, run.Key, command, session, run.Key);
    }

    async ValueTask<Refusal?> EvaluatePolicy(UnitOfWork work, DrivenRun run, Run.Active state, RequestedCall call, CancellationToken ct) =>
        (await Context(run, state, state.StepsDone + 1, state.StepAttempt, ct)).Context is { } context ? await calls.Evaluate(work, run, state, context, call, ct) : null;

    async ValueTask<Refusal?> Complete(UnitOfWork work, DrivenRun run, Run.Active state, CancellationToken ct)
    {
        var session = state.Request.SessionId;
        if (await Command(work, run, new RunCommand.Complete(run.Claim.Epoch, work.Now)) is { } refused)
        {
            return refused;
        }
        work.Finish(run.Claim);
        if (await Turns.LeaveQueue(work, session, run.Key) is { } stuck)
        {
            return stuck;
        }
        // What a group's controller has an agent answer is a conversation of the controller's, which asks other agents itself.
        if (state.Request is { Agent: { } agent, Transcript: null } && await groups.Answered(work, run, state, agent, ct) is { } notHandedOn)
        {
            return notHandedOn;
        }
        if (state.Request.Counterfactual is not null)
        {
            // What did not happen is nothing to remember.
            return null;
        }
        if (models.TryGetValue(state.Request.Model, out var model) && RunNotes.IsAsked(memory, model))
        {
            work.Start(new Job(RunNotes.JobKind, run.Key.Value));
            return null;
        }
        var turn = await FinishedTurn.Of(state, state.Reply!, blobs, ct);
        return await MemoryBook.WriteNotes(
            work, session, run.Key, SessionNotes.Turn(turn.Message, turn.Reply), SessionNotes.Learning(turn.Message, turn.Reply, turn.Results),
            await MemoryBook.LastOf(work, run.Key), notes: null);
    }
}
