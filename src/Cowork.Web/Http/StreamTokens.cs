using System.Text.Json;

using Cowork.Application;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>Endpoint metadata: a stream that a browser's <c>EventSource</c> opens, which sends no headers, with <c>?access_token=</c> in place of one.</summary>
public sealed record TakesStreamToken;

/// <summary>What a stream token stands for: the credential that asked for it, for one kind of request and a short time.</summary>
/// <param name="Jwt">A token of the authority; null: an API token asked for it.</param>
/// <param name="Org">Of the API token, with <paramref name="Key"/> and the SHA-256 of its secret; null: a token of the authority asked.</param>
/// <param name="Session">Key of the only session whose stream it opens; null: any that the caller may see.</param>
/// <param name="Until">Unix time in milliseconds.</param>
public sealed record StreamGrant(string? Jwt, string? Org, string? Key, string? SecretSha256, string? Session, long Until)
{
    /// <summary>The API token, without its secret.</summary>
    public BearerToken? Token => Org is null ? null : BearerToken.Known(Org, new(Key!), SecretSha256!);
}

/// <summary>
/// Makes and reads stream tokens. One is sealed, not stored: any host of the database reads it, nobody else does, and everything that is checked of the credential behind it
/// is checked when the stream is opened. It may be used again until its time is over, because an <c>EventSource</c> reconnects with the address that it has.
/// </summary>
public sealed class StreamTokens(MasterKeyring masters, TimeProvider clock)
{
    /// <summary>The query parameter.</summary>
    public const string Parameter = "access_token";

    const string Prefix = "cst_";
    const string Purpose = "cowork stream token 1";

    /// <summary>A stream that is open by then stays open.</summary>
    public static readonly TimeSpan Life = TimeSpan.FromSeconds(60);

    /// <param name="bearer">The credential that the request for the token was let in with.</param>
    /// <param name="session">The only session that it opens; null: any.</param>
    public (string Token, DateTimeOffset ExpiresAt) Issue(string bearer, SessionKey? session)
    {
        var until = clock.GetUtcNow() + Life;
        var grant = BearerToken.Parse(bearer) is { } token
            ? new StreamGrant(null, token.Org, token.Key.Value, token.SecretSha256, session?.Value, until.ToUnixTimeMilliseconds())
            : new(bearer, null, null, null, session?.Value, until.ToUnixTimeMilliseconds());
        return (Prefix + SealedToken.Seal(masters, Purpose, JsonSerializer.SerializeToUtf8Bytes(grant, HttpJson.Default.StreamGrant)), until);
    }

    /// <summary>What a token stands for; null with the fault: it opens nothing here.</summary>
    /// <param name="session">Of the stream.</param>
    public (StreamGrant? Grant, TokenFault Fault) Open(string? text, SessionKey? session)
    {
        if (text is null || !text.StartsWith(Prefix, StringComparison.Ordinal) || SealedToken.Open(masters, Purpose, text.AsSpan(Prefix.Length)) is not { } content)
        {
            return (null, TokenFault.Unknown);
        }
        var grant = JsonSerializer.Deserialize(content, HttpJson.Default.StreamGrant)!;
        return grant.Until <= clock.GetUtcNow().ToUnixTimeMilliseconds() ? (null, TokenFault.Expired)
            : grant.Session is { } only && only != session?.Value ? (null, TokenFault.Unknown)
            : (grant, TokenFault.None);
    }
}
