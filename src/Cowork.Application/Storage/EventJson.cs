using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Domain;

namespace Cowork.Application.Storage;

/// <summary>How events and folded states are written as JSON: snake_case, nulls left out, the time beside the data instead of in it.</summary>
public static class EventJson
{
    public static JsonSerializerOptions Options { get; } = Make();

    [ThreadStatic]
    static Utf8JsonWriter? Writer;

    /// <summary>The event's data in its RFC 8785 form: what is stored, and what the hash covers.</summary>
    public static byte[] Write(Event e)
    {
        using var plain = new PooledBuffer(1024);
        var writer = Writer ??= new(plain, new() { Encoder = Options.Encoder, SkipValidation = true });
        writer.Reset(plain);
        JsonSerializer.Serialize(writer, e, Options.GetTypeInfo(e.GetType()));
        writer.Flush();
        return CanonicalJson.Of(plain.Written);
    }

    /// <summary>The event of a stored name, with its time put back.</summary>
    /// <exception cref="JsonException">The name is unknown to this version, or the data is not of its shape.</exception>
    public static Event Read(string storedName, ReadOnlySpan<byte> data, DateTimeOffset at)
    {
        return EventTypes.ByName.TryGetValue(storedName, out var type)
            ? Read(type, data, at)
            : throw new JsonException($"This version knows no event \"{storedName}\".");
    }

    /// <summary>The event of a stored name, or the <see cref="Tombstone"/> that stands in its place.</summary>
    /// <param name="data">As it lies in the log.</param>
    /// <exception cref="JsonException">The name is unknown to this version, or the data is not of its shape.</exception>
    public static Event ReadStored(string storedName, ReadOnlySpan<byte> data, DateTimeOffset at) =>
        Tombstones.Is(data) ? Tombstones.Read(data, at) : Read(storedName, data, at);

    /// <summary>The event of a stored type, upcast when a later one took its place.</summary>
    /// <exception cref="JsonException">The data is not of its shape.</exception>
    public static Event Read(EventType type, ReadOnlySpan<byte> data, DateTimeOffset at)
    {
        var stored = (Event?)JsonSerializer.Deserialize(data, Options.GetTypeInfo(type.Shape)) ?? throw new JsonException($"A {type.Name} is null.");
        stored = stored with { At = at };
        return type.Upcast is { } upcast ? upcast(stored) : stored;
    }

    static JsonSerializerOptions Make()
    {
        var options = new JsonSerializerOptions
        {
            PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
            DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
            Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
            Converters =
            {
                new ContentConverter(),
                new TimestampConverter(),
                new TimingConverter(),
                new JsonStringEnumConverter<PolicyOutcome>(JsonNamingPolicy.SnakeCaseLower),
                new JsonStringEnumConverter<ApprovalOutcome>(JsonNamingPolicy.SnakeCaseLower),
                new JsonStringEnumConverter<Misfire>(JsonNamingPolicy.SnakeCaseLower),
                new JsonStringEnumConverter<Overlap>(JsonNamingPolicy.SnakeCaseLower),
                new JsonStringEnumConverter<TriggerMode>(JsonNamingPolicy.SnakeCaseLower),
            },
            TypeInfoResolver = EventJsonContext.Default
                .WithAddedModifier(LeaveOutTime)
                .WithAddedModifier(NameCases)
                .WithAddedModifier(SortMembers),
        };
        options.MakeReadOnly();
        return options;
    }

    static void LeaveOutTime(JsonTypeInfo type)
    {
        if (typeof(Event).IsAssignableFrom(type.Type))
        {
            foreach (var property in type.Properties)
            {
                if (property.Name == "at")
                {
                    property.ShouldSerialize = static (_, _) => false;
                }
            }
        }
    }

    /// <summary>In the order of RFC 8785 from the start, so that the canonical form need not be sorted into it.</summary>
    static void SortMembers(JsonTypeInfo type)
    {
        if (type.Kind == JsonTypeInfoKind.Object)
        {
            foreach (var (place, property) in type.Properties.OrderBy(p => p.Name, StringComparer.Ordinal).Index())
            {
                property.Order = place;
            }
        }
    }

    /// <summary>States and their parts are closed sets of nested records: each case goes by its own name.</summary>
    static void NameCases(JsonTypeInfo type)
    {
        if (type.Type.IsAbstract && type.Kind == JsonTypeInfoKind.Object && !typeof(Event).IsAssignableFrom(type.Type))
        {
            var cases = type.Type.GetNestedTypes().Where(c => c.BaseType == type.Type).ToList();
            if (cases.Count > 0)
            {
                type.PolymorphismOptions = new() { TypeDiscriminatorPropertyName = "case" };
                cases.ForEach(c => type.PolymorphismOptions.DerivedTypes.Add(new(c, c.Name)));
            }
        }
    }
}

/// <summary>A <see cref="Content"/> in JSON: a string, <c>{sha256, bytes}</c> or <c>{enc, subject, ciphertext}</c>.</summary>
public sealed class ContentConverter : JsonConverter<Content>
{
    public override Content Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType == JsonTokenType.String)
        {
            return new Content.Inline(reader.GetString()!);
        }
        using var json = JsonDocument.ParseValue(ref reader);
        var form = json.RootElement;
        return form.TryGetProperty("sha256", out var sha256)
            ? new Content.Blob(sha256.GetString()!, form.GetProperty("bytes").GetInt64())
            : new Content.Sealed(form.GetProperty("enc").GetString()!, form.GetProperty("subject").GetString()!, form.GetProperty("ciphertext").GetString()!);
    }

    public override void Write(Utf8JsonWriter writer, Content value, JsonSerializerOptions options)
    {
        switch (value)
        {
            case Content.Inline inline:
                writer.WriteStringValue(inline.Text);
                break;
            case Content.Blob blob:
                writer.WriteStartObject();
                writer.WriteString("sha256", blob.Sha256);
                writer.WriteNumber("bytes", blob.Bytes);
                writer.WriteEndObject();
                break;
            case Content.Sealed closed:
                writer.WriteStartObject();
                writer.WriteString("enc", closed.Enc);
                writer.WriteString("subject", closed.Subject);
                writer.WriteString("ciphertext", closed.Ciphertext);
                writer.WriteEndObject();
                break;
        }
    }
}

/// <summary>A time inside an event's data, in the one form that times have everywhere.</summary>
public sealed class TimestampConverter : JsonConverter<DateTimeOffset>
{
    /// <summary>The time as precisely as it is written, in UTC.</summary>
    public static DateTimeOffset Whole(DateTimeOffset time) => new(time.UtcTicks - (time.UtcTicks % TimeSpan.TicksPerMillisecond), TimeSpan.Zero);

    public override DateTimeOffset Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.GetDateTimeOffset();

    public override void Write(Utf8JsonWriter writer, DateTimeOffset value, JsonSerializerOptions options) => writer.WriteStringValue(HashChain.Timestamp(value));
}

/// <summary>A <see cref="Timing"/> in JSON: <c>{interval_seconds, from}</c> or <c>{cron, time_zone}</c>.</summary>
public sealed class TimingConverter : JsonConverter<Timing>
{
    public override Timing Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        using var json = JsonDocument.ParseValue(ref reader);
        var form = json.RootElement;
        return form.TryGetProperty("cron", out var cron)
            ? new Timing.Times(cron.GetString()!, form.GetProperty("time_zone").GetString()!)
            : new Timing.Interval(form.GetProperty("interval_seconds").GetInt64(), form.GetProperty("from").GetDateTimeOffset());
    }

    public override void Write(Utf8JsonWriter writer, Timing value, JsonSerializerOptions options)
    {
        writer.WriteStartObject();
        switch (value)
        {
            case Timing.Interval interval:
                writer.WriteNumber("interval_seconds", interval.Seconds);
                writer.WriteString("from", HashChain.Timestamp(interval.From));
                break;
            case Timing.Times times:
                writer.WriteString("cron", times.Expression);
                writer.WriteString("time_zone", times.Zone);
                break;
        }
        writer.WriteEndObject();
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(SessionEvent.SessionCreated))]
[JsonSerializable(typeof(SessionEvent.SessionChanged))]
[JsonSerializable(typeof(SessionEvent.SessionDeleted))]
[JsonSerializable(typeof(SessionEvent.SessionHeld))]
[JsonSerializable(typeof(SessionEvent.SessionReleased))]
[JsonSerializable(typeof(SessionEvent.SessionExpired))]
[JsonSerializable(typeof(SessionEvent.SessionRemoved))]
[JsonSerializable(typeof(SessionEvent.RunQueued))]
[JsonSerializable(typeof(SessionEvent.RunDequeued))]
[JsonSerializable(typeof(RunEvent.RunCreated))]
[JsonSerializable(typeof(RunEvent.RunStarted))]
[JsonSerializable(typeof(RunEvent.RunResumed))]
[JsonSerializable(typeof(RunEvent.MemoryRetrieval))]
[JsonSerializable(typeof(RunEvent.ToolsOffered))]
[JsonSerializable(typeof(RunEvent.OutputDelta))]
[JsonSerializable(typeof(RunEvent.ThinkingDelta))]
[JsonSerializable(typeof(RunEvent.ModelRetried))]
[JsonSerializable(typeof(RunEvent.LlmResponse))]
[JsonSerializable(typeof(RunEvent.ToolCall))]
[JsonSerializable(typeof(RunEvent.PolicyDecision))]
[JsonSerializable(typeof(RunEvent.ApprovalRequested))]
[JsonSerializable(typeof(RunEvent.ApprovalDecided))]
[JsonSerializable(typeof(RunEvent.ApprovalServed))]
[JsonSerializable(typeof(RunEvent.ToolResult))]
[JsonSerializable(typeof(RunEvent.AssistantReply))]
[JsonSerializable(typeof(RunEvent.FeedbackReceived))]
[JsonSerializable(typeof(RunEvent.RunCancelRequested))]
[JsonSerializable(typeof(RunEvent.RunCompleted))]
[JsonSerializable(typeof(RunEvent.RunFailed))]
[JsonSerializable(typeof(RunEvent.RunCancelled))]
[JsonSerializable(typeof(ProjectEvent.ProjectCreated))]
[JsonSerializable(typeof(ProjectEvent.ProjectChanged))]
[JsonSerializable(typeof(ProjectEvent.ProjectDeleted))]
[JsonSerializable(typeof(GroupEvent.GroupCreated))]
[JsonSerializable(typeof(GroupEvent.GroupMemberAdded))]
[JsonSerializable(typeof(GroupEvent.GroupMemberRemoved))]
[JsonSerializable(typeof(GroupEvent.GroupMessageStored))]
[JsonSerializable(typeof(GroupEvent.GroupArchiveRequested))]
[JsonSerializable(typeof(GroupEvent.GroupArchived))]
[JsonSerializable(typeof(GroupEvent.GroupAgentAnswered))]
[JsonSerializable(typeof(GroupEvent.GroupCallsStopped))]
[JsonSerializable(typeof(ActiveGroupsEvent.ActiveGroupOpened))]
[JsonSerializable(typeof(ActiveGroupsEvent.ActiveGroupClosed))]
[JsonSerializable(typeof(WorkEvent.WorkCreated))]
[JsonSerializable(typeof(WorkEvent.WorkChanged))]
[JsonSerializable(typeof(WorkEvent.WorkDeleted))]
[JsonSerializable(typeof(ConnectionEvent.ConnectionCreated))]
[JsonSerializable(typeof(ConnectionEvent.ConnectionRenamed))]
[JsonSerializable(typeof(ConnectionEvent.ConnectionSecretReplaced))]
[JsonSerializable(typeof(ConnectionEvent.ConnectionProbed))]
[JsonSerializable(typeof(ConnectionEvent.ConnectionReencrypted))]
[JsonSerializable(typeof(ConnectionEvent.ConnectionDeleted))]
[JsonSerializable(typeof(AuthorizationRequestEvent.AuthorizationRequested))]
[JsonSerializable(typeof(AuthorizationRequestEvent.AuthorizationAnswered))]
[JsonSerializable(typeof(ConnectionRefreshEvent.ConnectionRefreshStarted))]
[JsonSerializable(typeof(ConnectionRefreshEvent.ConnectionRefreshFailed))]
[JsonSerializable(typeof(DataKeysEvent.DataKeyMade))]
[JsonSerializable(typeof(DataKeysEvent.DataKeyRewrapped))]
[JsonSerializable(typeof(DataSubjectEvent.SubjectKeyMade))]
[JsonSerializable(typeof(DataSubjectEvent.SubjectHeld))]
[JsonSerializable(typeof(DataSubjectEvent.SubjectReleased))]
[JsonSerializable(typeof(DataSubjectEvent.SubjectErased))]
[JsonSerializable(typeof(DataSubjectEvent.SubjectErasureCompleted))]
[JsonSerializable(typeof(DataSubject))]
[JsonSerializable(typeof(DataSubject.None), TypeInfoPropertyName = "DataSubjectNone")]
[JsonSerializable(typeof(DataSubject.Active), TypeInfoPropertyName = "DataSubjectActive")]
[JsonSerializable(typeof(DataSubject.Erased), TypeInfoPropertyName = "DataSubjectErasedState")]
[JsonSerializable(typeof(MasterKeysEvent.MasterKeyAdopted))]
[JsonSerializable(typeof(MasterKeysEvent.KeyTenantRegistered))]
[JsonSerializable(typeof(GroupSessionEvent.GroupSessionOpened))]
[JsonSerializable(typeof(GroupSessionEvent.GroupCleanedUp))]
[JsonSerializable(typeof(AppKeyEvent.AppKeyRegistered))]
[JsonSerializable(typeof(AppKeyEvent.AppKeyRevoked))]
[JsonSerializable(typeof(OneUseEvent.TokenUsed))]
[JsonSerializable(typeof(SigningKeysEvent.SigningKeyMade))]
[JsonSerializable(typeof(SigningKeysEvent.SigningKeyRewrapped))]
[JsonSerializable(typeof(UploadedFileEvent.FileUploaded))]
[JsonSerializable(typeof(UploadedFileEvent.FileTextExtracted))]
[JsonSerializable(typeof(UploadedFileEvent.FileExtractionFailed))]
[JsonSerializable(typeof(UploadedFileEvent.FileDeleted))]
[JsonSerializable(typeof(ArtifactEvent.ArtifactDiscovered))]
[JsonSerializable(typeof(ScratchpadEvent.ScratchpadCreated))]
[JsonSerializable(typeof(ScratchpadEvent.ScratchpadRenamed))]
[JsonSerializable(typeof(ScratchpadEvent.ScratchpadSaved))]
[JsonSerializable(typeof(ScratchpadEvent.ScratchpadDeleted))]
[JsonSerializable(typeof(ScratchpadEvent.CellAppended))]
[JsonSerializable(typeof(ScratchpadEvent.CellEdited))]
[JsonSerializable(typeof(ScratchpadEvent.CellMoved))]
[JsonSerializable(typeof(ScratchpadEvent.CellDeleted))]
[JsonSerializable(typeof(ScratchpadEvent.CellQueued))]
[JsonSerializable(typeof(ScratchpadEvent.CellStarted))]
[JsonSerializable(typeof(ScratchpadEvent.CellOutput))]
[JsonSerializable(typeof(ScratchpadEvent.CellDisplaysUpdated))]
[JsonSerializable(typeof(ScratchpadEvent.CellCompleted))]
[JsonSerializable(typeof(ScratchpadEvent.CellInterruptRequested))]
[JsonSerializable(typeof(ScratchpadEvent.KernelStarted))]
[JsonSerializable(typeof(ScratchpadEvent.KernelRestartRequested))]
[JsonSerializable(typeof(ScratchpadEvent.KernelRestarted))]
[JsonSerializable(typeof(ScratchpadEvent.KernelLost))]
[JsonSerializable(typeof(ScratchpadEvent.KernelStopped))]
[JsonSerializable(typeof(MemoryEvent.MemoryWritten))]
[JsonSerializable(typeof(MemoryEvent.MemoryCreated))]
[JsonSerializable(typeof(MemoryEvent.MemoryChanged))]
[JsonSerializable(typeof(MemoryEvent.MemoryDeleted))]
[JsonSerializable(typeof(SkillEvent.SkillCreated))]
[JsonSerializable(typeof(SkillEvent.SkillVersionAdded))]
[JsonSerializable(typeof(SkillEvent.SkillDeleted))]
[JsonSerializable(typeof(UniqueNameEvent.NameClaimed))]
[JsonSerializable(typeof(UniqueNameEvent.NameReleased))]
[JsonSerializable(typeof(ScheduleEvent.ScheduleCreated))]
[JsonSerializable(typeof(ScheduleEvent.ScheduleChanged))]
[JsonSerializable(typeof(ScheduleEvent.SchedulePaused))]
[JsonSerializable(typeof(ScheduleEvent.ScheduleResumed))]
[JsonSerializable(typeof(ScheduleEvent.ScheduleTriggered))]
[JsonSerializable(typeof(ScheduleEvent.ScheduleSkipped))]
[JsonSerializable(typeof(ScheduleEvent.ScheduleReplanned))]
[JsonSerializable(typeof(ScheduleEvent.ScheduleDeleted))]
[JsonSerializable(typeof(IdempotencyKeyClaimedV1))]
[JsonSerializable(typeof(IdempotencyKeyEvent.IdempotencyKeyClaimed))]
[JsonSerializable(typeof(BudgetEvent.BudgetLimitsSet))]
[JsonSerializable(typeof(BudgetEvent.BudgetReserved))]
[JsonSerializable(typeof(BudgetEvent.BudgetSettled))]
[JsonSerializable(typeof(BudgetEvent.BudgetSoftLimitReached))]
[JsonSerializable(typeof(ApiTokenEvent.TokenIssued))]
[JsonSerializable(typeof(ApiTokenEvent.TokenRotated))]
[JsonSerializable(typeof(ApiTokenEvent.TokenRolesChanged))]
[JsonSerializable(typeof(ApiTokenEvent.TokenRevoked))]
[JsonSerializable(typeof(OperatorsEvent.OperatorAdded))]
[JsonSerializable(typeof(OperatorsEvent.OperatorRemoved))]
[JsonSerializable(typeof(AuditHeadsEvent.HeadSigned))]
[JsonSerializable(typeof(SecurityEvent.AccessGranted))]
[JsonSerializable(typeof(SecurityEvent.AccessRefused))]
[JsonSerializable(typeof(SecurityEvent.AccessDenied))]
[JsonSerializable(typeof(SecurityEvent.DataExported))]
[JsonSerializable(typeof(SecurityDay))]
[JsonSerializable(typeof(SecurityEvent.SecurityExpired))]
[JsonSerializable(typeof(SecurityEvent.SecurityRemoved))]
[JsonSerializable(typeof(HostEvent.HostsExpired))]
[JsonSerializable(typeof(HostEvent.HostsRemoved))]
[JsonSerializable(typeof(RetentionEvent.RetentionSet))]
[JsonSerializable(typeof(HostEvent.HostStarted))]
[JsonSerializable(typeof(HostEvent.HostStopped))]
[JsonSerializable(typeof(HostDay))]
[JsonSerializable(typeof(Retention))]
[JsonSerializable(typeof(Session))]
[JsonSerializable(typeof(Session.None), TypeInfoPropertyName = "SessionNone")]
[JsonSerializable(typeof(Session.Open))]
[JsonSerializable(typeof(Session.Deleted))]
[JsonSerializable(typeof(Session.Expired), TypeInfoPropertyName = "SessionExpiredState")]
[JsonSerializable(typeof(Run))]
[JsonSerializable(typeof(Run.None), TypeInfoPropertyName = "RunNone")]
[JsonSerializable(typeof(Run.Queued))]
[JsonSerializable(typeof(Run.Active))]
[JsonSerializable(typeof(Run.Suspended))]
[JsonSerializable(typeof(Run.Ended))]
[JsonSerializable(typeof(ConversationEntry.ByModel))]
[JsonSerializable(typeof(ConversationEntry.ByTool))]
[JsonSerializable(typeof(ConversationEntry.ByUser))]
[JsonSerializable(typeof(Artifact))]
[JsonSerializable(typeof(Artifact.None), TypeInfoPropertyName = "ArtifactNone")]
[JsonSerializable(typeof(Artifact.Kept), TypeInfoPropertyName = "ArtifactKept")]
[JsonSerializable(typeof(Memory))]
[JsonSerializable(typeof(Memory.None), TypeInfoPropertyName = "MemoryNone")]
[JsonSerializable(typeof(Memory.Kept))]
[JsonSerializable(typeof(Memory.Deleted), TypeInfoPropertyName = "MemoryDeletedState")]
[JsonSerializable(typeof(Skill))]
[JsonSerializable(typeof(Skill.None), TypeInfoPropertyName = "SkillNone")]
[JsonSerializable(typeof(Skill.Live))]
[JsonSerializable(typeof(Skill.Deleted), TypeInfoPropertyName = "SkillDeletedState")]
[JsonSerializable(typeof(Schedule))]
[JsonSerializable(typeof(Schedule.None), TypeInfoPropertyName = "ScheduleNone")]
[JsonSerializable(typeof(Schedule.Active), TypeInfoPropertyName = "ScheduleActive")]
[JsonSerializable(typeof(Schedule.Paused), TypeInfoPropertyName = "SchedulePausedState")]
[JsonSerializable(typeof(Schedule.Deleted), TypeInfoPropertyName = "ScheduleDeletedState")]
[JsonSerializable(typeof(Project))]
[JsonSerializable(typeof(Project.None), TypeInfoPropertyName = "ProjectNone")]
[JsonSerializable(typeof(Project.Live), TypeInfoPropertyName = "ProjectLive")]
[JsonSerializable(typeof(Project.Deleted), TypeInfoPropertyName = "ProjectDeletedState")]
[JsonSerializable(typeof(Group))]
[JsonSerializable(typeof(Group.None), TypeInfoPropertyName = "GroupNone")]
[JsonSerializable(typeof(Group.Live), TypeInfoPropertyName = "GroupLive")]
[JsonSerializable(typeof(ActiveGroups))]
[JsonSerializable(typeof(Work))]
[JsonSerializable(typeof(Work.None), TypeInfoPropertyName = "WorkNone")]
[JsonSerializable(typeof(Work.Live), TypeInfoPropertyName = "WorkLive")]
[JsonSerializable(typeof(Work.Deleted), TypeInfoPropertyName = "WorkDeletedState")]
[JsonSerializable(typeof(Connection))]
[JsonSerializable(typeof(Connection.None), TypeInfoPropertyName = "ConnectionNone")]
[JsonSerializable(typeof(Connection.Live), TypeInfoPropertyName = "ConnectionLive")]
[JsonSerializable(typeof(Connection.Deleted), TypeInfoPropertyName = "ConnectionDeletedState")]
[JsonSerializable(typeof(AuthorizationRequest))]
[JsonSerializable(typeof(AuthorizationRequest.None), TypeInfoPropertyName = "AuthorizationRequestNone")]
[JsonSerializable(typeof(AuthorizationRequest.Pending), TypeInfoPropertyName = "AuthorizationRequestPending")]
[JsonSerializable(typeof(AuthorizationRequest.Answered), TypeInfoPropertyName = "AuthorizationRequestAnswered")]
[JsonSerializable(typeof(ConnectionRefresh))]
[JsonSerializable(typeof(ConnectionRefresh.Idle), TypeInfoPropertyName = "ConnectionRefreshIdle")]
[JsonSerializable(typeof(ConnectionRefresh.Running), TypeInfoPropertyName = "ConnectionRefreshRunning")]
[JsonSerializable(typeof(ConnectionRefresh.Spent))]
[JsonSerializable(typeof(Budget))]
[JsonSerializable(typeof(AuditHeads))]
[JsonSerializable(typeof(DataKeys))]
[JsonSerializable(typeof(MasterKeys))]
[JsonSerializable(typeof(SigningKeys))]
[JsonSerializable(typeof(GroupSession))]
[JsonSerializable(typeof(GroupSession.None), TypeInfoPropertyName = "GroupSessionNone")]
[JsonSerializable(typeof(GroupSession.Live), TypeInfoPropertyName = "GroupSessionLive")]
[JsonSerializable(typeof(GroupSession.Closed), TypeInfoPropertyName = "GroupSessionClosed")]
[JsonSerializable(typeof(AppKey))]
[JsonSerializable(typeof(AppKey.None), TypeInfoPropertyName = "AppKeyNone")]
[JsonSerializable(typeof(AppKey.Valid), TypeInfoPropertyName = "AppKeyValid")]
[JsonSerializable(typeof(AppKey.Revoked), TypeInfoPropertyName = "AppKeyRevokedState")]
[JsonSerializable(typeof(OneUse))]
[JsonSerializable(typeof(OneUse.Unused))]
[JsonSerializable(typeof(OneUse.Used))]
[JsonSerializable(typeof(UploadedFile))]
[JsonSerializable(typeof(UploadedFile.None), TypeInfoPropertyName = "UploadedFileNone")]
[JsonSerializable(typeof(UploadedFile.Processing))]
[JsonSerializable(typeof(UploadedFile.Processed))]
[JsonSerializable(typeof(UploadedFile.Deleted), TypeInfoPropertyName = "UploadedFileDeletedState")]
[JsonSerializable(typeof(Scratchpad))]
[JsonSerializable(typeof(Scratchpad.None), TypeInfoPropertyName = "ScratchpadNone")]
[JsonSerializable(typeof(Scratchpad.Live), TypeInfoPropertyName = "ScratchpadLive")]
[JsonSerializable(typeof(Scratchpad.Deleted), TypeInfoPropertyName = "ScratchpadDeletedState")]
[JsonSerializable(typeof(UniqueName))]
[JsonSerializable(typeof(UniqueName.Free), TypeInfoPropertyName = "UniqueNameFree")]
[JsonSerializable(typeof(UniqueName.Taken))]
[JsonSerializable(typeof(IdempotencyKey))]
[JsonSerializable(typeof(IdempotencyKey.Free))]
[JsonSerializable(typeof(IdempotencyKey.Claimed))]
[JsonSerializable(typeof(ApiToken))]
[JsonSerializable(typeof(ApiToken.None), TypeInfoPropertyName = "ApiTokenNone")]
[JsonSerializable(typeof(ApiToken.Valid))]
[JsonSerializable(typeof(ApiToken.Revoked))]
[JsonSerializable(typeof(Operators))]
sealed partial class EventJsonContext : JsonSerializerContext;
