using System.Buffers;
using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Envelope encryption with AES-256-GCM: a master key wraps data keys, a data key seals credentials. The tenant, the connection and the ids of the keys are associated data,
/// so that a ciphertext opens in its own place and nowhere else.
/// </summary>
static class Envelope
{
    const int NonceBytes = 12;

    const int TagBytes = 16;

    public static byte[] NewKey() => RandomNumberGenerator.GetBytes(MasterKey.Bytes);

    public static WrappedKey Wrap(MasterKey master, string org, string keyId, ReadOnlySpan<byte> key) =>
        new(master.Id, Encrypt(master.Key, key, KeyPlace(org, keyId, master.Id)));

    /// <summary>The data key; the caller clears it after use.</summary>
    /// <exception cref="SecretUnreadableException">Another master key wrapped it, it is another tenant's, or it was changed.</exception>
    public static byte[] Unwrap(MasterKey master, string org, DataKey key) =>
        Decrypt(master.Key, key.Wrapped.Ciphertext, KeyPlace(org, key.Id, master.Id))
        ?? throw new SecretUnreadableException($"The data key {key.Id} cannot be opened with the master key {master.Id}.");

    public static WrappedKey Wrap(MasterKey master, SigningKey key, ReadOnlySpan<byte> pkcs8) =>
        new(master.Id, Encrypt(master.Key, pkcs8, SigningKeyPlace(key, master.Id)));

    /// <summary>PKCS#8 of the private key; the caller clears it after use.</summary>
    /// <exception cref="SecretUnreadableException">Another master key wrapped it, it is another key's, or it was changed.</exception>
    public static byte[] Unwrap(MasterKey master, SigningKey key) =>
        Decrypt(master.Key, key.Wrapped.Ciphertext, SigningKeyPlace(key, master.Id))
        ?? throw new SecretUnreadableException($"The signing key {key.Kid} cannot be opened with the master key {master.Id}.");

    public static SealedSecret Seal(ReadOnlySpan<byte> key, string org, ConnectionKey connection, string keyId, ImmutableDictionary<string, string> fields)
    {
        var plain = new ArrayBufferWriter<byte>(1024);
        using (var json = new Utf8JsonWriter(plain))
        {
            json.WriteStartObject();
            foreach (var (name, value) in fields)
            {
                json.WriteString(name, value);
            }
            json.WriteEndObject();
        }
        var sealed_ = new SealedSecret(keyId, Encrypt(key, plain.WrittenSpan, SecretPlace(org, connection, keyId)));
        plain.Clear();
        return sealed_;
    }

    /// <exception cref="SecretUnreadableException">It is another connection's or tenant's, or it was changed.</exception>
    public static ImmutableDictionary<string, string> Open(ReadOnlySpan<byte> key, string org, ConnectionKey connection, SealedSecret secret)
    {
        var plain = Decrypt(key, secret.Ciphertext, SecretPlace(org, connection, secret.KeyId))
            ?? throw new SecretUnreadableException($"The credentials of {connection.Id} cannot be opened with the data key {secret.KeyId}.");
        try
        {
            using var json = JsonDocument.Parse(plain);
            return json.RootElement.EnumerateObject().ToImmutableDictionary(field => field.Name, field => field.Value.GetString()!, StringComparer.Ordinal);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(plain);
        }
    }

    static byte[] KeyPlace(string org, string keyId, string masterId) => Encoding.UTF8.GetBytes($"cowork data key\n{org}\n{keyId}\n{masterId}");

    static byte[] SigningKeyPlace(SigningKey key, string masterId) => Encoding.UTF8.GetBytes($"cowork signing key\n{key.Purpose}\n{key.Kid}\n{masterId}");

    static byte[] SecretPlace(string org, ConnectionKey connection, string keyId) => Encoding.UTF8.GetBytes($"cowork connection\n{org}\n{connection.Value}\n{keyId}");

    static string Encrypt(ReadOnlySpan<byte> key, ReadOnlySpan<byte> plain, byte[] place)
    {
        var all = new byte[NonceBytes + plain.Length + TagBytes];
        var nonce = all.AsSpan(0, NonceBytes);
        RandomNumberGenerator.Fill(nonce);
        using var aes = new AesGcm(key, TagBytes);
        aes.Encrypt(nonce, plain, all.AsSpan(NonceBytes, plain.Length), all.AsSpan(NonceBytes + plain.Length), place);
        return Convert.ToBase64String(all);
    }

    /// <summary>Null: it was not encrypted with this key for this place, or it was changed.</summary>
    static byte[]? Decrypt(ReadOnlySpan<byte> key, string ciphertext, byte[] place)
    {
        var all = new byte[ciphertext.Length];
        if (!Convert.TryFromBase64String(ciphertext, all, out var written) || written < NonceBytes + TagBytes)
        {
            return null;
        }
        var plain = new byte[written - NonceBytes - TagBytes];
        try
        {
            using var aes = new AesGcm(key, TagBytes);
            aes.Decrypt(all.AsSpan(0, NonceBytes), all.AsSpan(NonceBytes, plain.Length), all.AsSpan(written - TagBytes, TagBytes), plain, place);
            return plain;
        }
        catch (AuthenticationTagMismatchException)
        {
            return null;
        }
    }
}
