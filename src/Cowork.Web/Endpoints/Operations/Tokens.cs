using System.Collections.Immutable;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>Body of <c>POST /tokens</c>.</summary>
/// <param name="User">The user that the token acts as: <c>ann</c> is the principal <c>user:ann</c>.</param>
/// <param name="Roles">A subset of admin, approver, member and auditor; default: member.</param>
/// <param name="OrgId">The token's tenant; default: the caller's. Only the operator may name another one.</param>
public sealed record NewToken([property: NeverNull] string? Name, string? User = null, [property: Role] IReadOnlyList<string>? Roles = null, string? OrgId = null)
    : IRequestBody<NewToken>
{
    public static JsonTypeInfo<NewToken> Json => OperationsJson.Default.NewToken;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(Name) || Name.Length > Limits.IdCharsMax)
        {
            errors.Add("$.name", $"A name of 1 to {Limits.IdCharsMax} characters is required.");
        }
        if (User is not null && !BearerToken.IsOrg(User))
        {
            errors.Add("$.user", $"A user has 1 to {Limits.IdCharsMax} letters, digits, dots, underscores and hyphens.");
        }
        if (OrgId is not null && !BearerToken.IsOrg(OrgId))
        {
            errors.Add("$.org_id", $"A tenant has 1 to {Limits.IdCharsMax} letters, digits, dots, underscores and hyphens.");
        }
        if (Roles is { Count: 0 } || (Roles?.Any(r => r is null) ?? false))
        {
            errors.Add("$.roles", $"At least one of {string.Join(", ", ApiToken.Roles)} is wanted.");
        }
    }
}

/// <param name="Token">The token with its secret. Only this answer shows it.</param>
public sealed record IssuedToken(
    TokenKey TokenId, string Token, string Name, string User, string OrgId, [property: Role] IReadOnlyList<string> Roles, string CreatedBy, DateTimeOffset CreatedAt);

public sealed record TokenShape(TokenKey TokenId, string Name, string User, string OrgId, [property: Role] IReadOnlyList<string> Roles, string CreatedBy, DateTimeOffset CreatedAt);

public sealed record TokenList(IReadOnlyList<TokenShape> Tokens);

static class TokenEndpoints
{
    public static void MapTokens(this IEndpointRouteBuilder routes)
    {
        var tokens = routes.MapGroup("/tokens").WithTags("Tokens");
        tokens.MapPost("", Issue).WithName("issueToken").RequireAdmin()
            .WithSummary("Issue an API token, shown once")
            .Produces<IssuedToken>(201).Refuses(400, 409, 413, 415, 422);
        tokens.MapGet("", List).WithName("listTokens").RequireAuditor()
            .WithSummary("List the tenant's tokens, newest first, without their secrets")
            .Takes(Lists.Limit)
            .Produces<TokenList>().Refuses(422);
        tokens.MapGet("/{token_id}", Get).WithName("getToken").RequireAuditor()
            .WithSummary("Show a token, without its secret")
            .Produces<TokenShape>().Refuses(404, 422);
        tokens.MapDelete("/{token_id}", Revoke).WithName("revokeToken").RequireAdmin()
            .WithSummary("Revoke a token")
            .Produces(204).Refuses(404, 422);
    }

    static async Task<IResult> Issue(Body<NewToken> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, TimeProvider clock, CancellationToken ct)
    {
        var asked = body.Value;
        var org = asked.OrgId ?? caller.Org;
        if (org != caller.Org && !caller.IsOperator)
        {
            return new ErrorResult(403, "foreign_org", "Only the operator's token may issue tokens for other tenants.");
        }
        var token = BearerToken.New(org, clock.GetUtcNow());
        var user = asked.User ?? caller.Actor[(caller.Actor.IndexOf(':', StringComparison.Ordinal) + 1)..];
        ImmutableList<string> roles = [.. (asked.Roles ?? [Roles.Member]).Distinct()];
        var issue = new IssueToken(token.Key, asked.Name!, user, roles, token.SecretSha256, body.Key);
        var result = await commands.Execute(org, caller.Origin, issue, ct);
        return await answers.Of(
            org, result, ApiToken.Aggregate.Stream(token.Key), body.Key,
            after =>
            {
                var row = after.Row(Projections.Tokens.Model);
                var issued = new IssuedToken(row.TokenId, token.Reveal(), row.Name, row.User, org, row.Roles, row.CreatedBy, row.CreatedAt);
                return JsonResult.Of(201, issued, OperationsJson.Answers.IssuedToken) with { Location = $"/tokens/{row.TokenId}" };
            },
            ct, holdsSecret: true);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, IRows rows, CancellationToken ct)
    {
        var found = await rows.List(caller.Org, Projections.Tokens.Model.Table, new(Limit: (int)Lists.Limit.Read(http)), ct);
        return JsonResult.Of(200, new TokenList([.. found.Select(row => Shape(caller.Org, row))]), OperationsJson.Answers.TokenList);
    }

    static async Task<IResult> Get(PathKey<TokenKey> token, Caller caller, IRows rows, CancellationToken ct) =>
        await rows.Get(caller.Org, Projections.Tokens.Model.Table, token.Key.Value, ct) is { } row
            ? JsonResult.Of(200, Shape(caller.Org, row), OperationsJson.Answers.TokenShape)
            : ErrorResult.NotFound("token");

    static async Task<IResult> Revoke(PathKey<TokenKey> token, Caller caller, ICommandExecutor commands, CancellationToken ct) =>
        await commands.Execute(caller.Org, caller.Origin, new RevokeToken(token.Key), ct) is { Refused: { } refused }
            ? ErrorResult.Of(refused)
            : TypedResults.NoContent();

    static TokenShape Shape(string org, Row row)
    {
        var token = Projections.Tokens.Model.Read(row.Json.Span);
        return new(token.TokenId, token.Name, token.User, org, token.Roles, token.CreatedBy, token.CreatedAt);
    }
}
