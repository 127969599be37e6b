using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>Contract B, the platform (contracts/B-platform-v1.md).</summary>
static class PlatformDialect
{
    public static Dialect Dialect { get; } = new("/api/v1", PlatformJson.Answers, OpenAiClients.Errors, Map)
    {
        Nouns = new Dictionary<string, string> { ["run"] = "response", ["session"] = "conversation", ["scheduled run"] = "schedule" },
    };

    static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapResponses();
        routes.MapConversations();
        routes.MapConversationSearch();
        routes.MapProjects();
        routes.MapPlatformSkills();
        routes.MapFiles();
        routes.MapPlatformArtifacts();
        routes.MapShells();
        routes.MapScratchpads();
        routes.MapReplays();
        routes.MapPlatformMemories();
        routes.MapPlatformSchedules();
        routes.MapSchedulePreview();
        routes.MapConnectors();
        routes.MapConnectorAuthorizations();
    }
}

/// <summary>Bodies and answers: snake_case, nulls shown, times in milliseconds with <c>Z</c>.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, Converters = [typeof(TimestampConverter)])]
[JsonSerializable(typeof(NewResponse))]
[JsonSerializable(typeof(ConversationToCancel))]
[JsonSerializable(typeof(ResponseDetails))]
[JsonSerializable(typeof(ResponseEvent))]
[JsonSerializable(typeof(InFlightResponse))]
[JsonSerializable(typeof(InFlightList))]
[JsonSerializable(typeof(NewConversation))]
[JsonSerializable(typeof(ConversationChanges))]
[JsonSerializable(typeof(ConversationDetails))]
[JsonSerializable(typeof(ConversationList))]
[JsonSerializable(typeof(ConversationItemList))]
[JsonSerializable(typeof(ConversationMatchList))]
[JsonSerializable(typeof(NewProject))]
[JsonSerializable(typeof(ProjectChanges))]
[JsonSerializable(typeof(ProjectDetails))]
[JsonSerializable(typeof(ProjectList))]
[JsonSerializable(typeof(NewMemory))]
[JsonSerializable(typeof(MemoryChanges))]
[JsonSerializable(typeof(PlatformMemory))]
[JsonSerializable(typeof(PlatformMemoryList))]
[JsonSerializable(typeof(NewPlatformSkill))]
[JsonSerializable(typeof(PlatformSkillChanges))]
[JsonSerializable(typeof(PlatformSkillDetails))]
[JsonSerializable(typeof(PlatformSkillList))]
[JsonSerializable(typeof(PlatformSkillVersionList))]
[JsonSerializable(typeof(FileForm))]
[JsonSerializable(typeof(FileDetails))]
[JsonSerializable(typeof(FileList))]
[JsonSerializable(typeof(FileHitList))]
[JsonSerializable(typeof(PlatformArtifactDetails))]
[JsonSerializable(typeof(PlatformArtifactList))]
[JsonSerializable(typeof(ArtifactPreview))]
[JsonSerializable(typeof(ArtifactToOpen))]
[JsonSerializable(typeof(ArtifactOpened))]
[JsonSerializable(typeof(ShellEvent))]
[JsonSerializable(typeof(NewPlatformSchedule))]
[JsonSerializable(typeof(PlatformScheduleChanges))]
[JsonSerializable(typeof(PlatformSchedule))]
[JsonSerializable(typeof(PlatformScheduleList))]
[JsonSerializable(typeof(PlatformScheduleLedger))]
[JsonSerializable(typeof(SchedulePreview))]
[JsonSerializable(typeof(NewConnection))]
[JsonSerializable(typeof(ConnectionChanges))]
[JsonSerializable(typeof(ConnectionDetails))]
[JsonSerializable(typeof(ConnectionList))]
[JsonSerializable(typeof(AuthorizationStart))]
[JsonSerializable(typeof(ConnectorSpecList))]
[JsonSerializable(typeof(NewScratchpad))]
[JsonSerializable(typeof(ScratchpadChanges))]
[JsonSerializable(typeof(NewCellBody))]
[JsonSerializable(typeof(CellChanges))]
[JsonSerializable(typeof(CellRun))]
[JsonSerializable(typeof(NotebookImport))]
[JsonSerializable(typeof(ReplayRequest))]
[JsonSerializable(typeof(ScratchpadDetails))]
[JsonSerializable(typeof(ScratchpadList))]
[JsonSerializable(typeof(CellDetails))]
[JsonSerializable(typeof(CellEvent))]
[JsonSerializable(typeof(CellInterrupted))]
[JsonSerializable(typeof(ReplayDetails))]
[JsonSerializable(typeof(ReplayList))]
[JsonSerializable(typeof(OpenAiProblem))]
public sealed partial class PlatformJson : JsonSerializerContext
{
    /// <summary>The context for answers: with relaxed escaping.</summary>
    public static PlatformJson Answers => field ??= new(RelaxedJson.Of(Default.Options));

    /// <summary>The context for answers to <see cref="OpenAiClients"/>: times in seconds.</summary>
    public static PlatformJson OpenAis => field ??= new(WithSeconds(RelaxedJson.Of(Default.Options)));

    static JsonSerializerOptions WithSeconds(JsonSerializerOptions options)
    {
        options.Converters.Insert(0, new UnixSecondsConverter());
        return options;
    }
}
