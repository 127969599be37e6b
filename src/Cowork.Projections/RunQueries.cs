using System.Collections.Concurrent;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>What starting and driving a run reads, from the runs' and memories' read models.</summary>
public sealed class RunQueries(IRows rows) : IRunQueries
{
    /// <summary>Turns remembered before it starts anew; with <see cref="RememberedCharsMax"/> it bounds the memory at about 64 MB.</summary>
    const int RememberedMax = 4_096;

    /// <summary>Longer turns are read again each time.</summary>
    const int RememberedCharsMax = 8 * 1024;

    /// <summary>Runs that have completed cannot change, and each round of a model asks for the same ones.</summary>
    readonly ConcurrentDictionary<(string Org, string RunId), EarlierTurn> remembered = new();

    public ValueTask<long> Queued(string org, long atMost, CancellationToken ct) => rows.Count(org, Runs.Model.Table, "queued", atMost, ct);

    public async ValueTask<IReadOnlyList<string>> Cancelling(string org, CancellationToken ct) =>
        [.. (await rows.List(org, Runs.Model.Table, new(Status: Runs.Cancelling, Limit: 1_000), ct)).Select(row => row.Key)];

    public async ValueTask<ApprovalPlace?> Approval(string org, string approval, CancellationToken ct) =>
        await rows.Get(org, Approvals.Model.Table, approval, ct) is { } asked
        && Ids.Key(Approvals.Model.Read(asked.Json.Span).RunId, "run") is { } run
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
            if (remembered.TryGetValue((org, id), out var turn)
                || (await rows.Get(org, Runs.Model.Table, Ids.Key(id, "run")!, ct) is { } row && (turn = Turn(org, row)) is not null))
            {
                turns.Add(turn);
            }
        }
        return turns;
    }

    /// <summary>Without memories of deleted sessions.</summary>
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
        if (Chars(turn.Message) + Chars(reply) <= RememberedCharsMax)
        {
            if (remembered.Count >= RememberedMax)
            {
                remembered.Clear();
            }
            remembered[(org, turn.RunId)] = turn;
        }
        return turn;

        static int Chars(Content content) => (content as Content.Inline)?.Text.Length ?? 0;
    }
}
