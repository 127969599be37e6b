using System.Text.Json.Serialization;

using Cowork.Application.Storage;

namespace Cowork.Projections;

/// <summary>Every read model that is written in the append transaction.</summary>
public static class ReadModels
{
    public static IReadOnlyList<IReadModel> All { get; } =
    [
        Sessions.Model, Runs.Model, Approvals.Model, Artifacts.Model, ArtifactVersions.Model, Memories.Model, Skills.Model, SkillVersions.Model, Schedules.Model,
        Tokens.Model,
    ];
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    Converters = [typeof(ContentConverter), typeof(TimingConverter)])]
[JsonSerializable(typeof(SessionRow))]
[JsonSerializable(typeof(RunRow))]
[JsonSerializable(typeof(ApprovalRow))]
[JsonSerializable(typeof(ArtifactRow))]
[JsonSerializable(typeof(ArtifactVersionRow))]
[JsonSerializable(typeof(MemoryRow))]
[JsonSerializable(typeof(SkillRow))]
[JsonSerializable(typeof(SkillVersionRow))]
[JsonSerializable(typeof(ScheduleRow))]
[JsonSerializable(typeof(TokenRow))]
sealed partial class RowJson : JsonSerializerContext;
