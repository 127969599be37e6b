using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Infra;

/// <summary>The public half of a key as a client gives it (JWK, RFC 7517). Other members are ignored.</summary>
/// <param name="Kty"><c>EC</c>.</param>
/// <param name="Crv"><c>P-256</c>.</param>
/// <param name="X">Base64url of 32 bytes.</param>
/// <param name="Y">Base64url of 32 bytes.</param>
public sealed record NewJwk([property: NeverNull] string? Kty, [property: NeverNull] string? Crv, [property: NeverNull] string? X, [property: NeverNull] string? Y);

/// <summary>Body of <c>POST /infra/app-keys</c>.</summary>
/// <param name="App">Name of the app: 1 to 64 letters, digits, dots, underscores and hyphens.</param>
public sealed record NewAppKey([property: NeverNull] string? App, [property: NeverNull] NewJwk? PublicKey) : IRequestBody<NewAppKey>
{
    public static JsonTypeInfo<NewAppKey> Json => InfraJson.Default.NewAppKey;

    /// <summary>Of a valid body.</summary>
    public PublicKey Key() => new(PublicKey!.X!, PublicKey.Y!);

    public void Validate(ValidationErrors errors)
    {
        if (App is null || !AppKey.IsName(App))
        {
            errors.Add("$.app", $"A name of 1 to {AppKey.NameCharsMax} letters, digits, dots, underscores and hyphens is required.");
        }
        if (PublicKey is not { Kty: "EC", Crv: "P-256", X: not null, Y: not null } given)
        {
            errors.Add("$.public_key", "A JWK with kty EC, crv P-256, x and y is required.");
            return;
        }
        if (PublicJwk.Of(given.Kty, given.Crv, given.X, given.Y) is null)
        {
            errors.Add("$.public_key", "Is no point of P-256, or x and y are not base64url of 32 bytes each.");
        }
    }
}

/// <param name="AppId">The <c>iss</c> of its requests.</param>
/// <param name="Kid">The <c>kid</c> in their headers: the thumbprint of the key (RFC 7638).</param>
/// <param name="RegisteredBy">The principal.</param>
public sealed record AppKeyShape(string AppId, string App, string OrgId, string Kid, AppPublicKey PublicKey, string RegisteredBy, DateTimeOffset RegisteredAt)
{
    public static AppKeyShape Of(AppKeyRow row, string org) => new(
        new AppId(row.App, org).ToString(), row.App, org, row.Kid, new("EC", "P-256", row.Public.X, row.Public.Y), row.RegisteredBy, row.RegisteredAt);
}

/// <summary>The public half of a key.</summary>
public sealed record AppPublicKey(string Kty, string Crv, string X, string Y);

public sealed record AppKeyList(IReadOnlyList<AppKeyShape> AppKeys);

static class AppKeyEndpoints
{
    public static void MapAppKeys(this IEndpointRouteBuilder routes)
    {
        var keys = routes.MapGroup("/app-keys").WithTags("Trust");
        keys.MapPost("", Register).WithName("addAppKey").RequireAdmin()
            .WithSummary("Register a key that an app signs its requests with, beside those that it has")
            .Produces<AppKeyShape>(201).Refuses(400, 409, 413, 415, 422);
        keys.MapGet("", List).WithName("listAppKeys").RequireAuditor()
            .WithSummary("List the keys of the tenant's apps that work, newest first")
            .Takes(Lists.Limit)
            .Produces<AppKeyList>().Refuses(422);
        keys.MapGet("/{kid}", Get).WithName("getAppKey").RequireAuditor()
            .WithSummary("Show a key of an app")
            .Produces<AppKeyShape>().Refuses(404);
        keys.MapDelete("/{kid}", Revoke).WithName("revokeAppKey").RequireAdmin()
            .WithSummary("Revoke a key of an app: no host believes it any more")
            .Produces(204).Refuses(404, 409);
    }

    static async Task<IResult> Register(Body<NewAppKey> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, CancellationToken ct)
    {
        var key = body.Value.Key();
        var kid = Jws.Thumbprint(key);
        var register = new RegisterAppKey(body.Value.App!, kid, key, caller.Issuers, body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, register, ct);
        return await answers.Of(
            caller.Org, result, AppKey.Aggregate.Stream(AppKey.StreamKey(kid)), body.Key,
            after => JsonResult.Of(201, AppKeyShape.Of(after.Row(AppKeys.Model), caller.Org), InfraJson.Answers.AppKeyShape) with { Location = $"/infra/app-keys/{kid}" }, ct);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, IRows rows, CancellationToken ct)
    {
        var query = new RowQuery(Limit: (int)Lists.Limit.Read(http), Bytes: PageBytes.Max);
        return JsonResult.Of(
            200,
            new AppKeyList([.. (await rows.List(caller.Org, AppKeys.Model.Table, query, ct)).Select(row => AppKeyShape.Of(AppKeys.Model.Read(row.Json.Span), caller.Org))]),
            InfraJson.Answers.AppKeyList);
    }

    static async Task<IResult> Get(string kid, Caller caller, IRows rows, CancellationToken ct) =>
        await rows.Get(caller.Org, AppKeys.Model.Table, AppKey.StreamKey(kid).Value, ct) is { } row
            ? JsonResult.Of(200, AppKeyShape.Of(AppKeys.Model.Read(row.Json.Span), caller.Org), InfraJson.Answers.AppKeyShape)
            : ErrorResult.NotFound("app key");

    static async Task<IResult> Revoke(string kid, Caller caller, ICommandExecutor commands, CancellationToken ct) =>
        await commands.Execute(caller.Org, caller.Origin, new RevokeAppKey(kid), ct) is { Refused: { } refused } ? ErrorResult.Of(refused) : TypedResults.NoContent();
}
