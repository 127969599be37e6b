using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary>What <c>GET /console/config.json</c> answers.</summary>
/// <param name="Auth"><c>none</c>: whoever reaches the host is its user. <c>token</c>: a bearer token is needed.</param>
/// <param name="Oidc">Null: nobody signs in at an authority, or it does not answer at the moment.</param>
/// <param name="AuthorityAway">There is an authority, and it does not answer at the moment: ask again.</param>
public sealed record ConsoleConfig([property: ConsoleAuth] string Auth, ConsoleOidc? Oidc, bool AuthorityAway);

/// <summary>How a page gets a token at the authority: by an authorization code with PKCE (RFC 7636), as a public client.</summary>
/// <param name="EndSessionEndpoint">Of OpenID Connect's RP-initiated logout; null: the authority has none.</param>
public sealed record ConsoleOidc(string Authority, string ClientId, string Scope, string AuthorizationEndpoint, string TokenEndpoint, string? EndSessionEndpoint);

static class ConsoleEndpoints
{
    /// <summary>A page that asks how to sign in is answered after so long, also while the authority is not.</summary>
    static readonly TimeSpan AuthorityMax = TimeSpan.FromSeconds(2);

    public static void MapConsole(this IEndpointRouteBuilder routes) =>
        routes.MapGet(ConsoleServer.ConfigPath, Config).WithName("getConsoleConfig").WithTags("Operations").AllowAnonymous()
            .WithSummary("How the web console signs in")
            .Produces<ConsoleConfig>();

    static async Task<JsonResult<ConsoleConfig>> Config(HttpContext http, HostSettings settings, TimeProvider clock, CancellationToken ct)
    {
        ConsoleOidc? oidc = null;
        var isAway = false;
        if (settings.Oidc is { ConsoleClient: { } client } authority)
        {
            var keys = http.RequestServices.GetRequiredService<AuthorityKeys>();
            using var patience = new CancellationTokenSource(AuthorityMax, clock);
            using var until = CancellationTokenSource.CreateLinkedTokenSource(ct, patience.Token);
            isAway = await keys.Get(until.Token) is null;
            oidc = keys.SignIn is { } there
                ? new(
                    authority.Authority, client, authority.ConsoleScope, there.AuthorizationEndpoint.AbsoluteUri, there.TokenEndpoint.AbsoluteUri,
                    there.EndSessionEndpoint?.AbsoluteUri)
                : null;
        }
        return JsonResult.Of(
            200, new ConsoleConfig(settings.TokenMode ? "token" : "none", oidc, isAway && oidc is null), Endpoints.Operations.OperationsJson.Answers.ConsoleConfig);
    }
}
