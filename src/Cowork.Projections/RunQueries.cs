using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>The queries of commands and run drivers on the read models of runs, approvals and memories.</summary>
public sealed class RunQueries(IRows rows, CommandHandler commands, MemoryIndex memories) : IRunQueries
{
    /// <summary>Characters of cached turns, 32 MB; a turn's id and references count as <see cref="NamesChars"/>.</summary>
    const long CachedCharsMax = 16 * 1024 * 1024;

    const int NamesChars = 200;

    /// <summary>Completed runs do not change, and each model round of a run reads the same ones.</summary>
    readonly LastUsed<(string Org, RunKey Run), EarlierTurn> cache = new(CachedCharsMax, turn => NamesChars + Chars(turn.Message) + Chars(turn.Reply));

    /// <summary>The beginning of a run does not change either.</summary>
    readonly LastUsed<(string Org, RunCut Cut), EarlierPart> parts = new(CachedCharsMax, part => NamesChars + Chars(part.Message) + part.Said.Sum(Chars));

    public ValueTask<long> Queued(string org, long atMost, CancellationToken ct) => rows.Count(org, Runs.Model.Table, Runs.Queued, atMost, owner: null, ct);

    public async ValueTask<TenantFigures> Figures(string org, CancellationToken ct) =>
        await rows.Get(org, Usage.Model.Table, Usage.TenantKey, ct) is { } row ? Usage.Model.Read(row.Json.Span).Figures : TenantFigures.None;

    public async ValueTask<IReadOnlyList<RunKey>> Cancelling(string org, CancellationToken ct) =>
        [.. (await rows.List(org, Runs.Model.Table, new(Status: Runs.Cancelling, Limit: 1_000), ct)).Select(row => new RunKey(row.Key))];

    public ValueTask<IReadOnlyList<ListedConnection>> Connections(string org, int max, CancellationToken ct) => Projections.Connections.List(rows, org, max, ct);

    public async ValueTask<ApprovalPlace?> Approval(string org, ApprovalKey approval, CancellationToken ct) =>
        await rows.Get(org, Approvals.Model.Table, approval.Value, ct) is { } found
        && Approvals.Model.Read(found.Json.Span).RunId is var run
        && await rows.Get(org, Runs.Model.Table, run.Value, ct) is { } row
        && Runs.Model.Read(row.Json.Span) is var asked
            ? new(run, asked.RequestedBy, asked.Issuers ?? [])
            : null;

    public async ValueTask<IReadOnlyList<RunKey>> Earlier(string org, SessionKey session, int max, CancellationToken ct)
    {
        var newest = await rows.List(org, Runs.Model.Table, new(Scope: session.Value, Status: "completed", Limit: max), ct);
        return [.. newest.Reverse().Select(row => Turn(org, Runs.Model.Read(row.Json.Span))?.RunId).OfType<RunKey>()];
    }

    public async ValueTask<IReadOnlyList<EarlierTurn>> Turns(string org, IReadOnlyList<RunKey> runs, CancellationToken ct)
    {
        var turns = new EarlierTurn?[runs.Count];
        List<string>? missing = null;
        for (var i = 0; i < turns.Length; i++)
        {
            turns[i] = cache.Get((org, runs[i])) ?? (commands.CachedRow(org, Runs.Model, runs[i].Value, version: 1) is { } known ? Turn(org, known) : null);
            if (turns[i] is null)
            {
                (missing ??= []).Add(runs[i].Value);
            }
        }
        if (missing is not null)
        {
            var found = (await rows.Get(org, Runs.Model.Table, missing, ct)).Select(row => Turn(org, Runs.Model.Read(row.Json.Span))).OfType<EarlierTurn>()
                .ToDictionary(turn => turn.RunId);
            for (var i = 0; i < turns.Length; i++)
            {
                turns[i] ??= found.GetValueOrDefault(runs[i]);
            }
        }
        return [.. turns.OfType<EarlierTurn>()];
    }

    public async ValueTask<IReadOnlyList<Content?>> Said(string org, IReadOnlyList<GroupEntry> entries, CancellationToken ct)
    {
        var known = new Dictionary<string, RunRow>(StringComparer.Ordinal);
        var missing = new List<string>();
        foreach (var (run, isReply) in entries.Select(entry => (entry.RunId, entry.AgentId is not null)))
        {
            // A message never changes; a reply is there when the run has completed.
            if (commands.CachedRow(org, Runs.Model, run.Value, version: 1) is { } row && (!isReply || row.Status == "completed"))
            {
                known[run.Value] = row;
            }
            else
            {
                missing.Add(run.Value);
            }
        }
        foreach (var row in missing.Count == 0 ? [] : await rows.Get(org, Runs.Model.Table, missing, ct))
        {
            known[row.Key] = Runs.Model.Read(row.Json.Span);
        }
        return [.. entries.Select(entry => known.GetValueOrDefault(entry.RunId.Value) is { } row ? entry.AgentId is null ? row.Message : row.Reply : null)];
    }

    public async ValueTask<EarlierPart?> Part(string org, RunCut cut, CancellationToken ct)
    {
        if (parts.Get((org, cut)) is { } known)
        {
            return known;
        }
        var part = EarlierPart.Of(await commands.StateAt(org, Run.Aggregate, cut.RunId, cut.Version, ct));
        if (part is not null)
        {
            parts.Put((org, cut), part);
        }
        return part;
    }

    public async ValueTask<IReadOnlyList<(SessionKey Session, int LiveRuns)>> SessionsOf(string org, ProjectKey project, int max, CancellationToken ct) =>
        [.. (await rows.List(org, Sessions.Model.Table, new(Scope: project.Value, Limit: max), ct))
            .Select(row => (new SessionKey(row.Key), Sessions.Model.Read(row.Json.Span).LiveRuns))];

    public async ValueTask<IReadOnlyList<Session.Open>> SessionsBy(string org, string actor, int max, CancellationToken ct) =>
        [.. (await rows.List(org, Sessions.Model.Table, new(Limit: max) { Having = Sessions.By(actor) }, ct)).Select(row => Sessions.Model.Read(row.Json.Span))
            .Select(row => new Session.Open(row.SessionId, row.WorkspacePath, null, [], row.Model, row.Project) { Grants = row.Grants, Connectors = row.Connectors })];

    /// <summary>Forgets the texts of turns: some may have been erased.</summary>
    public void Forget() => cache.Clear();

    public ValueTask<IReadOnlyList<RetrievedMemory>> Recall(string org, ProjectKey? project, string text, int max, long since, CancellationToken ct) =>
        memories.Newest(org, project, text, max, since, ct);

    public async ValueTask<IReadOnlyList<ScheduleKey>> SchedulesOf(string org, ProjectKey project, int max, CancellationToken ct) =>
        [.. (await rows.List(org, Schedules.Model.Table, new(Schedules.WithPrompt, Limit: max) { Having = Schedules.Of(project) }, ct))
            .Select(row => new ScheduleKey(row.Key))];

    public async ValueTask<IReadOnlyList<MemoryKey>> MemoriesOf(string org, ProjectKey project, int max, CancellationToken ct) =>
        [.. (await rows.List(org, MemoryPlaces.Model.Table, new(Scope: project.Value, Limit: max), ct)).Select(row => new MemoryKey(row.Key))];

    public async ValueTask<ProjectKey?> ProjectOf(string org, SessionKey session, CancellationToken ct) =>
        (await commands.State(org, Session.Aggregate, session, ct) as Session.Open)?.MemoryProject;

    public long KnownThrough => memories.Through;

    public ValueTask<IReadOnlyList<RetrievedMemory>> RecallAll(string org, ProjectKey? project, string text, int max, CancellationToken ct) =>
        memories.All(org, project, text, max, ct);

    /// <summary>Keeps and answers the turn of a run; null: the run has not completed.</summary>
    EarlierTurn? Turn(string org, RunRow run)
    {
        if (run is not { Status: "completed", Reply: { } reply })
        {
            return null;
        }
        var turn = new EarlierTurn(run.RunId, run.Message, reply);
        cache.Put((org, turn.RunId), turn);
        return turn;
    }

    static int Chars(ConversationEntry said) => NamesChars + said switch
    {
        ConversationEntry.ByModel m => m.Text.Length + m.Calls.Sum(call => Chars(call.Input)),
        ConversationEntry.ByTool t => Chars(t.Content),
        ConversationEntry.ByUser u => Chars(u.Text),
        _ => 0,
    };

    static int Chars(Content content) => (content as Content.Inline)?.Text.Length ?? 0;
}
