using System.Security.Cryptography;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>
/// Decides the slots of schedules. Each schedule is one job, due at its next slot. Any host may decide a slot, because the schedule's stream orders the
/// decisions: the commit of a second host finds the stream moved.
/// </summary>
public sealed partial class Scheduler(
    CommandHandler handler, ICommandExecutor commands, ScheduledRuns runs, IJobQueue queue, NextTime nextTime, TimeProvider clock, ILogger<Scheduler> logger) : IJobHandler
{
    /// <summary>Kind of the job. Its key is the schedule's key.</summary>
    public const string JobKind = "schedule";

    public string Kind => JobKind;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        while (true)
        {
            // Reads the log, because another host may have changed the schedule and a decision to do nothing has no append that detects it.
            var state = await handler.LatestState(claim.Org, Schedule.Aggregate, new ScheduleKey(claim.Key), ct);
            var now = clock.GetUtcNow();
            switch (Schedule.Next(state, now, nextTime))
            {
                case SlotStep.Idle:
                    return false;
                case SlotStep.Wait wait:
                    // The job was due by another host's clock, or for a slot that is no longer planned.
                    await queue.Release(claim, wait.Until - now, ct);
                    return true;
                case var step:
                    if (await Decide(claim, (Schedule.Active)state, step, ct))
                    {
                        return true;
                    }
                    break;
            }
        }
    }

    /// <summary>True: the slot is decided and the claim has ended. False: another host decided first, so the next step may differ.</summary>
    async Task<bool> Decide(Claim claim, Schedule.Active schedule, SlotStep step, CancellationToken ct)
    {
        var (key, by) = (new ScheduleKey(claim.Key), new Origin(schedule.Plan.By, Issuers: schedule.Plan.Issuers));
        var refused = step switch
        {
            SlotStep.Fire fire => await Fire(claim, by, schedule.Plan, fire, ct),
            SlotStep.Skip skip => await Execute(
                claim, by, new SkipSlots(key, claim, skip.Slot, skip.Through, skip.Count, Schedule.Missed, "Nobody was there to start it in time."), ct),
            SlotStep.Replan replan => await Execute(claim, by, new ReplanSchedule(key, claim, replan.Slot), ct),
            _ => throw new System.Diagnostics.UnreachableException(step.GetType().Name),
        };
        if (refused is not null)
        {
            LogNotDecided(logger, key, refused.Code);
        }
        return refused is null or { Code: "run_fenced" };
    }

    async Task<Refusal?> Fire(Claim claim, Origin by, SchedulePlan plan, SlotStep.Fire fire, CancellationToken ct)
    {
        var key = new ScheduleKey(claim.Key);
        var (turn, opens, refused) = await runs.Prepare(claim.Org, plan, fire.Slot, null, null, null, ct);
        if (turn is not null)
        {
            refused = await runs.Fire(claim.Org, by, new(key, claim, fire.Slot, fire.CaughtUp, turn.Submit, opens), turn.Message, ct);
        }
        return refused is null or { Code: "slot_decided" or "run_fenced" or "stream_busy" or "not_found" } ? refused
            : await Execute(claim, by, new SkipSlots(key, claim, fire.Slot, fire.Slot, 1, refused.Code, refused.Detail), ct);
    }

    async ValueTask<Refusal?> Execute(Claim claim, Origin by, ICommand command, CancellationToken ct) =>
        (await commands.Execute(claim.Org, by, command, ct, waitForStorage: true)).Refused;

    [LoggerMessage(Level = LogLevel.Information, Message = "This host did not decide a slot of the schedule {Schedule}: {Code}")]
    static partial void LogNotDecided(ILogger logger, ScheduleKey schedule, string code);
}

/// <summary>Prepares and starts runs of schedules, for manual triggers and for the scheduler.</summary>
public sealed class ScheduledRuns(
    CommandHandler handler, SkillRuns skills, Turns turns, TextCommands texts, IBlobs blobs, IWorkspaces workspaces, TenantUsage usage, TimeProvider clock)
{
    /// <summary>Starts a run of a schedule now, or answers the run that the same request started before.</summary>
    /// <param name="hasPrompt">The kind of schedule that the caller's contract has; one of the other kind is not found.</param>
    /// <param name="key">The idempotency key of the body, unique in the session.</param>
    public async Task<(Turn? Turn, Refusal? Refused)> Trigger(
        string org, Origin by, ScheduleKey schedule, bool hasPrompt, string? key, RequestKey? header, CancellationToken ct)
    {
        if (Schedule.PlanOf(await handler.LatestState(org, Schedule.Aggregate, schedule, ct)) is not { } plan || plan.Target.Prompt is not null != hasPrompt)
        {
            return (null, Refusal.NotFound("schedule"));
        }
        var digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"trigger\n{schedule.Value}")));
        if (plan.Target.SessionId is null && await Earlier(default) is { } known)
        {
            // No session is prepared for a repeat.
            return (known, null);
        }
        var (turn, opens, refused) = await Prepare(org, plan, null, key, header, digest, ct);
        if (turn is null)
        {
            return await Earlier(plan.Target.SessionId ?? default) is { } earlier ? (earlier, null) : (null, refused);
        }
        var taken = await turns.Take(org, by, turn, new TriggerSchedule(schedule, turn.Submit, opens), ct);
        if (opens is not null && taken is { Turn.Accepted: not null })
        {
            usage.Made(org, sessions: 1);
        }
        return taken;

        ValueTask<Turn?> Earlier(SessionKey session) => turns.Earlier(org, session, digest, key, header, ct);
    }

    /// <summary>Starts the run of a slot, with a message that may not be stored yet.</summary>
    internal async ValueTask<Refusal?> Fire(string org, Origin by, FireSlot fire, NamedText message, CancellationToken ct)
    {
        var result = await texts.Execute(org, by, fire, message, ct, waitForStorage: true);
        if (result.Refused is null && fire.Opens is not null)
        {
            usage.Made(org, sessions: 1);
        }
        return result.Refused;
    }

    /// <summary>The name of the skill, or why a schedule cannot run it with these parameters.</summary>
    public async ValueTask<(string? Name, Refusal? Unfit)> Check(string org, SkillPrompt prompt, CancellationToken ct)
    {
        var (rendered, refused) = await skills.Render(org, prompt, ct);
        return (rendered?.Name, refused switch
        {
            // A run answers 400 for missing parameters; a schedule with them is invalid.
            { Status: 400, Code: not Skill.InvalidVersion } missing => Refusal.Invalid(missing.Code, "$.params", missing.Detail),
            { Path: "$.version" } invalid => invalid with { Path = "$.skill_version" },
            _ => refused,
        });
    }

    /// <summary>
    /// Prepares the turn of a planned run, and the session that begins with it. Refused: the skill is deleted, cannot be rendered, too many runs wait, or the tenant may
    /// have no more sessions.
    /// </summary>
    /// <param name="slot">Null: a manual trigger.</param>
    internal async Task<(PreparedTurn? Turn, OpenSession? Opens, Refusal? Refused)> Prepare(
        string org, SchedulePlan plan, DateTimeOffset? slot, string? key, RequestKey? header, string? digest, CancellationToken ct)
    {
        var target = plan.Target;
        if (await ErasedSubject(org, plan, ct) is { } erased)
        {
            return (null, null, DataSubject.WhyErased(erased));
        }
        if (target is { SkillId: { } skill, Params: { } given, SessionId: { } session })
        {
            var parameters = await blobs.JsonObject(given, ct);
            var (rendered, refused) = await skills.Render(org, new(skill, target.SkillVersion, parameters), ct);
            return rendered is null
                ? (null, null, refused!.Code == "not_found" ? refused with { Code = "skill_not_found" } : refused)
                : await Turn(session, rendered.Prompt, rendered.Source with { ScheduleId = plan.ScheduleId, Slot = slot }, null, null);
        }
        var prompt = await blobs.Text(target.Prompt!, ct);
        var (opens, full) = target.SessionId is null ? await Open(org, plan, ct) : (null, null);
        return full is not null ? (null, null, full)
            : await Turn(
                target.SessionId ?? opens!.Session, prompt, new(ScheduleId: plan.ScheduleId, Slot: slot), new SkillSelection([], Skill.NameAskedFor(prompt)), opens);

        async Task<(PreparedTurn?, OpenSession?, Refusal?)> Turn(SessionKey session, string message, RunSource source, SkillSelection? named, OpenSession? opens)
        {
            var (turn, refused) = await turns.Prepare(org, new(session, message, null, key, header, source, digest, named), ct);
            return (turn, opens, refused);
        }
    }

    /// <summary>The schedule's data subject, when its texts were erased, so that there is nothing to run. Null: there is.</summary>
    async ValueTask<string?> ErasedSubject(string org, SchedulePlan plan, CancellationToken ct)
    {
        var subject = plan.Subject ?? (plan.Target.SessionId is { } session ? (await handler.State(org, Session.Aggregate, session, ct) as IOfSubject)?.Subject : null);
        return subject is not null && await handler.LatestState(org, DataSubject.Aggregate, DataSubject.KeyOf(subject), ct) is DataSubject.Erased ? subject : null;
    }

    /// <summary>Prepares a session with a folder of its own.</summary>
    async ValueTask<(OpenSession? Opens, Refusal? Refused)> Open(string org, SchedulePlan plan, CancellationToken ct)
    {
        if (await usage.SessionRefusal(org, ct) is { } full)
        {
            return (null, full);
        }
        var session = SessionKey.New(clock.GetUtcNow());
        var (path, refused) = await workspaces.Prepare(org, session, null, ct);
        return path is null ? (null, refused) : (new(session, path, "{}", null, Project: plan.Target.ProjectOfSessions(), Subject: plan.Subject), null);
    }
}

/// <summary>
/// Makes all schedule jobs due when the clock was set back, because slots that the wrong clock planned may be years away. A clock set forward only makes slots
/// due.
/// </summary>
public sealed partial class ClockWatch(IEventLog log, IJobQueue queue, TimeProvider clock, ILogger<ClockWatch> logger)
{
    static readonly TimeSpan CheckEvery = TimeSpan.FromSeconds(1);

    /// <summary>Runs until the token is cancelled.</summary>
    public async Task Run(CancellationToken ct)
    {
        bool? wasSetBack = null;
        while (true)
        {
            var (time, timestamp) = (clock.GetUtcNow(), clock.GetTimestamp());
            try
            {
                // A clock set back while no host ran is behind the log's last event.
                wasSetBack ??= await LastEventTime(ct) - clock.GetUtcNow() > Timing.Grace;
                if (wasSetBack == true)
                {
                    LogSetBack(logger);
                    await queue.Hurry(Scheduler.JobKind, ct);
                    wasSetBack = false;
                }
            }
            catch (StorageUnavailableException)
            {
                // The next check tries again.
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                // For example, only a newer host can read the last event.
                LogFailed(logger, e);
            }
            await Task.Delay(CheckEvery, clock, ct);
            if (clock.GetElapsedTime(timestamp) - (clock.GetUtcNow() - time) > Timing.Grace)
            {
                wasSetBack = true;
            }
        }
    }

    async Task<DateTimeOffset> LastEventTime(CancellationToken ct)
    {
        var head = (await log.Feed("", null, long.MaxValue, 1, ct)).Head;
        await foreach (var last in log.Scan(head - 1, ct))
        {
            return last.At;
        }
        return DateTimeOffset.MinValue;
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "Could not check whether the clock was set back; the next check is in a second")]
    static partial void LogFailed(ILogger logger, Exception e);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The clock was set back. All schedules are checked now")]
    static partial void LogSetBack(ILogger logger);
}
