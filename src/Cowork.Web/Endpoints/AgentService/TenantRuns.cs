using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Endpoints.Platform;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>A run in the list of the tenant's.</summary>
/// <param name="Message">Its beginning, in one line; <c>GET /runs/{id}</c> has the whole.</param>
/// <param name="Reply">Its beginning, in one line; null: there is none yet.</param>
/// <param name="RequestedBy">Who asked for it.</param>
/// <param name="Source">What the message comes from.</param>
/// <param name="Skills">The skills that were active.</param>
/// <param name="StopReason">Why the reply ends early; null: the model ended it.</param>
/// <param name="Gid">Position of the event that made it: the list is ordered by it.</param>
/// <param name="Version">Of the run's stream.</param>
public sealed record RunListItem(
    RunKey RunId, SessionKey SessionId, [property: RunStatus] string Status, string Model, string Message, string? Reply, RunErrorShape? Error,
    IReadOnlyList<ApprovalKey> PendingApprovalIds, string RequestedBy, [property: RunSourceKind] string Source, SkillKey? SkillId, int? SkillVersion, ScheduleKey? ScheduleId,
    IReadOnlyList<RunSkill> Skills, RunLineage? Lineage, int Attempt, string? StopReason, bool CancelRequested, long TotalTokens, long InputTokens, long OutputTokens,
    int ToolCalls, decimal CostUsd, DateTimeOffset CreatedAt, DateTimeOffset? StartedAt, DateTimeOffset? CompletedAt, DateTimeOffset? UpdatedAt, long Gid, long Version)
{
    const int PreviewChars = 300;

    /// <summary>The row with the beginnings of its texts, wherever they lie.</summary>
    public static async ValueTask<RunListItem> Of(Row row, RunRow run, IBlobs blobs, CancellationToken ct) => new(
        run.RunId, run.SessionId, run.Status, run.Model, await Preview(run.Message, blobs, ct), run.Reply is null ? null : await Preview(run.Reply, blobs, ct),
        RunErrorShape.Of(run.Error),
        run.PendingApprovalIds, run.RequestedBy, RunSourceKindAttribute.Of(run.Source), run.Source?.SkillId, run.Source?.SkillVersion, run.Source?.ScheduleId, run.Skills ?? [],
        run.Lineage, run.Attempt, run.StopReason, run.CancelRequested, run.TotalTokens, run.InputTokens, run.OutputTokens, run.ToolCalls, run.CostUsd, run.CreatedAt,
        run.StartedAt, run.CompletedAt, run.UpdatedAt, row.Created, row.Version);

    static async ValueTask<string> Preview(Content text, IBlobs blobs, CancellationToken ct) => text is Content.Blob blob && await blobs.Beginning(blob, ct) is { } beginning
        ? FileText.Truncate($"{FileText.OneLine(beginning)}…", PreviewChars)
        : FileText.Truncate(FileText.OneLine(SessionFeed.Shown(text)), PreviewChars);
}

/// <param name="NextCursor">Null: there are no further runs. Otherwise there may be, also behind a page with fewer than were asked for.</param>
/// <param name="AsOfGid">Runs that were made up to this position of the log are in the list, and no later ones.</param>
public sealed record TenantRunList(IReadOnlyList<RunListItem> Runs, string? NextCursor, long AsOfGid);

/// <summary>What the list of a tenant's runs is of.</summary>
/// <param name="Statuses">Empty: any.</param>
/// <param name="Words">Folded; each is a part of the message or of the reply.</param>
sealed record RunFilter(
    IReadOnlyList<string> Statuses, SessionKey? Session, string? Model, SkillKey? Skill, int? SkillVersion, ScheduleKey? Schedule, ProjectKey? Project, string Source,
    string Lineage, DateTimeOffset? Since, DateTimeOffset? Until, IReadOnlyList<string> Words)
{
    public const string All = "all";
    public const string Any = "any";
    public const string None = "none";

    /// <summary>The list of what runs come from that has them all; null: none does.</summary>
    public string? SourceList =>
        Schedule is { } schedule ? RunSources.ListOf(schedule)
        : Skill is { } skill ? SkillVersion is { } version ? RunSources.ListOf(skill, version) : RunSources.ListOf(skill)
        : null;

    /// <summary>The statuses by which rows are listed that together have all of the runs; empty: there are no such lists.</summary>
    public IReadOnlyList<string> ListedStatuses => Statuses.Contains(Runs.Completed) ? []
        : [.. Statuses.SelectMany(status => status is Runs.Running or Runs.ApprovalRequired ? [status, Runs.Cancelling] : new[] { status }).Distinct()];

    /// <summary>Whether the list has the run, as far as the run itself tells.</summary>
    public bool Has(RunRow run) =>
        (Statuses.Count == 0 || Statuses.Contains(run.Status))
        && (Session is not { } session || run.SessionId.Value == session.Value)
        && (Model is null || run.Model == Model)
        && (Skill is not { } skill || RunSources.IsOf(run, skill, SkillVersion))
        && (Schedule is not { } schedule || run.Source?.ScheduleId?.Value == schedule.Value)
        && (Source == All || RunSourceKindAttribute.Of(run.Source) == Source)
        && (Lineage == All || (Lineage == Any ? run.Lineage is not null : Lineage == None ? run.Lineage is null : run.Lineage?.Kind == Lineage))
        && (Since is not { } since || run.CreatedAt >= since)
        && (Until is not { } until || run.CreatedAt < until)
        && (Words.Count == 0 || PartsOfWords.Has(PartsOfWords.Fold($"{(run.Message as Content.Inline)?.Text}\n{(run.Reply as Content.Inline)?.Text}"), Words));

    public bool HasProject(SessionRow session) => Project is not { } project || (session.Project ?? ProjectKey.General).Value == project.Value;
}

static class TenantRunEndpoints
{
    /// <summary>Rows that one request looks at: what is rare is found over several pages, each at the same cost.</summary>
    const int LookedAtMax = 2_000;

    const int ChunkRows = 250;

    /// <summary>Clocks of hosts differ by no more, so that a run of the time is not among those that were recorded that long before it.</summary>
    static readonly TimeSpan ClocksDifferBy = TimeSpan.FromMinutes(1);

    static readonly string[] Statuses = [Runs.Queued, Runs.Running, Runs.ApprovalRequired, Runs.Completed, Runs.Failed, Runs.Cancelled];

    static readonly TextQuery Status = new("status", "", $"Only of these, separated by commas: {string.Join(", ", Statuses)}.");
    static readonly TextQuery Model = new("model", "", "Only of this model.");
    static readonly IdQuery Skill = new("skill_id", "Only of this skill: it rendered the message, or was active.");
    static readonly WholeNumberQuery SkillVersion = new("skill_version", 0, int.MaxValue, 0, "Only of this version of the skill; 0: of any.");
    static readonly IdQuery Schedule = new("schedule_id", "Only those that this schedule started.");

    static readonly ChoiceQuery Source = new(
        "source", [RunFilter.All, RunSourceKindAttribute.Message, RunSourceKindAttribute.Skill, RunSourceKindAttribute.Schedule], RunFilter.All,
        "Only those whose message comes from there.", "RunSourceFilter");

    static readonly ChoiceQuery Lineage = new(
        "lineage", [RunFilter.All, RunFilter.None, RunFilter.Any, "fork", "counterfactual"], RunFilter.All, "Only those that go back to another run like this, to any, or to none.",
        "RunLineageFilter");

    static readonly TimeQuery Since = new("since", "Only those that were made at this time or later.");
    static readonly TimeQuery Until = new("until", "Only those that were made before this time.");
    static readonly TextQuery Words = new("q", "", "Only those with each of these words as a part of the message or the reply, as far as these have at most 64 KiB.");

    static readonly string[] Filters =
    [
        Status.Name, SessionInQuery.Parameter.Name, Model.Name, Skill.Name, SkillVersion.Name, Schedule.Name, ProjectInQuery.Parameter.Name, Source.Name, Lineage.Name,
        Since.Name, Until.Name, Words.Name,
    ];

    public static void MapTenantRuns(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/runs", List).WithName("listTenantRuns").WithTags("Runs")
            .WithSummary("List the runs of all sessions that the caller sees, newest first")
            .Takes(Status).Takes(SessionInQuery.Parameter).Takes(Model).Takes(Skill).Takes(SkillVersion).Takes(Schedule).Takes(ProjectInQuery.Parameter).Takes(Source)
            .Takes(Lineage).Takes(Since).Takes(Until).Takes(Words).Takes(Lists.LimitOfRuns).Takes(ListCursors.Cursor)
            .TakesAsOf()
            .Produces<TenantRunList>().Refuses(404, 422);

    static async Task<IResult> List(
        HttpContext http, Caller caller, ReadView view, IRows rows, IPositions positions, IAsyncProjectionStore projections, IBlobs blobs, CancellationToken ct)
    {
        (var page, view) = ListCursors.Enter(http, view, "runs", Filters);
        var limit = (int)Lists.LimitOfRuns.Read(http);
        var (filter, refused) = await Read(http, caller, rows, ct);
        if (filter is null)
        {
            return refused!;
        }
        if (filter.Session is { } session && await view.Rows.FindSession(caller, session, ct) is null)
        {
            return ErrorResult.NotFound("session");
        }
        page = page with { Moment = page.Before is null ? await Moment(filter, view, positions, projections, ct) : page.Moment };
        var before = page.Before ?? page.Moment!.Value + 1;
        if (filter.Until is { } until && page.Before is null)
        {
            before = Math.Min(before, until > DateTimeOffset.MaxValue - ClocksDifferBy ? before : await positions.At(until + ClocksDifferBy, ct) + 1);
        }
        var first = filter.Since is { } since && since > DateTimeOffset.MinValue + ClocksDifferBy ? await positions.At(since - ClocksDifferBy, ct) : 0;
        var (shown, lookedAt, next) = (new List<RunListItem>(), 0, (long?)null);
        var isOver = false;
        while (!isOver && next is null)
        {
            // Most lists are of most runs, so that a page and one more row will often do.
            var max = lookedAt == 0 ? limit + 1 : ChunkRows;
            var (chunk, through) = await Chunk(caller.Org, filter, view, rows, before, max, ct);
            List<(Row Stored, RunRow Run)> found =
                [.. chunk.Where(row => row.Created > first).Select(row => (row, Runs.Model.Read(row.Json.Span))).Where(row => filter.Has(row.Item2))];
            var sessions = await view.Rows.FindSessions(caller, [.. found.Select(row => row.Run.SessionId).Distinct()], ct);
            foreach (var (stored, run) in found.Where(row => sessions.GetValueOrDefault(row.Run.SessionId) is { } of && filter.HasProject(of)))
            {
                if (shown.Count == limit)
                {
                    next = shown[^1].Gid;
                    break;
                }
                shown.Add(await RunListItem.Of(stored, run, blobs, ct));
            }
            lookedAt += max;
            isOver = through is null || through <= first;
            before = through ?? before;
            if (!isOver && next is null && lookedAt >= LookedAtMax)
            {
                next = before;
            }
        }
        return JsonResult.Of(
            200, new(shown, next is { } behind ? page.After(http, behind) : null, page.Moment ?? 0), AgentServiceJson.Answers.TenantRunList);
    }

    static async ValueTask<(RunFilter? Filter, ErrorResult? Refused)> Read(HttpContext http, Caller caller, IRows rows, CancellationToken ct)
    {
        string[] statuses = Optional(Status, http)?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) ?? [];
        if (statuses.FirstOrDefault(status => !Statuses.Contains(status)) is not null)
        {
            return (null, ErrorResult.Invalid(Status.Name, $"Must be some of {string.Join(", ", Statuses)}, separated by commas."));
        }
        var (skill, version) = (Skill.Read<SkillKey>(http), (int)SkillVersion.Read(http));
        if (skill is null && version > 0)
        {
            return (null, ErrorResult.Invalid(SkillVersion.Name, $"Only with {Skill.Name}."));
        }
        var (project, missing) = await ProjectInQuery.Find(http, caller, rows, ct);
        if (missing is not null)
        {
            return (null, missing);
        }
        var words = Optional(Words, http);
        if (words is not null)
        {
            SearchQuery.Check(Words.Name, words);
        }
        return (
            new(
                [.. statuses.Distinct()], SessionInQuery.Read(http), Optional(Model, http), skill, version > 0 ? version : null, Schedule.Read<ScheduleKey>(http), project,
                Source.Read(http), Lineage.Read(http), Since.Read(http), Until.Read(http), words is null ? [] : PartsOfWords.Words(words)),
            null);
    }

    static string? Optional(TextQuery query, HttpContext http) => query.Read(http) is { Length: > 0 } text ? text : null;

    /// <summary>The position up to which the list has all runs.</summary>
    static async ValueTask<long> Moment(RunFilter filter, ReadView view, IPositions positions, IAsyncProjectionStore projections, CancellationToken ct)
    {
        var moment = view.Position ?? await positions.Head(ct);
        return filter.SourceList is null ? moment : Math.Min(moment, (await projections.Progress(ct)).Of(RunSources.Model.Table).Checkpoint.Position);
    }

    /// <summary>The next rows of the shortest list that has all of the runs, newest first, and the position down to which they are all of them; null: there are no more.</summary>
    static async ValueTask<(IReadOnlyList<Row> Rows, long? Through)> Chunk(
        string org, RunFilter filter, ReadView view, IRows rows, long before, int max, CancellationToken ct)
    {
        if (filter.SourceList is { } list)
        {
            var of = await rows.List(org, RunSources.Model.Table, new(list, Limit: max, Before: before), ct);
            var runs = await view.Rows.Get(org, Runs.Model.Table, [.. of.Select(row => RunSources.Model.Read(row.Json.Span).Run.Value)], ct);
            return ([.. runs.OrderByDescending(row => row.Created)], of.Count < max ? null : of[^1].Created);
        }
        RowQuery[] queries = filter.Session is { } session ? [new(session.Value)]
            : filter.ListedStatuses is { Count: > 0 } statuses ? [.. statuses.Select(status => new RowQuery(Status: status))]
            : [new()];
        var lists = await view.Rows.Lists(org, Runs.Model.Table, [.. queries.Select(query => query with { Limit = max, Before = before, Bytes = PageBytes.Max })], ct);
        // Where one list was cut, the others say nothing of what is behind its end.
        var cut = lists.Where(rows => rows.Count == max || rows.Sum(row => (long)row.Json.Length) > PageBytes.Max).Select(rows => rows[^1].Created).ToList();
        long? through = cut.Count == 0 ? null : cut.Max();
        return ([.. lists.SelectMany(rows => rows).Where(row => row.Created >= (through ?? 0)).OrderByDescending(row => row.Created)], through);
    }
}
