using System.Text.Json;

namespace Cowork.Application.Storage;

/// <summary>What an event takes: its own bytes, and those of the blobs that it names.</summary>
public static class StoredBytes
{
    /// <summary>Of a SHA-256 in hex.</summary>
    const int DigestChars = 64;

    /// <param name="data">In canonical form.</param>
    public static (long Blobs, long Bytes) Of(ReadOnlySpan<byte> data)
    {
        var (blobs, bytes) = BlobsIn(data);
        return (blobs, data.Length + bytes);
    }

    /// <summary>The objects of an event that name a blob: those with a digest and its number of bytes.</summary>
    static (long Count, long Bytes) BlobsIn(ReadOnlySpan<byte> data)
    {
        if (data.IndexOf("\"sha256\""u8) < 0)
        {
            return (0, 0);
        }
        var (count, total) = (0L, 0L);
        var open = new Stack<(bool HasDigest, long? Bytes)>();
        var json = new Utf8JsonReader(data);
        var (isDigest, isSize) = (false, false);
        while (json.Read())
        {
            switch (json.TokenType)
            {
                case JsonTokenType.StartObject:
                    open.Push((false, null));
                    break;
                case JsonTokenType.EndObject:
                    if (open.Pop() is (true, { } size))
                    {
                        (count, total) = (count + 1, total + size);
                    }
                    break;
                case JsonTokenType.String when isDigest && json.ValueSpan.Length == DigestChars:
                    open.Push((true, open.Pop().Bytes));
                    break;
                case JsonTokenType.Number when isSize && json.TryGetInt64(out var bytes):
                    open.Push((open.Pop().HasDigest, bytes));
                    break;
            }
            (isDigest, isSize) = json.TokenType == JsonTokenType.PropertyName ? (json.ValueTextEquals("sha256"u8), json.ValueTextEquals("bytes"u8)) : (false, false);
        }
        return (count, total);
    }
}
