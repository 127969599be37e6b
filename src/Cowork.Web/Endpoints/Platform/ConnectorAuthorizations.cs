using System.Buffers.Text;
using System.Net;
using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Connectors;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <param name="Url">Send the user's browser there.</param>
/// <param name="State">Goes through the browser and comes back; whoever has it can answer the request.</param>
/// <param name="ExpiresAt">From then on the answer is refused.</param>
public sealed record AuthorizationStart(string Url, string State, DateTimeOffset ExpiresAt);

/// <summary>OAuth 2.0 for connections: the way to the service, and the way back.</summary>
static class ConnectorAuthorizationEndpoints
{
    const string CallbackPath = "/api/v1/connectors/oauth/callback";

    /// <summary>Authorization codes and error codes have at most some hundred characters.</summary>
    const int ParameterCharsMax = 4_096;

    static readonly IdQuery ConnectionInQuery = new(ConnectionKey.FieldName, "The connection that gets the tokens; without it a new one is created with them.");

    static readonly TextQuery NameInQuery = new("name", "", "What a new connection is called; without it, as the service is.");

    public static void MapConnectorAuthorizations(this IEndpointRouteBuilder routes)
    {
        var oauth = routes.MapGroup("/connectors/oauth").WithTags("Connectors");
        oauth.MapGet("/{spec}/start", Start).WithName("createConnectorAuthorization").RequireMember()
            .WithSummary("Begin an authorization: answers where to send the user's browser")
            .Takes(ConnectionInQuery).Takes(NameInQuery)
            .Produces<AuthorizationStart>().Refuses(404, 422, 503, 507);
        oauth.MapGet("/callback", Callback).WithName("takeConnectorAuthorization").AllowAnonymous()
            .WithSummary("Where the service sends the user's browser; answers a page that says what happened")
            .Produces<string>(200, "text/html").Refuses(409, 410, 502, 503).WithMetadata(new AnswersPages(400, 409, 410, 502));
    }

    static async Task<IResult> Start(
        string spec, HttpContext http, Caller caller, HostSettings settings, OAuthRegistrations registrations, Authorizations authorizations, TenantUsage usage, IRows rows,
        TimeProvider clock, CancellationToken ct)
    {
        var (existing, name) = (ConnectionInQuery.Read<ConnectionKey>(http), NameInQuery.Read(http));
        if (OAuthSpec.All.FirstOrDefault(known => known.Id == spec) is not { } wanted)
        {
            return ErrorResult.NotFound("connector with OAuth");
        }
        if (!registrations.BySpec.TryGetValue(spec, out var provider))
        {
            return new ErrorResult(503, "oauth_not_configured", $"The administrator has not registered this host at {wanted.Name}: Cowork:Connectors:OAuth:{spec}.");
        }
        if (name.Length > Limits.ConnectionNameCharsMax || (name.Length > 0 && (string.IsNullOrWhiteSpace(name) || !StorableText.IsStorable(name))))
        {
            return ErrorResult.Invalid(NameInQuery.Name, $"Must have at most {Limits.ConnectionNameCharsMax} characters, and not be blank.");
        }
        if (await usage.StorageRefusal(caller.Org, ct) is { } full)
        {
            return ErrorResult.Of(full);
        }
        if (existing is { } connection)
        {
            if (await rows.Get(caller.Org, Connections.Model.Table, connection.Value, ct) is not { } row || Connections.Model.Read(row.Json.Span).SpecId != spec)
            {
                return ErrorResult.NotFound("connection");
            }
        }
        var redirectUri = (settings.PublicUrl ?? $"{http.Request.Scheme}://{http.Request.Host}") + CallbackPath;
        var newName = existing is not null ? null : name.Length > 0 ? name : wanted.Name;
        var begun = await authorizations.Begin(
            caller.Org, caller.Origin, spec, provider, existing ?? ConnectionKey.New(clock.GetUtcNow()), newName, redirectUri, ct);
        var state = State(caller.Org, begun.Secret);
        return JsonResult.Of(200, new(begun.Url(state).AbsoluteUri, state, begun.ExpiresAt), PlatformJson.Answers.AuthorizationStart);
    }

    static async Task<IResult> Callback(HttpContext http, Authorizations authorizations, CancellationToken ct)
    {
        var (state, code, error) = (Once(http, "state"), Once(http, "code"), Once(http, "error"));
        return state is null || Parse(state) is not var (org, secret)
            ? AuthorizationPage.Of(new(AuthorizationEnd.Unknown))
            : AuthorizationPage.Of(await authorizations.Finish(org, secret, code, error, TraceId.Of(http), ct), org);
    }

    /// <summary>The tenant and the secret, in a form that passes through any service.</summary>
    static string State(string org, string secret) => $"{Base64Url.EncodeToString(Encoding.UTF8.GetBytes(org))}.{secret}";

    static (string Org, string Secret)? Parse(string state)
    {
        if (state.Split('.') is not [{ Length: > 0 } org, { Length: > 0 and <= 128 } secret] || !Base64Url.IsValid(org))
        {
            return null;
        }
        var name = Encoding.UTF8.GetString(Base64Url.DecodeFromChars(org));
        return BearerToken.IsOrg(name) ? (name, secret) : null;
    }

    /// <summary>A parameter that is given once; null: it is not.</summary>
    static string? Once(HttpContext http, string name) => http.Request.Query[name] is [{ Length: > 0 and <= ParameterCharsMax } text] ? text : null;
}

/// <summary>The page that a user's browser shows at the end of an authorization: plain HTML that needs nothing and runs nothing.</summary>
/// <param name="Text">HTML.</param>
sealed record AuthorizationPage(int Status, string Title, string Text) : IResult
{
    /// <param name="org">The tenant that the connection is in; null: not known.</param>
    public static AuthorizationPage Of(AuthorizationOutcome outcome, string? org = null)
    {
        var service = Html(outcome.Service ?? "the service");
        var name = Html(outcome.Name ?? outcome.Service ?? "");
        var connection = $"<p>Connection: <b>{name}</b> ({Html(outcome.Connection?.Id ?? "")}), of {Html(outcome.By ?? "")} in {Html(org ?? "")}.</p>";
        const string Again = "<p>Start the authorization again where you began it.</p>";
        return outcome.End switch
        {
            AuthorizationEnd.Connected => new(200, $"{service} is connected", $"{connection}<p>You can close this page.</p>"),
            AuthorizationEnd.NotReached => new(200, $"{service} gave its consent, and does not answer yet", $"<p>{Html(outcome.Detail!)}</p>{connection}"),
            AuthorizationEnd.Declined => new(
                400, $"{service} was not connected",
                outcome.Detail == "access_denied"
                    ? $"<p>You, or {service}, declined. Nothing was connected.</p>"
                    : $"<p>{service} answered with the error <code>{Html(outcome.Detail!)}</code>.</p>{Again}"),
            AuthorizationEnd.NoTokens => new(502, $"{service} was not connected", $"<p>{Html(outcome.Detail!)}</p>{Again}"),
            AuthorizationEnd.Used => new(409, "This link was used before", $"<p>An authorization is answered once. If you did not answer it, somebody else did.</p>{Again}"),
            AuthorizationEnd.Expired => new(410, "This link has expired", $"<p>It works for {Authorizations.Lifetime.TotalMinutes:0} minutes.</p>{Again}"),
            AuthorizationEnd.Gone => new(409, $"{service} was not connected", $"<p>The connection was deleted meanwhile. What {service} gave was given back.</p>"),
            AuthorizationEnd.Unknown => new(400, "This link leads nowhere", $"<p>It belongs to no authorization that was begun here, or parts of it are missing.</p>{Again}"),
            _ => throw new System.Diagnostics.UnreachableException(outcome.End.ToString()),
        };
    }

    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var body = Encoding.UTF8.GetBytes(
            $"<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{Title}</title></head>"
            + $"<body><h1>{Title}</h1>{Text}</body></html>\n");
        var response = httpContext.Response;
        (response.StatusCode, response.ContentType, response.ContentLength) = (Status, "text/html; charset=utf-8", body.Length);
        response.Headers.CacheControl = "no-store";
        response.Headers.ContentSecurityPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        // The address of this page holds the state and the code.
        response.Headers["Referrer-Policy"] = "no-referrer";
        await response.BodyWriter.WriteAsync(body, httpContext.RequestAborted);
    }

    static string Html(string text) => WebUtility.HtmlEncode(VisibleText.Of(text));
}
