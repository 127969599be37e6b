using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>Body of <c>POST /skills</c>.</summary>
/// <param name="Name"><c>[A-Za-z0-9_-]{1,64}</c>, unique within the tenant.</param>
/// <param name="PromptTemplate">Text in which <c>{name}</c> is a parameter and a brace is written twice.</param>
/// <param name="Metadata">Any object.</param>
public sealed record NewSkill(
    [property: NeverNull] string? Name, [property: NeverNull] string? PromptTemplate, string? Description = null, JsonElement? Metadata = null) : IRequestBody<NewSkill>
{
    public static JsonTypeInfo<NewSkill> Json => AgentServiceJson.Default.NewSkill;

    public void Validate(ValidationErrors errors)
    {
        if (Name is null || !Skill.IsName(Name))
        {
            errors.Add("$.name", $"A name of 1 to {Limits.SkillNameCharsMax} letters, digits, underscores and hyphens is required.");
        }
        SkillFields.Validate(PromptTemplate, Description, Metadata, errors);
    }
}

/// <summary>Body of <c>POST /skills/{id}/versions</c>. An omitted field keeps its value.</summary>
public sealed record NewSkillVersion([property: NeverNull] string? PromptTemplate, string? Description = null, JsonElement? Metadata = null) : IRequestBody<NewSkillVersion>
{
    public static JsonTypeInfo<NewSkillVersion> Json => AgentServiceJson.Default.NewSkillVersion;

    public void Validate(ValidationErrors errors) => SkillFields.Validate(PromptTemplate, Description, Metadata, errors);
}

/// <summary>Body of <c>POST /skills/{id}/run</c>.</summary>
/// <param name="Version">Null: the latest.</param>
/// <param name="Params">Strings, numbers and booleans by name; others than the template's are ignored.</param>
/// <param name="Model">Name of a configured model; null: the session's, or else the host's default.</param>
public sealed record NewSkillRun(
    [property: NeverNull] string? SessionId, int? Version = null, JsonElement? Params = null, string? IdempotencyKey = null,
    bool? WaitForCompletion = null, double? WaitTimeoutSeconds = null, string? Model = null)
    : IRequestBody<NewSkillRun>
{
    public static JsonTypeInfo<NewSkillRun> Json => AgentServiceJson.Default.NewSkillRun;

    public static IReadOnlyList<string> WaitFields => Waiting.Fields;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrEmpty(SessionId))
        {
            errors.Add("$.session_id", "A session is required.");
        }
        if (Params is { ValueKind: not (JsonValueKind.Object or JsonValueKind.Null) })
        {
            errors.Add("$.params", "Must be an object.");
        }
        Waiting.Validate(IdempotencyKey, WaitTimeoutSeconds, errors);
    }
}

/// <param name="PromptTemplate">Template of the latest version; null: it has instructions only.</param>
/// <param name="RequiredParams">Sorted.</param>
/// <param name="Id">The skill id.</param>
/// <param name="LatestPromptTemplate">The same as <c>prompt_template</c>.</param>
/// <param name="LatestRequiredParams">The same as <c>required_params</c>.</param>
public sealed record SkillDetails(
    SkillKey SkillId, string Name, string Description, JsonElement Metadata, int LatestVersion, string? PromptTemplate, IReadOnlyList<string> RequiredParams,
    DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt, SkillKey Id, string? LatestPromptTemplate, IReadOnlyList<string> LatestRequiredParams,
    DateTimeOffset LatestVersionCreatedAt);

/// <param name="NextCursor">Of the page behind this one; null: there is none.</param>
public sealed record SkillList(IReadOnlyList<SkillDetails> Skills, string? NextCursor);

/// <summary>A version of a skill.</summary>
/// <param name="Id">The skill id.</param>
/// <param name="Name">Name of the skill in this version.</param>
/// <param name="LatestVersion">Number of the skill's latest version.</param>
public sealed record SkillVersionDetails(
    SkillKey SkillId, int Version, string? PromptTemplate, IReadOnlyList<string> RequiredParams, string Description, JsonElement Metadata, DateTimeOffset CreatedAt,
    SkillKey Id, string Name, int LatestVersion);

public sealed record SkillVersionList(SkillKey SkillId, IReadOnlyList<SkillVersionDetails> Versions);

/// <summary>A turn's answer with the skill's version and the prompt that it gave.</summary>
public sealed record SkillRunAnswer(
    RunKey RunId, SessionKey SessionId, [property: RunStatus] string Status, Content? Reply, RunErrorShape? Error, IReadOnlyList<ApprovalKey> PendingApprovalIds,
    long TotalTokens, int ToolCalls, decimal CostUsd, DateTimeOffset CreatedAt, string? StopReason, bool Reused, SkillKey SkillId, int SkillVersion,
    Content RenderedPrompt, RunDetails Run)
{
    /// <summary>The skill and the prompt are the run's own, so that a repeat shows those of the first request.</summary>
    public static SkillRunAnswer Of(RunRow run, bool reused) => new(
        run.RunId, run.SessionId, run.Status, run.Reply, RunErrorShape.Of(run.Error), run.PendingApprovalIds, run.TotalTokens, run.ToolCalls, run.CostUsd,
        run.CreatedAt, run.StopReason, reused, run.Source!.SkillId!.Value, run.Source.SkillVersion!.Value, run.Message, RunDetails.Of(run));
}

static class SkillFields
{
    public static void Validate(string? template, string? description, JsonElement? metadata, ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(template))
        {
            errors.Add("$.prompt_template", "A template is required and must not be blank.");
        }
        else if (Encoding.UTF8.GetByteCount(template) > Limits.MessageBytesMax)
        {
            errors.Add("$.prompt_template", $"A template has at most {Limits.MessageBytesMax} bytes.");
        }
        else if (SkillTemplate.Parse(template).Fault is { } fault)
        {
            errors.Add("$.prompt_template", fault);
        }
        if (description?.Length > Limits.DescriptionCharsMax)
        {
            errors.Add("$.description", $"A description has at most {Limits.DescriptionCharsMax} characters.");
        }
        MetadataField.IsValid(metadata, errors);
    }
}

static class SkillEndpoints
{
    public static void MapSkills(this IEndpointRouteBuilder routes)
    {
        var skills = routes.MapGroup("/skills").WithTags("Skills");
        skills.MapPost("", Create).WithName("createSkill").RequireMember()
            .WithSummary("Create a skill: a prompt template with parameters")
            .Produces<SkillDetails>(201).Refuses(400, 409, 413, 415, 422, 507);
        skills.MapGet("", List).WithName("listSkills")
            .WithSummary("List skills by their latest versions, newest first")
            .Takes(NameQuery.Words).Takes(Lists.Limit).Takes(ListCursors.Cursor)
            .TakesAsOf()
            .Produces<SkillList>().Refuses(422);
        skills.MapGet("/{skill_id}", Get).WithName("getSkill")
            .WithSummary("Show a skill by its latest version")
            .TakesAsOf()
            .Produces<SkillDetails>().Refuses(404, 422);
        skills.MapDelete("/{skill_id}", Delete).WithName("deleteSkill").RequireMember()
            .WithSummary("Delete a skill; runs that used it still say which version it was")
            .Produces(204).Refuses(404, 422);
        skills.MapPost("/{skill_id}/versions", AddVersion).WithName("addSkillVersion").RequireMember()
            .WithSummary("Add a version; those before it stay as they are")
            .Produces<SkillVersionDetails>(201).Refuses(400, 404, 409, 413, 415, 422, 507);
        skills.MapGet("/{skill_id}/versions", Versions).WithName("listSkillVersions")
            .WithSummary("List a skill's versions, newest first")
            .Takes(Lists.Limit)
            .TakesAsOf()
            .Produces<SkillVersionList>().Refuses(404, 422);
        skills.MapGet("/{skill_id}/versions/{version}", Version).WithName("getSkillVersion")
            .WithSummary("Show a version of a skill")
            .TakesAsOf()
            .Produces<SkillVersionDetails>().Refuses(404, 422);
        skills.MapPost("/{skill_id}/run", Run).WithName("runSkill").RequireMember()
            .WithSummary("Put parameters into a skill's template and take it as a session's turn")
            .Produces<SkillRunAnswer>(200).Produces<SkillRunAnswer>(202).Refuses(400, 404, 409, 413, 415, 422, 507);
    }

    static async Task<IResult> Create(
        Body<NewSkill> body, Caller caller, TextCommands commands, CommandAnswers answers, TenantUsage usage, IBlobs blobs, TimeProvider clock, CancellationToken ct)
    {
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var asked = body.Value;
        var template = NamedText.Of(asked.PromptTemplate!);
        var skill = SkillKey.New(clock.GetUtcNow());
        var definition = new SkillDefinition(
            asked.Name!, asked.Description ?? "", CompactJson.Object(asked.Metadata, except: null), template.Content,
            SkillTemplate.Parse(asked.PromptTemplate!).Template!.RequiredParams, null, []);
        var result = await commands.Execute(caller.Org, caller.Origin, new CreateSkill(skill, definition, body.Key), template, ct);
        return await answers.Of(
            caller.Org, result, Skill.Aggregate.Stream(skill), body.Key,
            async after =>
            {
                var created = after.Row(Skills.Model);
                return JsonResult.Of(201, await Details(created, blobs, ct), AgentServiceJson.Answers.SkillDetails) with { Location = $"/skills/{created.SkillId}" };
            },
            ct);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct)
    {
        (var page, view) = ListCursors.Enter(http, view, "skills", NameQuery.Words.Name);
        var limit = (int)Lists.Limit.Read(http);
        var query = new RowQuery(Limit: limit + 1, Before: page.Before, Bytes: PageBytes.Max) { Named = NameQuery.Read(http, Skill.Aggregate.Name) };
        var rows = await view.Rows.List(caller.Org, Skills.Model.Table, query, ct);
        var shown = new List<SkillDetails>();
        var room = new ListRoom();
        foreach (var found in rows)
        {
            var skill = Skills.Model.Read(found.Json.Span);
            if (shown.Count == limit || !room.Takes(found, copies: 2, skill.Definition.PromptTemplate, skill.Definition.Instructions))
            {
                break;
            }
            shown.Add(await Details(skill, blobs, ct));
        }
        return JsonResult.Of(200, new(shown, page.Next(http, rows, shown.Count)), AgentServiceJson.Answers.SkillList);
    }

    static async Task<IResult> Get(PathKey<SkillKey> skill, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct) =>
        await view.Rows.Get(caller.Org, Skills.Model.Table, skill.Key.Value, ct) is { } row
            ? JsonResult.Of(200, await Details(Skills.Model.Read(row.Json.Span), blobs, ct), AgentServiceJson.Answers.SkillDetails)
            : ErrorResult.NotFound("skill");

    static async Task<IResult> Delete(PathKey<SkillKey> skill, Caller caller, ICommandExecutor commands, CancellationToken ct) =>
        await commands.Execute(caller.Org, caller.Origin, new DeleteSkill(skill.Key), ct) is { Refused: { } refused } ? ErrorResult.Of(refused) : TypedResults.NoContent();

    static async Task<IResult> AddVersion(
        PathKey<SkillKey> skill, Body<NewSkillVersion> body, Caller caller, TextCommands commands, CommandAnswers answers, TenantUsage usage, IBlobs blobs,
        CancellationToken ct)
    {
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var asked = body.Value;
        var template = NamedText.Of(asked.PromptTemplate!);
        var change = new SkillChange(
            Description: asked.Description, Metadata: asked.Metadata is { ValueKind: JsonValueKind.Object } given ? CompactJson.Object(given, except: null) : null,
            PromptTemplate: template.Content, RequiredParams: SkillTemplate.Parse(asked.PromptTemplate!).Template!.RequiredParams);
        var result = await commands.Execute(caller.Org, caller.Origin, new AddSkillVersion(skill.Key, change, body.Key), template, ct);
        return await answers.Of(
            caller.Org, result, Skill.Aggregate.Stream(skill.Key), body.Key,
            async after =>
            {
                var latest = after.Row(Skills.Model).LatestVersion;
                var version = after.Row(SkillVersions.Model, SkillVersions.KeyOf(skill.Key, latest));
                return JsonResult.Of(201, await Details(version, latest, blobs, ct), AgentServiceJson.Answers.SkillVersionDetails) with
                {
                    Location = $"/skills/{version.SkillId}/versions/{version.Version}",
                };
            },
            ct);
    }

    static async Task<IResult> Versions(PathKey<SkillKey> skill, HttpContext http, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct)
    {
        var limit = (int)Lists.Limit.Read(http);
        if (await view.Rows.Get(caller.Org, Skills.Model.Table, skill.Key.Value, ct) is not { } of)
        {
            return ErrorResult.NotFound("skill");
        }
        var latest = Skills.Model.Read(of.Json.Span).LatestVersion;
        var shown = new List<SkillVersionDetails>();
        var room = new ListRoom();
        foreach (var found in await view.Rows.List(caller.Org, SkillVersions.Model.Table, new(Scope: skill.Key.Value, Limit: limit, Bytes: PageBytes.Max), ct))
        {
            var version = SkillVersions.Model.Read(found.Json.Span);
            if (!room.Takes(found, version.Definition.PromptTemplate, version.Definition.Instructions))
            {
                break;
            }
            shown.Add(await Details(version, latest, blobs, ct));
        }
        return JsonResult.Of(200, new(skill.Key, shown), AgentServiceJson.Answers.SkillVersionList);
    }

    static async Task<IResult> Version(PathKey<SkillKey> skill, VersionInPath number, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct) =>
        await view.Rows.Get(caller.Org, Skills.Model.Table, skill.Key.Value, ct) is not { } of ? ErrorResult.NotFound("skill")
        : await view.Rows.Get(caller.Org, SkillVersions.Model.Table, SkillVersions.KeyOf(skill.Key, number.Number), ct) is { } row
            ? JsonResult.Of(
                200, await Details(SkillVersions.Model.Read(row.Json.Span), Skills.Model.Read(of.Json.Span).LatestVersion, blobs, ct),
                AgentServiceJson.Answers.SkillVersionDetails)
            : ErrorResult.NotFound("version of the skill");

    static async Task<IResult> Run(
        PathKey<SkillKey> skill, Body<NewSkillRun> body, Caller caller, SkillRuns runs, TurnWaiter waiter, HttpContext http, CancellationToken ct)
    {
        var asked = body.Value;
        var session = PathIds.Key<SessionKey>(asked.SessionId!, "$.session_id");
        var (turn, refused) = await runs.Submit(
            caller.Org, caller.Origin, session, new(skill.Key, asked.Version, asked.Params), asked.Model, asked.IdempotencyKey, body.Key, ct);
        if (turn is null)
        {
            return ErrorResult.Of(refused!);
        }
        var wait = waiter.Time(http, asked.WaitForCompletion, asked.WaitTimeoutSeconds);
        return waiter.Answer(caller.Org, turn, wait, run => SkillRunAnswer.Of(run, turn.Reused), AgentServiceJson.Answers.SkillRunAnswer, ct);
    }

    static async ValueTask<SkillDetails> Details(SkillRow skill, IBlobs blobs, CancellationToken ct)
    {
        var template = await Template(skill.Definition, blobs, ct);
        // Only a new version changes a skill, so that the skill's last change is the creation of its latest version.
        return new(
            skill.SkillId, skill.Definition.Name, skill.Definition.Description, JsonElement.Parse(skill.Definition.Metadata), skill.LatestVersion, template,
            skill.Definition.RequiredParams, skill.CreatedAt, skill.UpdatedAt, skill.SkillId, template, skill.Definition.RequiredParams, skill.UpdatedAt);
    }

    static async ValueTask<SkillVersionDetails> Details(SkillVersionRow version, int latest, IBlobs blobs, CancellationToken ct) => new(
        version.SkillId, version.Version, await Template(version.Definition, blobs, ct), version.Definition.RequiredParams, version.Definition.Description,
        JsonElement.Parse(version.Definition.Metadata), version.CreatedAt, version.SkillId, version.Definition.Name, latest);

    static async ValueTask<string?> Template(SkillDefinition definition, IBlobs blobs, CancellationToken ct) =>
        definition.PromptTemplate is { } template ? await blobs.Text(template, ct) : null;
}
