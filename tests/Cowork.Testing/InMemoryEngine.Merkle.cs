using Cowork.Application;

namespace Cowork.Testing;

public sealed partial class InMemoryEngine : IMerkleStore, IHeadDeliveries
{
    readonly Dictionary<string, long> deliveries = [];
    readonly Dictionary<TileKey, MerkleTile> tiles = [];
    long treeSize;

    public ValueTask<long> Size(CancellationToken ct) => Now(() => treeSize, ct);

    public ValueTask<AuditPage> Read(long after, int max, CancellationToken ct) =>
        Now(() => new AuditPage(log.Count, [.. log.Skip((int)after).Take(max).Select(Entry)]), ct);

    public ValueTask<bool> Grow(long from, long to, IReadOnlyList<MerkleTile> tiles, CancellationToken ct) => Now(() =>
    {
        if (treeSize != from)
        {
            return false;
        }
        treeSize = to;
        foreach (var tile in tiles)
        {
            this.tiles[tile.Key] = tile;
        }
        return true;
    }, ct);

    public ValueTask<int> Replace(IReadOnlyList<MerkleTile> tiles, CancellationToken ct) => Now(() =>
    {
        var different = tiles.Where(tile => !this.tiles.TryGetValue(tile.Key, out var there) || !there.Hashes.Span.StartsWith(tile.Hashes.Span)).ToList();
        foreach (var tile in different)
        {
            var rest = this.tiles.TryGetValue(tile.Key, out var there) && there.Hashes.Length > tile.Hashes.Length ? there.Hashes[tile.Hashes.Length..] : default;
            this.tiles[tile.Key] = tile with { Hashes = (byte[])[.. tile.Hashes.Span, .. rest.Span] };
        }
        return different.Count;
    }, ct);

    public ValueTask<IReadOnlyDictionary<TileKey, ReadOnlyMemory<byte>>> Tiles(IReadOnlyCollection<TileKey> keys, CancellationToken ct) =>
        Now<IReadOnlyDictionary<TileKey, ReadOnlyMemory<byte>>>(() => keys.Where(tiles.ContainsKey).ToDictionary(key => key, key => tiles[key].Hashes), ct);

    public ValueTask<AuditEntry?> Find(string org, long position, CancellationToken ct) =>
        Now(() => log.Where(e => e.Org == org && e.Position == position).Select(Entry).FirstOrDefault(), ct);

    public ValueTask<IReadOnlyList<AuditEntry>> Find(string org, IReadOnlyList<long> positions, CancellationToken ct) =>
        Now<IReadOnlyList<AuditEntry>>(() => [.. log.Where(e => e.Org == org && positions.Contains(e.Position)).Select(Entry)], ct);

    static AuditEntry Entry(Cowork.Application.Storage.FeedEntry e) =>
        new(new(e.Position, e.Org, e.Stream, e.Version, e.Hash, e.FeedId, e.Session, e.Run, e.Correlation, e.Causation), e.Id);

    public ValueTask<long> Sent(string target, CancellationToken ct) => Now(() => deliveries.GetValueOrDefault(target), ct);

    public async ValueTask Sent(string target, long number, CancellationToken ct) => await Now(() => deliveries[target] = number, ct);

    ValueTask<T> Now<T>(Func<T> look, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new(look());
        }
    }
}
