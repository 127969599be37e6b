using System.Collections.Immutable;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

using Microsoft.Extensions.AI;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>Body of <c>POST /api/v1/projects</c>.</summary>
/// <param name="Name">1 to 200 characters; several projects may have one name.</param>
/// <param name="ConnectorIds">Connections that its conversations may use; each must exist.</param>
/// <param name="SkillIds">Skills for all of its conversations; each must exist.</param>
/// <param name="Model">Name of a configured model, for turns that name none; null: the host's default.</param>
public sealed record NewProject(
    [property: NeverNull] string? Name, string? Description = null, IReadOnlyList<string>? ConnectorIds = null, IReadOnlyList<string>? SkillIds = null,
    string? Model = null)
    : IRequestBody<NewProject>
{
    public static JsonTypeInfo<NewProject> Json => PlatformJson.Default.NewProject;

    public void Validate(ValidationErrors errors)
    {
        ProjectFields.ValidateName(Name, errors);
        ProjectFields.ValidateDescription(Description, errors);
        ProjectFields.ValidateIds(ConnectorIds, "$.connector_ids", errors);
        ProjectFields.ValidateIds(SkillIds, "$.skill_ids", errors);
    }

    public ProjectDefinition Definition() => new(Name!, Description, [.. ConnectorIds ?? []], ProjectFields.Skills(SkillIds ?? []), Model);
}

/// <summary>Body of <c>PATCH /api/v1/projects/{id}</c>. A member that is left out keeps its value; null clears <c>description</c> and <c>model</c>.</summary>
/// <param name="ConnectorIds">In place of the current ones; each must exist.</param>
/// <param name="SkillIds">In place of the current ones; each must exist.</param>
public sealed record ProjectChanges(
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter))] Optional<string> Name = default,
    [property: JsonConverter(typeof(OptionalTextConverter))] Optional<string> Description = default,
    [property: NeverNull, JsonConverter(typeof(OptionalTextsConverter))] Optional<IReadOnlyList<string>> ConnectorIds = default,
    [property: NeverNull, JsonConverter(typeof(OptionalTextsConverter))] Optional<IReadOnlyList<string>> SkillIds = default,
    [property: JsonConverter(typeof(OptionalTextConverter))] Optional<string> Model = default)
    : IRequestBody<ProjectChanges>
{
    public static JsonTypeInfo<ProjectChanges> Json => PlatformJson.Default.ProjectChanges;

    public void Validate(ValidationErrors errors)
    {
        if (Name.IsGiven)
        {
            ProjectFields.ValidateName(Name.Value, errors);
        }
        ProjectFields.ValidateDescription(Description.Value, errors);
        foreach (var (ids, path) in ((Optional<IReadOnlyList<string>>, string)[])[(ConnectorIds, "$.connector_ids"), (SkillIds, "$.skill_ids")])
        {
            if (ids is { IsGiven: true, Value: null })
            {
                errors.Add(path, "Must be a list; an empty one names none.");
            }
            ProjectFields.ValidateIds(ids.Value, path, errors);
        }
    }

    public ProjectChange Change() =>
        new(Name.Value, Description, ConnectorIds.Value?.ToImmutableList(), SkillIds.Value is { } ids ? ProjectFields.Skills(ids) : null, Model);
}

/// <param name="ProjectId">The project's id; <c>proj_</c> and 26 zeros is the built-in project "General", which every tenant has.</param>
public sealed record ProjectDetails(
    [property: JsonPropertyName("id")] ProjectKey ProjectId, string Name, string? Description, IReadOnlyList<string> ConnectorIds, IReadOnlyList<SkillKey> SkillIds,
    string? Model, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt)
{
    public static ProjectDetails Of(ProjectRow project) => new(
        project.ProjectId, project.Definition.Name, project.Definition.Description, project.Definition.ConnectorIds, project.Definition.SkillIds,
        project.Definition.Model, project.CreatedAt, project.UpdatedAt);
}

/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record ProjectList(string Object, IReadOnlyList<ProjectDetails> Data, long Total, long Limit, long Offset, bool HasMore);

/// <summary>The members that both bodies have.</summary>
static class ProjectFields
{
    public static void ValidateName(string? name, ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(name) || name.Length > Limits.ProjectNameCharsMax)
        {
            errors.Add("$.name", $"A name of 1 to {Limits.ProjectNameCharsMax} characters is required, and must not be blank.");
        }
    }

    public static void ValidateDescription(string? description, ValidationErrors errors)
    {
        if (description?.Length > Limits.DescriptionCharsMax)
        {
            errors.Add("$.description", $"A description has at most {Limits.DescriptionCharsMax} characters.");
        }
    }

    public static void ValidateIds(IReadOnlyList<string?>? ids, string path, ValidationErrors errors)
    {
        if (ids?.Count > Limits.ProjectIdsMax)
        {
            errors.Add(path, $"A list has at most {Limits.ProjectIdsMax} ids.");
            return;
        }
        foreach (var (place, id) in (ids ?? []).Index())
        {
            if (string.IsNullOrWhiteSpace(id) || id.Length > Limits.IdCharsMax)
            {
                errors.Add($"{path}[{place}]", $"An id has 1 to {Limits.IdCharsMax} characters.");
            }
            else if (ids!.Take(place).Contains(id))
            {
                errors.Add($"{path}[{place}]", "Is named twice.");
            }
        }
    }

    /// <summary>The keys of skills.</summary>
    /// <exception cref="UnreadableRequestException">No skill can have such an id.</exception>
    public static ImmutableList<SkillKey> Skills(IReadOnlyList<string> ids) => [.. ids.Select((id, place) =>
        SkillKey.Parse(id) ?? throw new UnreadableRequestException(ErrorResult.Invalid($"$.skill_ids[{place}]", "There is no such skill.", "unknown_skill")))];
}

/// <summary>The query parameter by which lists are narrowed to a project.</summary>
static class ProjectInQuery
{
    public static IdQuery Parameter { get; } = new("project_id", "Only of this project.");

    /// <summary>The project; null: any. Or the answer when there is no such project.</summary>
    public static async ValueTask<(ProjectKey? Project, ErrorResult? Missing)> Find(HttpContext http, Caller caller, IRows rows, CancellationToken ct) =>
        Parameter.Read<ProjectKey>(http) is not { } project ? (null, null)
        : await ProjectEndpoints.Find(caller.Org, project, rows, ct) is null ? (null, ErrorResult.NotFound("project"))
        : (project, null);
}

static class ProjectEndpoints
{
    public static void MapProjects(this IEndpointRouteBuilder routes)
    {
        var projects = routes.MapGroup("/projects").WithTags("Projects");
        projects.MapPost("", Create).WithName("createProject").RequireMember()
            .WithSummary("Create a project")
            .Produces<ProjectDetails>(201).Refuses(400, 409, 413, 415, 422, 507);
        projects.MapGet("", List).WithName("listProjects")
            .WithSummary("List projects, newest first; the built-in one is the last")
            .Takes(Lists.LimitOfPage).Takes(Lists.Offset)
            .Produces<ProjectList>().Refuses(422);
        projects.MapGet("/{project_id}", Get).WithName("getProject")
            .WithSummary("Show a project")
            .Produces<ProjectDetails>().Refuses(404, 422);
        projects.MapPatch("/{project_id}", Change).WithName("changeProject").RequireMember()
            .WithSummary("Change a project; what is left out stays")
            .Produces<ProjectDetails>().Refuses(400, 404, 409, 413, 415, 422, 507);
        projects.MapDelete("/{project_id}", Delete).WithName("deleteProject").RequireMember()
            .WithSummary("Delete a project and all its conversations; the log keeps what happened")
            .Produces(204).Refuses(404, 409, 422);
    }

    static async Task<IResult> Create(
        Body<NewProject> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, TenantUsage usage, IReadOnlyDictionary<string, IChatClient> models,
        TimeProvider clock, CancellationToken ct)
    {
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        if (ModelCatalog.Unknown(models, body.Value.Model) is { } unknown)
        {
            return ErrorResult.Of(unknown);
        }
        var project = ProjectKey.New(clock.GetUtcNow());
        var result = await commands.Execute(caller.Org, caller.Origin, new CreateProject(project, body.Value.Definition(), body.Key), ct);
        return await answers.Of(caller.Org, result, Project.Aggregate.Stream(project), body.Key, after => Shown(201, after), ct);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, IRows rows, CancellationToken ct)
    {
        var (limit, offset) = (Lists.LimitOfPage.Read(http), Lists.Offset.Read(http));
        var page = await rows.Page(caller.Org, Projects.Model.Table, new(Limit: (int)limit, Bytes: PageBytes.Max), offset, ct);
        var shown = page.Rows.Select(row => ProjectDetails.Of(Projects.Model.Read(row.Json.Span))).ToList();
        if (shown.Count < limit && offset + shown.Count == page.Total)
        {
            shown.Add(ProjectDetails.Of(Projects.General));
        }
        var total = page.Total + 1;
        return JsonResult.Of(200, new("list", shown, total, limit, offset, offset + shown.Count < total), PlatformJson.Answers.ProjectList);
    }

    static async Task<IResult> Get(PathKey<ProjectKey> project, Caller caller, IRows rows, CancellationToken ct) =>
        await Find(caller.Org, project.Key, rows, ct) is { } row
            ? JsonResult.Of(200, ProjectDetails.Of(row), PlatformJson.Answers.ProjectDetails)
            : ErrorResult.NotFound("project");

    static async Task<IResult> Change(
        PathKey<ProjectKey> project, Body<ProjectChanges> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, TenantUsage usage,
        IReadOnlyDictionary<string, IChatClient> models, CancellationToken ct)
    {
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        if (ModelCatalog.Unknown(models, body.Value.Model.Value) is { } unknown)
        {
            return ErrorResult.Of(unknown);
        }
        var result = await commands.Execute(caller.Org, caller.Origin, new ChangeProject(project.Key, body.Value.Change(), body.Key), ct);
        return await answers.Of(caller.Org, result, Project.Aggregate.Stream(project.Key), body.Key, after => Shown(200, after), ct);
    }

    static async Task<IResult> Delete(PathKey<ProjectKey> project, Caller caller, ICommandExecutor commands, ProjectDeletion deletion, CancellationToken ct)
    {
        if (await commands.Execute(caller.Org, caller.Origin, new DeleteProject(project.Key), ct) is { Refused: { } refused })
        {
            return ErrorResult.Of(refused);
        }
        await deletion.Sweep(caller.Org, caller.Origin, project.Key, ct);
        return TypedResults.NoContent();
    }

    /// <summary>Null: there is no such project.</summary>
    public static async ValueTask<ProjectRow?> Find(string org, ProjectKey project, IRows rows, CancellationToken ct) =>
        project.IsGeneral ? Projects.General
        : await rows.Get(org, Projects.Model.Table, project.Value, ct) is { } row ? Projects.Model.Read(row.Json.Span)
        : null;

    static JsonResult<ProjectDetails> Shown(int status, StreamResult after)
    {
        var project = after.Row(Projects.Model);
        return JsonResult.Of(status, ProjectDetails.Of(project), PlatformJson.Answers.ProjectDetails) with
        {
            Location = status == 201 ? $"/api/v1/projects/{project.ProjectId}" : null,
        };
    }
}
