using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>Signed heads and proofs as an auditor gets them. Signatures and hashes are checked with nothing of ours.</summary>
public sealed class AuditSpecs(AuditSpecs.QuickHost shared) : IClassFixture<AuditSpecs.QuickHost>
{
    /// <summary>A host that signs every second.</summary>
    public sealed class QuickHost : IAsyncLifetime
    {
        public LiveHost Host { get; private set; } = null!;

        public async ValueTask InitializeAsync() => Host = await LiveHost.Start(settings => settings with { Heads = new(Soon) });

        public ValueTask DisposeAsync() => Host.DisposeAsync();
    }

    static readonly TimeSpan Soon = TimeSpan.FromSeconds(1);

    [Fact]
    public async Task A_head_covers_what_happened_and_an_event_is_proved_in_it_with_stock_tools()
    {
        await using var host = await LiveHost.Start(settings => settings with { Heads = new(Soon) });
        (await host.Http.Turn(await host.Http.NewSession(), "/say hello")).Is(200);
        var e = (await host.Http.Get("/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray().Last();
        var gid = e.GetProperty("gid").GetInt64();
        await host.Http.Until("/audit/heads/latest", got => (int)got.Status == 200 && got.Json.GetProperty("tree_size").GetInt64() >= gid);

        var proof = (await host.Http.Get($"/audit/proof?event={gid}")).Is(200).Json;
        var leaf = JsonDocument.Parse(proof.GetProperty("leaf").GetString()!).RootElement;
        foreach (var member in (string[])["gid", "hash", "stream_id", "version"])
        {
            Assert.Equal(e.GetProperty(member).ToString(), leaf.GetProperty(member).ToString());
        }
        Assert.Equal("default", leaf.GetProperty("tenant_id").GetString());
        var head = proof.GetProperty("head");
        Assert.Equal(proof.GetProperty("root_hash").GetString(), head.GetProperty("root_hash").GetString());
        Assert.Equal(proof.GetProperty("root_hash").GetString(), Climb(proof));
        await AssertSigned(host.Http, head);

        var again = (await host.Http.Get($"/audit/proof?event={proof.GetProperty("event_id").GetString()}&tree_size={gid}")).Is(200).Json;
        Assert.Equal(proof.GetProperty("leaf").GetString(), again.GetProperty("leaf").GetString());
        Assert.Equal(again.GetProperty("root_hash").GetString(), Climb(again));
    }

    [Fact]
    public async Task Heads_come_while_there_is_news_and_an_idle_host_signs_none()
    {
        await using var host = await LiveHost.Start(settings => settings with { Heads = new(Soon) });
        (await host.Http.Turn(await host.Http.NewSession(), "/say hello")).Is(200);
        var first = await Rest(host.Http);
        (await host.Http.Turn(await host.Http.NewSession(), "/say again")).Is(200);
        await host.Http.Until("/audit/heads/latest", got => got.Json.GetProperty("number").GetInt64() > first);
        var second = await Rest(host.Http);
        var heads = (await host.Http.Get("/audit/heads")).Is(200).Json;
        Assert.Equal(Enumerable.Range(1, (int)second).Select(i => (long)i), heads.GetProperty("heads").EnumerateArray().Select(head => head.GetProperty("number").GetInt64()));
        Assert.Equal(second, heads.GetProperty("next_since").GetInt64());
        var page = (await host.Http.Get($"/audit/heads?since={second - 1}&limit=1")).Is(200).Json;
        Assert.Equal(second, page.GetProperty("heads")[0].GetProperty("number").GetInt64());
        Assert.Equal(0, (await host.Http.Get($"/audit/heads?since={second}")).Is(200).Json.GetProperty("heads").GetArrayLength());

        var (from, to) = (Size(heads.GetProperty("heads")[0]), Size(page.GetProperty("heads")[0]));
        var proof = (await host.Http.Get($"/audit/consistency?from={from}&to={to}")).Is(200).Json;
        Assert.Equal(heads.GetProperty("heads")[0].GetProperty("root_hash").GetString(), proof.GetProperty("from_root_hash").GetString());
        Assert.Equal(page.GetProperty("heads")[0].GetProperty("root_hash").GetString(), proof.GetProperty("to_root_hash").GetString());
        var hashes = proof.GetProperty("proof").EnumerateArray().Select(hash => Convert.FromHexString(hash.GetString()!)).ToList();
        Assert.True(MerkleTree.Extends(
            from, Convert.FromHexString(proof.GetProperty("from_root_hash").GetString()!), to, Convert.FromHexString(proof.GetProperty("to_root_hash").GetString()!), hashes));
    }

    [Fact]
    public async Task A_host_that_stops_leaves_a_head_over_all_that_it_wrote()
    {
        var database = await TestPostgres.NewDatabase();
        await using (var host = await LiveHost.Start(settings => settings with { Database = database }))
        {
            (await host.Http.Turn(await host.Http.NewSession(), "/say hello")).Is(200);
        }
        await using var next = await LiveHost.Start(settings => settings with { Database = database });
        var head = (await next.Http.Get("/audit/heads/latest")).Is(200).Json;
        var events = (await next.Http.Get("/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray().ToList();
        var signed = events.Single(e => e.GetProperty("type").GetString() == "head_signed");
        Assert.Equal(signed.GetProperty("gid").GetInt64() - 1, Size(head));
        Assert.Contains(events, e => e.GetProperty("type").GetString() == "run_completed" && e.GetProperty("gid").GetInt64() <= Size(head));
    }

    [Fact]
    public async Task Two_hosts_sign_one_chain_of_heads()
    {
        var database = await TestPostgres.NewDatabase();
        await using var one = await LiveHost.Start(settings => settings with { Database = database, Heads = new(Soon) });
        await using var other = await LiveHost.Start(settings => settings with { Database = database, Heads = new(Soon), MasterKeys = _ => MasterKeySource.Read(_ => null, one.Data) });
        for (var i = 0; i < 3; i++)
        {
            (await one.Http.Turn(await other.Http.NewSession(), "/say hello")).Is(200);
            await Rest(i % 2 == 0 ? one.Http : other.Http);
        }
        var heads = (await other.Http.Get("/audit/heads")).Is(200).Json.GetProperty("heads").EnumerateArray().ToList();
        Assert.Equal(heads.Select(Size).Distinct().Order(), heads.Select(Size));
        Assert.True(heads.Count >= 3);
        foreach (var head in heads)
        {
            await AssertSigned(one.Http, head);
        }
    }

    [Theory]
    [InlineData("/audit/heads?since=-1", 422)]
    [InlineData("/audit/heads?limit=0", 422)]
    [InlineData("/audit/proof", 422)]
    [InlineData("/audit/proof?event=", 422)]
    [InlineData("/audit/proof?event=x", 422)]
    [InlineData("/audit/proof?event=-1", 422)]
    [InlineData("/audit/proof?event=0", 404)]
    [InlineData("/audit/proof?event=999999999999", 404)]
    [InlineData("/audit/proof?event=00000000-0000-0000-0000-000000000000", 404)]
    [InlineData("/audit/proof?event=1&tree_size=999999999999", 422)]
    [InlineData("/audit/proof?event=1&tree_size=0", 422)]
    [InlineData("/audit/consistency", 422)]
    [InlineData("/audit/consistency?from=0", 422)]
    [InlineData("/audit/consistency?from=1&to=0", 422)]
    [InlineData("/audit/consistency?from=1&to=999999999999", 422)]
    [InlineData("/audit/consistency?from=3&to=2", 422)]
    public async Task What_cannot_be_proved_is_refused(string path, int status)
    {
        var host = shared.Host;
        (await host.Http.Get(path)).IsProblem(status);
    }

    [Fact]
    public async Task Heads_are_for_auditors_of_every_tenant_and_events_for_those_of_their_own()
    {
        var host = shared.Host;
        await Rest(host.Http);
        using var auditor = host.Client(await host.Token("acme", "auditor"));
        using var member = host.Client(await host.Token("acme", "member"));
        var latest = Size((await auditor.Get("/audit/heads/latest")).Is(200).Json);
        (await auditor.Get($"/audit/consistency?from=1&to={latest}")).Is(200);
        (await auditor.Get("/audit/proof?event=1")).IsProblem(404, "not_found");
        (await host.Http.Get("/audit/proof?event=1")).Is(200);
        foreach (var path in (string[])["/audit/heads", "/audit/heads/latest", "/audit/proof?event=1", "/audit/consistency?from=1"])
        {
            (await member.Get(path)).IsProblem(403, "role_missing");
        }
    }

    /// <summary>Waits until the latest head has nothing after it but its own event. Answers its number.</summary>
    static async Task<long> Rest(HttpClient http)
    {
        var number = 0L;
        await http.Until("/metrics", got =>
        {
            var audit = got.Is(200).Json.GetProperty("host").GetProperty("audit");
            number = audit.GetProperty("heads").GetInt64();
            return number > 0 && got.Json.GetProperty("host").GetProperty("log_head").GetInt64() == audit.GetProperty("head_tree_size").GetInt64() + 1;
        });
        return number;
    }

    static long Size(JsonElement head) => head.GetProperty("tree_size").GetInt64();

    /// <summary>The root that a leaf and its path lead to.</summary>
    static string Climb(JsonElement proof)
    {
        var hash = SHA256.HashData([0, .. Encoding.UTF8.GetBytes(proof.GetProperty("leaf").GetString()!)]);
        Assert.Equal(proof.GetProperty("leaf_hash").GetString(), Convert.ToHexStringLower(hash));
        var (node, last) = (proof.GetProperty("leaf_index").GetInt64(), Size(proof) - 1);
        foreach (var sibling in proof.GetProperty("path").EnumerateArray().Select(text => Convert.FromHexString(text.GetString()!)))
        {
            if (node % 2 == 1 || node == last)
            {
                hash = SHA256.HashData([1, .. sibling, .. hash]);
                while (node % 2 == 0 && node > 0)
                {
                    (node, last) = (node / 2, last / 2);
                }
            }
            else
            {
                hash = SHA256.HashData([1, .. hash, .. sibling]);
            }
            (node, last) = (node / 2, last / 2);
        }
        Assert.Equal(0, last);
        return Convert.ToHexStringLower(hash);
    }

    static async Task AssertSigned(HttpClient http, JsonElement head)
    {
        var jws = head.GetProperty("signature").GetString()!.Split('.');
        var jwk = (await http.Get("/infra/jwks.json")).Is(200).Json.GetProperty("keys").EnumerateArray().Single(key => key.GetProperty("kid").GetString() == head.GetProperty("kid").GetString());
        Assert.Equal("heads", jwk.GetProperty("purpose").GetString());
        using var key = ECDsa.Create(new ECParameters
        {
            Curve = ECCurve.NamedCurves.nistP256,
            Q = new() { X = Base64Url.DecodeFromChars(jwk.GetProperty("x").GetString()!), Y = Base64Url.DecodeFromChars(jwk.GetProperty("y").GetString()!) },
        });
        Assert.True(key.VerifyData(Encoding.ASCII.GetBytes($"{jws[0]}.{jws[1]}"), Base64Url.DecodeFromChars(jws[2]), HashAlgorithmName.SHA256));
        var header = JsonDocument.Parse(Base64Url.DecodeFromChars(jws[0])).RootElement;
        Assert.Equal(("ES256", head.GetProperty("kid").GetString()), (header.GetProperty("alg").GetString(), header.GetProperty("kid").GetString()));
        var payload = JsonDocument.Parse(Base64Url.DecodeFromChars(jws[1])).RootElement;
        Assert.Equal(
            (Size(head), head.GetProperty("root_hash").GetString(), head.GetProperty("timestamp").GetString()),
            (Size(payload), payload.GetProperty("root_hash").GetString(), payload.GetProperty("timestamp").GetString()));
    }
}
