using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Microsoft.AspNetCore.Authorization;

namespace Cowork.Web.Http;

/// <summary>Authenticates the caller, checks the endpoint's role, and ends the request when either is no longer so.</summary>
/// <param name="authority">Null: API tokens are the only ones.</param>
public sealed class RequestAuthorization(
    RequestDelegate next, HostSettings settings, IRows rows, OpenRequests open, TokenUses uses, WrongTokens wrong, RequestRates rates, SecurityLog security,
    StreamTokens streams, SignedCallers signatures, SubjectKeyring subjects, TimeProvider clock, AuthorityTokens? authority = null)
{
    public const string LocalOrg = "default";
    public const string LocalActor = "user:local";

    public async Task InvokeAsync(HttpContext http)
    {
        if (http.GetEndpoint() is not { } endpoint || endpoint.Metadata.GetMetadata<IAllowAnonymous>() is not null)
        {
            await next(http);
            return;
        }
        var heard = open.Heard;
        var sent = http.Request.Headers.Authorization;
        StreamGrant? grant = null;
        if (sent.Count == 0 && endpoint.Metadata.GetMetadata<TakesStreamToken>() is not null && http.Request.Query.TryGetValue(StreamTokens.Parameter, out var inAddress))
        {
            (grant, var fault) = streams.Open(inAddress is [{ } text] ? text : null, SessionKey.Parse((string?)http.Request.RouteValues["sessionId"] ?? ""));
            if (grant is null)
            {
                security.Refused(null, null, ReasonOf(fault), http);
                var tooMany = fault == TokenFault.Expired ? null : wrong.Failed(null, fault, http.Connection.RemoteIpAddress, heard);
                await (tooMany?.ExecuteAsync(http) ?? Refuse(http, fault, isSent: true));
                return;
            }
        }
        var bearer = grant is not null ? grant.Jwt : sent is [{ } only] ? BearerOf(only) : null;
        if (IsSigned(endpoint, bearer))
        {
            await BySignature(http, endpoint, bearer, heard);
            return;
        }
        if (authority is not null && bearer is not null && AuthorityTokens.IsFormed(bearer))
        {
            await ByAuthority(http, endpoint, authority, bearer, heard);
            return;
        }
        var (caller, token, admitted, slowed) = await Identify(
            http, bearer, grant?.Token, needsToken: grant is not null || sent.Count > 1 || endpoint.Metadata.GetMetadata<RequiresToken>() is not null, heard);
        if (slowed is not null)
        {
            security.Refused(null, null, slowed.Code, http);
            await slowed.ExecuteAsync(http);
            return;
        }
        if (caller is null)
        {
            // A token's id and tenant are what the client says they are, unless there is such a token.
            var isKnown = admitted.Fault != TokenFault.Unknown;
            var isSent = sent.Count > 0 || grant is not null;
            security.Refused(isKnown ? token!.Org : null, isKnown ? token!.Key : null, isSent ? ReasonOf(admitted.Fault) : "no_credentials", http);
            await Refuse(http, admitted.Fault, isSent);
            return;
        }
        if (token is not null)
        {
            uses.Used(token.Org, token.Key);
            security.Granted(caller, http);
        }
        await Proceed(http, endpoint, caller, token is null ? null : new(token, null, admitted.Until, heard));
    }

    /// <summary>Whether the request must be signed. Where bearer tokens will do, too, a JWT of an app is told by its kind from one of the authority.</summary>
    bool IsSigned(Endpoint endpoint, string? bearer) =>
        endpoint.Metadata.GetMetadata<TakesSessionSignature>() is not null
        || (endpoint.Metadata.GetMetadata<TakesAppSignature>() is { } byApp
            && (!byApp.OrBearer || (bearer is not null && AuthorityTokens.IsFormed(bearer) && (authority is null || Jws.IsOfKind(bearer, SignedRequests.AppTyp)))));

    async Task BySignature(HttpContext http, Endpoint endpoint, string? bearer, long heard)
    {
        var from = http.Connection.RemoteIpAddress;
        if (wrong.Slowed(null, from) is { } slowed)
        {
            security.Refused(null, null, slowed.Code, http);
            await slowed.ExecuteAsync(http);
            return;
        }
        var (signed, caller, refused) = endpoint.Metadata.GetMetadata<TakesSessionSignature>() is { } bySession
            ? await signatures.BySession(http, bySession.Audience)
            : await signatures.ByApp(http, bearer);
        if (signed is null)
        {
            security.Refused(null, null, http.Request.Headers.Authorization.Count == 0 ? "no_credentials" : refused!.Code, http);
            // One that has expired was right once: no sign of somebody who guesses.
            var tooMany = refused!.Code is "token_expired" or "certificate_expired" ? null : wrong.Failed(null, TokenFault.Unknown, from, heard);
            await (tooMany ?? ErrorResult.Of(refused)).ExecuteAsync(http);
            return;
        }
        security.Granted(caller!, http);
        if (rates.Take(caller!.Org) is { } tooMuch)
        {
            await tooMuch.ExecuteAsync(http);
            return;
        }
        await subjects.Refresh(caller.Org, http.RequestAborted);
        signed.Enter(http);
        caller.Enter(http);
        // A stream ends with the session that opened it. An app's own requests are brief.
        await Go(http, signed.Session is { } session ? new(null, null, session.ExpiresAt, heard, session) : null, needs: null);
        if (http.Response.StatusCode == 403 && ErrorResult.AnsweredTo(http) is { } code)
        {
            security.Denied(caller, code, http);
        }
    }

    async Task ByAuthority(HttpContext http, Endpoint endpoint, AuthorityTokens tokens, string bearer, long heard)
    {
        var admitted = await tokens.Identify(bearer, TraceId.Of(http), http.RequestAborted);
        if (admitted.Refused is { } refused)
        {
            if (admitted.Caller is { } known)
            {
                security.Denied(known, refused.Code, http);
            }
            else if (admitted.Reason is { } reason)
            {
                security.Refused(null, null, reason, http);
                // One that has expired was right once: no sign of somebody who guesses.
                if (refused.Code == "unauthorized")
                {
                    refused = wrong.Failed(null, TokenFault.Unknown, http.Connection.RemoteIpAddress, heard) ?? refused;
                }
            }
            await refused.ExecuteAsync(http);
            return;
        }
        security.Granted(admitted.Caller!, http);
        var (key, until) = admitted.Caller!.Authority!;
        await Proceed(http, endpoint, admitted.Caller, new(null, key, until, heard));
    }

    /// <summary>Goes on with a request whose caller is known.</summary>
    /// <param name="credential">Null: the local user needs none.</param>
    async Task Proceed(HttpContext http, Endpoint endpoint, Caller caller, OpenCredential? credential)
    {
        var needs = endpoint.Metadata.GetMetadata<RequiredRole>();
        if ((needs?.RefusalOf(caller.Roles) ?? RefusalOfOthers(caller, endpoint)) is { } refused)
        {
            security.Denied(caller, refused.Code, http);
            await refused.ExecuteAsync(http);
            return;
        }
        if (rates.Take(caller.Org) is { } tooMany)
        {
            await tooMany.ExecuteAsync(http);
            return;
        }
        await subjects.Refresh(caller.Org, http.RequestAborted);
        (caller with { Credential = credential }).Enter(http);
        var isAnswered = false;
        try
        {
            await Go(http, credential, needs);
            isAnswered = true;
        }
        finally
        {
            Observe(caller, endpoint, http, isAnswered || http.Response.HasStarted);
        }
    }

    /// <summary>The refusal of a caller of another tenant, where an endpoint is about all of them; null: the caller may.</summary>
    static ErrorResult? RefusalOfOthers(Caller caller, Endpoint endpoint) =>
        caller.SeesHost || endpoint.Metadata.GetMetadata<ForOperator>() is null ? null
        : new(403, "operator_only", $"This is about all tenants; auditors and administrators of the operator's own, {LocalOrg}, see it.");

    async Task Go(HttpContext http, OpenCredential? credential, RequiredRole? needs)
    {
        if (credential is null)
        {
            await next(http);
            return;
        }
        using var request = open.Enter(http, credential, needs);
        try
        {
            await next(http);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException && request is { Ended: not null, IsLeft: false })
        {
            throw new UnreadableRequestException(request.Ended);
        }
    }

    /// <summary>Writes down what the caller was denied, and what was sent of what can be taken out, also when it was sent in part.</summary>
    void Observe(Caller caller, Endpoint endpoint, HttpContext http, bool isAnswered)
    {
        if (http.Response.StatusCode == 403 && ErrorResult.AnsweredTo(http) is { } code)
        {
            security.Denied(caller, code, http);
        }
        else if (isAnswered && http.Response.StatusCode is 200 or 206 && endpoint.Metadata.GetMetadata<Exports>() is { } exports && !HeadAsGet.IsHead(http))
        {
            security.Exported(caller, exports, http);
        }
    }

    /// <summary>The token in a header; null: it has another scheme.</summary>
    internal static string? BearerOf(string header) => header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) ? header["Bearer ".Length..].Trim() : null;

    static string ReasonOf(TokenFault fault) => fault switch
    {
        TokenFault.WrongSecret => "wrong_secret",
        TokenFault.Expired => "expired",
        TokenFault.ForeignAddress => "foreign_address",
        _ => "unknown",
    };

    static Task Refuse(HttpContext http, TokenFault fault, bool isSent)
    {
        var refused = fault == TokenFault.Expired ? new ErrorResult(401, "token_expired", "The token has expired.")
            : new ErrorResult(401, "unauthorized", isSent ? "The token is not valid here." : "A token is needed: Authorization: Bearer cowork_….");
        return (refused with { Challenge = isSent ? "Bearer realm=\"cowork\", error=\"invalid_token\"" : "Bearer realm=\"cowork\"" }).ExecuteAsync(http);
    }

    /// <param name="bearer">The token as it was sent; null: none was.</param>
    /// <param name="known">The token behind a stream token; null: the request has none.</param>
    /// <param name="needsToken">Nobody is the local user without one.</param>
    /// <param name="seen"><see cref="OpenRequests.Heard"/> before the token is looked at.</param>
    async ValueTask<(Caller? Caller, BearerToken? Token, Admission Admitted, ErrorResult? Slowed)> Identify(
        HttpContext http, string? bearer, BearerToken? known, bool needsToken, long seen)
    {
        var (trace, from) = (TraceId.Of(http), http.Connection.RemoteIpAddress);
        if (bearer is null && known is null)
        {
            return (settings.TokenMode || needsToken ? null : new(LocalOrg, LocalActor, ApiToken.Roles, IsOperator: true, trace), null, new(TokenFault.Unknown, null), null);
        }
        var parsed = known ?? BearerToken.Parse(bearer!);
        if (wrong.Slowed(parsed, from) is { } slowed)
        {
            return (null, parsed, new(TokenFault.Unknown, null), slowed);
        }
        if (parsed is not { } token)
        {
            return (null, null, new(TokenFault.Unknown, null), wrong.Failed(null, TokenFault.Unknown, from, seen));
        }
        if (wrong.Remembered(token) is { } refusedBefore)
        {
            return (null, token, new(refusedBefore, null), wrong.Failed(null, refusedBefore, from, seen));
        }
        var found = await rows.Get(token.Org, Tokens.Model.Table, token.Key.Value, http.RequestAborted);
        var row = found is null ? null : Tokens.Model.Read(found.Json.Span);
        var admitted = Admission.Of(row, token, from, clock.GetUtcNow());
        if (admitted.Fault is TokenFault.Unknown or TokenFault.WrongSecret && wrong.Failed(token, admitted.Fault, from, seen) is { } tooMany)
        {
            return (null, token, admitted, tooMany);
        }
        if (admitted.Fault != TokenFault.None)
        {
            return (null, token, admitted, null);
        }
        var secret = token.Matches(row!.SecretSha256) ? row.SecretSha256 : row.PreviousSha256!;
        wrong.Worked(token, secret);
        var isOperator = token.Org == LocalOrg && row.Operator == true;
        return (new(token.Org, $"user:{row.User}", row.Roles, isOperator, trace, row.TokenId, row.Issuers, secret), token, admitted, null);
    }
}
