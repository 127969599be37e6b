using System.Security.Cryptography;
using System.Text;

namespace Cowork.Application;

/// <summary>The key of a data subject, as long as it is there. Whoever holds this object cannot open anything after <see cref="Destroy"/>.</summary>
/// <param name="key">32 bytes.</param>
public sealed class SubjectKey(string org, byte[] key)
{
    const int Bytes = 32;

    volatile byte[]? key = key;

    /// <summary>Hex SHA-256 that follows from the key and does not lead back to it.</summary>
    public static string Commitment(ReadOnlySpan<byte> key) => Convert.ToHexStringLower(HMACSHA256.HashData(key, "cowork subject key commitment"u8));

    /// <summary>The key of the contents of one stream (HKDF, RFC 5869), which opens those of no other one; null: the key was destroyed.</summary>
    public byte[]? ContentKey(string stream) =>
        key is { } there ? HKDF.DeriveKey(HashAlgorithmName.SHA256, there, Bytes, info: Encoding.UTF8.GetBytes($"cowork content key\n{org}\n{stream}")) : null;

    /// <summary>The key of the subject's files in the blob store; null: the key was destroyed.</summary>
    internal byte[]? BlobKey() => key is { } there ? HKDF.DeriveKey(HashAlgorithmName.SHA256, there, Bytes, info: Encoding.UTF8.GetBytes($"cowork blob key\n{org}")) : null;

    internal void Destroy()
    {
        var gone = key;
        key = null;
        CryptographicOperations.ZeroMemory(gone);
    }
}

/// <summary>Keys of the contents of streams: of a host, or those that a bundle discloses.</summary>
public interface IContentKeys
{
    /// <summary>The key of a stream's contents, 32 bytes; null: it is gone, or not known here.</summary>
    byte[]? Of(string org, string subject, string stream);
}

/// <summary>Opens nothing.</summary>
sealed class NoContentKeys : IContentKeys
{
    public static NoContentKeys Instance { get; } = new();

    public byte[]? Of(string org, string subject, string stream) => null;
}
