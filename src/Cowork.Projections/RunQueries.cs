using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>What starting and driving a run reads, from the runs' and memories' read models.</summary>
public sealed class RunQueries(IRows rows) : IRunQueries
{
    public ValueTask<long> Queued(string org, long atMost, CancellationToken ct) => rows.Count(org, Runs.Model.Table, "queued", atMost, ct);

    public async ValueTask<IReadOnlyList<string>> Cancelling(string org, CancellationToken ct) =>
        [.. (await rows.List(org, Runs.Model.Table, new(Status: Runs.Cancelling, Limit: 1_000), ct)).Select(row => row.Key)];

    public async ValueTask<IReadOnlyList<EarlierTurn>> Earlier(string org, string session, int max, CancellationToken ct)
    {
        var newest = await rows.List(org, Runs.Model.Table, new(Scope: session, Status: "completed", Limit: max), ct);
        return [.. newest.Reverse().Select(row => Turn(row)).OfType<EarlierTurn>()];
    }

    public async ValueTask<IReadOnlyList<EarlierTurn>> Turns(string org, IReadOnlyList<string> runIds, CancellationToken ct)
    {
        var turns = new List<EarlierTurn>();
        foreach (var id in runIds)
        {
            if (await rows.Get(org, Runs.Model.Table, Ids.Key(id, "run")!, ct) is { } row && Turn(row) is { } turn)
            {
                turns.Add(turn);
            }
        }
        return turns;
    }

    public async ValueTask<IReadOnlyList<Recalled>> Recall(string org, string text, int max, CancellationToken ct) =>
        [.. (await rows.Search(org, Memories.Model.Table, text, max, ct)).Select(row => Memories.Model.Read(row.Json.Span))
            .Select(memory => new Recalled(new(memory.Kind, memory.MemoryId), memory.Text))];

    static EarlierTurn? Turn(Row row) =>
        Runs.Model.Read(row.Json.Span) is { Reply: { } reply } run ? new(run.RunId, run.Message, reply) : null;
}
