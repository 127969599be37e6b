using System.Text.Json.Serialization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Desktop;

/// <summary>Contract C, the desktop (contracts/C-desktop.md). Every endpoint wants a token, also in local mode.</summary>
static class DesktopDialect
{
    public const string BasePath = "/api/cowork";

    public static Dialect Dialect { get; } = new(BasePath, DesktopJson.Answers, ProblemDetails.Form, Map) { Nouns = new Dictionary<string, string> { ["run"] = "task" } };

    static void Map(IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("").WithMetadata(new RequiresToken());
        group.MapDesktopSessions();
        group.MapDesktopArtifacts();
        group.MapSessionUsage();
        group.MapBudget();
        group.MapContext();
        group.MapTasks();
        group.MapSessionEvents();
    }
}

/// <summary>Bodies and answers: camelCase, lists as bare arrays, nulls shown, times in milliseconds with <c>Z</c>.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, Converters = [typeof(TimestampConverter)])]
[JsonSerializable(typeof(NewDesktopSession))]
[JsonSerializable(typeof(DesktopSession))]
[JsonSerializable(typeof(IReadOnlyList<DesktopSession>))]
[JsonSerializable(typeof(IReadOnlyList<ArtifactMetadata>))]
[JsonSerializable(typeof(DesktopUsage))]
[JsonSerializable(typeof(NewBudget))]
[JsonSerializable(typeof(DesktopBudget))]
[JsonSerializable(typeof(FilesToSync))]
[JsonSerializable(typeof(ContextSync))]
[JsonSerializable(typeof(ContextQuery))]
[JsonSerializable(typeof(IReadOnlyList<ContextItem>))]
[JsonSerializable(typeof(NewTask))]
[JsonSerializable(typeof(NewFeedback))]
[JsonSerializable(typeof(DesktopTask))]
[JsonSerializable(typeof(IReadOnlyList<DesktopTask>))]
[JsonSerializable(typeof(ArtifactMetadata))]
[JsonSerializable(typeof(SessionSnapshot))]
[JsonSerializable(typeof(NewStreamToken))]
[JsonSerializable(typeof(StreamTokenAnswer))]
public sealed partial class DesktopJson : JsonSerializerContext
{
    /// <summary>The context for answers: with relaxed escaping.</summary>
    public static DesktopJson Answers => field ??= new(RelaxedJson.Of(Default.Options));
}
