using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>Contract D's chain of trust over HTTP.</summary>
public sealed class TrustSpecs
{
    [Fact]
    public async Task Nobody_makes_keys_by_asking_for_them_and_the_first_of_each_purpose_is_there_once_it_has_signed()
    {
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true, Heads = new(TimeSpan.FromHours(1)) });
        var none = (await host.Http.Get("/infra/jwks.json")).Is(200);
        Assert.Empty(none.Json.GetProperty("keys").EnumerateArray());
        // Who keeps a set without keys would not believe the first token.
        Assert.True(none.Headers.CacheControl!.NoCache);
        using var operators = host.Client(host.AdminToken);
        var written = (await operators.Get("/events?limit=500")).Is(200).Json.GetProperty("events").EnumerateArray().Select(e => e.GetProperty("type").GetString()!);
        Assert.DoesNotContain(written, type => type.Contains("key", StringComparison.Ordinal));
        using var member = host.Client(await host.Token("keys", "member"));
        var group = (await member.Post("/groups", """{"title":"t"}""")).Is(201)["group_id"];
        (await member.Post($"/groups/{group}/token", "{}")).Is(200);
        var first = (await host.Http.Get("/infra/jwks.json")).Is(200);
        Assert.Equal("orchestrator", Assert.Single(first.Json.GetProperty("keys").EnumerateArray()).GetProperty("purpose").GetString());
        Assert.True(first.Headers.CacheControl!.NoCache);
    }

    [Fact]
    public async Task Everybody_may_have_the_public_keys_and_keep_them_a_while()
    {
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true });
        using var operators = host.Client(host.AdminToken);
        foreach (var purpose in (string[])["orchestrator", "heads"])
        {
            (await operators.Post("/infra/signing-keys", $$"""{"purpose":"{{purpose}}"}""")).Is(201);
        }
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
