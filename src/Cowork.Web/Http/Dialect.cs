using System.Reflection;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Cowork.Web.Http;

/// <summary>
/// One of the contracts that this host serves: where its addresses begin, how its JSON is named, the form of its errors, and its endpoints. It is endpoint
/// metadata too. Everything else about the contract is in its folder below <c>Endpoints</c>.
/// </summary>
/// <param name="BasePath">The path that all addresses of the contract begin with; <c>/</c> when they share none.</param>
/// <param name="Json">Bodies and answers.</param>
/// <param name="Map">Maps the endpoints, with paths relative to <paramref name="BasePath"/>.</param>
public sealed record Dialect(string BasePath, JsonSerializerContext Json, ErrorForm Errors, Action<IEndpointRouteBuilder> Map)
{
    /// <summary>
    /// The contract's shapes for options that name members by another rule. /openapi.json describes all contracts with one set of options, and each shape
    /// must keep the names that its own contract gives it.
    /// </summary>
    public IJsonTypeInfoResolver Shapes => Json.WithAddedModifier(shape =>
    {
        foreach (var property in shape.Properties)
        {
            if (property.AttributeProvider is MemberInfo member && !member.IsDefined(typeof(JsonPropertyNameAttribute)))
            {
                property.Name = Json.Options.PropertyNamingPolicy?.ConvertName(member.Name) ?? member.Name;
            }
        }
    });
}

/// <summary>The contracts that this host serves.</summary>
/// <param name="all">The first one also answers for addresses that belong to none.</param>
public sealed class Dialects(IReadOnlyList<Dialect> all)
{
    readonly Dialect[] byPath = [.. all.OrderByDescending(dialect => dialect.BasePath.Length)];

    /// <summary>The contract that a request's endpoint belongs to; without an endpoint, the one that its path begins with.</summary>
    public Dialect Of(HttpContext http) =>
        http.GetEndpoint()?.Metadata.GetMetadata<Dialect>()
        ?? Array.Find(byPath, dialect => http.Request.Path.StartsWithSegments(dialect.BasePath.TrimEnd('/')))
        ?? all[0];

    public void Map(IEndpointRouteBuilder routes)
    {
        foreach (var dialect in all)
        {
            dialect.Map(routes.MapGroup(dialect.BasePath.TrimEnd('/')).WithMetadata(dialect));
        }
    }
}
