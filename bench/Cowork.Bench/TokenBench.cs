using System.Buffers.Text;
using System.Diagnostics;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application;

namespace Cowork.Bench;

/// <summary>The tokens of contract D: how many a host issues and believes in a second.</summary>
sealed class TokenBench(HostProcess host, ProcessCpu cpu, TimeSpan time) : IDisposable
{
    static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(1);

    readonly ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
    string group = "";
    string app = "";
    string kid = "";
    int tokens;

    public async Task Prepare()
    {
        group = await Made("/groups", new { title = "bench" }, "group_id");
        var point = Jws.PublicOf(key);
        kid = Jws.Thumbprint(point);
        app = await Made("/infra/app-keys", new { app = "bench", public_key = new { kty = "EC", crv = "P-256", x = point.X, y = point.Y } }, "app_id");
    }

    /// <summary>A member's own routing token: one signature, and nothing is written.</summary>
    public Task<Measured> IssueOwn(int inFlight) => Load.Run(inFlight, WarmUp, time, cpu, async (_, _) =>
    {
        using var response = await host.Http.PostAsync($"/groups/{group}/token", null);
        response.EnsureSuccessStatusCode();
    });

    /// <summary>One that an app signs for: its signature is verified, its <c>jti</c> claimed in the log, and the token signed.</summary>
    public Task<Measured> IssueByApp(int inFlight) => Load.Run(inFlight, WarmUp, time, cpu, async (_, _) =>
    {
        var body = $$"""{"group_id":"{{group}}","user_id":"local"}""";
        var now = TimeProvider.System.GetUtcNow().ToUnixTimeSeconds();
        var digest = Base64Url.EncodeToString(SHA256.HashData(Encoding.UTF8.GetBytes(body)));
        var claims = $$"""
            {"iss":"{{app}}","aud":"orchestrator","htm":"POST","htu":"{{new Uri(host.Http.BaseAddress!, "/infra/routing-token")}}","bsh":"{{digest}}",
            "iat":{{now}},"exp":{{now + 60}},"jti":"{{Stopwatch.GetTimestamp()}}-{{Interlocked.Increment(ref tokens)}}"}
            """;
        using var request = new HttpRequestMessage(HttpMethod.Post, "/infra/routing-token") { Content = new StringContent(body, Encoding.UTF8, "application/json") };
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", Jws.Sign(key, kid, SignedRequests.AppTyp, claims));
        using var response = await host.Http.SendAsync(request);
        response.EnsureSuccessStatusCode();
    });

    /// <summary>Tokens that one thread reads and verifies in a second, without HTTP.</summary>
    public async Task<double> Verified()
    {
        const string Claims = """{"iss":"orchestrator","aud":"groups","sub":"local","group_id":"grp_x","org":"default","role":"member","iat":1,"exp":2}""";
        var token = Jws.Sign(key, kid, RoutingTokens.Typ, Claims);
        using var known = Jws.Import(Jws.PublicOf(key))!;
        var start = Stopwatch.GetTimestamp();
        for (var count = 0; ; count++)
        {
            if (Stopwatch.GetElapsedTime(start) is var passed && passed >= time)
            {
                return count / passed.TotalSeconds;
            }
            if (!await Jws.IsSignedBy(Jws.Read(token, RoutingTokens.Typ)!, known))
            {
                throw new InvalidOperationException("A right token was not believed.");
            }
        }
    }

    public void Dispose() => key.Dispose();

    async Task<string> Made(string path, object body, string id)
    {
        using var response = await host.Http.PostAsJsonAsync(path, body);
        return (await response.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JsonElement>()).GetProperty(id).GetString()!;
    }
}
