using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Bytes by the SHA-256 of what they are. Putting the same bytes again changes nothing. What was put may be removed after a while until <see cref="Keep"/> is called
/// for it, and never afterwards.
/// </summary>
public interface IBlobs
{
    /// <summary>True when there is room for a long text.</summary>
    bool HasRoom();

    /// <summary>Stores the bytes and answers their hex SHA-256.</summary>
    ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct);

    /// <summary>Stores all that a stream holds, without holding it in memory.</summary>
    ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct);

    /// <summary>Keeps blobs for ever, durably. It is called before the commit of events that name them.</summary>
    /// <exception cref="InvalidDataException">There is no blob under one of the digests: the commit must not be made.</exception>
    ValueTask Keep(IReadOnlyCollection<string> digests, CancellationToken ct);

    /// <summary>Removes what was put and is not kept, before the sweep does. Another request that has put the same puts it again.</summary>
    ValueTask Discard(string sha256, CancellationToken ct) => default;

    /// <summary>The bytes, or null when there are none under that digest.</summary>
    ValueTask<byte[]?> Get(string sha256, CancellationToken ct);

    /// <summary>The bytes to be read piece by piece, from any place: the stream has a length and seeks; null when there are none under that digest.</summary>
    ValueTask<Stream?> Open(string sha256, CancellationToken ct);
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

/// <summary>A text as the content of an event, before it is in the blob store.</summary>
/// <param name="Bytes">What the blob store has to hold before the content can be committed; empty: the text is inline.</param>
public sealed record NamedText(Content Content, ReadOnlyMemory<byte> Bytes)
{
    /// <summary>Inline up to <see cref="Limits.InlineBytesMax"/>, else by its digest. What PostgreSQL cannot hold is escaped.</summary>
    public static NamedText Of(string text)
    {
        text = StorableText.Escape(text);
        if (Encoding.UTF8.GetByteCount(text) <= Limits.InlineBytesMax)
        {
            return new(new Content.Inline(text), default);
        }
        var bytes = Encoding.UTF8.GetBytes(text);
        return new(new Content.Blob(Convert.ToHexStringLower(SHA256.HashData(bytes)), bytes.Length), bytes);
    }

    /// <summary>Hexadecimal SHA-256 of a content's text in UTF-8.</summary>
    /// <exception cref="InvalidDataException">It is sealed, and nobody can tell.</exception>
    public static string Digest(Content content) => content switch
    {
        Content.Inline inline => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(inline.Text))),
        Content.Blob blob => blob.Sha256,
        _ => throw new InvalidDataException("The text is sealed and this host has no key for it."),
    };

    /// <summary>Puts a long text into the blob store and answers the content.</summary>
    public async ValueTask<Content> Store(IBlobs blobs, CancellationToken ct)
    {
        if (!Bytes.IsEmpty)
        {
            await blobs.Put(Bytes, ct);
        }
        return Content;
    }
}

public static class BlobContent
{
    const int BeginningBytes = 4 * 1024;

    static ReadOnlySpan<byte> Name => "\"sha256\":\""u8;

    static ReadOnlySpan<byte> Erased => "0000000000000000000000000000000000000000000000000000000000000000"u8;

    /// <summary>
    /// The blobs that events name: the values of their members <c>sha256</c>. A quote within a text is escaped, so that a text which looks like such a member is none.
    /// </summary>
    /// <param name="events">In canonical form.</param>
    public static IReadOnlyCollection<string> NamedBy(IEnumerable<ReadOnlyMemory<byte>> events)
    {
        HashSet<string>? digests = null;
        foreach (var e in events)
        {
            var rest = e.Span;
            while (rest.IndexOf(Name) is >= 0 and var at)
            {
                rest = rest[(at + Name.Length)..];
                // What stands for an erased digest names nothing.
                if (rest.IndexOf((byte)'"') is >= 0 and var end && !rest[..end].SequenceEqual(Erased))
                {
                    (digests ??= []).Add(Encoding.UTF8.GetString(rest[..end]));
                }
            }
        }
        return digests ?? (IReadOnlyCollection<string>)[];
    }

    /// <summary>Text as a <see cref="Content"/>: inline up to <see cref="Limits.InlineBytesMax"/>, else in the blob store. What PostgreSQL cannot hold is escaped.</summary>
    public static ValueTask<Content> Store(this IBlobs blobs, string text, CancellationToken ct) => NamedText.Of(text).Store(blobs, ct);

    /// <summary>The JSON object that a content's text is; of one that was erased, an empty one.</summary>
    /// <exception cref="InvalidDataException">As of <see cref="Text"/>.</exception>
    public static async ValueTask<JsonElement> JsonObject(this IBlobs blobs, Content content, CancellationToken ct)
    {
        // A release that erased it as an ordinary text left this in rows and events.
        var text = await blobs.Text(content, ct);
        return JsonElement.Parse(text == PersonalAttribute.Text ? PersonalAttribute.Object : text);
    }

    /// <summary>The beginning of a long text, for lists: at most 4 KiB of it, and none of the rest is read. Null: the blob is missing.</summary>
    public static async ValueTask<string?> Beginning(this IBlobs blobs, Content.Blob blob, CancellationToken ct)
    {
        if (await blobs.Open(blob.Sha256, ct) is not { } stream)
        {
            return null;
        }
        await using (stream)
        {
            var bytes = new byte[BeginningBytes];
            var length = await stream.ReadAtLeastAsync(bytes, bytes.Length, throwOnEndOfStream: false, ct);
            var text = new char[length];
            // A character that is cut in two is left out.
            return new(text, 0, Encoding.UTF8.GetDecoder().GetChars(bytes, 0, length, text, 0, flush: false));
        }
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
