using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Groups;

/// <summary>Body of <c>POST /groups</c>.</summary>
/// <param name="OrgId">
/// The organisation that the group counts for. With tokens it is the caller's own; in local mode any name is kept as it is given. Left out: the caller's own.
/// </param>
/// <param name="Title">1 to 200 characters.</param>
/// <param name="IsPrivate">True: nobody but its members and administrators of the tenant knows of it. Default false: anyone of the organisation may join.</param>
/// <param name="AgentIds">Configured agents. The first one answers messages that address none. Empty or left out: the built-in assistant.</param>
/// <param name="Subject">The data subject whose texts it has: they are sealed under a key of theirs, and can be erased. It never changes. Null: nobody.</param>
public sealed record NewGroup(
    [property: NeverNull] string? Title, string? OrgId = null, bool? IsPrivate = null, IReadOnlyList<string>? AgentIds = null, string? Subject = null)
    : IRequestBody<NewGroup>
{
    public static JsonTypeInfo<NewGroup> Json => GroupsJson.Default.NewGroup;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(Title) || Title.Length > Limits.GroupTitleCharsMax)
        {
            errors.Add("$.title", $"A title of 1 to {Limits.GroupTitleCharsMax} characters is required, and must not be blank.");
        }
        if (OrgId is not null && (string.IsNullOrWhiteSpace(OrgId) || OrgId.Length > Limits.IdCharsMax))
        {
            errors.Add("$.org_id", $"An organisation has 1 to {Limits.IdCharsMax} characters, and must not be blank.");
        }
        SubjectField.Validate(Subject, errors);
        ValidateAgents(AgentIds, errors);
    }

    public static void ValidateAgents(IReadOnlyList<string?>? agents, ValidationErrors errors)
    {
        if (agents?.Count > Limits.GroupAgentsMax)
        {
            errors.Add("$.agent_ids", $"A group has at most {Limits.GroupAgentsMax} agents.");
            return;
        }
        foreach (var (place, id) in (agents ?? []).Index())
        {
            if (string.IsNullOrWhiteSpace(id) || id.Length > Limits.AgentNameCharsMax)
            {
                errors.Add($"$.agent_ids[{place}]", $"An id has 1 to {Limits.AgentNameCharsMax} characters.");
            }
            else if (agents!.Take(place).Contains(id))
            {
                errors.Add($"$.agent_ids[{place}]", "Is named twice.");
            }
        }
    }
}

/// <param name="SessionId">The session in whose feed the conversation stands.</param>
public sealed record GroupAnswer(GroupKey GroupId, [property: GroupStatus] string Status, DateTimeOffset CreatedAt, SessionKey SessionId);

/// <param name="Connected">Somebody is connected as the member, through any host; null in a list, which does not look.</param>
public sealed record GroupMemberDetails(string UserId, [property: GroupRole] string Role, DateTimeOffset JoinedAt, bool? Connected)
{
    /// <param name="connected">The users who are connected; null: nobody has looked.</param>
    public static GroupMemberDetails Of(GroupMember member, IReadOnlySet<string>? connected) =>
        new(member.User, GroupRoleAttribute.NameOf(member.Role), member.Joined, connected?.Contains(member.User));
}

/// <param name="Nickname">What messages address it by, after an <c>@</c>; null: this host has no such agent any more.</param>
/// <param name="Model">The model that answers; null: the host's default.</param>
public sealed record GroupAgentDetails(string AgentId, string? Nickname, string? Model);

/// <param name="SessionId">The session in whose feed the conversation stands.</param>
/// <param name="CreatedBy">The user.</param>
/// <param name="Members">In the order in which they joined.</param>
/// <param name="Agents">The first one answers messages that address none.</param>
public sealed record GroupDetails(
    GroupKey GroupId, string OrgId, string Title, bool IsPrivate, [property: GroupStatus] string Status, SessionKey SessionId, string CreatedBy,
    IReadOnlyList<GroupMemberDetails> Members, IReadOnlyList<GroupAgentDetails> Agents, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt)
{
    /// <param name="connected">The users who are connected; null: nobody has looked.</param>
    public static GroupDetails Of(GroupRow group, string title, AgentCatalog agents, IReadOnlySet<string>? connected) => new(
        group.GroupId, group.OrgId, title, group.IsPrivate, group.Status, group.GroupId.Session, group.CreatedBy,
        [.. group.Members.Select(member => GroupMemberDetails.Of(member, connected))],
        [.. group.Agents.Select(id => new GroupAgentDetails(id, agents.Find(id)?.Nickname, agents.Find(id)?.Model))],
        group.CreatedAt, group.UpdatedAt);
}

/// <param name="Total">How many there are, on all pages.</param>
public sealed record GroupList(IReadOnlyList<GroupDetails> Groups, long Total, long Limit, long Offset, bool HasMore);

static class GroupEndpoints
{
    const string Mine = "mine";
    const string All = "all";

    static readonly ChoiceQuery Scope = new(
        "scope", [Mine, Projections.Groups.Public, All], Mine,
        "Those of which the caller is a member, those that anyone of the organisation may join, or, for administrators, all of the organisation.", "GroupScope");

    public static void MapGroups(this IEndpointRouteBuilder routes)
    {
        var groups = routes.MapGroup("").WithTags("Groups");
        groups.MapPost("", Create).WithName("createGroup").RequireMember()
            .WithSummary("Create a group of members and agents, with its session")
            .Produces<GroupAnswer>(201).Refuses(400, 409, 413, 415, 422, 429, 507);
        groups.MapGet("", List).WithName("listGroups")
            .WithSummary("List groups, newest first; those of which the caller is a member, the one that was joined last first")
            .Takes(Scope).Takes(NameQuery.Words).Takes(Lists.Limit).Takes(Lists.Offset)
            .Produces<GroupList>().Refuses(422);
        groups.MapGet("/{group_id}", Get).WithName("getGroup")
            .WithSummary("Show a group with its members and agents")
            .Produces<GroupDetails>().Refuses(404, 422);
        groups.MapGroupArchives();
    }

    static async Task<IResult> Create(
        Body<NewGroup> body, Caller caller, ICommandExecutor commands, Subjects subjects, CommandAnswers answers, TenantUsage usage, Workspaces workspaces, AgentCatalog agents,
        HostSettings settings, TimeProvider clock, CancellationToken ct)
    {
        var asked = body.Value;
        if (settings.TokenMode && asked.OrgId is { } other && other != caller.Org)
        {
            return new ErrorResult(403, "foreign_org", "The token is of another organisation.");
        }
        if (await usage.SessionRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var group = GroupKey.New(clock.GetUtcNow());
        var chosen = asked.AgentIds is { Count: > 0 } some ? some : [AgentDefinition.Assistant.Id];
        var unknown = chosen.Index().Where(id => agents.Find(id.Item) is null).Select(id => Refusal.Invalid(
            "unknown_agent", $"$.agent_ids[{id.Index}]", $"There is no such agent. There are: {string.Join(", ", agents.Agents.Select(agent => agent.Id))}.")).FirstOrDefault();
        var (path, notMade) = unknown is null ? await workspaces.Prepare(caller.Org, group) : (null, unknown);
        var (subject, erased) = await subjects.Of(caller.Org, caller.Actor, body.Value.Subject, ct);
        if (erased is not null)
        {
            return ErrorResult.Of(erased);
        }
        var create = new CreateGroup(
            group, asked.OrgId ?? caller.Org, Content.Of(asked.Title!), asked.IsPrivate == true, [.. chosen], caller.User, path ?? "", body.Key, notMade, subject);
        var result = await commands.Execute(caller.Org, caller.Origin, create, ct);
        if (result.Refused is null)
        {
            usage.Made(caller.Org, sessions: 1);
        }
        return await answers.Of(caller.Org, result, Group.Aggregate.Stream(group), body.Key, Created, ct);
    }

    static JsonResult<GroupAnswer> Created(StreamResult after)
    {
        var group = after.Row(Projections.Groups.Model);
        return JsonResult.Of(201, new(group.GroupId, group.Status, group.CreatedAt, group.GroupId.Session), GroupsJson.Answers.GroupAnswer) with
        {
            Location = $"{GroupsDialect.BasePath}/{group.GroupId}",
        };
    }

    static async Task<IResult> List(HttpContext http, Caller caller, IRows rows, AgentCatalog agents, IBlobs blobs, CancellationToken ct)
    {
        var (scope, limit, offset) = (Scope.Read(http), Lists.Limit.Read(http), Lists.Offset.Read(http));
        if (scope == All && !caller.Roles.Contains(Roles.Admin))
        {
            return new ErrorResult(403, "role_missing", $"This needs the role {Roles.Admin}.");
        }
        var named = NameQuery.Read(http, Group.Aggregate.Name);
        RowPage page;
        IEnumerable<GroupRow> found;
        if (scope == Mine)
        {
            var mine = new RowQuery(Scope: caller.User, Limit: (int)limit, Bytes: PageBytes.Max)
            {
                Named = named is null ? null : named with { OfFew = true, ByParent = true },
            };
            page = await rows.Page(caller.Org, GroupMembers.Model.Table, mine, offset, ct);
            var keys = page.Rows.Select(row => GroupMembers.Model.Read(row.Json.Span).GroupId.Value).ToList();
            var byKey = (await rows.Get(caller.Org, Projections.Groups.Model.Table, keys, ct)).ToDictionary(row => row.Key);
            found = keys.Where(byKey.ContainsKey).Select(key => Projections.Groups.Model.Read(byKey[key].Json.Span));
        }
        else
        {
            page = await rows.Page(
                caller.Org, Projections.Groups.Model.Table,
                new(Scope: scope == All ? null : Projections.Groups.Public, Limit: (int)limit, Bytes: PageBytes.Max) { Named = named }, offset, ct);
            found = page.Rows.Select(row => Projections.Groups.Model.Read(row.Json.Span));
        }
        var shown = new List<GroupDetails>();
        foreach (var group in found)
        {
            shown.Add(GroupDetails.Of(group, await blobs.Text(group.Title, ct), agents, null));
        }
        return JsonResult.Of(
            200, new(shown, page.Total, limit, offset, offset + page.Rows.Count < page.Total), GroupsJson.Answers.GroupList);
    }

    static async Task<IResult> Get(PathKey<GroupKey> group, Caller caller, IRows rows, IGroupStore store, AgentCatalog agents, IBlobs blobs, CancellationToken ct)
    {
        if (await rows.FindGroup(caller, group.Key, ct) is not { } row)
        {
            return ErrorResult.NotFound("group");
        }
        var connected = await Connected(caller.Org, group.Key, store, ct);
        return JsonResult.Of(200, GroupDetails.Of(row, await blobs.Text(row.Title, ct), agents, connected), GroupsJson.Answers.GroupDetails);
    }
    /// <summary>The users who are connected to a group, through any host.</summary>
    public static async ValueTask<IReadOnlySet<string>> Connected(string org, GroupKey group, IGroupStore store, CancellationToken ct) =>
        (await store.Connected(org, group.Session, ct)).Select(user => user.User).ToHashSet(StringComparer.Ordinal);
}
