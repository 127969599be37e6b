using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>The principal of a request.</summary>
/// <param name="Org">The tenant.</param>
/// <param name="Actor">The principal in events: <c>user:ann</c>.</param>
/// <param name="IsOperator">True for the local user and for operators' tokens: they may issue tokens for other tenants.</param>
/// <param name="Token">The token that let the caller in; null: none did.</param>
/// <param name="Issuers">The persons behind that token, beside its user; null: none.</param>
/// <param name="SecretSha256">Hex digest of the secret of that token that was sent.</param>
/// <param name="Authority">The token of the authority that let the caller in; null: none did.</param>
public sealed record Caller(
    string Org, string Actor, IReadOnlyCollection<string> Roles, bool IsOperator, string TraceId, TokenKey? Token = null, ImmutableList<Issuer>? Issuers = null,
    string? SecretSha256 = null, AuthorityCredential? Authority = null)
{
    const string Key = "cowork.caller";

    /// <summary>What let the caller in; null: the local user needs nothing, or a signature did.</summary>
    public OpenCredential? Credential { get; init; }

    /// <summary>True for auditors and administrators of the operator's own tenant: they see the host's figures, which tell of all tenants.</summary>
    public bool SeesHost => IsOperator || (Org == RequestAuthorization.LocalOrg && (Roles.Contains(Http.Roles.Auditor) || Roles.Contains(Http.Roles.Admin)));

    /// <summary>The user's name: <c>ann</c> of the principal <c>user:ann</c>.</summary>
    public string User { get; } = Origin.UserOf(Actor);

    public Origin Origin { get; } = new(Actor, TraceId, Issuers: Issuers);

    public static Caller Of(HttpContext http) =>
        Find(http) ?? throw new InvalidOperationException("The endpoint allows anonymous requests and has no caller.");

    /// <summary>Null: the endpoint needs no caller, or authorisation has not run.</summary>
    public static Caller? Find(HttpContext http) => (Caller?)http.Items[Key];

    public static ValueTask<Caller> BindAsync(HttpContext http) => ValueTask.FromResult(Of(http));

    internal void Enter(HttpContext http) => http.Items[Key] = this;
}

/// <summary>A token of the authority that was found to be right.</summary>
/// <param name="Key">Thumbprint of the key that signed it.</param>
/// <param name="Until">When it ends.</param>
public sealed record AuthorityCredential(string Key, DateTimeOffset Until);

/// <summary>Endpoint metadata: the caller needs a token, also in local mode (contracts/decisions.md, "Who may call").</summary>
public sealed record RequiresToken;

/// <summary>Endpoint metadata: the caller must see what is about all tenants, <see cref="Caller.SeesHost"/>.</summary>
public sealed record ForOperator;

/// <summary>Endpoint metadata: the caller needs one of these roles.</summary>
public sealed record RequiredRole(params IReadOnlyList<string> AnyOf)
{
    /// <summary>The refusal of a caller with these roles; null: one of them will do.</summary>
    public ErrorResult? RefusalOf(IReadOnlyCollection<string> roles) =>
        AnyOf.Any(roles.Contains) ? null : new(403, "role_missing", $"This needs the role {string.Join(" or ", AnyOf)}.");
}

public static class Roles
{
    public const string Admin = "admin";
    public const string Approver = "approver";
    public const string Member = "member";
    public const string Auditor = "auditor";

    /// <summary>For commands on sessions, runs, skills and schedules.</summary>
    public static TBuilder RequireMember<TBuilder>(this TBuilder endpoint)
        where TBuilder : IEndpointConventionBuilder =>
        endpoint.WithMetadata(new RequiredRole(Member, Admin));

    /// <summary>For decisions on approvals.</summary>
    public static TBuilder RequireApprover<TBuilder>(this TBuilder endpoint)
        where TBuilder : IEndpointConventionBuilder =>
        endpoint.WithMetadata(new RequiredRole(Approver, Admin));

    public static TBuilder RequireAuditor<TBuilder>(this TBuilder endpoint)
        where TBuilder : IEndpointConventionBuilder =>
        endpoint.WithMetadata(new RequiredRole(Auditor, Admin));

    /// <summary>For what is about all tenants.</summary>
    public static TBuilder RequireOperator<TBuilder>(this TBuilder endpoint)
        where TBuilder : IEndpointConventionBuilder =>
        endpoint.WithMetadata(new RequiredRole(Auditor, Admin), new ForOperator());

    public static TBuilder RequireAdmin<TBuilder>(this TBuilder endpoint)
        where TBuilder : IEndpointConventionBuilder =>
        endpoint.WithMetadata(new RequiredRole(Admin));
}
