using Cowork.Domain;
using Cowork.Web.Http;

using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http.Metadata;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>The caller, and what they may do.</summary>
/// <param name="Actor">The principal in events: <c>user:ann</c>.</param>
/// <param name="OrgId">The tenant.</param>
/// <param name="Authentication"><c>local</c>: the local user needs no token; <c>token</c>: an API token; <c>oidc</c>: a token of the identity provider.</param>
/// <param name="TokenId">Null: no API token was sent.</param>
/// <param name="ExpiresAt">When the token, or the secret of it that was sent, ends; null: it does not.</param>
/// <param name="SeesHost">The caller sees what is about all tenants.</param>
/// <param name="Operations">Ids of the operations of <c>/openapi.json</c> that the caller's roles allow. What they are asked about may still not be the caller's.</param>
public sealed record Me(
    string User, string Actor, string OrgId, [property: Role] IReadOnlyList<string> Roles, [property: Authentication] string Authentication, TokenKey? TokenId,
    DateTimeOffset? ExpiresAt, bool IsOperator, bool SeesHost, IReadOnlyList<string> Operations);

/// <summary>An operation of <c>/openapi.json</c>, and who may call it.</summary>
/// <param name="Operation">Its id.</param>
/// <param name="Tag">What it is about.</param>
/// <param name="Roles">One of them is needed; empty: none is.</param>
/// <param name="ForOperators">It is about all tenants: the caller must also be of the operators' own.</param>
public sealed record OperationAccess(
    string Operation, string Method, string Path, string Tag, string Summary, [property: Role] IReadOnlyList<string> Roles, bool ForOperators);

/// <param name="Roles">All that there are.</param>
/// <param name="Operations">By their paths. Those that are opened by the signature of an app or of a group session are not there.</param>
public sealed record RoleList([property: Role] IReadOnlyList<string> Roles, IReadOnlyList<OperationAccess> Operations);

static class MeEndpoints
{
    public static void MapMe(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/roles", List).WithName("listRoles").WithTags("Operations")
            .WithSummary("List the roles, and which of them each operation needs")
            .Produces<RoleList>().Refuses();
        routes.MapGet("/me", Get).WithName("getMe").WithTags("Operations")
            .WithSummary("Show who calls, and which operations their roles allow")
            .Produces<Me>().Refuses();
    }

    static JsonResult<RoleList> List(EndpointDataSource endpoints) => JsonResult.Of(
        200,
        new RoleList(
            ApiToken.Roles,
            [
                .. endpoints.Endpoints.OfType<RouteEndpoint>().Where(endpoint => IsForRoles(endpoint.Metadata)).Select(Access).OfType<OperationAccess>()
                    .DistinctBy(access => access.Operation).OrderBy(access => access.Path, StringComparer.Ordinal).ThenBy(access => access.Method, StringComparer.Ordinal),
            ]),
        OperationsJson.Answers.RoleList);

    static OperationAccess? Access(RouteEndpoint endpoint) => endpoint.Metadata.GetMetadata<IEndpointNameMetadata>()?.EndpointName is { } name
        ? new(
            name, endpoint.Metadata.GetMetadata<IHttpMethodMetadata>()?.HttpMethods is [var method, ..] ? method : "GET", "/" + endpoint.RoutePattern.RawText?.Trim('/'),
            endpoint.Metadata.GetMetadata<ITagsMetadata>()?.Tags is [var tag, ..] ? tag : "", endpoint.Metadata.GetMetadata<IEndpointSummaryMetadata>()?.Summary ?? "",
            endpoint.Metadata.GetMetadata<RequiredRole>()?.AnyOf ?? [], endpoint.Metadata.GetMetadata<ForOperator>() is not null)
        : null;

    static bool IsForRoles(EndpointMetadataCollection endpoint) =>
        endpoint.GetMetadata<Dialect>() is not null && endpoint.GetMetadata<TakesSessionSignature>() is null
        && endpoint.GetMetadata<TakesAppSignature>() is not { OrBearer: false };

    static JsonResult<Me> Get(Caller caller, EndpointDataSource endpoints) => JsonResult.Of(
        200,
        new Me(
            caller.User, caller.Actor, caller.Org, [.. ApiToken.Roles.Where(caller.Roles.Contains)],
            caller.Credential is null ? AuthenticationAttribute.Local : caller.Credential.Token is null ? AuthenticationAttribute.Oidc : AuthenticationAttribute.Token,
            caller.Token, caller.Credential?.Until, caller.IsOperator, caller.SeesHost,
            [
                .. endpoints.Endpoints.Where(endpoint => Allows(endpoint.Metadata, caller))
                    .Select(endpoint => endpoint.Metadata.GetMetadata<IEndpointNameMetadata>()?.EndpointName).OfType<string>().Distinct().Order(StringComparer.Ordinal),
            ]),
        OperationsJson.Answers.Me);

    /// <summary>The same questions as <see cref="RequestAuthorization"/> asks.</summary>
    static bool Allows(EndpointMetadataCollection endpoint, Caller caller) =>
        endpoint.GetMetadata<Dialect>() is not null
        && (endpoint.GetMetadata<IAllowAnonymous>() is not null
            || (IsForRoles(endpoint)
                && (caller.Credential is not null || endpoint.GetMetadata<RequiresToken>() is null)
                && endpoint.GetMetadata<RequiredRole>()?.RefusalOf(caller.Roles) is null
                && (caller.SeesHost || endpoint.GetMetadata<ForOperator>() is null)));
}
