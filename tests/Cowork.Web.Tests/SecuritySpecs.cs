using System.Net;
using System.Net.Sockets;
using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>A host in token mode that folds security events for half a second.</summary>
public sealed class WatchedHost : IAsyncLifetime
{
    public LiveHost Host { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Host = await LiveHost.Start(settings => settings with { TokenMode = true, SecurityFold = TimeSpan.FromMilliseconds(500) });

    public async ValueTask DisposeAsync()
    {
        await Host.DisposeAsync();
        await Ledger.CheckLog(Host.Database);
    }
}

/// <summary>Who came in, who did not and what went out is in the tenant's feed, and a flood of requests is no flood of events.</summary>
public sealed class SecuritySpecs(WatchedHost watched) : IClassFixture<WatchedHost>
{
    readonly LiveHost host = watched.Host;

    [Fact]
    public async Task Requests_with_a_token_are_folded_by_token_and_address()
    {
        using var auditor = host.Client(await host.Token("granted", "auditor"));
        var token = await host.Token("granted", "member");
        using var client = host.Client(token);
        await Task.WhenAll(Enumerable.Range(0, 40).Select(_ => client.Get("/sessions")));
        var events = await Until(auditor, "access_granted", of => of.Any(e => Id(e) == IdOf(token)));
        Assert.Equal(40, events.Where(e => Id(e) == IdOf(token)).Sum(Count));
        Assert.InRange(events.Count(e => Id(e) == IdOf(token)), 1, 2);
        var granted = events.First(e => Id(e) == IdOf(token));
        Assert.Equal(("user:ann", "127.0.0.1", """["member"]"""), (Text(granted, "actor"), Text(granted, "address"), granted.GetProperty("roles").GetRawText()));
        Assert.True(granted.GetProperty("first_at").GetDateTimeOffset() <= granted.GetProperty("last_at").GetDateTimeOffset());
    }

    [Fact]
    public async Task A_flood_of_wrong_tokens_from_many_addresses_is_a_bounded_number_of_events_of_the_operators()
    {
        const int Addresses = 260;
        const int Each = 5;
        using var operators = host.Client(host.AdminToken);
        using var auditor = host.Client(await host.Token("flooded", "auditor"));
        var since = (await operators.Get("/events?limit=1000")).Is(200)["next_since_id"];
        var statuses = await Task.WhenAll(Enumerable.Range(0, Addresses).Select(async n =>
        {
            using var http = From(IPAddress.Parse($"127.0.{(n / 200) + 1}.{(n % 200) + 1}"));
            var got = new List<Got>();
            for (var i = 0; i < Each; i++)
            {
                // The tenant is what the sender claims.
                http.DefaultRequestHeaders.Authorization = new("Bearer", Http.BearerToken.New("flooded", TimeProvider.System.GetUtcNow()).Reveal());
                got.Add(await http.Get("/sessions"));
            }
            return got;
        }));
        Assert.All(statuses.SelectMany(s => s), got => got.IsProblem(401, "unauthorized"));
        var events = await Until(operators, "access_refused", of => of.Where(e => Text(e, "reason") == "unknown").Sum(Count) >= Addresses * Each, since);
        Assert.InRange(events.Count, 1, 3 * 201);
        Assert.Contains(events, e => Text(e, "address") == "*");
        Assert.Equal(Addresses * Each, events.Where(e => Text(e, "reason") == "unknown").Sum(Count));
        Assert.Empty(await Of(auditor, "access_refused"));
    }

    [Fact]
    public async Task Refusals_of_a_tenants_token_are_the_tenants()
    {
        using var auditor = host.Client(await host.Token("refused", "auditor"));
        using var operators = host.Client(host.AdminToken);
        var token = await host.Token("refused", "member");
        using var wrong = host.Client(token[..^3] + (token[^3] == 'A' ? "B" : "A") + token[^2..]);
        (await wrong.Get("/sessions")).IsProblem(401);
        var bound = (await operators.Post("/tokens", """{"name":"bound","user":"ann","org_id":"refused","addresses":["10.0.0.0/8"]}""")).Is(201);
        using var foreign = host.Client(bound["token"]);
        (await foreign.Get("/sessions")).IsProblem(401);
        (await host.Http.Get("/sessions")).IsProblem(401);
        var events = await Until(auditor, "access_refused", of => of.Count >= 2);
        Assert.Equal(
            [("foreign_address", bound["token_id"]), ("wrong_secret", $"token_{IdOf(token)[6..]}")],
            events.Select(e => (Text(e, "reason"), Text(e, "token_id"))).Order());
        await Until(operators, "access_refused", of => of.Any(e => Text(e, "reason") == "no_credentials"));
    }

    [Fact]
    public async Task What_was_denied_says_to_whom_and_what()
    {
        using var auditor = host.Client(await host.Token("denied", "auditor"));
        using var client = host.Client(await host.Token("denied", "member", "admin"));
        using var member = host.Client(await host.Token("denied", "member"));
        for (var i = 0; i < 3; i++)
        {
            (await member.Get("/tokens/token_01k9golden0000000000000000")).IsProblem(403, "role_missing");
        }
        (await client.Post("/tokens", """{"name":"x","org_id":"other"}""")).IsProblem(403, "foreign_org");
        var events = await Until(auditor, "access_denied", of => of.Sum(Count) >= 4);
        Assert.Equal(
            [("foreign_org", "POST /tokens", 1), ("role_missing", "GET /tokens/{token_id}", 3)],
            events.GroupBy(e => (Text(e, "code"), Text(e, "request"))).Select(g => (g.Key.Item1, g.Key.Item2, g.Sum(Count))).Order());
    }

    [Fact]
    public async Task What_is_taken_out_is_written_down_at_once()
    {
        using var client = host.Client(await host.Token("exported", "member"));
        using var auditor = host.Client(await host.Token("exported", "auditor"));
        var run = (await client.Turn(await client.NewSession(), "/tool write_file {\"path\":\".anton/output/r.md\",\"content\":\"x\"}\n/say done")).Is(200)["run_id"];
        var artifact = (await client.Get($"/runs/{run}/artifacts")).Json.GetProperty("artifacts")[0].GetProperty("artifact_id").GetString()!;
        (await auditor.Get($"/runs/{run}/trace")).Is(200);
        (await client.Get($"/artifacts/{artifact}/versions/1/content")).Is(200);
        (await auditor.Send(HttpMethod.Head, $"/runs/{run}/trace", null)).Is(200);
        (await auditor.Get($"/runs/run_01k9golden0000000000000000/trace")).IsProblem(404);
        var events = await Until(auditor, "data_exported", of => of.Count >= 2);
        Assert.Equal(
            [("artifact", artifact, """["member"]"""), ("trace", run, """["auditor"]""")],
            events.Select(e => (Text(e, "what"), Text(e, "id"), e.GetProperty("roles").GetRawText())).Order());
        (await client.Get("/events")).IsProblem(403, "role_missing");
    }

    [Fact]
    public async Task What_is_not_written_yet_is_written_when_the_host_stops()
    {
        var first = await LiveHost.Start(settings => settings with { TokenMode = true, SecurityFold = TimeSpan.FromHours(1) });
        var (token, database) = (first.AdminToken, first.Database);
        (await first.Http.Get("/sessions")).IsProblem(401);
        await first.DisposeAsync();
        await using var second = await LiveHost.Start(settings => settings with { TokenMode = true, Database = database });
        using var operators = second.Client(token);
        Assert.Equal("no_credentials", Text(Assert.Single(await Of(operators, "access_refused")), "reason"));
    }

    /// <summary>The payloads of the tenant's events of a type.</summary>
    static async Task<List<JsonElement>> Of(HttpClient auditor, string type, string since = "0") =>
        [.. (await auditor.Get($"/events?since_id={since}&limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray()
            .Where(e => e.GetProperty("type").GetString() == type).Select(e => e.GetProperty("payload"))];

    static Task<List<JsonElement>> Until(HttpClient auditor, string type, Func<List<JsonElement>, bool> fits, string since = "0") =>
        Patience.Until(() => Of(auditor, type, since), fits, found => string.Join('\n', found), $"the events {type} are there");

    HttpClient From(IPAddress address) => new(new SocketsHttpHandler
    {
        UseProxy = false,
        ConnectCallback = async (context, ct) =>
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(new IPEndPoint(address, 0));
            await socket.ConnectAsync(context.DnsEndPoint, ct);
            return new NetworkStream(socket, ownsSocket: true);
        },
    })
    { BaseAddress = new(host.Url) };

    static string IdOf(string token) => $"token_{token.Split('.')[1]}";

    static string? Id(JsonElement e) => Text(e, "token_id");

    static string? Text(JsonElement e, string name) => e.TryGetProperty(name, out var value) ? value.GetString() : null;

    static int Count(JsonElement e) => e.GetProperty("count").GetInt32();
}
