using System.Collections.Concurrent;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Testing;

/// <summary>Keys of data subjects beside a log in memory, which has no rows or blobs of theirs.</summary>
public sealed class InMemorySubjects : ISubjectStore
{
    readonly ConcurrentDictionary<(string Org, string Subject), SubjectKeyRow> keys = new();

    public void Add(string org, SubjectKeyRow key) => keys[(org, key.Subject)] = key;

    public SubjectKeyRow? Find(string org, string subject) => keys.GetValueOrDefault((org, subject));

    public LoggedKey? Logged(string org, string subject) => Find(org, subject) is { } key ? new(key.KeyId, null, key.Wrapped is null) : null;

    public string? BlobOf(string org, string subject, string sha256) => null;

    public ValueTask<(string Org, SealedBlob Blob)?> SealedBlobOf(string sha256, CancellationToken ct) => new(((string, SealedBlob)?)null);

    public ValueTask<IReadOnlyList<string>> Tenants(CancellationToken ct) => new(keys.Keys.Select(key => key.Org).Distinct().ToList());

    public ValueTask<Erasures> ErasedSince(string org, long number, CancellationToken ct) => new(new Erasures([], new HashSet<string>(), 0));

    public ValueTask<IReadOnlyList<ListedSubject>> List(string org, string? after, int max, CancellationToken ct) => new(
        keys.Where(key => key.Key.Org == org && string.CompareOrdinal(key.Key.Subject, after) > 0).OrderBy(key => key.Key.Subject, StringComparer.Ordinal).Take(max)
            .Select(key => Listed(key.Value)).ToList());

    public ValueTask<ListedSubject?> Get(string org, string subject, CancellationToken ct) => new(Find(org, subject) is { } key ? Listed(key) : null);

    public ValueTask<IReadOnlyList<string>> Streams(string org, string subject, string after, int max, CancellationToken ct) => new((IReadOnlyList<string>)[]);

    public ValueTask<string?> FindMissingStream(CancellationToken ct) => new((string?)null);

    public ValueTask<long> RestoreStreams(CancellationToken ct) => new(0L);

    public ValueTask<IReadOnlySet<string>> StreamsOf(string org, IReadOnlySet<string> subjects, IReadOnlyList<string> streams, CancellationToken ct) =>
        new(new HashSet<string>());

    public ValueTask<IReadOnlyList<string>> Blobs(string org, string subject, string after, int max, CancellationToken ct) => new((IReadOnlyList<string>)[]);

    public ValueTask<IReadOnlyList<(string Org, SubjectKeyRow Key)>> NotUnder(string masterId, int max, CancellationToken ct) => new(
        keys.Where(key => key.Value.Wrapped is { } wrapped && wrapped.MasterId != masterId).Take(max).Select(key => (key.Key.Org, key.Value)).ToList());

    public ValueTask Rewrap(string org, SubjectKeyRow before, WrappedKey wrapped, CancellationToken ct)
    {
        keys.TryUpdate((org, before.Subject), before with { Wrapped = wrapped }, before);
        return default;
    }

    public ValueTask Refold(string org, string stream, CancellationToken ct) => default;

    public ValueTask Complete(string org, string subject, CancellationToken ct) => default;

    static ListedSubject Listed(SubjectKeyRow key) => new(key.Subject, key.KeyId, key.Wrapped is not null, 0, 0);
}
