using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;

namespace Cowork.Projections;

/// <summary>A run in the list of a skill, of a version of it, or of a schedule.</summary>
public sealed record RunSourceRow(RunKey Run, string List);

/// <summary>
/// The async projection of what runs come from, by which <c>GET /runs</c> lists those of a skill or schedule at no cost for others. A run that a person wrote without a skill
/// has no row here.
/// </summary>
public static class RunSources
{
    public static AsyncProjection<RunSourceRow> Model { get; } = new(
        "run_sources", [.. EventTypes.NamesOf(typeof(RunCreated))], RowJson.Default.RunSourceRow,
        e => [.. Rows(e).Select(row => row.Key)],
        (_, e) => [.. Rows(e).Select(row => (row.Key, (RunSourceRow?)row.Row))],
        Scope: row => row.List)
    {
        Lists = RowLists.ByScope,
        Owned = e => [.. Rows(e).Select(row => row.Key)],
    };

    public static string ListOf(SkillKey skill) => $"skill {skill.Value}";

    public static string ListOf(SkillKey skill, int version) => $"skill {skill.Value} {version}";

    public static string ListOf(ScheduleKey schedule) => $"schedule {schedule.Value}";

    /// <summary>The run's message was rendered from the skill, or the skill was active in it.</summary>
    /// <param name="version">Null: any.</param>
    public static bool IsOf(RunRow run, SkillKey skill, int? version) =>
        (run.Source?.SkillId?.Value == skill.Value && (version ?? run.Source.SkillVersion) == run.Source.SkillVersion)
        || run.Skills?.Exists(active => active.Id.Value == skill.Value && (version ?? active.Version) == active.Version) is true;

    static IEnumerable<(RowKey Key, RunSourceRow Row)> Rows(RecordedEvent e) => e.Event is RunCreated created
        ? ListsOf(created).Distinct(StringComparer.Ordinal).Select(list => (new RowKey(e.Org, $"{list} {created.RunId.Value}"), new RunSourceRow(created.RunId, list)))
        : [];

    static IEnumerable<string> ListsOf(RunCreated created)
    {
        if (created.Source is { SkillId: { } skill, SkillVersion: { } version })
        {
            yield return ListOf(skill);
            yield return ListOf(skill, version);
        }
        if (created.Source?.ScheduleId is { } schedule)
        {
            yield return ListOf(schedule);
        }
        foreach (var active in created.Skills ?? [])
        {
            yield return ListOf(active.Id);
            yield return ListOf(active.Id, active.Version);
        }
    }
}
