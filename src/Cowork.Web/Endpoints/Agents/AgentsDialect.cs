using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Agents;

/// <summary>Contract D, the agents worker (contracts/D-groups.md): what the controllers of groups ask of agents.</summary>
static class AgentsDialect
{
    public static Dialect Dialect { get; } = new("/agents", AgentsJson.Answers, ProblemDetails.Form, routes => routes.MapAgentRuns());
}

/// <summary>Bodies and answers: snake_case, members without a value left out of results.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, Converters = [typeof(TimestampConverter)])]
[JsonSerializable(typeof(NewAgentRun))]
[JsonSerializable(typeof(AgentRunResult))]
public sealed partial class AgentsJson : JsonSerializerContext
{
    /// <summary>The context for answers: with relaxed escaping.</summary>
    public static AgentsJson Answers => field ??= new(RelaxedJson.Of(Default.Options));
}
