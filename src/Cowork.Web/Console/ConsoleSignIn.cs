using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary>What <c>GET /console/config.json</c> answers.</summary>
/// <param name="Auth"><c>none</c>: whoever reaches the host is its user. <c>token</c>: a bearer token is needed.</param>
/// <param name="Oidc">Null: nobody signs in at an authority, or it does not answer at the moment.</param>
public sealed record ConsoleConfig([property: ConsoleAuth] string Auth, ConsoleOidc? Oidc);

/// <summary>How a page gets a token at the authority: by an authorization code with PKCE (RFC 7636), as a public client.</summary>
public sealed record ConsoleOidc(string Authority, string ClientId, string Scope, string AuthorizationEndpoint, string TokenEndpoint);

static class ConsoleEndpoints
{
    public static void MapConsole(this IEndpointRouteBuilder routes) =>
        routes.MapGet(ConsoleServer.ConfigPath, Config).WithName("getConsoleConfig").WithTags("Operations").AllowAnonymous()
            .WithSummary("How the web console signs in")
            .Produces<ConsoleConfig>();

    static async Task<JsonResult<ConsoleConfig>> Config(HttpContext http, HostSettings settings, CancellationToken ct)
    {
        ConsoleOidc? oidc = null;
        if (settings.Oidc is { ConsoleClient: { } client } authority)
        {
            var keys = http.RequestServices.GetRequiredService<AuthorityKeys>();
            await keys.Get(ct);
            oidc = keys.SignIn is { } there
                ? new(authority.Authority, client, authority.ConsoleScope, there.AuthorizationEndpoint.AbsoluteUri, there.TokenEndpoint.AbsoluteUri)
                : null;
        }
        return JsonResult.Of(200, new ConsoleConfig(settings.TokenMode ? "token" : "none", oidc), Endpoints.Operations.OperationsJson.Answers.ConsoleConfig);
    }
}
