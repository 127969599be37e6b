using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Web.Endpoints.Infra;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Groups;

/// <summary>The groups of contract D (contracts/D-groups.md), for their members.</summary>
static class GroupsDialect
{
    public const string BasePath = "/groups";

    public static Dialect Dialect { get; } = new(BasePath, GroupsJson.Answers, ProblemDetails.Form, Map);

    static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapGroups();
        routes.MapGroupSockets();
        routes.MapGroupHistory();
        routes.MapOwnRoutingTokens();
        routes.MapGroupMembers();
        routes.MapGroupMessages();
    }
}

/// <summary>Bodies and answers: snake_case, nulls shown, times in milliseconds with <c>Z</c>.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, Converters = [typeof(ContentConverter), typeof(TimestampConverter)])]
[JsonSerializable(typeof(NewGroup))]
[JsonSerializable(typeof(GroupAnswer))]
[JsonSerializable(typeof(GroupDetails))]
[JsonSerializable(typeof(GroupList))]
[JsonSerializable(typeof(NewArchive))]
[JsonSerializable(typeof(ArchiveAnswer))]
[JsonSerializable(typeof(GroupArchiveDocument))]
[JsonSerializable(typeof(GroupMessageList))]
[JsonSerializable(typeof(GroupPresence))]
[JsonSerializable(typeof(NewGroupMember))]
[JsonSerializable(typeof(GroupMemberAnswer))]
[JsonSerializable(typeof(GroupMemberList))]
[JsonSerializable(typeof(NewGroupMessage))]
[JsonSerializable(typeof(GroupMessageAnswer))]
public sealed partial class GroupsJson : JsonSerializerContext
{
    /// <summary>The context for answers: with relaxed escaping.</summary>
    public static GroupsJson Answers => field ??= new(RelaxedJson.Of(Default.Options));
}
