using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Cowork.Application;

/// <summary>
/// Short contents that only a host with a master key of the database can make and read: AES-256-GCM under a key derived from the master key for one purpose. They are kept
/// nowhere, and every host of the database reads them.
/// </summary>
public static class SealedToken
{
    const int IdBytes = 8;
    const int NonceBytes = 12;
    const int TagBytes = 16;
    const int HeadBytes = IdBytes + NonceBytes;

    /// <summary>Base64url of the master key's id, a nonce, the ciphertext and its tag.</summary>
    public static string Seal(MasterKeyring masters, string purpose, ReadOnlySpan<byte> content)
    {
        var master = masters.Newest;
        var token = new byte[HeadBytes + content.Length + TagBytes];
        Convert.FromHexString(master.Id).CopyTo(token, 0);
        RandomNumberGenerator.Fill(token.AsSpan(IdBytes, NonceBytes));
        var key = Derive(master, purpose);
        using (var aes = new AesGcm(key, TagBytes))
        {
            aes.Encrypt(token.AsSpan(IdBytes, NonceBytes), content, token.AsSpan(HeadBytes, content.Length), token.AsSpan(HeadBytes + content.Length), token.AsSpan(0, IdBytes));
        }
        CryptographicOperations.ZeroMemory(key);
        return Base64Url.EncodeToString(token);
    }

    /// <summary>The content; null: it is not one that this host can read, or it was made for another purpose or changed.</summary>
    public static byte[]? Open(MasterKeyring masters, string purpose, ReadOnlySpan<char> text)
    {
        if (!Base64Url.IsValid(text))
        {
            return null;
        }
        var token = Base64Url.DecodeFromChars(text);
        if (token.Length < HeadBytes + TagBytes || masters.Find(Convert.ToHexStringLower(token.AsSpan(0, IdBytes))) is not { } master)
        {
            return null;
        }
        var content = new byte[token.Length - HeadBytes - TagBytes];
        var key = Derive(master, purpose);
        try
        {
            using var aes = new AesGcm(key, TagBytes);
            aes.Decrypt(token.AsSpan(IdBytes, NonceBytes), token.AsSpan(HeadBytes, content.Length), token.AsSpan(HeadBytes + content.Length), content, token.AsSpan(0, IdBytes));
            return content;
        }
        catch (AuthenticationTagMismatchException)
        {
            return null;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(key);
        }
    }

    static byte[] Derive(MasterKey master, string purpose)
    {
        var key = new byte[MasterKey.Bytes];
        HKDF.DeriveKey(HashAlgorithmName.SHA256, master.Key, key, [], Encoding.ASCII.GetBytes(purpose));
        return key;
    }
}
