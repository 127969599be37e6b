using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Works;

/// <summary>Body of <c>POST /myworks</c>.</summary>
/// <param name="Bucket"><c>brand_assets</c> (or <c>brand</c>), <c>listings</c> (<c>listing</c>) or <c>transactions</c> (<c>transaction</c>, <c>deal</c>, <c>deals</c>).</param>
/// <param name="Label">1 to 500 characters.</param>
/// <param name="Payload">Any JSON object, nested at most 1 000 levels. It comes back as it was sent.</param>
/// <param name="Metadata">Any JSON object of at most 64 KiB, for lists. It comes back as it was sent.</param>
/// <param name="Preview">At most 65 536 characters, of which the first 2 000 are searched.</param>
/// <param name="Tags">At most 50, of 1 to 100 characters each.</param>
/// <param name="Subject">The data subject whose texts it has: they are sealed under a key of theirs, and can be erased. It never changes. Null: nobody.</param>
public sealed record NewWork(
    [property: NeverNull] string? Bucket, [property: NeverNull] string? Label,
    [property: NeverNull, JsonConverter(typeof(GivenElementConverter))] JsonElement? Payload,
    [property: JsonConverter(typeof(GivenElementConverter))] JsonElement? Metadata = null, string? Preview = null, IReadOnlyList<string>? Tags = null,
    string? Subject = null)
    : IRequestBody<NewWork>
{
    public static JsonTypeInfo<NewWork> Json => WorksJson.Default.NewWork;

    public static IReadOnlyDictionary<string, int> OpaqueMembers => WorkFields.Opaque;

    public void Validate(ValidationErrors errors)
    {
        if (Bucket is null || WorkBuckets.Find(Bucket) is null)
        {
            errors.Add("$.bucket", $"Must be one of {string.Join(", ", WorkBuckets.All)}.");
        }
        SubjectField.Validate(Subject, errors);
        WorkFields.ValidateLabel(Label, errors);
        WorkFields.ValidatePayload(Payload, errors);
        WorkFields.ValidateMetadata(Metadata, errors);
        WorkFields.ValidatePreview(Preview, errors);
        WorkFields.ValidateTags(Tags, errors);
    }

    public WorkCard Card() => new(Label!, WorkFields.Metadata(Metadata), Preview, Tags?.ToImmutableList());
}

/// <summary>Body of <c>PATCH /myworks/{id}</c>. A member that is left out keeps its value; null clears <c>metadata</c>, <c>preview</c> and <c>tags</c>.</summary>
public sealed record WorkChanges(
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter))] Optional<string> Label = default,
    [property: JsonConverter(typeof(GivenElementConverter))] JsonElement? Metadata = null,
    [property: NeverNull, JsonConverter(typeof(GivenElementConverter))] JsonElement? Payload = null,
    [property: JsonConverter(typeof(OptionalTextConverter))] Optional<string> Preview = default,
    [property: JsonConverter(typeof(OptionalTextsConverter))] Optional<IReadOnlyList<string>> Tags = default)
    : IRequestBody<WorkChanges>
{
    public static JsonTypeInfo<WorkChanges> Json => WorksJson.Default.WorkChanges;

    public static IReadOnlyDictionary<string, int> OpaqueMembers => WorkFields.Opaque;

    public void Validate(ValidationErrors errors)
    {
        if (Label.IsGiven)
        {
            WorkFields.ValidateLabel(Label.Value, errors);
        }
        if (Payload is not null)
        {
            WorkFields.ValidatePayload(Payload, errors);
        }
        WorkFields.ValidateMetadata(Metadata, errors);
        WorkFields.ValidatePreview(Preview.Value, errors);
        WorkFields.ValidateTags(Tags.Value, errors);
    }

    /// <param name="payload">Null: as it is.</param>
    public WorkChange Change(Content? payload) => new(
        Label.Value, Metadata is null ? default : Optional<Content>.Of(WorkFields.Metadata(Metadata)), Preview, Tags.Select(tags => tags.ToImmutableList()), payload);
}

/// <summary>Body of <c>POST /myworks/{id}/duplicate</c>.</summary>
/// <param name="Label">Null: that of the work.</param>
public sealed record WorkCopy(string? Label = null) : IRequestBody<WorkCopy>
{
    public static JsonTypeInfo<WorkCopy> Json => WorksJson.Default.WorkCopy;

    public static WorkCopy WhenEmpty { get; } = new();

    public void Validate(ValidationErrors errors)
    {
        if (Label is not null)
        {
            WorkFields.ValidateLabel(Label, errors);
        }
    }
}

/// <param name="Metadata">As it was sent.</param>
public sealed record WorkDetails(
    WorkKey WorkId, [property: WorkBucket] string Bucket, string Label, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] JsonText? Metadata = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Preview = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<string>? Tags = null)
{
    /// <summary>As it was sent.</summary>
    public required JsonText Payload { get; init; }
}

/// <summary>A work without its payload.</summary>
/// <param name="Metadata">As it was sent.</param>
public sealed record WorkSummary(
    WorkKey WorkId, [property: WorkBucket] string Bucket, string Label, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] JsonText? Metadata = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Preview = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<string>? Tags = null);

/// <param name="Ok">True.</param>
public sealed record WorkAnswer(bool Ok, WorkAnswerData Data, string ContractVersion)
{
    public static WorkAnswer Of(WorkDetails work) => new(true, new(work), WorksDialect.Version);
}

public sealed record WorkAnswerData(WorkDetails Work);

/// <param name="Ok">True.</param>
public sealed record WorkListAnswer(bool Ok, WorkListData Data, string ContractVersion)
{
    public static WorkListAnswer Of(IReadOnlyList<WorkSummary> list, string? nextCursor) => new(true, new(list, nextCursor), WorksDialect.Version);
}

/// <param name="List">The last changed first.</param>
/// <param name="NextCursor">For the next page, of works as they were when the first page was read, for an hour; null: this is the last one.</param>
public sealed record WorkListData(IReadOnlyList<WorkSummary> List, string? NextCursor);

/// <param name="Ok">True.</param>
public sealed record WorkDeletedAnswer(bool Ok, WorkDeletedData Data, string ContractVersion)
{
    public static WorkDeletedAnswer Of(WorkKey work) => new(true, new(work), WorksDialect.Version);
}

public sealed record WorkDeletedData(WorkKey WorkId);

/// <summary>An error, in the envelope of contract E.</summary>
/// <param name="Ok">False.</param>
/// <param name="Message">The error's message once more, because the contract's client reads a text here.</param>
public sealed record WorkError(bool Ok, WorkErrorBody Error, string Message, string ContractVersion)
{
    public static ErrorForm Form { get; } = ErrorForm.Of("WorkError", "application/json", WorksJson.Answers.WorkError, Of);

    public static WorkError Of(ErrorResult error, string traceId) =>
        new(false, new(CodeOf(error.Status), error.Detail, new(error.Code, traceId, error.Errors)), error.Detail, WorksDialect.Version);

    /// <summary>The body of every answer while the host starts.</summary>
    public static byte[] Starting() => JsonSerializer.SerializeToUtf8Bytes(
        Of(new(503, "starting", StartingListener.Starting), System.Diagnostics.ActivityTraceId.CreateRandom().ToHexString()), WorksJson.Answers.WorkError);

    /// <summary>The contract's codes by status (contracts/decisions.md, "Errors").</summary>
    static string CodeOf(int status) => status switch
    {
        401 => "UNAUTHORIZED",
        403 => "FORBIDDEN",
        404 => "NOT_FOUND",
        409 => "CONFLICT",
        412 => "PRECONDITION_FAILED",
        413 => "PAYLOAD_TOO_LARGE",
        429 => "RATE_LIMITED",
        >= 500 => "INTERNAL",
        _ => "VALIDATION_ERROR",
    };
}

/// <param name="Code">One of the contract's few words.</param>
public sealed record WorkErrorBody(string Code, string Message, WorkErrorDetails Details);

/// <param name="Code">The stable code that other contracts answer (docs/errors.md).</param>
/// <param name="Errors">The errors of a 422, by JSON path, query parameter or header.</param>
public sealed record WorkErrorDetails(
    string Code, string TraceId,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyDictionary<string, IReadOnlyList<string>>? Errors = null);

/// <summary>The members that several bodies have.</summary>
static class WorkFields
{
    /// <summary>Metadata has the nesting of all JSON, of which the body itself is one level.</summary>
    public static IReadOnlyDictionary<string, int> Opaque { get; } =
        new Dictionary<string, int> { ["payload"] = Limits.PayloadDepthMax, ["metadata"] = JsonValidator.DepthMax - 1 };

    public static void ValidateLabel(string? label, ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(label) || label.Length > Limits.WorkLabelCharsMax)
        {
            errors.Add("$.label", $"A label of 1 to {Limits.WorkLabelCharsMax} characters is required, and must not be blank.");
        }
    }

    public static void ValidatePayload(JsonElement? payload, ValidationErrors errors)
    {
        if (payload is not { ValueKind: JsonValueKind.Object })
        {
            errors.Add("$.payload", "A JSON object is required.");
        }
    }

    public static void ValidateMetadata(JsonElement? metadata, ValidationErrors errors)
    {
        if (metadata is { ValueKind: not (JsonValueKind.Object or JsonValueKind.Null) })
        {
            errors.Add("$.metadata", "Must be a JSON object.");
        }
        else if (metadata is { } given && Encoding.UTF8.GetByteCount(given.GetRawText()) > Limits.MetadataBytesMax)
        {
            errors.Add("$.metadata", $"Has at most {Limits.MetadataBytesMax} bytes.");
        }
    }

    public static void ValidatePreview(string? preview, ValidationErrors errors)
    {
        if (preview?.Length > Limits.WorkPreviewCharsMax)
        {
            errors.Add("$.preview", $"A preview has at most {Limits.WorkPreviewCharsMax} characters.");
        }
    }

    public static void ValidateTags(IReadOnlyList<string?>? tags, ValidationErrors errors)
    {
        if (tags?.Count > Limits.WorkTagsMax)
        {
            errors.Add("$.tags", $"A list has at most {Limits.WorkTagsMax} tags.");
            return;
        }
        foreach (var (place, tag) in (tags ?? []).Index())
        {
            if (string.IsNullOrWhiteSpace(tag) || tag.Length > Limits.WorkTagCharsMax)
            {
                errors.Add($"$.tags[{place}]", $"A tag has 1 to {Limits.WorkTagCharsMax} characters, and must not be blank.");
            }
        }
    }

    /// <summary>The content of metadata; null: there is none.</summary>
    public static Content? Metadata(JsonElement? metadata) =>
        metadata is { ValueKind: JsonValueKind.Object } given ? Content.Of(given.GetRawText()) : null;
}
