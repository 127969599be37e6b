using Cowork.Application.Storage;

namespace Cowork.Web.Http;

/// <summary>Who a request acts for.</summary>
/// <param name="Org">The tenant.</param>
/// <param name="Actor">The principal, as events name it: <c>user:ann</c>.</param>
/// <param name="IsOperator">May issue tokens for other tenants: the local user, and the token made at a host's first start.</param>
public sealed record Caller(string Org, string Actor, IReadOnlyCollection<string> Roles, bool IsOperator, string TraceId)
{
    const string Key = "cowork.caller";

    public Origin Origin { get; } = new(Actor, TraceId);

    public static Caller Of(HttpContext http) =>
        Find(http) ?? throw new InvalidOperationException("The endpoint is open to anybody, so that it knows no caller.");

    /// <summary>Null: he is not known, or not yet.</summary>
    public static Caller? Find(HttpContext http) => (Caller?)http.Items[Key];

    public static ValueTask<Caller> BindAsync(HttpContext http) => ValueTask.FromResult(Of(http));

    internal void Enter(HttpContext http) => http.Items[Key] = this;
}

/// <summary>Endpoint metadata: anybody may call, also while the host starts.</summary>
public sealed record OpenToAll;

/// <summary>Endpoint metadata: one of these roles is needed.</summary>
public sealed record NeedsRole(params IReadOnlyList<string> AnyOf);

public static class Roles
{
    public const string Admin = "admin";
    public const string Approver = "approver";
    public const string Member = "member";
    public const string Auditor = "auditor";

    /// <summary>For what changes sessions and runs.</summary>
    public static TBuilder NeedsMember<TBuilder>(this TBuilder endpoint)
        where TBuilder : IEndpointConventionBuilder =>
        endpoint.WithMetadata(new NeedsRole(Member, Admin));

    /// <summary>For deciding what an agent may do.</summary>
    public static TBuilder NeedsApprover<TBuilder>(this TBuilder endpoint)
        where TBuilder : IEndpointConventionBuilder =>
        endpoint.WithMetadata(new NeedsRole(Approver, Admin));

    public static TBuilder NeedsAuditor<TBuilder>(this TBuilder endpoint)
        where TBuilder : IEndpointConventionBuilder =>
        endpoint.WithMetadata(new NeedsRole(Auditor, Admin));

    public static TBuilder NeedsAdmin<TBuilder>(this TBuilder endpoint)
        where TBuilder : IEndpointConventionBuilder =>
        endpoint.WithMetadata(new NeedsRole(Admin));

    public static TBuilder OpenToAll<TBuilder>(this TBuilder endpoint)
        where TBuilder : IEndpointConventionBuilder =>
        endpoint.WithMetadata(new OpenToAll());
}
