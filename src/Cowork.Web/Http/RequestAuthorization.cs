using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Microsoft.AspNetCore.Authorization;

namespace Cowork.Web.Http;

/// <summary>Authenticates the caller and checks the endpoint's role.</summary>
public sealed class RequestAuthorization(RequestDelegate next, HostSettings settings, IRows rows)
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
        if (await Identify(http) is not { } caller)
        {
            var sent = http.Request.Headers.Authorization.Count > 0;
            await new ErrorResult(401, "unauthorized", sent ? "The token is not valid here." : "A token is needed: Authorization: Bearer cowork_….")
            {
                Challenge = sent ? "Bearer realm=\"cowork\", error=\"invalid_token\"" : "Bearer realm=\"cowork\"",
            }.ExecuteAsync(http);
            return;
        }
        if (endpoint.Metadata.GetMetadata<RequiredRole>() is { } needs && !needs.AnyOf.Any(caller.Roles.Contains))
        {
            await new ErrorResult(403, "role_missing", $"This needs the role {string.Join(" or ", needs.AnyOf)}.").ExecuteAsync(http);
            return;
        }
        if (!caller.SeesHost && endpoint.Metadata.GetMetadata<ForOperator>() is not null)
        {
            await new ErrorResult(403, "operator_only", $"This is about all tenants; auditors and administrators of the operator's own, {LocalOrg}, see it.").ExecuteAsync(http);
            return;
        }
        caller.Enter(http);
        await next(http);
    }

    async ValueTask<Caller?> Identify(HttpContext http)
    {
        var trace = TraceId.Of(http);
        var sent = http.Request.Headers.Authorization;
        var bearer = sent is [{ } header] && header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) ? header["Bearer ".Length..].Trim() : null;
        if (bearer is null)
        {
            return settings.TokenMode || sent.Count > 1 ? null : new(LocalOrg, LocalActor, ApiToken.Roles, IsOperator: true, trace);
        }
        if (BearerToken.Parse(bearer) is not { } token
            || await rows.Get(token.Org, Tokens.Model.Table, token.Key.Value, http.RequestAborted) is not { } found)
        {
            return null;
        }
        var row = Tokens.Model.Read(found.Json.Span);
        return token.Matches(row.SecretSha256)
            ? new(token.Org, $"user:{row.User}", row.Roles, IsOperator: token.Org == LocalOrg && row.CreatedBy == HostLifecycle.Actor, trace)
            : null;
    }
}
