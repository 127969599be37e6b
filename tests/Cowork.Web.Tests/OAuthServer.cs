using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Net;
using System.Security.Claims;

using Cowork.Connectors;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

using OpenIddict.Abstractions;

using static OpenIddict.Abstractions.OpenIddictConstants;
using static OpenIddict.Server.OpenIddictServerEvents;

namespace Cowork.Web.Tests;

/// <summary>
/// A service with OAuth 2.0 in this process (OpenIddict without a database) and the API that its tokens are for. Its user agrees at once. Refresh tokens are worth something
/// once: one that comes again is counted, and ends the grant.
/// </summary>
sealed class OAuthServer : IAsyncDisposable
{
    public const string ClientId = "cowork-spec";
    public const string ClientSecret = "client-s3cret/+ &=";

    readonly WebApplication app;
    readonly HttpClient browser = new(new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false });
    readonly ConcurrentDictionary<string, bool> valid = new();
    readonly ConcurrentDictionary<string, bool> used = new();
    int refreshes;
    int reused;

    OAuthServer(WebApplication app, int port) => (this.app, Port) = (app, port);

    public int Port { get; }

    public string Url => $"http://127.0.0.1:{Port}";

    /// <summary>The registration of a host.</summary>
    public OAuthProvider Provider => OAuthSpec.All.Single(spec => spec.Id == "google-sheets").Usual with
    {
        ClientId = ClientId,
        ClientSecret = ClientSecret,
        Authorize = new($"{Url}/authorize"),
        Token = new($"{Url}/token"),
        Revoke = new($"{Url}/revoke"),
        Api = $"{Url}/api",
        Scopes = [Scopes.OfflineAccess, "sheets"],
    };

    /// <summary>Of access tokens that are given from now on.</summary>
    public TimeSpan Lifetime { get; set; } = TimeSpan.FromHours(1);

    /// <summary>The user declines.</summary>
    public bool Declines { get; set; }

    /// <summary>Token and revocation endpoint answer 503.</summary>
    public bool IsAway { get; set; }

    /// <summary>No refresh token is taken any more.</summary>
    public bool RefusesRefresh { get; set; }

    /// <summary>The API takes no token.</summary>
    public bool RefusesTokens { get; set; }

    /// <summary>Refreshes that were asked for.</summary>
    public int Refreshes => Volatile.Read(ref refreshes);

    /// <summary>Refresh tokens that came a second time.</summary>
    public int Reused => Volatile.Read(ref reused);

    /// <summary>Every token that was ever given.</summary>
    public ConcurrentQueue<string> Given { get; } = new();

    public ConcurrentQueue<string> Revoked { get; } = new();

    /// <summary>Access tokens that came to the API.</summary>
    public ConcurrentQueue<string> Seen { get; } = new();

    public static async Task<OAuthServer> Start()
    {
        var port = IdentityProvider.FreePort();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, port));
        OAuthServer? own = null;
        builder.Services.AddOpenIddict().AddServer(server =>
        {
            server.EnableDegradedMode().SetIssuer(new Uri($"http://127.0.0.1:{port}/"));
            server.SetTokenEndpointUris("token").SetAuthorizationEndpointUris("authorize").SetRevocationEndpointUris("revoke");
            server.AllowAuthorizationCodeFlow().AllowRefreshTokenFlow().RequireProofKeyForCodeExchange();
            server.AddEphemeralSigningKey().AddEphemeralEncryptionKey().DisableAccessTokenEncryption();
            server.RegisterScopes("sheets");
            server.UseAspNetCore().DisableTransportSecurityRequirement();
            server.AddEventHandler<ValidateAuthorizationRequestContext>(handler => handler.UseInlineHandler(context => own!.Validate(context)));
            server.AddEventHandler<HandleAuthorizationRequestContext>(handler => handler.UseInlineHandler(context => own!.Handle(context)));
            server.AddEventHandler<ValidateTokenRequestContext>(handler => handler.UseInlineHandler(context => own!.Validate(context)));
            server.AddEventHandler<HandleTokenRequestContext>(handler => handler.UseInlineHandler(context => own!.Handle(context)));
            server.AddEventHandler<ApplyTokenResponseContext>(handler => handler.UseInlineHandler(context => own!.Note(context)));
            server.AddEventHandler<ValidateRevocationRequestContext>(handler => handler.UseInlineHandler(context => own!.Validate(context)));
            server.AddEventHandler<HandleRevocationRequestContext>(handler => handler.UseInlineHandler(_ => default));
        });
        var app = builder.Build();
        own = new(app, port);
        app.Use(async (context, next) =>
        {
            if (own.IsAway && context.Request.Path.Value is "/token" or "/revoke" && own.IsAway)
            {
                context.Response.StatusCode = 503;
                return;
            }
            await next(context);
        });
        app.UseAuthentication();
        app.MapGet("/api/{**path}", own.Api);
        await app.StartAsync();
        return own;
    }

    /// <summary>Goes to the service as the user's browser would, and answers where the service sends it.</summary>
    public async Task<Uri> Agree(string url)
    {
        using var answer = await browser.GetAsync(new Uri(url));
        Assert.True(answer.StatusCode == HttpStatusCode.Redirect, $"{(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync()}");
        return answer.Headers.Location!;
    }

    /// <summary>All access tokens that were given are worth nothing any more.</summary>
    public void ExpireAll() => valid.Clear();

    public async ValueTask DisposeAsync()
    {
        browser.Dispose();
        await app.StopAsync();
        await app.DisposeAsync();
    }

    IResult Api(HttpContext http)
    {
        var token = http.Request.Headers.Authorization.ToString()["Bearer ".Length..];
        Seen.Enqueue(token);
        return !RefusesTokens && valid.ContainsKey(token) ? Results.Json(new { ok = true, path = http.Request.Path.Value }) : Results.StatusCode(401);
    }

    ValueTask Validate(ValidateAuthorizationRequestContext context)
    {
        if (context.ClientId != ClientId || context.RedirectUri?.EndsWith("/api/v1/connectors/oauth/callback", StringComparison.Ordinal) != true)
        {
            context.Reject(Errors.InvalidClient);
        }
        return default;
    }

    ValueTask Handle(HandleAuthorizationRequestContext context)
    {
        if (Declines)
        {
            context.Reject(Errors.AccessDenied, "<script>alert(1)</script>");
            return default;
        }
        context.SignIn(Principal(context.Request.GetScopes()));
        return default;
    }

    ValueTask Validate(ValidateTokenRequestContext context)
    {
        if (context.ClientId != ClientId || context.ClientSecret != ClientSecret)
        {
            context.Reject(Errors.InvalidClient);
        }
        else if (context.Request.IsRefreshTokenGrantType())
        {
            Interlocked.Increment(ref refreshes);
            if (RefusesRefresh)
            {
                context.Reject(Errors.InvalidGrant, "<b>gone</b>");
            }
            else if (!used.TryAdd(context.Request.RefreshToken!, true))
            {
                Interlocked.Increment(ref reused);
                context.Reject(Errors.InvalidGrant);
            }
        }
        return default;
    }

    ValueTask Handle(HandleTokenRequestContext context)
    {
        context.SignIn(Principal(context.Principal!.GetScopes()));
        return default;
    }

    ValueTask Note(ApplyTokenResponseContext context)
    {
        if (context.Response?.AccessToken is { } token)
        {
            valid[token] = true;
            Given.Enqueue(token);
            if (context.Response.RefreshToken is { } refresh)
            {
                Given.Enqueue(refresh);
            }
        }
        return default;
    }

    ValueTask Validate(ValidateRevocationRequestContext context)
    {
        if (context.ClientId != ClientId || context.ClientSecret != ClientSecret)
        {
            context.Reject(Errors.InvalidClient);
        }
        else
        {
            Revoked.Enqueue(context.Request.Token!);
        }
        return default;
    }

    ClaimsPrincipal Principal(ImmutableArray<string> scopes)
    {
        var identity = new ClaimsIdentity("spec", Claims.Name, Claims.Role);
        identity.AddClaim(new Claim(Claims.Subject, "ann"));
        var principal = new ClaimsPrincipal(identity);
        principal.SetScopes(scopes).SetAccessTokenLifetime(Lifetime);
        principal.SetDestinations(_ => [Destinations.AccessToken]);
        return principal;
    }
}
