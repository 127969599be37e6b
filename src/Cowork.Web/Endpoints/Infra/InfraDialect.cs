using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Infra;

/// <summary>Contract D, the calls of apps and group controllers (contracts/D-groups.md).</summary>
static class InfraDialect
{
    public static Dialect Dialect { get; } = new("/infra", InfraJson.Answers, ProblemDetails.Form, Map);

    static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapJwks();
        routes.MapAppKeys();
        routes.MapGroupSessions();
        routes.MapRoutingTokens();
    }
}

/// <summary>Bodies and answers: snake_case, nulls shown, times in milliseconds with <c>Z</c>.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, Converters = [typeof(TimestampConverter)])]
[JsonSerializable(typeof(JwkSet))]
[JsonSerializable(typeof(NewSigningKey))]
[JsonSerializable(typeof(NewAppKey))]
[JsonSerializable(typeof(AppKeyShape))]
[JsonSerializable(typeof(AppKeyList))]
[JsonSerializable(typeof(NewGroupSession))]
[JsonSerializable(typeof(OpenedGroupSession))]
[JsonSerializable(typeof(Cleanup))]
[JsonSerializable(typeof(CleanupAnswer))]
[JsonSerializable(typeof(NewRoutingToken))]
[JsonSerializable(typeof(IssuedRoutingToken))]
public sealed partial class InfraJson : JsonSerializerContext
{
    /// <summary>The context for answers: with relaxed escaping.</summary>
    public static InfraJson Answers => field ??= new(RelaxedJson.Of(Default.Options));
}
