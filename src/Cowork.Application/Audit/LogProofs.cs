using Cowork.Domain;

namespace Cowork.Application;

/// <summary>That the log has some events at their places.</summary>
/// <param name="Key">The public key that signed the head.</param>
/// <param name="Leaves">In the order of the log.</param>
/// <param name="Hashes">The hashes beside the leaves' ways to the root, from the left (<see cref="MerkleTree.Inclusion(IReadOnlyList{long}, long)"/>).</param>
public sealed record LogProof(NumberedHead Head, PublicKey Key, IReadOnlyList<AuditLeaf> Leaves, IReadOnlyList<byte[]> Hashes);

/// <summary>What a host says of a bundle at its end, signed with a key of heads: nobody can leave something out of it or put something in.</summary>
/// <param name="Key">The public key that signed it.</param>
public sealed record SignedStatement(PublicKey Key, string Signature);

/// <summary>Proves events by the first signed head that covers all of them: as long as nothing is added to them, it is always the same one.</summary>
public sealed class LogProofs(IMerkleStore store, AuditHeadLog heads, SigningKeyring keys)
{
    readonly MerkleTiles tiles = new(store);

    /// <summary>Null: no head covers all of them yet.</summary>
    /// <param name="positions">Ascending, at least one, of the tenant.</param>
    public async ValueTask<LogProof?> Of(string org, IReadOnlyList<long> positions, CancellationToken ct)
    {
        if (await Covering(positions[^1], ct) is not var (head, key))
        {
            return null;
        }
        var leaves = await Leaves(org, positions, ct);
        return leaves.Count != positions.Count ? null : new(head, key, leaves, await Inclusion(positions, head.Head.TreeSize, ct));
    }

    /// <summary>The first signed head that covers a position, with the public key that signed it; null: none does yet.</summary>
    public async ValueTask<(NumberedHead Head, PublicKey Key)?> Covering(long position, CancellationToken ct) =>
        await heads.Covering(position, ct) is { } head && await keys.Find(head.Head.Kid, ct) is { } key ? (head, key.Public) : null;

    /// <summary>The leaves of those of the positions at which the tenant has an event, in order.</summary>
    public async ValueTask<IReadOnlyList<AuditLeaf>> Leaves(string org, IReadOnlyList<long> positions, CancellationToken ct) =>
        [.. (await store.Find(org, positions, ct)).Select(entry => entry.Leaf)];

    /// <summary>The hashes of complete subtrees of the tree over the log.</summary>
    public ValueTask<IReadOnlyList<byte[]>> Nodes(IReadOnlyList<MerkleNode> nodes, CancellationToken ct) => tiles.Nodes(nodes, ct);

    /// <summary>One proof of several events.</summary>
    /// <param name="positions">Ascending.</param>
    public ValueTask<IReadOnlyList<byte[]>> Inclusion(IReadOnlyList<long> positions, long size, CancellationToken ct) => tiles.Inclusion(positions, size, ct);

    public ValueTask<IReadOnlyList<byte[]>> Consistency(long first, long second, CancellationToken ct) => tiles.Consistency(first, second, ct);

    /// <summary>Signs what is said of a bundle; null: this host cannot sign now.</summary>
    /// <param name="typ">The kind of the statement.</param>
    /// <param name="payload">A JSON object.</param>
    public async ValueTask<SignedStatement?> State(string typ, string payload, CancellationToken ct)
    {
        try
        {
            var signature = await keys.Sign(SigningKeys.Heads, typ, payload, ct);
            return await keys.Find(Jws.Read(signature, typ)!.Kid, ct) is { } key ? new(key.Public, signature) : null;
        }
        catch (SecretUnreadableException)
        {
            return null;
        }
    }
}
