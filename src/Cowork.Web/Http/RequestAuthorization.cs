using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Microsoft.AspNetCore.Authorization;

namespace Cowork.Web.Http;

/// <summary>Authenticates the caller, checks the endpoint's role, and ends the request when either is no longer so.</summary>
public sealed class RequestAuthorization(RequestDelegate next, HostSettings settings, IRows rows, OpenRequests open, TokenUses uses, TimeProvider clock)
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
        var (caller, token, admitted) = await Identify(http, sent is [{ } header] ? header : null, sent.Count > 1);
        if (caller is null)
        {
            await Refuse(http, admitted.Fault, isSent: sent.Count > 0);
            return;
        }
        var needs = endpoint.Metadata.GetMetadata<RequiredRole>();
        if (needs?.RefusalOf(caller.Roles) is { } refused)
        {
            await refused.ExecuteAsync(http);
            return;
        }
        if (!caller.SeesHost && endpoint.Metadata.GetMetadata<ForOperator>() is not null)
        {
            await new ErrorResult(403, "operator_only", $"This is about all tenants; auditors and administrators of the operator's own, {LocalOrg}, see it.").ExecuteAsync(http);
            return;
        }
        caller.Enter(http);
        if (token is null)
        {
            await next(http);
            return;
        }
        uses.Used(token.Org, token.Key);
        using var request = open.Enter(http, token, needs, admitted.Until, heard);
        try
        {
            await next(http);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException && request is { Ended: not null, IsLeft: false })
        {
            throw new UnreadableRequestException(request.Ended);
        }
    }

    static Task Refuse(HttpContext http, TokenFault fault, bool isSent)
    {
        var refused = fault == TokenFault.Expired ? new ErrorResult(401, "token_expired", "The token has expired.")
            : new ErrorResult(401, "unauthorized", isSent ? "The token is not valid here." : "A token is needed: Authorization: Bearer cowork_….");
        return (refused with { Challenge = isSent ? "Bearer realm=\"cowork\", error=\"invalid_token\"" : "Bearer realm=\"cowork\"" }).ExecuteAsync(http);
    }

    async ValueTask<(Caller? Caller, BearerToken? Token, Admission Admitted)> Identify(HttpContext http, string? header, bool isAmbiguous)
    {
        var trace = TraceId.Of(http);
        var bearer = header?.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) == true ? header["Bearer ".Length..].Trim() : null;
        if (bearer is null)
        {
            return (settings.TokenMode || isAmbiguous ? null : new(LocalOrg, LocalActor, ApiToken.Roles, IsOperator: true, trace), null, new(TokenFault.Unknown, null));
        }
        if (BearerToken.Parse(bearer) is not { } token)
        {
            return (null, null, new(TokenFault.Unknown, null));
        }
        var found = await rows.Get(token.Org, Tokens.Model.Table, token.Key.Value, http.RequestAborted);
        var row = found is null ? null : Tokens.Model.Read(found.Json.Span);
        var admitted = Admission.Of(row, token, http.Connection.RemoteIpAddress, clock.GetUtcNow());
        var caller = admitted.Fault != TokenFault.None ? null
            : new Caller(token.Org, $"user:{row!.User}", row.Roles, IsOperator: token.Org == LocalOrg && row.Operator == true, trace, row.TokenId, row.Issuers);
        return (caller, token, admitted);
    }
}
