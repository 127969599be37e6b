using System.Collections.Immutable;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>Body of <c>POST /tokens</c>.</summary>
/// <param name="User">The user that the token acts as: <c>ann</c> is the principal <c>user:ann</c>.</param>
/// <param name="Roles">A subset of admin, approver, member and auditor; default: member, for an operator's token all.</param>
/// <param name="OrgId">The token's tenant; default: the caller's. Only an operator may name another one.</param>
/// <param name="ExpiresAt">ISO 8601. Default: <c>Cowork:Tokens:ExpireAfter</c> from now.</param>
/// <param name="ExpiresInDays">In place of <paramref name="ExpiresAt"/>: 1 to 3660.</param>
/// <param name="Addresses">Networks (CIDR) or addresses, of IPv4 and IPv6, that the token may be used from; default: any.</param>
/// <param name="Operator">True: an operator's token, in the operators' tenant. Only an operator may issue it.</param>
public sealed record NewToken(
    [property: NeverNull] string? Name, string? User = null, [property: Role] IReadOnlyList<string>? Roles = null, string? OrgId = null,
    string? ExpiresAt = null, int? ExpiresInDays = null, IReadOnlyList<string>? Addresses = null, bool? Operator = null)
    : IRequestBody<NewToken>
{
    public static JsonTypeInfo<NewToken> Json => OperationsJson.Default.NewToken;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(Name) || Name.Length > Limits.IdCharsMax)
        {
            errors.Add("$.name", $"A name of 1 to {Limits.IdCharsMax} characters is required.");
        }
        if (User is not null && !AuthorityTokens.IsUser(User))
        {
            errors.Add(
                "$.user",
                $"A user has 1 to {AuthorityTokens.UserCharsMax} letters, digits, dots, underscores and hyphens; what else an authority's name has is written %40 and so on.");
        }
        if (OrgId is not null && !BearerToken.IsOrg(OrgId))
        {
            errors.Add("$.org_id", $"A tenant has 1 to {Limits.IdCharsMax} letters, digits, dots, underscores and hyphens.");
        }
        TokenFields.ValidateRoles(Roles, errors);
        TokenFields.ValidateExpiry(ExpiresAt, ExpiresInDays, errors);
        if (Addresses is { Count: 0 or > Limits.TokenAddressesMax })
        {
            errors.Add("$.addresses", $"A list has 1 to {Limits.TokenAddressesMax} networks; without the list any address will do.");
        }
        foreach (var (place, address) in (Addresses ?? []).Index())
        {
            if (address is null || Networks.Normal(address) is null)
            {
                errors.Add($"$.addresses[{place}]", "Is neither an address nor a network such as 10.0.0.0/8 or 2001:db8::/32.");
            }
        }
        if (Operator == true && Roles?.Contains(Http.Roles.Admin) == false)
        {
            errors.Add("$.roles", "An operator's token has the role admin.");
        }
    }
}

/// <summary>Body of <c>POST /tokens/{id}/rotate</c>.</summary>
/// <param name="OverlapSeconds">So long the old secret works beside the new one; 0: it ends at once. Default: <c>Cowork:Tokens:Overlap</c>.</param>
/// <param name="ExpiresInDays">1 to 3660. Default: <c>Cowork:Tokens:ExpireAfter</c>; a token without an end stays so.</param>
public sealed record NewSecret(int? OverlapSeconds = null, int? ExpiresInDays = null) : IRequestBody<NewSecret>
{
    const int OverlapSecondsMax = 30 * 24 * 3600;

    public static JsonTypeInfo<NewSecret> Json => OperationsJson.Default.NewSecret;

    public static NewSecret WhenEmpty { get; } = new();

    public void Validate(ValidationErrors errors)
    {
        if (OverlapSeconds is < 0 or > OverlapSecondsMax)
        {
            errors.Add("$.overlap_seconds", $"Must be from 0 to {OverlapSecondsMax}.");
        }
        TokenFields.ValidateExpiry(null, ExpiresInDays, errors);
    }
}

/// <summary>Body of <c>PATCH /tokens/{id}</c>.</summary>
/// <param name="Roles">All roles that the token has from now on.</param>
public sealed record TokenChanges([property: NeverNull, Role] IReadOnlyList<string>? Roles) : IRequestBody<TokenChanges>
{
    public static JsonTypeInfo<TokenChanges> Json => OperationsJson.Default.TokenChanges;

    public void Validate(ValidationErrors errors)
    {
        if (Roles is null)
        {
            errors.Add("$.roles", "A list of roles is required.");
        }
        TokenFields.ValidateRoles(Roles, errors);
    }
}

/// <summary>What the bodies about tokens have in common.</summary>
static class TokenFields
{
    const int DaysMax = 3_660;

    public static void ValidateRoles(IReadOnlyList<string?>? roles, ValidationErrors errors)
    {
        if (roles is { Count: 0 } || (roles?.Any(r => r is null) ?? false))
        {
            errors.Add("$.roles", $"At least one of {string.Join(", ", ApiToken.Roles)} is wanted.");
        }
    }

    public static void ValidateExpiry(string? at, int? inDays, ValidationErrors errors)
    {
        if (at is not null && TimeQuery.Parse(at) is null)
        {
            errors.Add("$.expires_at", TimeQuery.Wanted);
        }
        if (inDays is < 1 or > DaysMax)
        {
            errors.Add("$.expires_in_days", $"Must be from 1 to {DaysMax}.");
        }
        if (at is not null && inDays is not null)
        {
            errors.Add("$.expires_in_days", "Give this or expires_at.");
        }
    }
}

/// <param name="Token">The token with its secret. Only this answer shows it.</param>
/// <param name="ExpiresAt">Null: it has no end.</param>
/// <param name="Addresses">Networks that it may be used from; null: any.</param>
/// <param name="Issuers">The persons behind it beside its user, who issued it first: with them the user counts as one where two persons are wanted.</param>
/// <param name="Operator">It is an operator's.</param>
/// <param name="RotatedAt">When it got its secret; null: at its beginning.</param>
/// <param name="PreviousUntil">The secret before works until then; null: it does not.</param>
public sealed record IssuedToken(
    TokenKey TokenId, string Token, string Name, string User, string OrgId, [property: Role] IReadOnlyList<string> Roles, string CreatedBy, DateTimeOffset CreatedAt,
    DateTimeOffset? ExpiresAt, IReadOnlyList<string>? Addresses, IReadOnlyList<string> Issuers, bool Operator, DateTimeOffset? RotatedAt, DateTimeOffset? PreviousUntil);

/// <param name="ExpiresAt">Null: it has no end.</param>
/// <param name="Addresses">Networks that it may be used from; null: any.</param>
/// <param name="Issuers">The persons behind it beside its user, who issued it first: with them the user counts as one where two persons are wanted.</param>
/// <param name="Operator">It is an operator's.</param>
/// <param name="LastUsedAt">The minute in which a request came with it last; null: none did since this is written down.</param>
/// <param name="RotatedAt">When it got its secret; null: at its beginning.</param>
/// <param name="PreviousUntil">The secret before works until then; null: it does not.</param>
public sealed record TokenShape(
    TokenKey TokenId, string Name, string User, string OrgId, [property: Role] IReadOnlyList<string> Roles, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset? ExpiresAt,
    DateTimeOffset? LastUsedAt, IReadOnlyList<string>? Addresses, IReadOnlyList<string> Issuers, bool Operator, DateTimeOffset? RotatedAt, DateTimeOffset? PreviousUntil);

/// <param name="NextCursor">Of the page behind this one; null: there is none.</param>
public sealed record TokenList(IReadOnlyList<TokenShape> Tokens, string? NextCursor);

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
            .Takes(NameQuery.Words).Takes(Lists.Limit).Takes(ListCursors.Cursor)
            .Produces<TokenList>().Refuses(422);
        tokens.MapGet("/{token_id}", Get).WithName("getToken").RequireAuditor()
            .WithSummary("Show a token, without its secret")
            .Produces<TokenShape>().Refuses(404, 422);
        tokens.MapPost("/{token_id}/rotate", Rotate).WithName("rotateToken")
            .WithSummary("Give a token a new secret, shown once; the old one works a while longer. An admin may, and who has the token")
            .Produces<IssuedToken>().Refuses(400, 404, 409, 413, 415, 422);
        tokens.MapPatch("/{token_id}", Change).WithName("changeToken").RequireAdmin()
            .WithSummary("Change a token's roles")
            .Produces<TokenShape>().Refuses(400, 404, 409, 413, 415, 422);
        tokens.MapDelete("/{token_id}", Revoke).WithName("revokeToken").RequireAdmin()
            .WithSummary("Revoke a token; what it has opened ends")
            .Produces(204).Refuses(404, 409, 422);
    }

    static async Task<IResult> Issue(
        Body<NewToken> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, HostSettings settings, TimeProvider clock, CancellationToken ct)
    {
        var asked = body.Value;
        var isOperator = asked.Operator == true;
        if (isOperator && !caller.IsOperator)
        {
            return OperatorOnly();
        }
        var org = asked.OrgId ?? caller.Org;
        if ((org != caller.Org && !caller.IsOperator) || (isOperator && org != RequestAuthorization.LocalOrg))
        {
            return new ErrorResult(403, "foreign_org", "Only an operator's token may issue tokens for other tenants, and operators belong to none but their own.");
        }
        var now = clock.GetUtcNow();
        var token = BearerToken.New(org, now);
        var user = asked.User ?? caller.User;
        ImmutableList<string> roles = [.. (asked.Roles ?? (isOperator ? ApiToken.Roles : [Roles.Member])).Distinct()];
        var expires = TimeQuery.Parse(asked.ExpiresAt) ?? now + (asked.ExpiresInDays is { } days ? TimeSpan.FromDays(days) : settings.Tokens.ExpireAfter);
        ImmutableList<string>? networks = asked.Addresses is null ? null : [.. asked.Addresses.Select(address => Networks.Normal(address)!)];
        var issue = new IssueToken(
            token.Key, asked.Name!, user, roles, token.SecretSha256, body.Key, TimestampConverter.Whole(expires), networks, Behind(caller, org, user), isOperator);
        var result = await commands.Execute(org, caller.Origin, issue, ct);
        return await answers.Of(
            org, result, ApiToken.Aggregate.Stream(token.Key), body.Key,
            after => JsonResult.Of(201, Issued(after.Row(Tokens.Model), token, org), OperationsJson.Answers.IssuedToken) with { Location = $"/tokens/{token.Key}" },
            ct, holdsSecret: true);
    }

    static async Task<IResult> Rotate(
        PathKey<TokenKey> token, Body<NewSecret> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, IRows rows, HostSettings settings,
        CancellationToken ct)
    {
        if (caller.Token != token.Key && !caller.Roles.Contains(Roles.Admin))
        {
            return new ErrorResult(403, "role_missing", "This needs the role admin, or the token itself.");
        }
        if (await Find(caller, token.Key, rows, ct) is not { } row)
        {
            return ErrorResult.NotFound("token");
        }
        if (row.Operator == true && !caller.IsOperator)
        {
            return OperatorOnly();
        }
        var (asked, renewed) = (body.Value, BearerToken.WithNewSecret(caller.Org, token.Key));
        var lifetime = asked.ExpiresInDays is { } days ? TimeSpan.FromDays(days) : settings.Tokens.ExpireAfter;
        var overlap = asked.OverlapSeconds is { } seconds ? TimeSpan.FromSeconds(seconds) : settings.Tokens.Overlap;
        var rotate = new RotateToken(token.Key, renewed.SecretSha256, overlap, lifetime, Behind(caller, caller.Org, row.User), body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, rotate, ct);
        return await answers.Of(
            caller.Org, result, ApiToken.Aggregate.Stream(token.Key), body.Key,
            after => JsonResult.Of(200, Issued(after.Row(Tokens.Model), renewed, caller.Org), OperationsJson.Answers.IssuedToken), ct, holdsSecret: true);
    }

    static async Task<IResult> Change(
        PathKey<TokenKey> token, Body<TokenChanges> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, IRows rows, TokenUses uses, CancellationToken ct)
    {
        if (await Find(caller, token.Key, rows, ct) is { Operator: true })
        {
            if (!caller.IsOperator)
            {
                return OperatorOnly();
            }
            if (!body.Value.Roles!.Contains(Roles.Admin))
            {
                return ErrorResult.Invalid("$.roles", "An operator's token has the role admin.");
            }
        }
        var change = new ChangeTokenRoles(token.Key, [.. body.Value.Roles!.Distinct()], body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, change, ct);
        return await answers.Of(
            caller.Org, result, ApiToken.Aggregate.Stream(token.Key), body.Key,
            async after => JsonResult.Of(
                200, Shape(caller.Org, after.Row(Tokens.Model), await uses.Last(caller.Org, [token.Key], ct)), OperationsJson.Answers.TokenShape),
            ct);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, IRows rows, TokenUses uses, CancellationToken ct)
    {
        var page = ListCursors.Enter(http, "tokens", NameQuery.Words.Name);
        var limit = (int)Lists.Limit.Read(http);
        var query = new RowQuery(Limit: limit + 1, Before: page.Before, Bytes: PageBytes.Max) { Named = NameQuery.Read(http, ApiToken.Aggregate.Name) };
        var read = await rows.List(caller.Org, Tokens.Model.Table, query, ct);
        var found = read.Take(limit).Select(row => Tokens.Model.Read(row.Json.Span)).ToList();
        var last = await uses.Last(caller.Org, [.. found.Select(row => row.TokenId)], ct);
        return JsonResult.Of(200, new TokenList([.. found.Select(row => Shape(caller.Org, row, last))], page.Next(http, read, found.Count)), OperationsJson.Answers.TokenList);
    }

    static async Task<IResult> Get(PathKey<TokenKey> token, Caller caller, IRows rows, TokenUses uses, CancellationToken ct) =>
        await Find(caller, token.Key, rows, ct) is { } row
            ? JsonResult.Of(200, Shape(caller.Org, row, await uses.Last(caller.Org, [token.Key], ct)), OperationsJson.Answers.TokenShape)
            : ErrorResult.NotFound("token");

    static async Task<IResult> Revoke(PathKey<TokenKey> token, Caller caller, ICommandExecutor commands, IRows rows, CancellationToken ct)
    {
        var isOperator = await Find(caller, token.Key, rows, ct) is { Operator: true };
        if (isOperator && !caller.IsOperator)
        {
            return OperatorOnly();
        }
        return await commands.Execute(caller.Org, caller.Origin, new RevokeToken(token.Key, isOperator), ct) is { Refused: { } refused }
            ? ErrorResult.Of(refused)
            : TypedResults.NoContent();
    }

    static async ValueTask<TokenRow?> Find(Caller caller, TokenKey token, IRows rows, CancellationToken ct) =>
        await rows.Get(caller.Org, Tokens.Model.Table, token.Value, ct) is { } row ? Tokens.Model.Read(row.Json.Span) : null;

    static ErrorResult OperatorOnly() => new(403, "operator_only", "Only an operator may, and an operator's token is wanted for it.");

    /// <summary>Who learns a secret that the caller asks for, beside the token's user: the caller, and who is behind the caller.</summary>
    static ImmutableList<Issuer> Behind(Caller caller, string org, string user)
    {
        var of = org == caller.Org ? "" : $"@{caller.Org}";
        return Issuer.Union(
            [new(caller.Actor + of, caller.IsOperator ? true : null)],
            [.. (caller.Issuers ?? []).Select(issuer => issuer with { Actor = issuer.Actor.Contains('@', StringComparison.Ordinal) ? issuer.Actor : issuer.Actor + of })],
            $"user:{user}");
    }

    static IssuedToken Issued(TokenRow row, BearerToken token, string org) => new(
        row.TokenId, token.Reveal(), row.Name, row.User, org, row.Roles, row.CreatedBy, row.CreatedAt, row.ExpiresAt, row.Addresses, NamesOf(row), row.Operator == true,
        row.RotatedAt, row.PreviousUntil);

    static TokenShape Shape(string org, TokenRow row, Func<TokenKey, DateTimeOffset?> last) => new(
        row.TokenId, row.Name, row.User, org, row.Roles, row.CreatedBy, row.CreatedAt, row.ExpiresAt, last(row.TokenId), row.Addresses, NamesOf(row), row.Operator == true,
        row.RotatedAt, row.PreviousUntil);

    static IReadOnlyList<string> NamesOf(TokenRow row) => [.. (row.Issuers ?? []).Select(issuer => issuer.Actor)];
}
