using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

public static class ReadModels
{
    /// <summary>The inline read models: the append transaction writes their rows.</summary>
    public static IReadOnlyList<IReadModel> All { get; } =
    [
        Sessions.Model, GroupSessions.Model, Runs.Model, Approvals.Model, Artifacts.Model, SessionArtifacts.Model, ArtifactVersions.Model, Memories.Model,
        MemoryPlaces.Model, Skills.Model, SkillVersions.Model, Schedules.Model, Tokens.Model, AppKeys.Model, Projects.Model, Files.Model, Scratchpads.Model,
        Connections.Model, Works.Model, Groups.Model, GroupMembers.Model,
    ];

    /// <summary>The read models that follow the log.</summary>
    public static IReadOnlyList<IAsyncProjection> AsyncProjections { get; } =
    [
        Metrics.Model, MemoryWords.Model, Messages.Model, RunSources.Model, Names.Model, Usage.Model, Retained.Model,
    ];

    /// <summary>Every model that has a table.</summary>
    public static IReadOnlyList<IRowModel> Tables { get; } = [.. All, .. AsyncProjections];
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    Converters = [typeof(ContentConverter), typeof(TimingConverter)])]
[JsonSerializable(typeof(SessionRow))]
[JsonSerializable(typeof(ProjectRow))]
[JsonSerializable(typeof(GroupRow))]
[JsonSerializable(typeof(GroupMemberRow))]
[JsonSerializable(typeof(WorkRow))]
[JsonSerializable(typeof(FileRow))]
[JsonSerializable(typeof(ScratchpadRow))]
[JsonSerializable(typeof(ConnectionRow))]
[JsonSerializable(typeof(RunRow))]
[JsonSerializable(typeof(ApprovalRow))]
[JsonSerializable(typeof(ArtifactRow))]
[JsonSerializable(typeof(ArtifactVersionRow))]
[JsonSerializable(typeof(MemoryRow))]
[JsonSerializable(typeof(MemoryPlaceRow))]
[JsonSerializable(typeof(MemoryWordsRow))]
[JsonSerializable(typeof(SkillRow))]
[JsonSerializable(typeof(SkillVersionRow))]
[JsonSerializable(typeof(ScheduleRow))]
[JsonSerializable(typeof(TokenRow))]
[JsonSerializable(typeof(AppKeyRow))]
[JsonSerializable(typeof(MetricsRow))]
[JsonSerializable(typeof(UsageRow))]
[JsonSerializable(typeof(RetainedRow))]
[JsonSerializable(typeof(MessageRow))]
[JsonSerializable(typeof(RunSourceRow))]
[JsonSerializable(typeof(NameRow))]
[JsonSerializable(typeof(Content))]
[JsonSerializable(typeof(string))]
sealed partial class RowJson : JsonSerializerContext;
