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
    readonly LastUsed<(string Org, string RunId), EarlierTurn> cache = new(CachedCharsMax, turn => NamesChars + Chars(turn.Message) + Chars(turn.Reply));

    public ValueTask<long> Queued(string org, long atMost, CancellationToken ct) => rows.Count(org, Runs.Model.Table, Runs.Queued, atMost, ct);

    public async ValueTask<IReadOnlyList<string>> Cancelling(string org, CancellationToken ct) =>
        [.. (await rows.List(org, Runs.Model.Table, new(Status: Runs.Cancelling, Limit: 1_000), ct)).Select(row => row.Key)];

    public async ValueTask<ApprovalPlace?> Approval(string org, string approval, CancellationToken ct) =>
        await rows.Get(org, Approvals.Model.Table, approval, ct) is { } found
        && Ids.Key(Approvals.Model.Read(found.Json.Span).RunId, "run") is { } run
        && await rows.Get(org, Runs.Model.Table, run, ct) is { } row
            ? new(run, Runs.Model.Read(row.Json.Span).RequestedBy)
            : null;

    public async ValueTask<IReadOnlyList<string>> Earlier(string org, string session, int max, CancellationToken ct)
    {
        var newest = await rows.List(org, Runs.Model.Table, new(Scope: session, Status: "completed", Limit: max), ct);
        return [.. newest.Reverse().Select(row => Turn(org, Runs.Model.Read(row.Json.Span))?.RunId).OfType<string>()];
    }

    public async ValueTask<IReadOnlyList<EarlierTurn>> Turns(string org, IReadOnlyList<string> runIds, CancellationToken ct)
    {
        var turns = new EarlierTurn?[runIds.Count];
        List<string>? missing = null;
        for (var i = 0; i < turns.Length; i++)
        {
            var key = Ids.Key(runIds[i], "run")!;
            turns[i] = cache.Get((org, runIds[i])) ?? (commands.KnownRow(org, Runs.Model, key, version: 1) is { } known ? Turn(org, known) : null);
            if (turns[i] is null)
            {
                (missing ??= []).Add(key);
            }
        }
        if (missing is not null)
        {
            var found = (await rows.Get(org, Runs.Model.Table, missing, ct)).Select(row => Turn(org, Runs.Model.Read(row.Json.Span))).OfType<EarlierTurn>()
                .ToDictionary(turn => turn.RunId);
            for (var i = 0; i < turns.Length; i++)
            {
                turns[i] ??= found.GetValueOrDefault(runIds[i]);
            }
        }
        return [.. turns.OfType<EarlierTurn>()];
    }

    public ValueTask<IReadOnlyList<Recalled>> Recall(string org, string text, int max, long since, CancellationToken ct) => memories.Newest(org, text, max, since, ct);

    public ValueTask<IReadOnlyList<Recalled>> RecallAll(string org, string text, int max, CancellationToken ct) => memories.All(org, text, max, ct);

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

    static int Chars(Content content) => (content as Content.Inline)?.Text.Length ?? 0;
}
