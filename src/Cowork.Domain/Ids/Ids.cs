using System.Buffers;
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Cowork.Domain;

/// <summary>
/// Ids as contracts/decisions.md ("One core under five contracts") has them: a prefix, an underscore and a ULID of 26 lower-case
/// Crockford characters. Inside, a thing is known by its key: the bare ULID, or the id that the client chose.
/// </summary>
public static class Ids
{
    const string Crockford = "0123456789abcdefghjkmnpqrstvwxyz";

    static readonly SearchValues<char> CrockfordSet = SearchValues.Create(Crockford);

    /// <summary>Every prefix that a generated id may carry; no client-chosen id may start with one of them and an underscore.</summary>
    public static IReadOnlyList<string> Prefixes { get; } =
        ["sess", "conv", "run", "resp", "task", "appr", "skill", "sched", "proj", "file", "art", "conn", "mem", "sp", "cell", "grp", "work", "evt"];

    /// <summary>A new key: a ULID (48 bits of milliseconds, 80 random bits), in lower case.</summary>
    public static string NewKey(DateTimeOffset now)
    {
        Span<byte> bytes = stackalloc byte[16];
        RandomNumberGenerator.Fill(bytes[6..]);
        var ms = now.ToUnixTimeMilliseconds();
        for (var i = 5; i >= 0; i--, ms >>= 8)
        {
            bytes[i] = (byte)(ms & 0xff);
        }
        return Encode(bytes);
    }

    /// <summary>A new event id: a UUIDv7 (RFC 9562, 5.7) of the given instant.</summary>
#pragma warning disable RS0030 // The one place where event ids are made; the instant comes from the caller.
    public static Guid NewEventId(DateTimeOffset now) => Guid.CreateVersion7(now);
#pragma warning restore RS0030

    /// <summary>A key that is the same for the same text: for things that must be named by what they are about.</summary>
    public static string KeyOf(string text)
    {
        Span<byte> hash = stackalloc byte[32];
        var size = Encoding.UTF8.GetMaxByteCount(text.Length);
        Span<byte> bytes = size <= 1024 ? stackalloc byte[size] : new byte[size];
        SHA256.HashData(bytes[..Encoding.UTF8.GetBytes(text, bytes)], hash);
        hash[0] &= 0x7f; // keeps the first character within a ULID's range
        return Encode(hash[..16]);
    }

    /// <summary>True for 26 lower-case Crockford characters.</summary>
    public static bool IsKey(ReadOnlySpan<char> text) =>
        text.Length == 26 && text[0] <= '7' && text.IndexOfAnyExcept(CrockfordSet) < 0;

    /// <summary>The ULID of an id with one of the prefixes, or of a bare one; null: the text is none.</summary>
    internal static string? Key(string id, params ReadOnlySpan<string> prefixes)
    {
        foreach (var prefix in prefixes)
        {
            if (id.Length == prefix.Length + 27 && id.StartsWith(prefix, StringComparison.Ordinal) && id[prefix.Length] == '_')
            {
                id = id[(prefix.Length + 1)..];
                break;
            }
        }
        return IsKey(id) ? id : null;
    }

    /// <summary>True for an id that a client may give a session: <c>[A-Za-z0-9._-]{1,128}</c>, not starting with a prefix of ours, and not <c>.</c> or <c>..</c>.</summary>
    public static bool IsClientChosen(string id)
    {
        // Dots alone are what paths and addresses are resolved by.
        if (id.Length is 0 or > Limits.IdCharsMax || id is "." or "..")
        {
            return false;
        }
        foreach (var c in id)
        {
            if (!(char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-'))
            {
                return false;
            }
        }
        foreach (var prefix in Prefixes)
        {
            if (id.Length > prefix.Length && id[prefix.Length] == '_' && id.StartsWith(prefix, StringComparison.Ordinal))
            {
                return false;
            }
        }
        return true;
    }

    /// <summary>When a key was made: a ULID's first ten characters are its milliseconds.</summary>
    public static DateTimeOffset TimeOf(string key)
    {
        var ms = 0L;
        foreach (var c in key.AsSpan(0, 10))
        {
            ms = (ms << 5) | (long)Crockford.IndexOf(c, StringComparison.Ordinal);
        }
        return DateTimeOffset.FromUnixTimeMilliseconds(Math.Min(ms, DateTimeOffset.MaxValue.ToUnixTimeMilliseconds()));
    }

    static string Encode(ReadOnlySpan<byte> sixteen)
    {
        var value = new UInt128(
            BinaryPrimitives.ReadUInt64BigEndian(sixteen),
            BinaryPrimitives.ReadUInt64BigEndian(sixteen[8..]));
        Span<char> text = stackalloc char[26];
        for (var i = 25; i >= 0; i--, value >>= 5)
        {
            text[i] = Crockford[(int)(value & 31)];
        }
        return new string(text);
    }
}
