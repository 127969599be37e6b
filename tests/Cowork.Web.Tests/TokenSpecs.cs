using System.Diagnostics;
using System.Text.Json;

using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>Two hosts on one database in token mode, the first with the operator's token; decisions need a second person.</summary>
public sealed class TwoTokenHosts : IAsyncLifetime
{
    public LiveHost One { get; private set; } = null!;

    public LiveHost Other { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        One = await LiveHost.Start(settings => settings with { TokenMode = true, Approvals = new() { FourEyes = true } });
        Other = await LiveHost.Start(settings => settings with { TokenMode = true, Approvals = new() { FourEyes = true }, Database = One.Database });
        // Hosts tell each other of commits once they have heard of each other.
        using var admin = Other.Client(One.AdminToken);
        using var here = One.Client(One.AdminToken);
        for (var isHeard = false; !isHeard;)
        {
            var since = (await admin.Get("/events?limit=1000")).Is(200)["next_since_id"];
            var heard = admin.Get($"/events?since_id={since}&wait_seconds=1");
            await here.NewSession();
            isHeard = (await heard).Json.GetProperty("events").GetArrayLength() > 0;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Other.DisposeAsync();
        await One.DisposeAsync();
        await Ledger.CheckLog(One.Database);
    }
}

/// <summary>What becomes of tokens, and of what they have opened.</summary>
public sealed class TokenSpecs(TwoTokenHosts hosts) : IClassFixture<TwoTokenHosts>
{
    /// <summary>A second as it is promised, and what a busy machine adds to it.</summary>
    static TimeSpan Soon => Patience.Stretched(TimeSpan.FromSeconds(3));

    /// <summary>How long that is worth something which is to end by itself.</summary>
    static readonly TimeSpan Short = TimeSpan.FromSeconds(2);

    readonly LiveHost host = hosts.One;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_a_token_has_opened_ends_when_it_is_revoked_on_every_host(bool elsewhere)
    {
        var at = elsewhere ? hosts.Other : host;
        using var admin = host.Client(host.AdminToken);
        var issued = await Issue(admin, "revoked", "member", "auditor");
        using var client = at.Client(issued["token"]);
        var session = await client.NewSession();
        await using var stream = await EventReader.Open(client, $"/sessions/{session}/events/stream");
        await using var tenants = await EventReader.Open(client, "/events/stream");
        var turn = client.Turn(session, "/sleep 60000");
        await stream.Through(5);
        var page = (await client.Get("/events?limit=1000")).Is(200)["next_since_id"];
        var poll = client.Get($"/events?since_id={page}&wait_seconds=50");
        await Waiting(at, 4);
        using var revoker = host.Client(await host.Token("revoked", "admin"));
        var clock = Stopwatch.StartNew();
        (await revoker.Delete($"/tokens/{issued["token_id"]}")).Is(204);
        using var timeout = new CancellationTokenSource(Patience.Limit);
        while (await stream.Next(timeout.Token) is not null)
        {
        }
        while (await tenants.Next(timeout.Token) is not null)
        {
        }
        // The revocation itself may be what it was waiting for.
        Assert.Contains((int)(await poll.WaitAsync(timeout.Token)).Status, (int[])[200, 401]);
        (await turn.WaitAsync(timeout.Token)).IsProblem(401, "access_ended");
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, Soon);
        (await client.Get("/sessions")).IsProblem(401, "unauthorized");
        await Waiting(at, 0);
    }

    [Fact]
    public async Task What_needs_a_role_ends_when_the_role_is_taken_away_and_the_rest_goes_on()
    {
        using var admin = host.Client(host.AdminToken);
        var issued = await Issue(admin, "roles-change", "member", "auditor");
        using var client = hosts.Other.Client(issued["token"]);
        var session = await client.NewSession();
        await using var tenants = await EventReader.Open(client, "/events/stream");
        await using var stream = await EventReader.Open(client, $"/sessions/{session}/events/stream");
        var page = (await client.Get("/events?limit=1000")).Is(200)["next_since_id"];
        using var changer = host.Client(await host.Token("roles-change", "admin"));
        await tenants.Through(long.Parse(page));
        var changed = (await changer.Send(HttpMethod.Patch, $"/tokens/{issued["token_id"]}", """{"roles":["member"]}""")).Is(200);
        Assert.Equal("""["member"]""", changed["roles"]);
        using var timeout = new CancellationTokenSource(Patience.Limit);
        var clock = Stopwatch.StartNew();
        while (await tenants.Next(timeout.Token) is not null)
        {
        }
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, Soon);
        (await client.Get("/events")).IsProblem(403, "role_missing");
        (await client.Turn(session, "/say still there")).Is(200);
        Assert.Equal("run_completed", (await stream.Through(9)).Last(e => e.Type.StartsWith("run_com", StringComparison.Ordinal)).Type);
    }

    [Fact]
    public async Task A_stream_ends_when_its_token_expires_and_then_the_token_is_refused()
    {
        using var admin = host.Client(host.AdminToken);
        var opened = await Patience.Before(Short, async end =>
        {
            var issued = await Post(admin, new { name = "short", user = "ann", roles = (string[])["member"], org_id = "expiring", expires_at = end.ToString("O") });
            var ann = hosts.Other.Client(issued["token"]);
            return (End: end, Issued: issued, Client: ann, Stream: await EventReader.Open(ann, $"/sessions/{await ann.NewSession()}/events/stream"));
        });
        using var client = opened.Client;
        await using var stream = opened.Stream;
        using var timeout = new CancellationTokenSource(Patience.Limit);
        while (await stream.Next(timeout.Token) is not null)
        {
        }
        Assert.InRange(TimeProvider.System.GetUtcNow(), DateTimeOffset.MinValue, opened.End + Soon);
        (await client.Get("/sessions")).IsProblem(401, "token_expired");
        using var tenants = host.Client(await host.Token("expiring", "admin"));
        (await tenants.Post($"/tokens/{opened.Issued["token_id"]}/rotate")).IsProblem(409, "token_expired");
        (await tenants.Delete($"/tokens/{opened.Issued["token_id"]}")).Is(204);
    }

    [Fact]
    public async Task A_new_token_expires_after_ninety_days_unless_it_says_otherwise_and_the_operators_never()
    {
        using var admin = host.Client(host.AdminToken);
        var usual = await Issue(admin, "expiry", "member");
        Assert.Equal(90, (usual.Json.GetProperty("expires_at").GetDateTimeOffset() - usual.Json.GetProperty("created_at").GetDateTimeOffset()).TotalDays, 0.01);
        var asked = (await admin.Post("/tokens", """{"name":"x","expires_in_days":7}""")).Is(201);
        Assert.Equal(7, (asked.Json.GetProperty("expires_at").GetDateTimeOffset() - asked.Json.GetProperty("created_at").GetDateTimeOffset()).TotalDays, 0.01);
        Assert.Equal("2100-01-01T00:00:00.000Z", (await admin.Post("/tokens", """{"name":"x","expires_at":"2100-01-01"}""")).Is(201)["expires_at"]);
        var first = (await admin.Get("/tokens?limit=1000")).Json.GetProperty("tokens").EnumerateArray().Single(t => t.GetProperty("created_by").GetString() == "system");
        Assert.Equal((JsonValueKind.Null, true), (first.GetProperty("expires_at").ValueKind, first.GetProperty("operator").GetBoolean()));
        foreach (var wrong in (string[])["\"expires_in_days\":0", "\"expires_in_days\":3661", "\"expires_at\":\"tomorrow\"", "\"expires_at\":\"2020-01-01\"",
            "\"expires_at\":\"2100-01-01\",\"expires_in_days\":3", "\"addresses\":[]", "\"addresses\":[\"home\"]", "\"addresses\":[null]", "\"addresses\":[\"10.1\"]", "\"addresses\":[\"::/129\"]"])
        {
            (await admin.Post("/tokens", $$"""{"name":"x",{{wrong}}}""")).IsProblem(422);
        }
    }

    [Fact]
    public async Task The_last_use_is_known_to_the_minute_on_every_host()
    {
        using var admin = host.Client(host.AdminToken);
        var issued = await Issue(admin, "used", "admin");
        using var reader = host.Client(await host.Token("used", "auditor"));
        using var elsewhere = hosts.Other.Client(await host.Token("used", "auditor"));
        Assert.Equal("", (await reader.Get($"/tokens/{issued["token_id"]}")).Is(200)["last_used_at"]);
        using var client = host.Client(issued["token"]);
        var before = (await client.Get("/events?limit=1000")).Is(200)["next_since_id"];
        for (var i = 0; i < 20; i++)
        {
            (await client.Get("/sessions")).Is(200);
        }
        var used = (await reader.Get($"/tokens/{issued["token_id"]}")).Is(200).Json.GetProperty("last_used_at").GetDateTimeOffset();
        Assert.Equal((0, 0), (used.Second, used.Millisecond));
        Assert.InRange(used, TimeProvider.System.GetUtcNow().AddMinutes(-2), TimeProvider.System.GetUtcNow());
        await host.Services.GetRequiredService<Http.TokenUses>().WriteNow(CancellationToken.None);
        Assert.Equal(used, (await elsewhere.Get("/tokens")).Json.GetProperty("tokens").EnumerateArray()
            .Single(t => t.GetProperty("token_id").GetString() == issued["token_id"]).GetProperty("last_used_at").GetDateTimeOffset());
        // No use is an event.
        Assert.Empty((await client.Get($"/events?since_id={before}")).Is(200).Json.GetProperty("events").EnumerateArray());
    }

    [Fact]
    public async Task A_rotated_token_works_under_both_secrets_until_the_overlap_ends()
    {
        using var admin = host.Client(host.AdminToken);
        var rotated = await Patience.Before(Short, async end =>
        {
            var issued = await Issue(admin, "rotating", "member");
            var ann = host.Client(issued["token"]);
            var overlap = $$"""{"overlap_seconds":{{Math.Ceiling((end - TimeProvider.System.GetUtcNow()).TotalSeconds)}}}""";
            // Its user may, without a role for it.
            var renewed = (await ann.Post($"/tokens/{issued["token_id"]}/rotate", overlap, ("Idempotency-Key", "once"))).Is(200);
            Assert.Equal((issued["token_id"], true), (renewed["token_id"], renewed["token"] != issued["token"]));
            var newer = hosts.Other.Client(renewed["token"]);
            (await newer.Get("/sessions")).Is(200);
            (await ann.Post($"/tokens/{issued["token_id"]}/rotate", overlap, ("Idempotency-Key", "once"))).IsProblem(409, "secret_not_replayable");
            return (Token: issued, Client: ann, Again: newer, Stream: await EventReader.Open(ann, $"/sessions/{await ann.NewSession()}/events/stream"));
        });
        var old = rotated.Token;
        using var client = rotated.Client;
        using var again = rotated.Again;
        await using var stream = rotated.Stream;
        using var timeout = new CancellationTokenSource(Patience.Limit);
        while (await stream.Next(timeout.Token) is not null)
        {
        }
        (await client.Get("/sessions")).IsProblem(401);
        (await again.Get("/sessions")).Is(200);
        // At once, and by the admin, who is behind the token from then on.
        using var tenants = host.Client(await host.Token("rotating", "admin"));
        var last = (await tenants.Post($"/tokens/{old["token_id"]}/rotate", """{"overlap_seconds":0}""")).Is(200);
        (await again.Get("/sessions")).IsProblem(401);
        using var newest = host.Client(last["token"]);
        (await newest.Get("/sessions")).Is(200);
        (await newest.Post($"/tokens/{(await Issue(admin, "rotating", "member"))["token_id"]}/rotate")).IsProblem(403, "role_missing");
        (await tenants.Post($"/tokens/{last["token_id"]}/rotate", """{"overlap_seconds":-1}""")).IsProblem(422);
    }

    [Theory]
    [InlineData("127.0.0.1", true)]
    [InlineData("127.0.0.0/8", true)]
    [InlineData("0.0.0.0/0", true)]
    [InlineData("::ffff:127.0.0.1", true)]
    [InlineData("10.0.0.0/8", false)]
    [InlineData("::1", false)]
    [InlineData("2001:db8::/32", false)]
    public async Task A_token_is_used_from_its_addresses_only(string network, bool fits)
    {
        using var admin = host.Client(host.AdminToken);
        var issued = (await admin.Post("/tokens", JsonSerializer.Serialize(new { name = "bound", user = "ann", org_id = "bound", addresses = (string[])[network] }))).Is(201);
        using var client = host.Client(issued["token"]);
        var got = await client.Get("/sessions");
        _ = fits ? got.Is(200) : got.IsProblem(401, "unauthorized");
    }

    /// <summary>An admin who issued a second name, and one who did so over a name in between, decide about nobody's calls but those of others.</summary>
    [Fact]
    public async Task Who_issued_a_name_does_not_decide_about_its_calls_nor_over_a_chain()
    {
        const string Yes = """{"approved":true}""";
        using var root = host.Client(host.AdminToken);
        using var alice = host.Client((await Named(root, "alice", "admin", "member", "approver"))["token"]);
        using var bob = host.Client((await Named(root, "bob", "approver"))["token"]);
        var minted = await Named(alice, "mallory", "admin", "approver", "member");
        Assert.Equal("""["user:alice","user:admin@default"]""", minted["issuers"]);
        using var mallory = host.Client(minted["token"]);
        using var trent = host.Client((await Named(mallory, "trent", "approver", "member"))["token"]);
        using var second = host.Client((await Named(alice, "victor", "approver"))["token"]);
        var approval = await Asked(alice);
        foreach (var other in (HttpClient[])[alice, mallory, trent, second])
        {
            (await other.Post($"/approvals/{approval}/decision", Yes)).IsProblem(403, "four_eyes");
        }
        var decided = (await bob.Post($"/approvals/{approval}/decision", Yes)).Is(200);
        Assert.Equal(("user:bob", """["user:admin@default"]"""), (decided["decided_by"], decided["decided_by_issuers"]));
        // What a minted name asks for is not decided by who minted it, nor by a sibling.
        approval = await Asked(trent);
        foreach (var other in (HttpClient[])[alice, mallory, second])
        {
            (await other.Post($"/approvals/{approval}/decision", Yes)).IsProblem(403, "four_eyes");
        }
        // Bob's token in Alice's hands is hers.
        var bobs = (await alice.Get("/tokens?limit=1000")).Json.GetProperty("tokens").EnumerateArray().Single(t => t.GetProperty("user").GetString() == "bob");
        using var stolen = host.Client((await alice.Post($"/tokens/{bobs.GetProperty("token_id").GetString()}/rotate")).Is(200)["token"]);
        (await stolen.Post($"/approvals/{await Asked(alice)}/decision", Yes)).IsProblem(403, "four_eyes");
        using var carol = host.Client((await Named(root, "carol", "member"))["token"]);
        var rejected = (await stolen.Post($"/approvals/{await Asked(carol)}/decision", """{"approved":false}""")).Is(200);
        Assert.Equal("""["user:admin@default","user:alice"]""", rejected["decided_by_issuers"]);
        var feed = (await alice.Get("/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray().Last(e => e.GetProperty("type").GetString() == "approval_decided");
        Assert.Equal("user:alice", feed.GetProperty("payload").GetProperty("issuers")[1].GetProperty("actor").GetString());

        Task<Got> Named(HttpClient by, string user, params string[] roles) => Post(by, new { name = user, user, roles, org_id = "eyes" });

        static async Task<string> Asked(HttpClient by)
        {
            var turn = await by.Turn(await by.NewSession(), "/tool write_file {\"path\":\"report.md\",\"content\":\"hello\"}\n/say done");
            return turn.Is(200).Json.GetProperty("pending_approval_ids")[0].GetString()!;
        }
    }

    [Fact]
    public async Task The_last_operator_stays_and_only_operators_touch_operators()
    {
        await using var alone = await LiveHost.Start(settings => settings with { TokenMode = true });
        using var first = alone.Client(alone.AdminToken);
        var id = (await first.Get("/tokens")).Json.GetProperty("tokens")[0].GetProperty("token_id").GetString();
        (await first.Delete($"/tokens/{id}")).IsProblem(409, "last_operator");
        (await first.Send(HttpMethod.Patch, $"/tokens/{id}", """{"roles":["member"]}""")).IsProblem(422);
        using var ordinary = alone.Client(await alone.Token("default", "admin"));
        (await ordinary.Delete($"/tokens/{id}")).IsProblem(403, "operator_only");
        (await ordinary.Post($"/tokens/{id}/rotate")).IsProblem(403, "operator_only");
        (await ordinary.Post("/tokens", """{"name":"x","operator":true}""")).IsProblem(403, "operator_only");
        (await first.Post("/tokens", """{"name":"x","operator":true,"org_id":"other"}""")).IsProblem(403, "foreign_org");
        (await first.Post("/tokens", """{"name":"x","operator":true,"roles":["member"]}""")).IsProblem(422);
        var another = await Post(first, new { name = "second", user = "root", @operator = true });
        using var second = alone.Client(another["token"]);
        // Two who revoke each other at once: one comes second.
        var both = await Task.WhenAll(first.Delete($"/tokens/{another["token_id"]}"), second.Delete($"/tokens/{id}"));
        Assert.Single(both, got => (int)got.Status == 204);
        Assert.Single(both, got => (int)got.Status is 401 or 409);
    }

    [Fact]
    public async Task A_second_data_directory_makes_no_operators_token_unless_told_to()
    {
        Assert.False(File.Exists(Path.Combine(hosts.Other.Data, "admin-token")));
        await using var told = await LiveHost.Start(settings => settings with { TokenMode = true, Database = host.Database, Tokens = new() { NewOperator = true } });
        using var operators = told.Client(told.AdminToken);
        (await operators.Get("/tokens")).Is(200);
        (await operators.Delete($"/tokens/token_{told.AdminToken.Split('.')[1]}")).Is(204);
    }

    [Fact]
    public void A_first_token_is_shown_to_a_terminal_only()
    {
        var told = host.Services.GetRequiredService<OperatorToken>();
        var token = Http.BearerToken.New("default", DateTimeOffset.UnixEpoch);
        Assert.Contains(token.Reveal(), told.Greeting(token, host.Url, isTerminal: true), StringComparison.Ordinal);
        var written = told.Greeting(token, host.Url, isTerminal: false);
        Assert.DoesNotContain(token.Secret, written, StringComparison.Ordinal);
        Assert.Contains(Path.Combine(host.Data, "admin-token"), written, StringComparison.Ordinal);
    }

    static Task<Got> Issue(HttpClient admin, string org, params string[] roles) => Post(admin, new { name = "spec", user = "ann", roles, org_id = org });

    static async Task<Got> Post(HttpClient by, object token) => (await by.Post("/tokens", JsonSerializer.Serialize(token))).Is(201);

    /// <summary>Until so many requests are open, none of them the spec's own.</summary>
    static Task Waiting(LiveHost at, int count)
    {
        var open = at.Services.GetRequiredService<Http.OpenRequests>();
        return Patience.Until(() => open.Count == count, () => $"{open.Count} are open.", $"{count} requests are open");
    }
}
