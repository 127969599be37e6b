using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.ScheduleEvent;

namespace Cowork.Projections;

/// <summary>A schedule: with a skill as <c>GET /scheduled-runs/{id}</c> shows it, with a prompt as <c>GET /api/v1/schedules/{id}</c> does.</summary>
/// <param name="SessionId">Null: a new session for each run.</param>
/// <param name="SkillId">Null: the schedule has a prompt.</param>
/// <param name="SkillVersion">Null: the latest version when the run starts.</param>
/// <param name="Params">A JSON object, as text.</param>
/// <param name="Status"><c>active</c> or <c>paused</c>.</param>
/// <param name="LastSkip">The last skipped slot; null: none was skipped since the last run.</param>
/// <param name="Prompt">Null: the schedule has a skill.</param>
/// <param name="Project">Of a schedule with a prompt.</param>
public sealed record ScheduleRow(
    ScheduleKey ScheduleId,
    string Name,
    SessionKey? SessionId,
    SkillKey? SkillId,
    int? SkillVersion,
    Content? Params,
    Timing Timing,
    string Status,
    string Misfire,
    string Overlap,
    DateTimeOffset? NextRunAt,
    RunKey? LastRunId,
    DateTimeOffset? LastRunAt,
    SkippedSlot? LastSkip,
    string CreatedBy,
    DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt,
    Content? Prompt = null,
    ProjectKey? Project = null);

/// <summary>A skipped slot, or a series of skipped slots.</summary>
/// <param name="Through">The last slot of a series; null: one slot.</param>
/// <param name="Count">Number of slots in the series; null: one slot, or too many to count.</param>
public sealed record SkippedSlot(DateTimeOffset Slot, DateTimeOffset? Through, long? Count, string Reason, string Detail);

/// <summary>
/// The read model of schedules: those with a skill for <c>GET /scheduled-runs</c>, those with a prompt for <c>GET /api/v1/schedules</c>. A deleted schedule has no row.
/// </summary>
public static class Schedules
{
    public const string Active = "active";
    public const string Paused = "paused";

    /// <summary>The list of the schedules that have a skill.</summary>
    public const string WithSkill = "skill";

    /// <summary>The list of the schedules that have a prompt.</summary>
    public const string WithPrompt = "prompt";

    public static ReadModel<ScheduleRow> Model { get; } = new(
        "schedules", Schedule.Aggregate.Name, RowJson.Default.ScheduleRow, Evolve,
        Scope: row => row.Prompt is null ? WithSkill : WithPrompt,
        Status: row => row.Status)
    {
        Lists = RowLists.ByScope | RowLists.ByScopeAndStatus,
        OwnerMember = "created_by",
        Form = 4,
    };

    /// <summary>The lists that have every schedule between them.</summary>
    public static IReadOnlyList<string> Scopes { get; } = [WithSkill, WithPrompt];

    /// <summary>The schedules of a project.</summary>
    public static (string Member, string Text) Of(ProjectKey project) => ("project", project.Id);

    public static ScheduleRow? Evolve(ScheduleRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (ScheduleCreated c, _) => new(
            c.ScheduleId, c.Name, c.Target.SessionId, c.Target.SkillId, c.Target.SkillVersion, c.Target.Params, c.Timing, c.Next is null ? Paused : Active,
            Word(c.Misfire), Word(c.Overlap), c.Next, null, null, null, c.By, e.At, e.At, c.Target.Prompt, c.Target.Project),
        (_, null) => null,
        (ScheduleChanged c, { } r) => r with
        {
            SessionId = c.Target.SessionId,
            SkillId = c.Target.SkillId,
            SkillVersion = c.Target.SkillVersion,
            Params = c.Target.Params,
            Prompt = c.Target.Prompt,
            Project = c.Target.Project,
            Timing = c.Timing,
            Misfire = Word(c.Misfire),
            Overlap = Word(c.Overlap),
            NextRunAt = c.Next,
            UpdatedAt = e.At,
        },
        (SchedulePaused, { } r) => r with { Status = Paused, NextRunAt = null, UpdatedAt = e.At },
        (ScheduleResumed c, { } r) => r with { Status = Active, Timing = c.Timing, NextRunAt = c.Next, UpdatedAt = e.At },
        (ScheduleTriggered t, { } r) => r with
        {
            LastRunId = t.RunId,
            LastRunAt = e.At,
            LastSkip = null,
            NextRunAt = t.Mode == TriggerMode.Automatic ? t.Next : r.NextRunAt,
            UpdatedAt = e.At,
        },
        (ScheduleSkipped s, { } r) => r with { LastSkip = new(s.Slot, s.Through, s.Count, s.Reason, s.Detail), NextRunAt = s.Next, UpdatedAt = e.At },
        (ScheduleReplanned p, { } r) => r with { Timing = p.Timing, NextRunAt = p.Next, UpdatedAt = e.At },
        (ScheduleDeleted, _) => null,
        (_, { } r) => r,
    };

    static string Word<T>(T choice)
        where T : struct, Enum => choice.ToString().ToLowerInvariant();
}

/// <summary>The outcome of a slot or of a manual trigger: a line of <c>GET /scheduled-runs/{id}/runs</c>, folded from the schedule's events.</summary>
/// <param name="Slot">The planned time; null: a manual trigger.</param>
/// <param name="Through">The last slot of a series; null: one slot.</param>
/// <param name="Count">Number of slots in the series; null: one slot, or too many to count.</param>
/// <param name="Outcome"><c>fired</c>, <c>caught_up</c>, <c>skipped</c>, or <c>replanned</c>: the clock was set back, and the next slots follow the new time.</param>
/// <param name="Mode"><c>automatic</c> or <c>manual</c>.</param>
public sealed record LedgerLine(
    DateTimeOffset? Slot, DateTimeOffset? Through, long? Count, string Outcome, string Mode, RunKey? RunId, int? SkillVersion, string? Reason, string? Detail,
    DateTimeOffset DecidedAt)
{
    /// <summary>Null: the event decides no slot.</summary>
    public static LedgerLine? Of(RecordedEvent e) => e.Event switch
    {
        ScheduleTriggered t => new(
            t.Slot, null, null, t.CaughtUp ? "caught_up" : "fired", t.Mode == TriggerMode.Manual ? "manual" : "automatic", t.RunId, t.SkillVersion, null, null, e.At),
        ScheduleSkipped s => new(s.Slot, s.Through, s.Count, "skipped", "automatic", null, null, s.Reason, s.Detail, e.At),
        ScheduleReplanned r => new(r.Slot, null, null, "replanned", "automatic", null, null, r.Reason, "The clock was set back.", e.At),
        _ => null,
    };

    /// <summary>The latest lines, newest first.</summary>
    /// <param name="version">Version of the schedule's stream.</param>
    public static async ValueTask<IReadOnlyList<LedgerLine>> Last(IEventLog log, string org, ScheduleKey schedule, long version, int max, CancellationToken ct)
    {
        var lines = new List<LedgerLine>();
        for (var before = version; before > 0 && lines.Count < max;)
        {
            var after = Math.Max(0, before - max);
            var slice = await log.Load(org, Schedule.Aggregate.Stream(schedule), after, (int)(before - after), ct);
            lines.AddRange(slice.Events.Reverse().Select(Of).OfType<LedgerLine>());
            before = after;
        }
        return lines.Count > max ? lines.GetRange(0, max) : lines;
    }
}

/// <summary>What became of a slot of a schedule, or what was done to the schedule: an entry of <c>GET /schedules/{id}/ledger</c>.</summary>
/// <param name="Version">Of the event.</param>
/// <param name="Kind">One of <see cref="Kinds"/>.</param>
/// <param name="By">The actor of the event.</param>
/// <param name="Next">The next slot, as the event has it.</param>
public sealed record ScheduleEntry(
    long Version, string Kind, DateTimeOffset? Slot, DateTimeOffset? Through, long? Count, RunKey? RunId, int? SkillVersion, string? Reason, string? Detail, string By,
    DateTimeOffset At, DateTimeOffset? Next)
{
    public static IReadOnlyList<string> Kinds { get; } = ["fired", "caught_up", "triggered", "skipped", "replanned", "created", "changed", "paused", "resumed"];

    /// <summary>Null: the schedule is deleted.</summary>
    public static ScheduleEntry? Of(RecordedEvent e)
    {
        var (kind, next) = e.Event switch
        {
            ScheduleCreated c => ("created", c.Next),
            ScheduleChanged c => ("changed", c.Next),
            SchedulePaused => ("paused", null),
            ScheduleResumed r => ("resumed", r.Next),
            ScheduleTriggered { Mode: TriggerMode.Manual } => ("triggered", null),
            ScheduleTriggered t => (t.CaughtUp ? "caught_up" : "fired", t.Next),
            ScheduleSkipped s => ("skipped", s.Next),
            ScheduleReplanned r => ("replanned", r.Next),
            _ => ((string?)null, (DateTimeOffset?)null),
        };
        var line = LedgerLine.Of(e);
        return kind is null ? null : new(
            e.Version, kind, line?.Slot, line?.Through, line?.Count, line?.RunId, line?.SkillVersion, line?.Reason, line?.Detail, e.Actor, e.At, next);
    }

    /// <summary>The latest entries up to a version of the schedule's stream, newest first. Each event is one.</summary>
    public static async ValueTask<IReadOnlyList<ScheduleEntry>> Last(IEventLog log, string org, ScheduleKey schedule, long version, int max, CancellationToken ct)
    {
        var after = Math.Max(0, version - max);
        var slice = version < 1 ? null : await log.Load(org, Schedule.Aggregate.Stream(schedule), after, (int)(version - after), ct);
        return [.. slice?.Events.Reverse().Select(Of).OfType<ScheduleEntry>() ?? []];
    }
}
