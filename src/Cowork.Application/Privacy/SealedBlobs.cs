using System.Security.Cryptography;
using System.Text;

namespace Cowork.Application;

/// <summary>
/// The blob store with blobs of data subjects, which it has as AES-256-GCM ciphertexts by the digests of those. They are read by the digests of what they are, like all others,
/// as long as their subject's key is there.
/// </summary>
public sealed class SealedBlobs(IBlobs inner, SubjectKeyring keys) : IBlobs
{
    readonly IBlobs inner = inner;
    readonly SubjectKeyring keys = keys;

    const int NonceBytes = 12;

    const int TagBytes = 16;

    public bool HasRoom() => inner.HasRoom();

    public ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct) => inner.Put(bytes, ct);

    public ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct) => inner.Put(bytes, ct);

    public ValueTask Keep(IReadOnlyCollection<string> digests, CancellationToken ct) => inner.Keep(digests, ct);

    public ValueTask Discard(string sha256, CancellationToken ct) => inner.Discard(sha256, ct);

    public async ValueTask<byte[]?> Get(string sha256, CancellationToken ct) => await inner.Get(sha256, ct) ?? await Opened(sha256, ct);

    public async ValueTask<Stream?> Open(string sha256, CancellationToken ct) =>
        await inner.Open(sha256, ct) ?? (await Opened(sha256, ct) is { } bytes ? new MemoryStream(bytes, writable: false) : null);

    /// <summary>The same store for what is a data subject's: blobs that are put are sealed.</summary>
    internal IBlobs Of(string org, string subject) => new OfSubject(this, org, subject);

    async ValueTask<byte[]?> Opened(string sha256, CancellationToken ct)
    {
        if (await keys.SealedBlobOf(sha256, ct) is not var (org, blob) || keys.Find(org, blob.Subject)?.BlobKey() is not { } key
            || await inner.Get(blob.StoredSha256, ct) is not { } all || all.Length < NonceBytes + TagBytes)
        {
            return null;
        }
        var plain = new byte[all.Length - NonceBytes - TagBytes];
        using var aes = new AesGcm(key, TagBytes);
        try
        {
            aes.Decrypt(all.AsSpan(0, NonceBytes), all.AsSpan(NonceBytes, plain.Length), all.AsSpan(all.Length - TagBytes), plain, Place(org, blob.Subject, sha256));
            return plain;
        }
        catch (AuthenticationTagMismatchException e)
        {
            throw new InvalidDataException($"The blob {blob.StoredSha256} was changed.", e);
        }
    }

    static byte[] Place(string org, string subject, string sha256) => Encoding.UTF8.GetBytes($"cowork blob\n{org}\n{subject}\n{sha256}");

    sealed class OfSubject(SealedBlobs of, string org, string subject) : IBlobs
    {
        public bool HasRoom() => of.HasRoom();

        public async ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct)
        {
            var sha256 = Convert.ToHexStringLower(SHA256.HashData(bytes.Span));
            if (of.keys.Find(org, subject)?.BlobKey() is not { } key)
            {
                // The commit that would name it has no place for it.
                return sha256;
            }
            var all = new byte[NonceBytes + bytes.Length + TagBytes];
            RandomNumberGenerator.Fill(all.AsSpan(0, NonceBytes));
            using (var aes = new AesGcm(key, TagBytes))
            {
                aes.Encrypt(all.AsSpan(0, NonceBytes), bytes.Span, all.AsSpan(NonceBytes, bytes.Length), all.AsSpan(NonceBytes + bytes.Length), Place(org, subject, sha256));
            }
            of.keys.Remember(org, new(subject, sha256, await of.inner.Put(all, ct)));
            return sha256;
        }

        public async ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct)
        {
            using var whole = new MemoryStream();
            await bytes.CopyToAsync(whole, ct);
            return (await Put(whole.GetBuffer().AsMemory(0, (int)whole.Length), ct), whole.Length);
        }

        public ValueTask Keep(IReadOnlyCollection<string> digests, CancellationToken ct) => of.Keep(digests, ct);

        public ValueTask<byte[]?> Get(string sha256, CancellationToken ct) => of.Get(sha256, ct);

        public ValueTask<Stream?> Open(string sha256, CancellationToken ct) => of.Open(sha256, ct);
    }
}

public static class BlobsOfSubjects
{
    /// <summary>The store for what is a data subject's.</summary>
    /// <param name="subject">Null: nobody's.</param>
    public static IBlobs For(this IBlobs blobs, string org, string? subject) => subject is not null && blobs is SealedBlobs all ? all.Of(org, subject) : blobs;

    /// <summary>Seals what was put before it was known that it is a data subject's.</summary>
    public static async ValueTask Seal(this IBlobs blobs, string org, string subject, string sha256, CancellationToken ct)
    {
        if (blobs is SealedBlobs && await blobs.Get(sha256, ct) is { } bytes)
        {
            await blobs.For(org, subject).Put(bytes, ct);
            await blobs.Discard(sha256, ct);
        }
    }
}
