using System.Collections.Immutable;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Connectors;

/// <summary>Where this host is registered, by the ids of <see cref="OAuthSpec"/>.</summary>
public sealed record OAuthRegistrations(ImmutableDictionary<string, OAuthProvider> BySpec);

/// <summary>A request for a user's agreement that has begun.</summary>
/// <param name="Secret">The part of the state that nobody else has.</param>
/// <param name="Url">Where the user's browser goes, for a state that holds the secret.</param>
public sealed record BegunAuthorization(string Secret, Func<string, Uri> Url, DateTimeOffset ExpiresAt);

/// <summary>What came of a request for a user's agreement.</summary>
public enum AuthorizationEnd
{
    /// <summary>The connection has tokens, and the service takes them.</summary>
    Connected,

    /// <summary>The connection has tokens, and the service does not answer to them as it should.</summary>
    NotReached,

    /// <summary>The user declined, or the service did.</summary>
    Declined,

    /// <summary>The service gave no tokens for the authorization code.</summary>
    NoTokens,

    /// <summary>There is no such request, or the answer to it is none.</summary>
    Unknown,

    /// <summary>It was answered before.</summary>
    Used,

    /// <summary>It was answered too late.</summary>
    Expired,

    /// <summary>The connection was deleted meanwhile, or this host is no longer registered at the service.</summary>
    Gone,
}

/// <param name="Service">Name of the service; null: not known.</param>
/// <param name="By">The principal that asked.</param>
/// <param name="Detail">A sentence more, in this host's words.</param>
public sealed record AuthorizationOutcome(
    AuthorizationEnd End, string? Service = null, ConnectionKey? Connection = null, string? Name = null, string? By = null, string? Detail = null);

/// <summary>
/// Leads users to services and keeps what they give. Everything that is known of a request is in the log, so that any host can take the answer: under the digest of a secret that
/// goes through the browser, with the code verifier encrypted.
/// </summary>
public sealed class Authorizations(
    OAuthRegistrations registrations, OAuthClient client, ConnectorCalls calls, TenantSecrets secrets, CommandHandler handler, ICommandExecutor commands, TimeProvider clock)
{
    const string VerifierField = "code_verifier";

    /// <summary>A user logs in and reads in this time.</summary>
    public static TimeSpan Lifetime { get; } = TimeSpan.FromMinutes(10);

    /// <summary>Begins a request.</summary>
    /// <param name="provider">Of the spec, as this host is registered there.</param>
    /// <param name="connection">It gets the tokens.</param>
    /// <param name="newName">Of a connection that is created when the tokens are there; null: it exists.</param>
    public async ValueTask<BegunAuthorization> Begin(
        string org, Origin by, string spec, OAuthProvider provider, ConnectionKey connection, string? newName, string redirectUri, CancellationToken ct)
    {
        var (secret, verifier) = (OAuthClient.NewSecret(), OAuthClient.NewSecret());
        var expires = DateTimeOffset.FromUnixTimeMilliseconds((clock.GetUtcNow() + Lifetime).ToUnixTimeMilliseconds());
        var hidden = await secrets.Seal(org, connection, ImmutableDictionary<string, string>.Empty.Add(VerifierField, verifier), ct);
        var begun = await commands.Execute(
            org, by, new BeginAuthorization(AuthorizationRequest.StreamKey(secret), new(connection, spec, newName, hidden, redirectUri, by.Actor, expires)), ct);
        return begun.Refused is { } refused
            ? throw new InvalidOperationException($"An authorization cannot begin: {refused.Code}.")
            : new(secret, state => OAuthClient.AuthorizeUrl(provider, redirectUri, state, verifier), expires);
    }

    /// <summary>Takes what the user's browser brings back.</summary>
    /// <param name="code">The authorization code; null: there is none.</param>
    /// <param name="error">The service's error code; null: there is none.</param>
    public async ValueTask<AuthorizationOutcome> Finish(string org, string secret, string? code, string? error, string correlation, CancellationToken ct)
    {
        var key = AuthorizationRequest.StreamKey(secret);
        if (code is null == error is null || await handler.LatestState(org, AuthorizationRequest.Aggregate, key, ct) is not { } state || TermsOf(state) is not { } terms)
        {
            return new(AuthorizationEnd.Unknown);
        }
        var service = OAuthSpec.All.FirstOrDefault(spec => spec.Id == terms.SpecId)?.Name;
        var outcome = new AuthorizationOutcome(AuthorizationEnd.Unknown, service, terms.Connection, terms.NewName, terms.By);
        var by = new Origin(terms.By, correlation);
        var answer = await commands.Execute(org, by, new AnswerAuthorization(key, error is null ? null : OAuthClient.CodeOf(error)), ct);
        if (answer.Refused is { } refused)
        {
            return outcome with { End = refused.Code == AuthorizationRequest.Used.Code ? AuthorizationEnd.Used : AuthorizationEnd.Expired };
        }
        if (error is not null)
        {
            return outcome with { End = AuthorizationEnd.Declined, Detail = OAuthClient.CodeOf(error) };
        }
        if (service is null || !registrations.BySpec.TryGetValue(terms.SpecId, out var provider))
        {
            return outcome with { End = AuthorizationEnd.Gone };
        }
        var verifier = (await secrets.Open(org, terms.Connection, terms.Verifier, ct))[VerifierField];
        // From here on it goes to its end: the code is worth nothing a second time.
        var given = await client.Exchange(provider, code!, verifier, terms.RedirectUri, CancellationToken.None);
        return given.Tokens is { } tokens
            ? await Keep(org, by, provider, terms, tokens, outcome)
            : outcome with { End = AuthorizationEnd.NoTokens, Detail = given.WhyNot };
    }

    async ValueTask<AuthorizationOutcome> Keep(string org, Origin by, OAuthProvider provider, AuthorizationTerms terms, OAuthTokens tokens, AuthorizationOutcome outcome)
    {
        var fields = ConnectionTokens.Fields(tokens, null, clock.GetUtcNow());
        var secret = await secrets.Seal(org, terms.Connection, fields, CancellationToken.None);
        ICommand keep = terms.NewName is { } name
            ? new CreateConnection(terms.Connection, terms.SpecId, name, secret, null)
            : new ChangeConnection(terms.Connection, null, secret, null);
        if ((await commands.Execute(org, by, keep, CancellationToken.None, waitForStorage: true)).Refused is not null
            || await handler.LatestState(org, Connection.Aggregate, terms.Connection, CancellationToken.None) is not Connection.Live live)
        {
            await client.Revoke(provider, tokens.Access, tokens.Refresh, CancellationToken.None);
            return outcome with { End = AuthorizationEnd.Gone };
        }
        var reached = await calls.Probe(new(org, terms.Connection, terms.SpecId, fields, live.Revision), CancellationToken.None);
        await commands.Execute(org, by, new RecordConnectionProbe(terms.Connection, live.Revision, reached), CancellationToken.None);
        return outcome with
        {
            End = reached.WhyNot is null ? AuthorizationEnd.Connected : AuthorizationEnd.NotReached,
            Name = live.Name,
            Detail = reached.WhyNot,
        };
    }

    static AuthorizationTerms? TermsOf(AuthorizationRequest state) => state switch
    {
        AuthorizationRequest.Pending pending => pending.Terms,
        AuthorizationRequest.Answered answered => answered.Terms,
        _ => null,
    };
}
