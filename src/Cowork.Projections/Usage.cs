using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>What a tenant has stored: the figures that its quotas bound. The log is never shortened, so bytes and blobs only grow.</summary>
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

    /// <summary>Of a SHA-256 in hex.</summary>
    const int DigestChars = 64;

    public static AsyncProjection<UsageRow> Model { get; } = new(
        "usage",
        [.. new[]
        {
            typeof(SessionEvent.SessionCreated), typeof(SessionEvent.SessionDeleted), typeof(ScheduleEvent.ScheduleCreated), typeof(ScheduleEvent.ScheduleChanged),
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
    };

    static RowKey Key(RecordedEvent e) => new(e.Org, TenantKey);

    static UsageRow Evolve(UsageRow row, RecordedEvent e)
    {
        var (blobs, bytes) = BlobsIn(e.Data.Span);
        row = row with { Bytes = row.Bytes + e.Data.Length + bytes, Blobs = row.Blobs + blobs };
        return e.Event switch
        {
            SessionEvent.SessionCreated => row with { Sessions = row.Sessions + 1 },
            SessionEvent.SessionDeleted => row with { Sessions = row.Sessions - 1 },
            ScheduleEvent.ScheduleCreated => row with { Schedules = row.Schedules + 1 },
            ScheduleEvent.ScheduleDeleted => row with { Schedules = row.Schedules - 1 },
            _ => row,
        };
    }

    /// <summary>The objects of an event that name a blob: those with a digest and its number of bytes.</summary>
    static (long Count, long Bytes) BlobsIn(ReadOnlySpan<byte> data)
    {
        if (data.IndexOf("\"sha256\""u8) < 0)
        {
            return (0, 0);
        }
        var (count, total) = (0L, 0L);
        var open = new Stack<(bool HasDigest, long? Bytes)>();
        var json = new Utf8JsonReader(data);
        var (isDigest, isSize) = (false, false);
        while (json.Read())
        {
            switch (json.TokenType)
            {
                case JsonTokenType.StartObject:
                    open.Push((false, null));
                    break;
                case JsonTokenType.EndObject:
                    if (open.Pop() is (true, { } size))
                    {
                        (count, total) = (count + 1, total + size);
                    }
                    break;
                case JsonTokenType.String when isDigest && json.ValueSpan.Length == DigestChars:
                    open.Push((true, open.Pop().Bytes));
                    break;
                case JsonTokenType.Number when isSize && json.TryGetInt64(out var bytes):
                    open.Push((open.Pop().HasDigest, bytes));
                    break;
            }
            (isDigest, isSize) = json.TokenType == JsonTokenType.PropertyName ? (json.ValueTextEquals("sha256"u8), json.ValueTextEquals("bytes"u8)) : (false, false);
        }
        return (count, total);
    }
}
