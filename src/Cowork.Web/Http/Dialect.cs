using System.Collections.Frozen;
using System.Reflection;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Cowork.Web.Http;

/// <summary>
/// A contract that this host serves: its base path, JSON names, form of errors and endpoints. It is endpoint metadata too. A contract is one folder below
/// <c>Endpoints</c>.
/// </summary>
/// <param name="BasePath">The path prefix of all endpoints; <c>/</c>: they share none.</param>
/// <param name="Json">Bodies and answers.</param>
/// <param name="Map">Maps the endpoints, with paths relative to <paramref name="BasePath"/>.</param>
public sealed record Dialect(string BasePath, JsonSerializerContext Json, ErrorForm Errors, Action<IEndpointRouteBuilder> Map)
{
    /// <summary>Headers of every answer below <see cref="BasePath"/>, refusals too.</summary>
    public IReadOnlyList<(string Name, string Value)> Headers { get; init; } = [];

    /// <summary>What the contract calls things that others call otherwise, by <see cref="Domain.IKey{TSelf}.Noun"/>.</summary>
    public IReadOnlyDictionary<string, string> Nouns { get; init; } = FrozenDictionary<string, string>.Empty;

    /// <summary>
    /// The contract's shapes with their own JSON names, for options with another naming policy: /openapi.json describes all contracts with one set of
    /// options.
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
/// <param name="all">The first one is the contract of addresses that match no base path.</param>
public sealed class Dialects(IReadOnlyList<Dialect> all)
{
    readonly Dialect[] byPath = [.. all.OrderByDescending(dialect => dialect.BasePath.Length)];

    /// <summary>The contract of the request's endpoint; without an endpoint, the one with the longest matching base path.</summary>
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
