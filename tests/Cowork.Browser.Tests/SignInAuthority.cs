using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Testing;
using Cowork.Web;

using Microsoft.AspNetCore.WebUtilities;

namespace Cowork.Browser.Tests;

/// <summary>
/// An authority of OpenID Connect, as far as a page's sign-in and a host's check of tokens go: it lets Ann in without a question, gives a code, and for the code and the
/// verifier that belongs to it, once, a token; with <see cref="Refreshes"/> also one for another.
/// </summary>
sealed class SignInAuthority : IAsyncDisposable
{
    const string Client = "cowork-console";
    const string KeyId = "k1";

    readonly ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
    readonly LoopbackListener listener;
    (string Code, string Challenge, string Redirect)? open;
    string? refresh;

    public SignInAuthority() => listener = new(Serve);

    public string Issuer => $"http://127.0.0.1:{listener.Port}";

    /// <summary>Requests that were refused, and why.</summary>
    public List<string> Refused { get; } = [];

    /// <summary>Whether a refresh token comes with each token, good once.</summary>
    public bool Refreshes { get; init; }

    public string[] Roles { get; init; } = ["member"];

    /// <summary>How often a token was given for a refresh token.</summary>
    public int Renewed { get; private set; }

    /// <summary>The hints with which users were signed out here.</summary>
    public List<string> SignedOut { get; } = [];

    public OidcSettings Settings => new()
    {
        Authority = Issuer,
        Metadata = new($"{Issuer}/.well-known/openid-configuration"),
        Audiences = ["cowork"],
        ConsoleClient = Client,
        ConsoleScope = "openid cowork",
    };

    public async ValueTask DisposeAsync()
    {
        await listener.DisposeAsync();
        key.Dispose();
    }

    async Task Serve(Socket connection)
    {
        try
        {
            await using var wire = new NetworkStream(connection, ownsSocket: true);
            using var lines = new StreamReader(wire, Encoding.ASCII);
            var target = (await lines.ReadLineAsync())?.Split(' ')[1];
            var length = 0;
            while (await lines.ReadLineAsync() is { Length: > 0 } header)
            {
                length = header.StartsWith("Content-Length:", StringComparison.OrdinalIgnoreCase) ? int.Parse(header.AsSpan(15), System.Globalization.CultureInfo.InvariantCulture) : length;
            }
            var body = new char[length];
            if (length > 0)
            {
                // Not of nothing: a reader would wait for the connection's next byte.
                await lines.ReadBlockAsync(body);
            }
            if (target is not null)
            {
                await wire.WriteAsync(Encoding.UTF8.GetBytes(Answer(new(Issuer + target), new string(body))));
            }
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            // A browser closes connections that it had opened ahead of need.
        }
    }

    string Answer(Uri target, string body) => target.AbsolutePath switch
    {
        "/.well-known/openid-configuration" => Json(200, new
        {
            issuer = Issuer,
            jwks_uri = $"{Issuer}/jwks",
            authorization_endpoint = $"{Issuer}/authorize",
            token_endpoint = $"{Issuer}/token",
            end_session_endpoint = $"{Issuer}/logout",
        }),
        "/jwks" => Json(200, new { keys = new[] { PublicKey() } }),
        "/authorize" => Authorize(QueryHelpers.ParseQuery(target.Query).ToDictionary(pair => pair.Key, pair => pair.Value.ToString())),
        "/token" => Token(QueryHelpers.ParseQuery(body).ToDictionary(pair => pair.Key, pair => pair.Value.ToString())),
        "/logout" => SignOut(QueryHelpers.ParseQuery(target.Query).ToDictionary(pair => pair.Key, pair => pair.Value.ToString())),
        _ => Json(404, new { }),
    };

    JsonObject PublicKey()
    {
        var jwk = RequestSigner.JwkOf(key);
        (jwk["kid"], jwk["use"]) = (KeyId, "sig");
        return jwk;
    }

    string Authorize(Dictionary<string, string> asked)
    {
        if ((asked["response_type"], asked["client_id"], asked["code_challenge_method"], asked["scope"]) != ("code", Client, "S256", "openid cowork"))
        {
            Refused.Add("authorize");
            return Json(400, new { error = "invalid_request" });
        }
        open = (Convert.ToHexString(RandomNumberGenerator.GetBytes(16)), asked["code_challenge"], asked["redirect_uri"]);
        return To($"{asked["redirect_uri"]}?code={open.Value.Code}&state={Uri.EscapeDataString(asked["state"])}");
    }

    string SignOut(Dictionary<string, string> asked)
    {
        SignedOut.Add(asked["id_token_hint"]);
        return To(asked["post_logout_redirect_uri"]);
    }

    string Token(Dictionary<string, string> asked)
    {
        if (asked["grant_type"] == "refresh_token")
        {
            if (refresh is null || asked["refresh_token"] != refresh)
            {
                Refused.Add("refresh");
                return Json(400, new { error = "invalid_grant" });
            }
            Renewed++;
            return Grant();
        }
        var challenge = WebEncoders.Base64UrlEncode(SHA256.HashData(Encoding.ASCII.GetBytes(asked["code_verifier"])));
        if (open is not { } given || (asked["code"], challenge, asked["redirect_uri"], asked["client_id"]) != (given.Code, given.Challenge, given.Redirect, Client))
        {
            Refused.Add("token");
            return Json(400, new { error = "invalid_grant", error_description = "The code is not for this verifier." });
        }
        open = null;
        return Grant();
    }

    string Grant()
    {
        var now = TimeProvider.System.GetUtcNow().ToUnixTimeSeconds();
        var claims = new { iss = Issuer, aud = "cowork", sub = "ann", org_id = "acme", roles = Roles, iat = now, exp = now + 300 };
        var token = Signed.Compact(JsonSerializer.Serialize(new { alg = "ES256", typ = "at+jwt", kid = KeyId }), JsonSerializer.Serialize(claims), key, HashAlgorithmName.SHA256);
        refresh = Refreshes ? Convert.ToHexString(RandomNumberGenerator.GetBytes(16)) : null;
        return Json(200, new { access_token = token, token_type = "Bearer", expires_in = 300, refresh_token = refresh, id_token = "of-ann" });
    }

    static string To(string address) => $"HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    static string Json(int status, object value)
    {
        var body = JsonSerializer.Serialize(value);
        return $"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: {Encoding.UTF8.GetByteCount(body)}\r\nConnection: close\r\n\r\n{body}";
    }
}
