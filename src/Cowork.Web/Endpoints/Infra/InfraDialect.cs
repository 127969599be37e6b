using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Infra;

/// <summary>Contract D, the calls of apps and group controllers (contracts/D-groups.md).</summary>
static class InfraDialect
{
    public static Dialect Dialect { get; } = new("/infra", InfraJson.Answers, ProblemDetails.Form, Map);

    static void Map(IEndpointRouteBuilder routes) => routes.MapJwks();
}

/// <summary>Bodies and answers: snake_case, nulls shown, times in milliseconds with <c>Z</c>.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, Converters = [typeof(TimestampConverter)])]
[JsonSerializable(typeof(JwkSet))]
public sealed partial class InfraJson : JsonSerializerContext
{
    /// <summary>The context for answers: with relaxed escaping.</summary>
    public static InfraJson Answers => field ??= new(RelaxedJson.Of(Default.Options));
}
