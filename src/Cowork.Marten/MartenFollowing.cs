using Cowork.Application.Storage;

namespace Cowork.Marten;

/// <summary>Following models as on the other engine, folded by Marten's daemon.</summary>
sealed class MartenFollowing(IAsyncProjectionStore shared, AsyncDaemon daemon) : IAsyncProjectionStore
{
    public ValueTask<Progress> Progress(CancellationToken ct) => shared.Progress(ct);

    public ValueTask<LogPage> Read(IReadOnlyCollection<string> types, long after, int max, CancellationToken ct) => shared.Read(types, after, max, ct);

    public ValueTask<IReadOnlyDictionary<RowKey, Row>> Load(string table, IReadOnlyCollection<RowKey> keys, CancellationToken ct) => shared.Load(table, keys, ct);

    public ValueTask<Checkpoint?> Advance(string table, Checkpoint from, long to, IReadOnlyList<ProjectedRow> rows, CancellationToken ct) =>
        shared.Advance(table, from, to, rows, ct);

    public ValueTask<bool> Park(string table, Checkpoint at, Poison poison, CancellationToken ct) => shared.Park(table, at, poison, ct);

    public Task? Follow(string table, CancellationToken ct) => daemon.Follow(table, ct);
}
