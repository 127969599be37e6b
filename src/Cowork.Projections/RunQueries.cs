using System.Collections.Concurrent;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>The queries of commands and run drivers on the read models of runs, approvals and memories.</summary>
public sealed class RunQueries(IRows rows) : IRunQueries
{
    /// <summary>A full cache is emptied. With <see cref="CachedCharsMax"/> this bounds it at about 64 MB.</summary>
    const int CachedTurnsMax = 4_096;

    /// <summary>Longer turns are not cached.</summary>
    const int CachedCharsMax = 8 * 1024;

    /// <summary>Completed runs do not change, and each model round of a run reads the same ones.</summary>
    readonly ConcurrentDictionary<(string Org, string RunId), EarlierTurn> cache = new();

    public ValueTask<long> Queued(string org, long atMost, CancellationToken ct) => rows.Count(org, Runs.Model.Table, "queued", atMost, ct);

    public async ValueTask<IReadOnlyList<string>> Cancelling(string org, CancellationToken ct) =>
        [.. (await rows.List(org, Runs.Model.Table, new(Status: Runs.Cancelling, Limit: 1_000), ct)).Select(row => row.Key)];

    public async ValueTask<ApprovalPlace?> Approval(string org, string approval, CancellationToken ct) =>
        await rows.Get(org, Approvals.Model.Table, approval, ct) is { } found
        && Ids.Key(Approvals.Model.Read(found.Json.Span).RunId, "run") is { } run
        && await rows.Get(org, Runs.Model.Table, run, ct) is { } row
            ? new(run, Runs.Model.Read(row.Json.Span).RequestedBy)
            : null;

    public async ValueTask<IReadOnlyList<EarlierTurn>> Earlier(string org, string session, int max, CancellationToken ct)
    {
        var newest = await rows.List(org, Runs.Model.Table, new(Scope: session, Status: "completed", Limit: max), ct);
        return [.. newest.Reverse().Select(row => Turn(org, row)).OfType<EarlierTurn>()];
    }

    public async ValueTask<IReadOnlyList<EarlierTurn>> Turns(string org, IReadOnlyList<string> runIds, CancellationToken ct)
    {
        var turns = new List<EarlierTurn>();
        foreach (var id in runIds)
        {
            if (cache.TryGetValue((org, id), out var turn)
                || (await rows.Get(org, Runs.Model.Table, Ids.Key(id, "run")!, ct) is { } row && (turn = Turn(org, row)) is not null))
            {
                turns.Add(turn);
            }
        }
        return turns;
    }

    /// <summary>Memories of deleted sessions are not found.</summary>
    public async ValueTask<IReadOnlyList<Recalled>> Recall(string org, string text, int max, CancellationToken ct) =>
        [.. (await rows.Search(org, Memories.Model.Table, text, max, Sessions.Model.Table, ct)).Select(row => (row.Version, Memory: Memories.Model.Read(row.Json.Span)))
            .Select(m => new Recalled(new(m.Memory.Kind, m.Memory.MemoryId, m.Version, m.Memory.RunId, m.Memory.Event), m.Memory.Text))];

    EarlierTurn? Turn(string org, Row row)
    {
        if (Runs.Model.Read(row.Json.Span) is not { Status: "completed", Reply: { } reply } run)
        {
            return null;
        }
        var turn = new EarlierTurn(run.RunId, run.Message, reply);
        if (Chars(turn.Message) + Chars(reply) <= CachedCharsMax)
        {
            if (cache.Count >= CachedTurnsMax)
            {
                cache.Clear();
            }
            cache[(org, turn.RunId)] = turn;
        }
        return turn;

        static int Chars(Content content) => (content as Content.Inline)?.Text.Length ?? 0;
    }
}
