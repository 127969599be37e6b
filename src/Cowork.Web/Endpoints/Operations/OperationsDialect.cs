using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>Operations of this host, for operators and scripts. They are part of no contract and follow the form of contract A.</summary>
static class OperationsDialect
{
    public static Dialect Dialect { get; } = new("/", OperationsJson.Answers, ProblemDetails.Form, Map);

    static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapMe();
        routes.MapModels();
        routes.MapTokens();
        routes.MapAudit();
        routes.MapDataSubjects();
        routes.MapPolicy();
        routes.MapTools();
        routes.MapProjections();
        routes.MapHealth();
        routes.MapBlobStore();
        routes.MapRetention();
        routes.MapJobs();
        routes.MapProblems();
        routes.MapEngine();
        routes.MapEventExports();
        routes.MapConsole();
    }
}

/// <summary>Bodies and answers: snake_case, nulls shown, times in milliseconds with <c>Z</c>.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, Converters = [typeof(TimestampConverter)])]
[JsonSerializable(typeof(Me))]
[JsonSerializable(typeof(RoleList))]
[JsonSerializable(typeof(ModelList))]
[JsonSerializable(typeof(NewToken))]
[JsonSerializable(typeof(NewSecret))]
[JsonSerializable(typeof(TokenChanges))]
[JsonSerializable(typeof(DeadLettersToReplay))]
[JsonSerializable(typeof(IssuedToken))]
[JsonSerializable(typeof(TokenShape))]
[JsonSerializable(typeof(TokenList))]
[JsonSerializable(typeof(DataSubjectShape))]
[JsonSerializable(typeof(DataSubjectList))]
[JsonSerializable(typeof(HeadList))]
[JsonSerializable(typeof(HeadShape))]
[JsonSerializable(typeof(InclusionProof))]
[JsonSerializable(typeof(ConsistencyProof))]
[JsonSerializable(typeof(NewSimulation))]
[JsonSerializable(typeof(SimulationAnswer))]
[JsonSerializable(typeof(PolicyInForce))]
[JsonSerializable(typeof(NewPolicyCheck))]
[JsonSerializable(typeof(PolicyCheckAnswer))]
[JsonSerializable(typeof(ToolList))]
[JsonSerializable(typeof(ProjectionList))]
[JsonSerializable(typeof(JobKindList))]
[JsonSerializable(typeof(ProblemSummary))]
[JsonSerializable(typeof(SweptBlobs))]
[JsonSerializable(typeof(NewRetention))]
[JsonSerializable(typeof(NewHold))]
[JsonSerializable(typeof(RetentionAnswer))]
[JsonSerializable(typeof(Liveness))]
[JsonSerializable(typeof(Readiness))]
[JsonSerializable(typeof(ConsoleConfig))]
public sealed partial class OperationsJson : JsonSerializerContext
{
    /// <summary>The context for answers: with relaxed escaping.</summary>
    public static OperationsJson Answers => field ??= new(RelaxedJson.Of(Default.Options));
}
