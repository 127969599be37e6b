namespace Cowork.Application;

/// <summary>Whose vectors: numbers of one model do not compare with those of another, nor those of two lengths.</summary>
public sealed record VectorKind(string Model, int Dimensions);

/// <summary>A chunk in the order in which chunks are looked through.</summary>
public readonly record struct ChunkPlace(long Text, int Nr);

/// <summary>A chunk of a text that has no vector of a kind.</summary>
/// <param name="Digest">SHA-256 of its text: a chunk that a text has again, at whatever lines, keeps its vector.</param>
public sealed record UnembeddedChunk(ChunkPlace Place, ReadOnlyMemory<byte> Digest, string Text);

/// <summary>
/// The vectors of chunks that clients keep indexed (<see cref="TextKey.OfGrant"/>), where the database has an extension for them. Like the texts they are no fact of the
/// log, and a text's vectors leave with it.
/// </summary>
public interface IVectors
{
    /// <summary>Why there are none, as a sentence for whoever runs the host; null: there are.</summary>
    string? WhyNot { get; }

    /// <summary>The owners of texts that clients keep indexed, of all tenants.</summary>
    ValueTask<IReadOnlyList<(string Org, string Owner)>> Owners(CancellationToken ct);

    /// <summary>Chunks of an owner that have no vector of this kind, in the order of their places.</summary>
    /// <param name="after">The last place that was looked at.</param>
    ValueTask<IReadOnlyList<UnembeddedChunk>> Missing(string org, string owner, VectorKind kind, ChunkPlace after, int max, CancellationToken ct);

    /// <summary>Keeps vectors of chunks. What has lost its text meanwhile is passed over.</summary>
    ValueTask Put(string org, VectorKind kind, IReadOnlyList<(UnembeddedChunk Chunk, float[] Vector)> vectors, CancellationToken ct);

    /// <summary>Removes an owner's vectors of chunks that are there no more, and those of other kinds.</summary>
    ValueTask RemoveStale(string org, string owner, VectorKind kind, CancellationToken ct);

    /// <summary>The chunks in some scopes whose vectors are nearest to a query's by their angle, nearest first.</summary>
    ValueTask<IReadOnlyList<(string Owner, Passage Passage)>> Nearest(
        string org, IReadOnlyList<string> scopes, VectorKind kind, float[] query, int max, CancellationToken ct);
}
