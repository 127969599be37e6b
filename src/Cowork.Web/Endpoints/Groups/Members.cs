using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Groups;

/// <summary>Body of <c>POST /groups/{id}/members</c>.</summary>
/// <param name="UserId">The user's name; left out: the caller joins.</param>
/// <param name="Role">What the member may do. Left out: <c>member</c>, or, of somebody who is a member already, what it was.</param>
public sealed record NewGroupMember(string? UserId = null, [property: GroupRole] string? Role = null) : IRequestBody<NewGroupMember>
{
    public static JsonTypeInfo<NewGroupMember> Json => GroupsJson.Default.NewGroupMember;

    public static NewGroupMember WhenEmpty { get; } = new();

    public void Validate(ValidationErrors errors)
    {
        if (UserId is not null && !AuthorityTokens.IsUser(UserId))
        {
            errors.Add("$.user_id", UserInPath.Wanted);
        }
        if (Role is not null && GroupRoleAttribute.Parse(Role) is null)
        {
            errors.Add("$.role", "Must be member or admin.");
        }
    }
}

public sealed record GroupMemberAnswer(GroupKey GroupId, string UserId, [property: GroupRole] string Role, DateTimeOffset JoinedAt)
{
    public static GroupMemberAnswer Of(GroupKey group, GroupMember member) => new(group, member.User, GroupRoleAttribute.NameOf(member.Role), member.Joined);
}

/// <param name="Members">In the order in which they joined.</param>
public sealed record GroupMemberList(GroupKey GroupId, IReadOnlyList<GroupMemberDetails> Members);

/// <summary>The user whom a path names.</summary>
public sealed record UserInPath(string Name)
{
    public const string Parameter = "user_id";

    public static string Wanted { get; } =
        $"A user has 1 to {AuthorityTokens.UserCharsMax} letters, digits, dots, underscores and hyphens; what else an authority's name has is written %40 and so on.";

    /// <exception cref="UnreadableRequestException">422: no user has such a name.</exception>
    public static ValueTask<UserInPath> BindAsync(HttpContext http) => (string?)http.Request.RouteValues[Parameter] is { } name && AuthorityTokens.IsUser(name)
        ? ValueTask.FromResult(new UserInPath(name))
        : throw new UnreadableRequestException(ErrorResult.Invalid(Parameter, Wanted));
}

static class GroupMemberEndpoints
{
    public static void MapGroupMembers(this IEndpointRouteBuilder routes)
    {
        var members = routes.MapGroup("/{group_id}/members").WithTags("Groups");
        members.MapPost("", Add).WithName("addGroupMember").RequireMember()
            .WithSummary("Join a public group, or, as its administrator, add a member or give one another role")
            .Produces<GroupMemberAnswer>(201).Refuses(400, 404, 409, 413, 415, 422, 429);
        members.MapGet("", List).WithName("listGroupMembers")
            .WithSummary("List a group's members")
            .Produces<GroupMemberList>().Refuses(404, 422);
        members.MapGet("/{user_id}", Get).WithName("getGroupMember")
            .WithSummary("Show a member of a group")
            .Produces<GroupMemberAnswer>().Refuses(404, 422);
        members.MapDelete("/{user_id}", Remove).WithName("deleteGroupMember").RequireMember()
            .WithSummary("Leave a group, or, as its administrator, remove a member")
            .Produces(204).Refuses(404, 409, 422);
    }

    static async Task<IResult> Add(
        PathKey<GroupKey> group, Body<NewGroupMember> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, CancellationToken ct)
    {
        var user = body.Value.UserId ?? caller.User;
        var role = body.Value.Role is { } name ? GroupRoleAttribute.Parse(name) : null;
        var result = await commands.Execute(
            caller.Org, caller.Origin, new AddGroupMember(group.Key, user, role, caller.User, caller.Roles.Contains(Roles.Admin), body.Key), ct);
        return await answers.Of(
            caller.Org, result, Group.Aggregate.Stream(group.Key), body.Key,
            after => JsonResult.Of(201, GroupMemberAnswer.Of(group.Key, after.Row(Projections.Groups.Model).Member(user)!), GroupsJson.Answers.GroupMemberAnswer) with
            {
                Location = $"{GroupsDialect.BasePath}/{group.Key}/members/{user}",
            },
            ct);
    }

    static async Task<IResult> List(PathKey<GroupKey> group, Caller caller, IRows rows, IGroupStore store, CancellationToken ct)
    {
        if (await rows.FindGroup(caller, group.Key, ct) is not { } row)
        {
            return ErrorResult.NotFound("group");
        }
        var connected = await GroupEndpoints.Connected(caller.Org, group.Key, store, ct);
        return JsonResult.Of(200, new(row.GroupId, [.. row.Members.Select(member => GroupMemberDetails.Of(member, connected))]), GroupsJson.Answers.GroupMemberList);
    }

    static async Task<IResult> Get(PathKey<GroupKey> group, UserInPath user, Caller caller, IRows rows, CancellationToken ct) =>
        await rows.FindGroup(caller, group.Key, ct) is not { } row ? ErrorResult.NotFound("group")
        : row.Member(user.Name) is { } member ? JsonResult.Of(200, GroupMemberAnswer.Of(row.GroupId, member), GroupsJson.Answers.GroupMemberAnswer)
        : ErrorResult.NotFound("member");

    static async Task<IResult> Remove(PathKey<GroupKey> group, UserInPath user, Caller caller, ICommandExecutor commands, CancellationToken ct) =>
        await commands.Execute(caller.Org, caller.Origin, new RemoveGroupMember(group.Key, user.Name, caller.User, caller.Roles.Contains(Roles.Admin)), ct)
            is { Refused: { } refused }
            ? ErrorResult.Of(refused)
            : TypedResults.NoContent();
}
