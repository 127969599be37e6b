using System.Collections.Immutable;
using System.Text;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>Body of <c>POST /api/v1/skills</c>.</summary>
/// <param name="Name">Kebab case, 1 to 64 characters, unique within the tenant.</param>
/// <param name="Instructions">Part of the prompt while the skill is active.</param>
/// <param name="Tools">The tools that a run may call while the skill is active; empty: all.</param>
public sealed record NewPlatformSkill(
    [property: NeverNull] string? Name, [property: NeverNull] string? Description, string? Instructions = null, IReadOnlyList<string>? Tools = null)
    : IRequestBody<NewPlatformSkill>
{
    public static JsonTypeInfo<NewPlatformSkill> Json => PlatformJson.Default.NewPlatformSkill;

    public void Validate(ValidationErrors errors)
    {
        PlatformSkillFields.ValidateName(Name, errors);
        PlatformSkillFields.ValidateDescription(Description, errors);
        PlatformSkillFields.ValidateInstructions(Instructions, errors);
        PlatformSkillFields.ValidateTools(Tools, errors);
    }

    public SkillDefinition Definition() => new(Name!, Description!, "{}", null, [], Instructions is null ? null : Content.Of(Instructions), [.. Tools ?? []]);
}

/// <summary>Body of <c>PATCH /api/v1/skills/{id}</c>. A member that is left out keeps its value; null clears <c>instructions</c>.</summary>
/// <param name="Tools">In place of the current ones.</param>
public sealed record PlatformSkillChanges(
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter))] Optional<string> Name = default,
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter))] Optional<string> Description = default,
    [property: JsonConverter(typeof(OptionalTextConverter))] Optional<string> Instructions = default,
    [property: NeverNull, JsonConverter(typeof(OptionalTextsConverter))] Optional<IReadOnlyList<string>> Tools = default)
    : IRequestBody<PlatformSkillChanges>
{
    public static JsonTypeInfo<PlatformSkillChanges> Json => PlatformJson.Default.PlatformSkillChanges;

    public void Validate(ValidationErrors errors)
    {
        if (Name.IsGiven)
        {
            PlatformSkillFields.ValidateName(Name.Value, errors);
        }
        if (Description.IsGiven)
        {
            PlatformSkillFields.ValidateDescription(Description.Value, errors);
        }
        PlatformSkillFields.ValidateInstructions(Instructions.Value, errors);
        if (Tools is { IsGiven: true, Value: null })
        {
            errors.Add("$.tools", "Must be a list; an empty one names none.");
        }
        PlatformSkillFields.ValidateTools(Tools.Value, errors);
    }

    public SkillChange Change() =>
        new(Name.Value, Description.Value, Instructions: Instructions.Select(Content.Of), Tools: Tools.Value?.ToImmutableList());
}

/// <summary>A skill by its latest version.</summary>
/// <param name="Name">A skill of the agent service may have a name that is not kebab case.</param>
/// <param name="Instructions">Null: the skill has none.</param>
/// <param name="Tools">The tools that a run may call while the skill is active; empty: all.</param>
public sealed record PlatformSkillDetails(
    [property: JsonPropertyName("id")] SkillKey SkillId, string Name, string Description, string? Instructions, IReadOnlyList<string> Tools, int LatestVersion,
    DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record PlatformSkillList(string Object, IReadOnlyList<PlatformSkillDetails> Data, long Total, long Limit, long Offset, bool HasMore);

/// <summary>A version of a skill, which never changes.</summary>
/// <param name="SkillId">The skill's id.</param>
public sealed record PlatformSkillVersion(
    [property: JsonPropertyName("id")] SkillKey SkillId, int Version, string Name, string Description, string? Instructions, IReadOnlyList<string> Tools,
    DateTimeOffset CreatedAt);

/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record PlatformSkillVersionList(string Object, IReadOnlyList<PlatformSkillVersion> Data, long Total, long Limit, long Offset, bool HasMore);

/// <summary>The members that both bodies have.</summary>
static class PlatformSkillFields
{
    public static void ValidateName(string? name, ValidationErrors errors)
    {
        if (name is null || !Skill.IsKebabCase(name))
        {
            errors.Add("$.name", $"A name of 1 to {Limits.SkillNameCharsMax} characters in kebab case is required, like weekly-report.");
        }
    }

    public static void ValidateDescription(string? description, ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(description) || description.Length > Limits.DescriptionCharsMax)
        {
            errors.Add("$.description", $"A description of 1 to {Limits.DescriptionCharsMax} characters is required, and must not be blank.");
        }
    }

    public static void ValidateInstructions(string? instructions, ValidationErrors errors)
    {
        if (instructions is not null && Encoding.UTF8.GetByteCount(instructions) > Limits.InstructionsBytesMax)
        {
            errors.Add("$.instructions", $"Instructions have at most {Limits.InstructionsBytesMax} bytes.");
        }
    }

    public static void ValidateTools(IReadOnlyList<string?>? tools, ValidationErrors errors)
    {
        if (tools?.Count > Limits.SkillToolsMax)
        {
            errors.Add("$.tools", $"A skill names at most {Limits.SkillToolsMax} tools.");
            return;
        }
        foreach (var (place, tool) in (tools ?? []).Index())
        {
            if (string.IsNullOrWhiteSpace(tool) || tool.Length > Limits.ToolNameCharsMax)
            {
                errors.Add($"$.tools[{place}]", $"The name of a tool has 1 to {Limits.ToolNameCharsMax} characters.");
            }
            else if (tools!.Take(place).Contains(tool))
            {
                errors.Add($"$.tools[{place}]", "Is named twice.");
            }
        }
    }
}

static class PlatformSkillEndpoints
{
    public static void MapPlatformSkills(this IEndpointRouteBuilder routes)
    {
        var skills = routes.MapGroup("/skills").WithTags("Skills");
        skills.MapPost("", Create).WithName("createRegisteredSkill").RequireMember()
            .WithSummary("Register a skill: instructions for the prompt, and the tools of the runs in which it is active")
            .Produces<PlatformSkillDetails>(201).Refuses(400, 409, 413, 415, 422, 507);
        skills.MapGet("", List).WithName("listRegisteredSkills")
            .WithSummary("List skills by their latest versions, newest first")
            .Takes(Lists.Limit).Takes(Lists.Offset)
            .TakesAsOf()
            .Produces<PlatformSkillList>().Refuses(422);
        skills.MapGet("/{skill_id}", Get).WithName("getRegisteredSkill")
            .WithSummary("Show a skill by its latest version")
            .TakesAsOf()
            .Produces<PlatformSkillDetails>().Refuses(404, 422);
        skills.MapPatch("/{skill_id}", Change).WithName("changeRegisteredSkill").RequireMember()
            .WithSummary("Change a skill: a new version; what is left out stays")
            .Produces<PlatformSkillDetails>().Refuses(400, 404, 409, 413, 415, 422, 507);
        skills.MapGet("/{skill_id}/versions", Versions).WithName("listVersionsOfRegisteredSkill")
            .WithSummary("List a skill's versions, newest first")
            .Takes(Lists.Limit).Takes(Lists.Offset)
            .TakesAsOf()
            .Produces<PlatformSkillVersionList>().Refuses(404, 422);
        skills.MapDelete("/{skill_id}", Delete).WithName("deleteRegisteredSkill").RequireMember()
            .WithSummary("Delete a skill; runs that used it still say which version it was")
            .Produces(204).Refuses(404, 422);
    }

    static async Task<IResult> Create(
        Body<NewPlatformSkill> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, TenantUsage usage, IBlobs blobs, TimeProvider clock,
        CancellationToken ct)
    {
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var skill = SkillKey.New(clock.GetUtcNow());
        var result = await commands.Execute(caller.Org, caller.Origin, new CreateSkill(skill, body.Value.Definition(), body.Key), ct);
        return await answers.Of(caller.Org, result, Skill.Aggregate.Stream(skill), body.Key, after => Shown(201, after, blobs, ct), ct);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct)
    {
        var (limit, offset) = (Lists.Limit.Read(http), Lists.Offset.Read(http));
        var page = await view.Rows.Page(caller.Org, Skills.Model.Table, new(Limit: (int)limit, Bytes: PageBytes.Max), offset, ct);
        var shown = new List<PlatformSkillDetails>();
        foreach (var row in page.Rows)
        {
            shown.Add(await Details(Skills.Model.Read(row.Json.Span), blobs, ct));
        }
        return JsonResult.Of(200, new("list", shown, page.Total, limit, offset, offset + shown.Count < page.Total), PlatformJson.Answers.PlatformSkillList);
    }

    static async Task<IResult> Get(PathKey<SkillKey> skill, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct) =>
        await view.Rows.Get(caller.Org, Skills.Model.Table, skill.Key.Value, ct) is { } row
            ? JsonResult.Of(200, await Details(Skills.Model.Read(row.Json.Span), blobs, ct), PlatformJson.Answers.PlatformSkillDetails)
            : ErrorResult.NotFound("skill");

    static async Task<IResult> Change(
        PathKey<SkillKey> skill, Body<PlatformSkillChanges> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, TenantUsage usage, IBlobs blobs,
        CancellationToken ct)
    {
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var change = new AddSkillVersion(skill.Key, body.Value.Change(), body.Key, OnlyIfDifferent: true);
        var result = await commands.Execute(caller.Org, caller.Origin, change, ct);
        return await answers.Of(caller.Org, result, Skill.Aggregate.Stream(skill.Key), body.Key, after => Shown(200, after, blobs, ct), ct);
    }

    static async Task<IResult> Delete(PathKey<SkillKey> skill, Caller caller, ICommandExecutor commands, CancellationToken ct) =>
        await commands.Execute(caller.Org, caller.Origin, new DeleteSkill(skill.Key), ct) is { Refused: { } refused } ? ErrorResult.Of(refused) : TypedResults.NoContent();

    static async Task<IResult> Versions(PathKey<SkillKey> skill, HttpContext http, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct)
    {
        var (limit, offset) = (Lists.Limit.Read(http), Lists.Offset.Read(http));
        if (await view.Rows.Get(caller.Org, Skills.Model.Table, skill.Key.Value, ct) is null)
        {
            return ErrorResult.NotFound("skill");
        }
        var page = await view.Rows.Page(caller.Org, SkillVersions.Model.Table, new(Scope: skill.Key.Value, Limit: (int)limit, Bytes: PageBytes.Max), offset, ct);
        var shown = new List<PlatformSkillVersion>();
        foreach (var row in page.Rows)
        {
            var version = SkillVersions.Model.Read(row.Json.Span);
            var definition = version.Definition;
            shown.Add(new(
                version.SkillId, version.Version, definition.Name, definition.Description, await Instructions(definition, blobs, ct), definition.Tools, version.CreatedAt));
        }
        return JsonResult.Of(200, new("list", shown, page.Total, limit, offset, offset + shown.Count < page.Total), PlatformJson.Answers.PlatformSkillVersionList);
    }

    static async ValueTask<JsonResult<PlatformSkillDetails>> Shown(int status, StreamResult after, IBlobs blobs, CancellationToken ct)
    {
        var skill = after.Row(Skills.Model);
        return JsonResult.Of(status, await Details(skill, blobs, ct), PlatformJson.Answers.PlatformSkillDetails) with
        {
            Location = status == 201 ? $"/api/v1/skills/{skill.SkillId}" : null,
        };
    }

    static async ValueTask<PlatformSkillDetails> Details(SkillRow skill, IBlobs blobs, CancellationToken ct) => new(
        skill.SkillId, skill.Definition.Name, skill.Definition.Description, await Instructions(skill.Definition, blobs, ct), skill.Definition.Tools, skill.LatestVersion,
        skill.CreatedAt, skill.UpdatedAt);

    static async ValueTask<string?> Instructions(SkillDefinition definition, IBlobs blobs, CancellationToken ct) =>
        definition.Instructions is { } instructions ? await blobs.Text(instructions, ct) : null;
}
