using System.Security.Cryptography;
using System.Text;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Bytes by the SHA-256 of what they are. Putting the same bytes again changes nothing.</summary>
public interface IBlobs
{
    /// <summary>True when there is room for a long text.</summary>
    bool HasRoom();

    /// <summary>Stores the bytes, durably, and answers their hex SHA-256.</summary>
    ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct);

    /// <summary>Stores all that a stream holds, durably, without holding it in memory.</summary>
    ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct);

    /// <summary>The bytes, or null when there are none under that digest.</summary>
    ValueTask<byte[]?> Get(string sha256, CancellationToken ct);

    /// <summary>The bytes to be read piece by piece, from any place; null when there are none under that digest.</summary>
    Stream? Open(string sha256);
}

/// <summary>The blob store's disk is full.</summary>
public sealed class BlobStoreFullException : IOException
{
    public BlobStoreFullException()
    {
    }

    public BlobStoreFullException(string message)
        : base(message)
    {
    }

    public BlobStoreFullException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

public static class BlobContent
{
    /// <summary>Text as a <see cref="Content"/>: inline up to <see cref="Limits.InlineBytesMax"/>, else in the blob store. What PostgreSQL cannot hold is escaped.</summary>
    public static async ValueTask<Content> Store(this IBlobs blobs, string text, CancellationToken ct)
    {
        text = StorableText.Escape(text);
        if (Encoding.UTF8.GetByteCount(text) <= Limits.InlineBytesMax)
        {
            return new Content.Inline(text);
        }
        var bytes = Encoding.UTF8.GetBytes(text);
        return new Content.Blob(await blobs.Put(bytes, ct), bytes.Length);
    }

    /// <summary>The text of a content.</summary>
    /// <exception cref="InvalidDataException">The blob is missing, or is not what its digest says.</exception>
    public static async ValueTask<string> Text(this IBlobs blobs, Content content, CancellationToken ct)
    {
        switch (content)
        {
            case Content.Inline inline:
                return inline.Text;
            case Content.Blob blob:
                var bytes = await blobs.Get(blob.Sha256, ct) ?? throw new InvalidDataException($"The blob {blob.Sha256} is missing.");
                return Convert.ToHexStringLower(SHA256.HashData(bytes)) == blob.Sha256
                    ? Encoding.UTF8.GetString(bytes)
                    : throw new InvalidDataException($"The blob {blob.Sha256} was changed.");
            default:
                throw new InvalidDataException("The text is sealed and this host has no key for it.");
        }
    }
}
