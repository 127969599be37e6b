using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>Body of <c>POST /api/v1/memories</c>.</summary>
/// <param name="Content">1 to 4 000 characters, not blank.</param>
/// <param name="ProjectId">The project whose runs alone retrieve it; null: every run may.</param>
/// <param name="Subject">The data subject whose texts it has: they are sealed under a key of theirs, and can be erased. It never changes. Null: nobody.</param>
public sealed record NewMemory([property: NeverNull] string? Content, string? ProjectId = null, string? Subject = null) : IRequestBody<NewMemory>
{
    public static JsonTypeInfo<NewMemory> Json => PlatformJson.Default.NewMemory;

    public void Validate(ValidationErrors errors)
    {
        SubjectField.Validate(Subject, errors);
        MemoryFields.ValidateContent(Content, errors);
    }
}

/// <summary>Body of <c>PATCH /api/v1/memories/{id}</c>. What is left out stays.</summary>
public sealed record MemoryChanges([property: NeverNull, JsonConverter(typeof(OptionalTextConverter))] Optional<string> Content = default) : IRequestBody<MemoryChanges>
{
    public static JsonTypeInfo<MemoryChanges> Json => PlatformJson.Default.MemoryChanges;

    public void Validate(ValidationErrors errors)
    {
        if (Content.IsGiven)
        {
            MemoryFields.ValidateContent(Content.Value, errors);
        }
    }
}

/// <summary>A fact that outlasts its conversation.</summary>
/// <param name="ProjectId">The project whose runs alone retrieve it; null: every run may.</param>
/// <param name="Source">Who said it first, whoever has changed it since.</param>
public sealed record PlatformMemory(
    [property: JsonPropertyName("id")] MemoryKey MemoryId, string Content, ProjectKey? ProjectId, [property: MemorySource] string Source, DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt);

/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record PlatformMemoryList(string Object, IReadOnlyList<PlatformMemory> Data, long Total, long Limit, long Offset, bool HasMore);

/// <summary>The members that both bodies have.</summary>
static class MemoryFields
{
    public static void ValidateContent(string? content, ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(content) || content.Length > Limits.MemoryCharsMax)
        {
            errors.Add("$.content", $"A content of 1 to {Limits.MemoryCharsMax} characters is required, and must not be blank: a longer one would never fit a prompt.");
        }
    }
}

static class PlatformMemoryEndpoints
{
    static readonly IdQuery OfProject = new("project_id", "Those of this project, in place of the global ones.");
    static readonly ChoiceQuery OfSource = new("source", [Memories.OfUser, Memories.OfAgent, "all"], "all", "Only from there.", "MemorySourceFilter");

    public static void MapPlatformMemories(this IEndpointRouteBuilder routes)
    {
        var memories = routes.MapGroup("/memories").WithTags("Memories");
        memories.MapPost("", Create).WithName("createMemory").RequireMember()
            .WithSummary("State a fact for the runs of a project, or for all")
            .Produces<PlatformMemory>(201).Refuses(400, 404, 409, 413, 415, 422, 507);
        memories.MapGet("", List).WithName("listFacts")
            .WithSummary("List the global facts, or those of a project, newest first")
            .Takes(OfProject).Takes(OfSource).Takes(Lists.Limit).Takes(Lists.Offset)
            .Produces<PlatformMemoryList>().Refuses(404, 422);
        memories.MapGet("/{memory_id}", Get).WithName("getFact")
            .WithSummary("Show a fact")
            .Produces<PlatformMemory>().Refuses(404, 422);
        memories.MapPatch("/{memory_id}", Change).WithName("changeMemory").RequireMember()
            .WithSummary("Change a fact; the next retrieval finds it as it is then")
            .Produces<PlatformMemory>().Refuses(400, 404, 409, 413, 415, 422, 507);
        memories.MapDelete("/{memory_id}", Delete).WithName("deleteMemory").RequireMember()
            .WithSummary("Delete a fact; no retrieval finds it any more, and the log keeps what runs were told")
            .Produces(204).Refuses(404, 409, 422);
    }

    static async Task<IResult> Create(
        Body<NewMemory> body, Caller caller, ICommandExecutor commands, Subjects subjects, CommandAnswers answers, TenantUsage usage, IBlobs blobs, TimeProvider clock,
        CancellationToken ct)
    {
        ProjectKey? project = body.Value.ProjectId is { } id ? PathIds.Key<ProjectKey>(id, "$.project_id") : null;
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var memory = MemoryKey.New(clock.GetUtcNow());
        var (subject, erased) = await subjects.Of(caller.Org, caller.Actor, body.Value.Subject, ct);
        if (erased is not null)
        {
            return ErrorResult.Of(erased);
        }
        var create = new CreateMemory(memory, Content.Of(body.Value.Content!), project is { IsGeneral: true } ? null : project, body.Key, subject);
        var result = await commands.Execute(caller.Org, caller.Origin, create, ct);
        return await answers.Of(caller.Org, result, Memory.Aggregate.Stream(memory), body.Key, after => Shown(201, after, blobs, ct), ct);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, IRows rows, IBlobs blobs, CancellationToken ct)
    {
        var (limit, offset, source) = (Lists.Limit.Read(http), Lists.Offset.Read(http), OfSource.Read(http));
        var project = OfProject.Read<ProjectKey>(http) ?? ProjectKey.General;
        if (await ProjectEndpoints.Find(caller.Org, project, rows, ct) is null)
        {
            return ErrorResult.NotFound("project");
        }
        var query = new RowQuery(project.Value, source == OfSource.Default ? null : source, (int)limit, Owner: Memories.Owner);
        var page = await rows.Page(caller.Org, MemoryPlaces.Model.Table, query, offset, ct);
        var found = (await rows.Get(caller.Org, Memories.Model.Table, [.. page.Rows.Select(row => row.Key)], ct)).ToDictionary(row => row.Key);
        var (shown, room) = (new List<PlatformMemory>(), new ListRoom());
        foreach (var row in page.Rows.Select(place => found.GetValueOrDefault(place.Key)).OfType<Row>())
        {
            var memory = Memories.Model.Read(row.Json.Span);
            if (!room.Takes(row, memory.Text))
            {
                break;
            }
            shown.Add(await Details(memory, blobs, ct));
        }
        return JsonResult.Of(200, new("list", shown, page.Total, limit, offset, offset + shown.Count < page.Total), PlatformJson.Answers.PlatformMemoryList);
    }

    static async Task<IResult> Get(PathKey<MemoryKey> memory, Caller caller, IRows rows, IBlobs blobs, CancellationToken ct) =>
        await rows.Find(caller, Memories.Model, memory.Key.Value, ct) is { Row: { Kind: Memory.Fact } fact }
            ? JsonResult.Of(200, await Details(fact, blobs, ct), PlatformJson.Answers.PlatformMemory)
            : ErrorResult.NotFound("memory");

    static async Task<IResult> Change(
        PathKey<MemoryKey> memory, Body<MemoryChanges> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, TenantUsage usage, IBlobs blobs,
        CancellationToken ct)
    {
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var change = new ChangeMemory(memory.Key, body.Value.Content.Value is { } text ? Content.Of(text) : null, body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, change, ct);
        return await answers.Of(caller.Org, result, Memory.Aggregate.Stream(memory.Key), body.Key, after => Shown(200, after, blobs, ct), ct);
    }

    static async Task<IResult> Delete(PathKey<MemoryKey> memory, Caller caller, ICommandExecutor commands, CancellationToken ct) =>
        await commands.Execute(caller.Org, caller.Origin, new DeleteMemory(memory.Key), ct) is { Refused: { } refused } ? ErrorResult.Of(refused) : TypedResults.NoContent();

    static async ValueTask<JsonResult<PlatformMemory>> Shown(int status, StreamResult after, IBlobs blobs, CancellationToken ct)
    {
        var memory = after.Row(Memories.Model);
        return JsonResult.Of(status, await Details(memory, blobs, ct), PlatformJson.Answers.PlatformMemory) with
        {
            Location = status == 201 ? $"/api/v1/memories/{memory.MemoryId}" : null,
        };
    }

    static async ValueTask<PlatformMemory> Details(MemoryRow memory, IBlobs blobs, CancellationToken ct) => new(
        memory.MemoryId, await blobs.Text(memory.Text, ct), memory.ShownProject, memory.Source, memory.CreatedAt, memory.UpdatedAt);
}
