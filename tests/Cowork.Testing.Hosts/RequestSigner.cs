using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

namespace Cowork.Testing.Hosts;

/// <summary>
/// Signs requests as an app or a group's controller does, with the base class library alone, so that it shares no mistake with the service. What is signed can be changed
/// before it is.
/// </summary>
public sealed class RequestSigner(ECDsa key, string kid, string issuer, string typ, string audience) : IDisposable
{
    public string Issuer => issuer;

    public string Kid => kid;

    /// <summary>The certificate of a controller's session; null: an app signs.</summary>
    public string? Certificate { get; init; }

    /// <summary>A new key of an app of the tenant, registered at the host.</summary>
    public static async Task<RequestSigner> App(HttpClient admin, string name)
    {
        var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var registered = await admin.Post("/infra/app-keys", new JsonObject { ["app"] = name, ["public_key"] = JwkOf(key) }.ToJsonString());
        registered.Is(201);
        return new(key, registered["kid"], registered["app_id"], "cowork-app+jwt", "orchestrator");
    }

    /// <summary>The controller of a group, by the answer of <c>POST /infra/groups</c>.</summary>
    public static RequestSigner Controller(Got opened, string audience)
    {
        var key = ECDsa.Create();
        key.ImportFromPem(opened["session_private_key"]);
        return new(key, Thumbprint(key), opened["group_controller_id"], "cowork-session+jwt", audience) { Certificate = opened["session_certificate"] };
    }

    public static JsonObject JwkOf(ECDsa key)
    {
        var point = key.ExportParameters(includePrivateParameters: false).Q;
        return new() { ["kty"] = "EC", ["crv"] = "P-256", ["x"] = Base64Url.EncodeToString(point.X), ["y"] = Base64Url.EncodeToString(point.Y) };
    }

    public static string Thumbprint(ECDsa key)
    {
        var jwk = JwkOf(key);
        return Base64Url.EncodeToString(SHA256.HashData(Encoding.UTF8.GetBytes($$"""{"crv":"P-256","kty":"EC","x":"{{jwk["x"]}}","y":"{{jwk["y"]}}"}""")));
    }

    /// <summary>Sends a signed request.</summary>
    public async Task<Got> Send(HttpClient http, string path, string body, Action<Signed>? change = null, HttpMethod? method = null)
    {
        var signed = Sign(http, path, body, change, method);
        return await http.Send(signed.Method, signed.Path, signed.Body, signed.Headers);
    }

    /// <summary>A request that the service accepts once, with the changes.</summary>
    public Signed Sign(HttpClient http, string path, string body, Action<Signed>? change = null, HttpMethod? method = null)
    {
        method ??= HttpMethod.Post;
        var now = TimeProvider.System.GetUtcNow().ToUnixTimeSeconds();
        var signed = new Signed(method, path, body, key)
        {
            Header = new() { ["alg"] = "ES256", ["typ"] = typ, ["kid"] = kid },
            Claims = new()
            {
                ["iss"] = issuer,
                ["aud"] = audience,
                ["htm"] = method.Method,
                ["htu"] = new Uri(http.BaseAddress!, path).AbsoluteUri,
                ["bsh"] = Base64Url.EncodeToString(SHA256.HashData(Encoding.UTF8.GetBytes(body))),
                ["iat"] = now,
                ["exp"] = now + 60,
                ["jti"] = $"{now}-{Convert.ToHexString(RandomNumberGenerator.GetBytes(12))}",
            },
            Certificate = Certificate,
            Scheme = Certificate is null ? "Bearer" : "Signature",
        };
        change?.Invoke(signed);
        return signed;
    }

    public void Dispose() => key.Dispose();
}

/// <summary>A request that is about to be signed.</summary>
public sealed class Signed(HttpMethod method, string path, string body, ECDsa key)
{
    string? token;

    public HttpMethod Method { get; set; } = method;

    public string Path { get; set; } = path;

    public string Body { get; set; } = body;

    public ECDsa Key { get; set; } = key;

    public required JsonObject Header { get; set; }

    public required JsonObject Claims { get; set; }

    public string? Certificate { get; set; }

    public string Scheme { get; set; } = "Bearer";

    public HashAlgorithmName Hash { get; set; } = HashAlgorithmName.SHA256;

    /// <summary>Headers beside those that the signature needs.</summary>
    public List<(string Name, string Value)> More { get; } = [];

    /// <summary>The signed token; once it was asked for, changes change nothing any more.</summary>
    public string Token
    {
        get => token ??= Compact(Header.ToJsonString(), Claims.ToJsonString(), Key, Hash);
        set => token = value;
    }

    public (string Name, string Value)[] Headers =>
        [("Authorization", $"{Scheme} {Token}"), .. Certificate is { } certificate ? [("X-Session-Cert", certificate)] : Array.Empty<(string, string)>(), .. More];

    public static string Compact(string header, string claims, ECDsa key, HashAlgorithmName hash)
    {
        var content = $"{Base64Url.EncodeToString(Encoding.UTF8.GetBytes(header))}.{Base64Url.EncodeToString(Encoding.UTF8.GetBytes(claims))}";
        return $"{content}.{Base64Url.EncodeToString(key.SignData(Encoding.ASCII.GetBytes(content), hash))}";
    }
}
