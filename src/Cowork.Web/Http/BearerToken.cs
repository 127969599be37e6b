using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>The text of an API token: <c>cowork_&lt;base64url(org)&gt;.&lt;key&gt;.&lt;secret&gt;</c>. The server keeps only the secret's SHA-256.</summary>
/// <param name="Secret">43 base64url characters: 256 random bits. Empty: only its digest is known.</param>
public sealed record BearerToken(string Org, TokenKey Key, string Secret)
{
    const string Prefix = "cowork_";
    const int SecretBytes = 32;
    const int SecretChars = 43;

    string? Digest { get; init; }

    public string SecretSha256 => Digest ?? Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes(Secret)));

    /// <summary>A token that was sent before, to this host or another, of which only the digest of the secret was kept.</summary>
    public static BearerToken Known(string org, TokenKey key, string secretSha256) => new(org, key, "") { Digest = secretSha256 };

    public static BearerToken New(string org, DateTimeOffset now) => WithNewSecret(org, TokenKey.New(now));

    public static BearerToken WithNewSecret(string org, TokenKey key) => new(org, key, Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(SecretBytes)));

    /// <summary>Null: the text is no API token.</summary>
    public static BearerToken? Parse(string text)
    {
        if (!text.StartsWith(Prefix, StringComparison.Ordinal) || text.Length > 400)
        {
            return null;
        }
        var parts = text[Prefix.Length..].Split('.');
        if (parts is not [{ Length: > 0 } org, var key, { Length: SecretChars } secret] || !Ids.IsKey(key) || !Base64Url.IsValid(org) || !Base64Url.IsValid(secret))
        {
            return null;
        }
        var name = Encoding.UTF8.GetString(Base64Url.DecodeFromChars(org));
        return IsOrg(name) ? new(name, new(key), secret) : null;
    }

    /// <summary>True for a valid name of a tenant: <c>[A-Za-z0-9._-]{1,128}</c>.</summary>
    public static bool IsOrg(string name) =>
        name.Length is > 0 and <= Limits.IdCharsMax && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-');

    /// <summary>Compares in constant time.</summary>
    public bool Matches(string secretSha256) =>
        CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(SecretSha256), Encoding.ASCII.GetBytes(secretSha256));

    /// <summary>The whole text with the secret.</summary>
    public string Reveal() => $"{Prefix}{Base64Url.EncodeToString(Encoding.UTF8.GetBytes(Org))}.{Key.Value}.{Secret}";

    public override string ToString() => $"{Prefix}….{Key.Value}";
}
