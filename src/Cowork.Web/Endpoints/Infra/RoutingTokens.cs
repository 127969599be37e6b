using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Infra;

/// <summary>Body of <c>POST /infra/routing-token</c>.</summary>
/// <param name="UserId">The member who gets the token: with a bearer token, who it is of.</param>
public sealed record NewRoutingToken([property: NeverNull] string? GroupId, [property: NeverNull] string? UserId) : IRequestBody<NewRoutingToken>
{
    public static JsonTypeInfo<NewRoutingToken> Json => InfraJson.Default.NewRoutingToken;

    public void Validate(ValidationErrors errors)
    {
        InfraFields.ValidateId(GroupId, "$.group_id", errors);
        InfraFields.ValidateId(UserId, "$.user_id", errors, AuthorityTokens.UserCharsMax);
    }
}

/// <param name="RoutingToken">For <c>GET /groups/{id}/ws?token=</c>.</param>
public sealed record IssuedRoutingToken(string RoutingToken, DateTimeOffset ExpiresAt);

static class RoutingTokenEndpoints
{
    /// <summary>For apps and users.</summary>
    public static void MapRoutingTokens(this IEndpointRouteBuilder infra) =>
        infra.MapPost("/routing-token", IssueFor).WithName("issueRoutingToken").WithTags("Trust").WithMetadata(new TakesAppSignature(OrBearer: true)).RequireMember()
            .WithSummary("Issue a token by which a member reaches a group: an app signs for any member, a bearer token gets its own user's")
            .Produces<IssuedRoutingToken>().Refuses(400, 404, 409, 413, 415, 422);

    /// <summary>For members.</summary>
    public static void MapOwnRoutingTokens(this IEndpointRouteBuilder groups) =>
        groups.MapPost("/{group_id}/token", IssueOwn).WithName("issueGroupToken").WithTags("Groups").RequireMember()
            .WithSummary("Issue the token by which the caller, who is a member, reaches the group")
            .Produces<IssuedRoutingToken>().Refuses(400, 404, 409, 413, 415, 422);

    static async Task<IResult> IssueFor(
        Body<NewRoutingToken> body, Caller caller, SignedCall? signed, CommandHandler handler, ICommandExecutor commands, Application.RoutingTokens tokens, CancellationToken ct)
    {
        var (group, user) = (PathIds.Key<GroupKey>(body.Value.GroupId!, "$.group_id"), body.Value.UserId!);
        if (signed is null)
        {
            return user == caller.User
                ? await IssueTo(caller, group, handler, tokens, ct)
                : new ErrorResult(403, "foreign_user", "A bearer token gets the token of its own user. An app signs for others.");
        }
        if (await handler.LatestState(caller.Org, Group.Aggregate, group, ct) is not Group.Live live)
        {
            return ErrorResult.NotFound("group");
        }
        if ((Group.WhyClosed(live) ?? GroupAccess.WhyNotMember(live, user)) is { } refused)
        {
            return ErrorResult.Of(refused);
        }
        // The token is the effect, and it is kept nowhere: the request is accepted before it is signed.
        return (await commands.Execute(caller.Org, caller.Origin, new AcceptRequest(signed.Use), ct)).Refused is { } replayed
            ? ErrorResult.Of(replayed)
            : await Issue(new(caller.Org, group, user, RoleOf(live, user), GroupSessionEndpoints.Persons(caller), ViaOf(caller, signed)), tokens, ct);
    }

    static Task<IResult> IssueOwn(
        PathKey<GroupKey> group, Body<NoBody> body, Caller caller, CommandHandler handler, Application.RoutingTokens tokens, CancellationToken ct) =>
        IssueTo(caller, group.Key, handler, tokens, ct);

    static async Task<IResult> IssueTo(Caller caller, GroupKey group, CommandHandler handler, Application.RoutingTokens tokens, CancellationToken ct) =>
        await handler.LatestState(caller.Org, Group.Aggregate, group, ct) is not Group.Live live ? ErrorResult.NotFound("group")
        : (Group.WhyNotMember(live, caller.User) ?? Group.WhyClosed(live)) is { } refused ? ErrorResult.Of(refused)
        : await Issue(new(caller.Org, group, caller.User, RoleOf(live, caller.User), caller.Issuers, ViaOf(caller, null)), tokens, ct);

    static RoutingCredential? ViaOf(Caller caller, SignedCall? signed) =>
        signed?.AppKey is { } app ? new(RoutingCredentialKind.AppKey, app.Value)
        : caller.Token is { } token ? RoutingCredential.OfToken(token.Value, caller.SecretSha256!)
        : caller.Authority is { } authority ? new(RoutingCredentialKind.AuthorityToken, authority.Key, Until: authority.Until)
        : null;

    static string RoleOf(Group.Live group, string user) => GroupRoleAttribute.NameOf(group.Member(user)!.Role);

    static async Task<IResult> Issue(RoutingGrant grant, Application.RoutingTokens tokens, CancellationToken ct)
    {
        var (token, expires) = await tokens.Issue(grant, ct);
        return JsonResult.Of(200, new IssuedRoutingToken(token, expires), InfraJson.Answers.IssuedRoutingToken);
    }
}
