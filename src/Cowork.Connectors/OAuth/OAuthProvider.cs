using System.Collections.Immutable;

namespace Cowork.Connectors;

/// <summary>How an OAuth client proves who it is at the token endpoint (RFC 6749, section 2.3.1).</summary>
public enum OAuthClientAuth
{
    /// <summary>Id and secret stand in the body.</summary>
    Body,

    /// <summary>Id and secret are basic credentials.</summary>
    Basic,
}

/// <summary>How a source takes tokens back.</summary>
public enum OAuthRevocation
{
    /// <summary>A form with the token (RFC 7009).</summary>
    Form,

    /// <summary>The same as JSON.</summary>
    Json,

    /// <summary>A DELETE with the access token as JSON and the client's basic credentials; all tokens of the grant go.</summary>
    DeleteGrant,

    /// <summary>A POST that carries the access token as its credentials.</summary>
    Bearer,
}

/// <summary>A source that gives tokens when its user agrees: its addresses, and this host's registration there.</summary>
/// <param name="ClientSecret">Null: the client is a public one, which PKCE alone protects.</param>
/// <param name="Revoke">Null: the source takes no tokens back.</param>
/// <param name="Api">Base URL of the service that the tokens are for.</param>
public sealed record OAuthProvider(string ClientId, string? ClientSecret, Uri Authorize, Uri Token, Uri? Revoke, string Api, ImmutableList<string> Scopes)
{
    public OAuthClientAuth ClientAuth { get; init; }

    /// <summary>The token endpoint takes JSON instead of a form.</summary>
    public bool TokenTakesJson { get; init; }

    public OAuthRevocation Revocation { get; init; }

    /// <summary>Path below <see cref="Api"/> that answers to a valid token; empty: the base itself.</summary>
    public string Probe { get; init; } = "";

    /// <summary>Query parameters of the authorization endpoint beyond those of OAuth.</summary>
    public ImmutableDictionary<string, string> AuthorizeParameters { get; init; } = ImmutableDictionary<string, string>.Empty;

    /// <summary>Headers that the service wants in each request.</summary>
    public ImmutableDictionary<string, string> Headers { get; init; } = ImmutableDictionary<string, string>.Empty;

    /// <summary>Never shows the client's secret.</summary>
    public override string ToString() => $"{ClientId} at {Authorize.Host}";
}
