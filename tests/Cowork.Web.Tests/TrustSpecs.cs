using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>Contract D's chain of trust over HTTP.</summary>
public sealed class TrustSpecs(TokenHost tokens) : IClassFixture<TokenHost>
{
    readonly LiveHost host = tokens.Host;

    [Fact]
    public async Task Everybody_may_have_the_public_keys_and_keep_them_a_while()
    {
        var got = (await host.Http.Get("/infra/jwks.json")).Is(200);
        var keys = got.Json.GetProperty("keys").EnumerateArray().ToList();
        Assert.Equal(["heads", "orchestrator"], keys.Select(key => key.GetProperty("purpose").GetString()).Order(StringComparer.Ordinal));
        foreach (var key in keys)
        {
            Assert.Equal(
                ("EC", "P-256", "sig", "ES256"),
                (key.GetProperty("kty").GetString(), key.GetProperty("crv").GetString(), key.GetProperty("use").GetString(), key.GetProperty("alg").GetString()));
            Assert.Equal(43, key.GetProperty("kid").GetString()!.Length);
            Assert.False(key.TryGetProperty("d", out _));
        }
        Assert.Equal((true, TimeSpan.FromMinutes(5)), (got.Headers.CacheControl!.Public, got.Headers.CacheControl.MaxAge));
        Assert.Equal(JsonSerializer.Serialize(got.Json), JsonSerializer.Serialize((await host.Http.Get("/infra/jwks.json")).Is(200).Json));
    }
}
