using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>What a tenant has stored: the figures that its quotas bound. Bytes and blobs become fewer when data expires.</summary>
/// <param name="Sessions">That were not deleted.</param>
/// <param name="Schedules">That were not deleted.</param>
/// <param name="Bytes">Of the canonical form of events that hold what people, models and tools wrote, and of the blobs that they name, each as often as it is named.</param>
/// <param name="Blobs">Long texts and versions of files, each as often as it is named.</param>
public sealed record UsageRow(long Sessions, long Schedules, long Bytes, long Blobs)
{
    public static UsageRow None { get; } = new(0, 0, 0, 0);

    public TenantFigures Figures => new(Sessions, Schedules, Bytes, Blobs);
}

/// <summary>The async projection of what tenants have stored, one row for each.</summary>
public static class Usage
{
    public const string TenantKey = "tenant";

    public static AsyncProjection<UsageRow> Model { get; } = new(
        "usage",
        [.. new[]
        {
            typeof(SessionEvent.SessionCreated), typeof(SessionEvent.SessionDeleted), typeof(SessionEvent.SessionRemoved),
            typeof(ScheduleEvent.ScheduleCreated), typeof(ScheduleEvent.ScheduleChanged),
            typeof(ScheduleEvent.ScheduleDeleted),
            typeof(SkillEvent.SkillCreated), typeof(SkillEvent.SkillVersionAdded), typeof(RunEvent.RunCreated), typeof(RunEvent.ToolsOffered), typeof(RunEvent.OutputDelta),
            typeof(RunEvent.ThinkingDelta), typeof(RunEvent.ToolCall), typeof(RunEvent.ToolResult), typeof(RunEvent.AssistantReply), typeof(ArtifactEvent.ArtifactDiscovered),
            typeof(UploadedFileEvent.FileUploaded), typeof(UploadedFileEvent.FileTextExtracted),
            typeof(ScratchpadEvent.ScratchpadCreated), typeof(ScratchpadEvent.ScratchpadRenamed), typeof(ScratchpadEvent.CellAppended), typeof(ScratchpadEvent.CellEdited),
            typeof(ScratchpadEvent.CellQueued), typeof(ScratchpadEvent.CellOutput), typeof(ScratchpadEvent.CellDisplaysUpdated),
            typeof(ScratchpadEvent.CellCompleted),
        }.SelectMany(EventTypes.NamesOf), .. Memories.EventNames],
        RowJson.Default.UsageRow,
        e => [Key(e)],
        (before, e) => [(Key(e), Evolve(before(Key(e)) ?? UsageRow.None, e))])
    {
        Lists = RowLists.None,
        // Form 1 counted bytes as PostgreSQL writes JSON, with spaces.
        Form = 2,
        TakesTombstones = true,
        CountsStored = true,
    };

    static RowKey Key(RecordedEvent e) => new(e.Org, TenantKey);

    static UsageRow Evolve(UsageRow row, RecordedEvent e)
    {
        if (e.Event is SessionEvent.SessionRemoved removed)
        {
            // Its tombstones still count for what the events did, in a table that is folded anew too.
            return row with { Bytes = row.Bytes - removed.Bytes, Blobs = row.Blobs - removed.Blobs };
        }
        var (blobs, bytes) = e.Event is Tombstone stone ? (stone.Blobs, stone.Bytes) : StoredBytes.Of(e.Data.Span);
        row = row with { Bytes = row.Bytes + bytes, Blobs = row.Blobs + blobs };
        return EventTypes.TypeOf(e.Type) switch
        {
            { } type when type == typeof(SessionEvent.SessionCreated) => row with { Sessions = row.Sessions + 1 },
            { } type when type == typeof(SessionEvent.SessionDeleted) => row with { Sessions = row.Sessions - 1 },
            { } type when type == typeof(ScheduleEvent.ScheduleCreated) => row with { Schedules = row.Schedules + 1 },
            { } type when type == typeof(ScheduleEvent.ScheduleDeleted) => row with { Schedules = row.Schedules - 1 },
            _ => row,
        };
    }
}
