using System.Net;
using System.Net.Sockets;
using System.Security.Claims;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Microsoft.IdentityModel.Tokens;

using OpenIddict.Abstractions;
using OpenIddict.Server;

using static OpenIddict.Abstractions.OpenIddictConstants;
using static OpenIddict.Server.OpenIddictServerEvents;

namespace Cowork.Web.Tests;

/// <summary>
/// An authority in this process (OpenIddict without a database): it signs in whoever the request names, with the claims that the request names. Its keys can be changed
/// while it runs.
/// </summary>
sealed class IdentityProvider : IAsyncDisposable
{
    const string Client = "spec";
    const string Redirect = "http://127.0.0.1/callback";

    readonly WebApplication app;
    readonly HttpClient http;
    int keyRequests;

    IdentityProvider(WebApplication app, int port)
    {
        (this.app, Port) = (app, port);
        http = new(new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false }) { BaseAddress = new(Issuer) };
    }

    public int Port { get; }

    public string Issuer => $"http://127.0.0.1:{Port}/";

    /// <summary>How often its keys were asked for.</summary>
    public int KeyRequests => Volatile.Read(ref keyRequests);

    /// <summary>The settings of a host that trusts it.</summary>
    public OidcSettings Settings => new()
    {
        Authority = Issuer,
        Metadata = new(Issuer + ".well-known/openid-configuration"),
        Audiences = ["cowork"],
        RoleClaim = "realm_access.roles",
        ClockSkew = TimeSpan.Zero,
        RefreshEvery = TimeSpan.FromSeconds(1),
    };

    OpenIddictServerOptions Options => app.Services.GetRequiredService<IOptionsMonitor<OpenIddictServerOptions>>().CurrentValue;

    public static RsaSecurityKey NewKey(string id) => new(RSA.Create(2048)) { KeyId = id };

    public static int FreePort()
    {
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    public static async Task<IdentityProvider> Start(RsaSecurityKey key, int? at = null)
    {
        var port = at ?? FreePort();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, port));
        builder.Services.AddOpenIddict().AddServer(server =>
        {
            server.EnableDegradedMode().SetIssuer(new Uri($"http://127.0.0.1:{port}/"));
            server.SetTokenEndpointUris("token").SetAuthorizationEndpointUris("authorize");
            server.AllowClientCredentialsFlow().AllowAuthorizationCodeFlow().RequireProofKeyForCodeExchange();
            server.AddSigningKey(key).AddEphemeralEncryptionKey().DisableAccessTokenEncryption();
            server.UseAspNetCore().DisableTransportSecurityRequirement();
            server.AddEventHandler<ValidateAuthorizationRequestContext>(handler => handler.UseInlineHandler(_ => default));
            server.AddEventHandler<ValidateTokenRequestContext>(handler => handler.UseInlineHandler(_ => default));
            server.AddEventHandler<HandleAuthorizationRequestContext>(handler => handler.UseInlineHandler(context =>
            {
                context.SignIn(PrincipalOf(context.Request));
                return default;
            }));
            server.AddEventHandler<HandleTokenRequestContext>(handler => handler.UseInlineHandler(context =>
            {
                if (context.Request.IsClientCredentialsGrantType())
                {
                    context.SignIn(PrincipalOf(context.Request));
                }
                return default;
            }));
        });
        var app = builder.Build();
        var provider = new IdentityProvider(app, port);
        app.Use((context, next) =>
        {
            if (context.Request.Path.StartsWithSegments("/.well-known/jwks"))
            {
                Interlocked.Increment(ref provider.keyRequests);
            }
            return next(context);
        });
        app.UseAuthentication();
        await app.StartAsync();
        return provider;
    }

    /// <summary>From now on it signs with this key, and shows it and the others.</summary>
    public void SignWith(SecurityKey key, params IEnumerable<SecurityKey> others)
    {
        Options.SigningCredentials.Clear();
        Options.SigningCredentials.AddRange(((SecurityKey[])[key, .. others]).Select(shown => new SigningCredentials(shown, SecurityAlgorithms.RsaSha256)));
    }

    /// <summary>A token by the client credentials flow.</summary>
    /// <param name="claims">Beside <c>sub</c>.</param>
    public async Task<string> Token(string user, object claims, string audience = "cowork", double seconds = 600) =>
        await Exchange([new("grant_type", "client_credentials"), new("client_id", Client), new("client_secret", "spec"), .. Asked(user, claims, audience, seconds)]);

    /// <summary>A token by the authorisation code flow with PKCE, as a browser and its application go through it.</summary>
    public async Task<string> TokenByCode(string user, object claims)
    {
        var verifier = Base64UrlEncoder.Encode(RandomNumberGenerator.GetBytes(32));
        var challenge = Base64UrlEncoder.Encode(SHA256.HashData(Encoding.ASCII.GetBytes(verifier)));
        List<KeyValuePair<string, string>> query =
        [
            new("response_type", "code"), new("client_id", Client), new("redirect_uri", Redirect), new("code_challenge", challenge), new("code_challenge_method", "S256"),
            new("state", "s"), .. Asked(user, claims, "cowork", 600),
        ];
        using var answer = await http.GetAsync("/authorize?" + string.Join('&', query.Select(pair => $"{pair.Key}={Uri.EscapeDataString(pair.Value)}")));
        Assert.True(answer.StatusCode == HttpStatusCode.Redirect, $"{(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync()}");
        var location = answer.Headers.Location!.ToString();
        Assert.StartsWith(Redirect, location);
        var code = location[(location.IndexOf('?') + 1)..].Split('&').Single(pair => pair.StartsWith("code=", StringComparison.Ordinal))["code=".Length..];
        return await Exchange([
            new("grant_type", "authorization_code"), new("client_id", Client), new("redirect_uri", Redirect), new("code", Uri.UnescapeDataString(code)),
            new("code_verifier", verifier),
        ]);
    }

    public async ValueTask DisposeAsync()
    {
        http.Dispose();
        await app.StopAsync();
        await app.DisposeAsync();
    }

    static IEnumerable<KeyValuePair<string, string>> Asked(string user, object claims, string audience, double seconds) =>
        [new("spec_user", user), new("spec_claims", JsonSerializer.Serialize(claims)), new("spec_audience", audience), new("spec_seconds", $"{seconds}")];

    static ClaimsPrincipal PrincipalOf(OpenIddictRequest request)
    {
        string Of(string name) => (string)request.GetParameter(name)!.Value!;
        var identity = new ClaimsIdentity("spec", Claims.Name, Claims.Role);
        identity.AddClaim(new Claim(Claims.Subject, Of("spec_user")));
        foreach (var member in JsonElement.Parse(Of("spec_claims")).EnumerateObject())
        {
            identity.AddClaim(member.Value.ValueKind switch
            {
                JsonValueKind.String => new Claim(member.Name, member.Value.GetString()!),
                JsonValueKind.Array => new Claim(member.Name, member.Value.GetRawText(), "JSON_ARRAY"),
                _ => new Claim(member.Name, member.Value.GetRawText(), "JSON"),
            });
        }
        var principal = new ClaimsPrincipal(identity);
        principal.SetResources(Of("spec_audience")).SetAccessTokenLifetime(TimeSpan.FromSeconds(double.Parse(Of("spec_seconds"))));
        principal.SetDestinations(_ => [Destinations.AccessToken]);
        return principal;
    }

    async Task<string> Exchange(IEnumerable<KeyValuePair<string, string>> form)
    {
        using var content = new FormUrlEncodedContent(form);
        using var answer = await http.PostAsync("/token", content);
        var text = await answer.Content.ReadAsStringAsync();
        Assert.True(answer.IsSuccessStatusCode, text);
        return JsonElement.Parse(text).GetProperty("access_token").GetString()!;
    }
}
