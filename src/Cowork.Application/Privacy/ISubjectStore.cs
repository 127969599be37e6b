using Cowork.Domain;

namespace Cowork.Application.Storage;

/// <summary>A data subject's key beside the log.</summary>
/// <param name="Wrapped">Null: it was destroyed.</param>
public sealed record SubjectKeyRow(string Subject, string KeyId, WrappedKey? Wrapped);

/// <summary>What the log says of a subject's key.</summary>
/// <param name="Commitment">As in <see cref="DataSubjectEvent.SubjectKeyMade"/>; null: it is not compared.</param>
public sealed record LoggedKey(string KeyId, string? Commitment, bool IsErased);

/// <summary>A key that a commit makes or destroys.</summary>
/// <param name="Wrapped">Null: it is destroyed.</param>
public sealed record SubjectKeyChange(string Subject, string KeyId, WrappedKey? Wrapped);

/// <summary>A blob of a subject, which the blob store has as a ciphertext.</summary>
/// <param name="Sha256">Of the blob.</param>
/// <param name="StoredSha256">Of the ciphertext.</param>
public sealed record SealedBlob(string Subject, string Sha256, string StoredSha256);

/// <param name="Subjects">Erased after the number that was asked about.</param>
/// <param name="Pending">Subjects whose copies outside the log are still being removed.</param>
/// <param name="Last">Number of the tenant's last erasure.</param>
public sealed record Erasures(IReadOnlyList<string> Subjects, IReadOnlySet<string> Pending, long Last);

/// <param name="HasKey">False: it was destroyed.</param>
public sealed record ListedSubject(string Subject, string KeyId, bool HasKey, long Streams, long Blobs);

/// <summary>Keys of data subjects and what is sealed under each: beside the log, because the log cannot forget. Commits write it (<see cref="Commit.SubjectKeys"/>).</summary>
public interface ISubjectStore
{
    /// <summary>Blocks: it is called once for each subject in a process. Null: the subject has no key.</summary>
    SubjectKeyRow? Find(string org, string subject);

    /// <summary>Blocks, as <see cref="Find"/>. Null: the log knows no such subject.</summary>
    LoggedKey? Logged(string org, string subject);

    /// <summary>Blocks, as <see cref="Find"/>.</summary>
    string? BlobOf(string org, string subject, string sha256);

    /// <summary>The subject and digest of the ciphertext of a blob that the blob store does not have as it is; null: none is known.</summary>
    ValueTask<(string Org, SealedBlob Blob)?> SealedBlobOf(string sha256, CancellationToken ct);

    /// <summary>Tenants that have data subjects.</summary>
    ValueTask<IReadOnlyList<string>> Tenants(CancellationToken ct);

    ValueTask<Erasures> ErasedSince(string org, long number, CancellationToken ct);

    /// <summary>By name.</summary>
    ValueTask<IReadOnlyList<ListedSubject>> List(string org, string? after, int max, CancellationToken ct);

    /// <summary>Null: there is no such subject.</summary>
    ValueTask<ListedSubject?> Get(string org, string subject, CancellationToken ct);

    /// <summary>Streams with sealed texts of the subject, in order.</summary>
    ValueTask<IReadOnlyList<string>> Streams(string org, string subject, string after, int max, CancellationToken ct);

    /// <summary>The first event with sealed texts of whose stream nothing is known here, so that an erasure would leave copies; null: there is none. It reads the log.</summary>
    ValueTask<string?> FindMissingStream(CancellationToken ct);

    /// <summary>Notes the streams that the log has and that are not known here. Answers how many there were.</summary>
    ValueTask<long> RestoreStreams(CancellationToken ct);

    /// <summary>Those of the streams that have texts of one of the subjects.</summary>
    ValueTask<IReadOnlySet<string>> StreamsOf(string org, IReadOnlySet<string> subjects, IReadOnlyList<string> streams, CancellationToken ct);

    /// <summary>Digests of the ciphertexts of a subject's blobs, in order.</summary>
    ValueTask<IReadOnlyList<string>> Blobs(string org, string subject, string after, int max, CancellationToken ct);

    /// <summary>Keys that are under other master keys.</summary>
    ValueTask<IReadOnlyList<(string Org, SubjectKeyRow Key)>> NotUnder(string masterId, int max, CancellationToken ct);

    /// <summary>Puts a key under another master key, unless it was destroyed or changed meanwhile.</summary>
    ValueTask Rewrap(string org, SubjectKeyRow before, WrappedKey wrapped, CancellationToken ct);

    /// <summary>
    /// Folds the rows of a stream anew, and removes its snapshot: of what was erased nothing is left in them. It does what an append would: it waits for none and is guarded by the
    /// stream's version.
    /// </summary>
    ValueTask Refold(string org, string stream, CancellationToken ct);

    /// <summary>The copies of a subject's texts are gone: forgets which streams and blobs they were.</summary>
    ValueTask Complete(string org, string subject, CancellationToken ct);
}
