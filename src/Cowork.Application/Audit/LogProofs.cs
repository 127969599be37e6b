using Cowork.Domain;

namespace Cowork.Application;

/// <summary>That the log has some events at their places.</summary>
/// <param name="Key">The public key that signed the head.</param>
/// <param name="Leaves">In the order of the log.</param>
/// <param name="Hashes">The hashes beside the leaves' ways to the root, from the left (<see cref="MerkleTree.Inclusion(IReadOnlyList{long}, long)"/>).</param>
public sealed record LogProof(NumberedHead Head, PublicKey Key, IReadOnlyList<AuditLeaf> Leaves, IReadOnlyList<byte[]> Hashes);

/// <summary>Proves events by the first signed head that covers all of them: as long as nothing is added to them, it is always the same one.</summary>
public sealed class LogProofs(IMerkleStore store, AuditHeadLog heads, SigningKeyring keys)
{
    readonly MerkleTiles tiles = new(store);

    /// <summary>Null: no head covers all of them yet.</summary>
    /// <param name="positions">Ascending, at least one, of the tenant.</param>
    public async ValueTask<LogProof?> Of(string org, IReadOnlyList<long> positions, CancellationToken ct)
    {
        if (await heads.Covering(positions[^1], ct) is not { } head || await keys.Find(head.Head.Kid, ct) is not { } key)
        {
            return null;
        }
        var leaves = (await store.Find(org, positions, ct)).Select(entry => entry.Leaf).ToList();
        return leaves.Count != positions.Count ? null : new(head, key.Public, leaves, await tiles.Inclusion(positions, head.Head.TreeSize, ct));
    }
}
