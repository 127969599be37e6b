using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>
/// Decides the slots of schedules: each schedule is one job, due at its next slot. Which host does it does not matter, since a slot is decided by the
/// schedule's stream: the commit of a host that comes second finds the stream moved.
/// </summary>
public sealed partial class Scheduler(
    CommandHandler known, ICommandExecutor commands, ScheduledRuns runs, IJobQueue queue, NextTime nextTime, TimeProvider clock, ILogger<Scheduler> logger) : IJobHandler
{
    /// <summary>The job's key is the schedule's.</summary>
    public const string JobKind = "schedule";

    public string Kind => JobKind;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        while (true)
        {
            // Another host may have changed the schedule, and what is decided not to be done has no append to guard it.
            var state = await known.Fresh(claim.Org, Schedule.Aggregate, claim.Key, ct);
            var now = clock.GetUtcNow();
            switch (Schedule.Next(state, now, nextTime))
            {
                case SlotStep.Idle:
                    return false;
                case SlotStep.Wait wait:
                    // The job was due by another clock, or for a slot that comes no more.
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

    /// <summary>True: it is decided, and the claim is over. False: somebody was first, so that another step is to be done.</summary>
    async Task<bool> Decide(Claim claim, Schedule.Active schedule, SlotStep step, CancellationToken ct)
    {
        var by = new Origin(schedule.Plan.By);
        var refused = step switch
        {
            SlotStep.Fire fire => await Fire(claim, by, schedule.Plan, fire, ct),
            SlotStep.Skip skip => await commands.Execute(
                claim.Org, by, new SkipSlots(claim.Key, claim, skip.Slot, skip.Through, skip.Count, Schedule.Missed, "Nobody was there to start it in time."), ct, patient: true),
            SlotStep.Replan replan => await commands.Execute(claim.Org, by, new ReplanSchedule(claim.Key, claim, replan.Slot), ct, patient: true),
            _ => throw new System.Diagnostics.UnreachableException(step.GetType().Name),
        };
        if (refused is not null)
        {
            LogNotDecided(logger, claim.Key, refused.Code);
        }
        return refused is null or { Code: "run_fenced" };
    }

    async Task<Refusal?> Fire(Claim claim, Origin by, SchedulePlan plan, SlotStep.Fire fire, CancellationToken ct)
    {
        var (turn, why) = await runs.Prepare(claim.Org, plan, fire.Slot, null, null, null, ct);
        if (turn is not null)
        {
            why = await commands.Execute(claim.Org, by, new FireSlot(claim.Key, claim, fire.Slot, fire.CaughtUp, turn), ct, patient: true);
        }
        return why is null or { Code: "slot_decided" or "run_fenced" or "stream_busy" or "not_found" } ? why
            : await commands.Execute(claim.Org, by, new SkipSlots(claim.Key, claim, fire.Slot, fire.Slot, 1, why.Code, why.Detail), ct, patient: true);
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "A slot of the schedule {Schedule} was not decided here: {Code}")]
    static partial void LogNotDecided(ILogger logger, string schedule, string code);
}

/// <summary>Makes runs of schedules: by hand, and for the scheduler.</summary>
public sealed class ScheduledRuns(CommandHandler known, SkillRuns skills, Turns turns, IBlobs blobs)
{
    /// <summary>Starts a run of a schedule now, or answers the one that the same request started before.</summary>
    /// <param name="schedule">Key of the schedule.</param>
    /// <param name="key">The body's key, within the session.</param>
    public async Task<(Turn? Turn, Refusal? Refused)> Trigger(string org, Origin by, string schedule, string? key, RequestKey? header, CancellationToken ct)
    {
        if (Schedule.PlanOf(await known.Fresh(org, Schedule.Aggregate, schedule, ct)) is not { } plan)
        {
            return (null, Refusal.NotFound("scheduled run"));
        }
        var digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"trigger\n{schedule}")));
        var (turn, refused) = await Prepare(org, plan, null, key, header, digest, ct);
        if (turn is not null)
        {
            return await turns.Take(org, by, turn, new TriggerSchedule(schedule, turn), ct);
        }
        return await turns.Earlier(org, Ids.SessionKey(plan.Target.SessionId)!, digest, key, header, ct) is { } earlier ? (earlier, null) : (null, refused);
    }

    /// <summary>Why a skill comes to nothing with parameters that a schedule is to have; null: it comes to something.</summary>
    public async ValueTask<Refusal?> Unfit(string org, SkillPrompt prompt, CancellationToken ct) => (await skills.Render(org, prompt, ct)).Refused switch
    {
        // To a run they are missing; to a plan they are wrong.
        { Status: 400 } wrong => Refusal.Invalid(wrong.Code, "$.params", wrong.Detail),
        { Path: "$.version" } wrong => wrong with { Path = "$.skill_version" },
        var refused => refused,
    };

    /// <summary>The turn that a run of the plan is, or why there is none: its skill has gone, or says nothing with these parameters, or too many runs wait.</summary>
    /// <param name="slot">Null: by hand.</param>
    internal async Task<(SubmitTurn? Turn, Refusal? Refused)> Prepare(
        string org, SchedulePlan plan, DateTimeOffset? slot, string? key, RequestKey? header, string? digest, CancellationToken ct)
    {
        var target = plan.Target;
        var given = JsonElement.Parse(await blobs.Text(target.Params, ct));
        var (rendered, refused) = await skills.Render(org, new(Ids.Key(target.SkillId, "skill")!, target.SkillVersion, given), ct);
        if (rendered is null)
        {
            return (null, refused!.Code == "not_found" ? refused with { Code = "skill_not_found" } : refused);
        }
        var source = rendered.Source with { ScheduleId = plan.ScheduleId, Slot = slot };
        return await turns.Prepare(org, new(Ids.SessionKey(target.SessionId)!, rendered.Prompt, null, key, header, source, digest), ct);
    }
}

/// <summary>
/// Has every schedule looked at when the clock is found to have been set back: slots that the wrong clock planned may be years away. Set forward, it only
/// makes slots due.
/// </summary>
public sealed partial class ClockWatch(IEventLog log, IJobQueue queue, TimeProvider clock, ILogger<ClockWatch> logger)
{
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);

    /// <summary>Runs until the token is cancelled.</summary>
    public async Task Run(CancellationToken ct)
    {
        bool? isBack = null;
        while (true)
        {
            var (shown, stamp) = (clock.GetUtcNow(), clock.GetTimestamp());
            try
            {
                // What was set back while nobody watched shows in the log, which is ahead then.
                isBack ??= await LastWritten(ct) - clock.GetUtcNow() > Timing.Grace;
                if (isBack == true)
                {
                    LogBack(logger);
                    await queue.Hurry(Scheduler.JobKind, ct);
                    isBack = false;
                }
            }
            catch (StorageUnavailableException)
            {
                // Looked at again in a moment.
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                // For example the last event is one that only a newer host can read.
                LogFailed(logger, e);
            }
            await Task.Delay(LookEvery, clock, ct);
            if (clock.GetElapsedTime(stamp) - (clock.GetUtcNow() - shown) > Timing.Grace)
            {
                isBack = true;
            }
        }
    }

    async Task<DateTimeOffset> LastWritten(CancellationToken ct)
    {
        var head = (await log.Feed("", null, long.MaxValue, 1, ct)).Head;
        await foreach (var last in log.Scan(head - 1, ct))
        {
            return last.At;
        }
        return DateTimeOffset.MinValue;
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "It could not be found out whether the clock was set back; that is tried again")]
    static partial void LogFailed(ILogger logger, Exception e);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The clock was set back; the schedules are looked at")]
    static partial void LogBack(ILogger logger);
}
