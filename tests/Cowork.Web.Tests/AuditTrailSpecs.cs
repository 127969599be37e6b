using System.Text.Json;
using System.Text.Json.Nodes;

namespace Cowork.Web.Tests;

/// <summary>The service tells on itself: who came in and who did not, tokens, roles, exports, deletions and hosts are in the log; an auditor reads all and changes nothing.</summary>
public sealed class AuditTrailSpecs(WatchedHost watched) : IClassFixture<WatchedHost>
{
    /// <summary>Routes that change something and are not refused for the role: they have credentials of their own, or change nothing of the tenant's.</summary>
    static readonly HashSet<string> NotByRole =
    [
        // Begins to connect a service: whoever answers it changes something.
        "get /api/v1/connectors/oauth/{spec}/start: 403",
        // A sealed form of the caller's own right to read, for browsers.
        "post /api/cowork/stream-token: 201",
        // Ask what a policy would decide or would have decided, and change nothing.
        "post /policy/check: 422",
        "post /policy/simulate: 422",
        // Whoever holds a token may renew that one.
        "post /tokens/{token_id}/rotate: 404",
        // Apps and controllers of groups sign with keys of their own.
        "post /agents/run: 401",
        "post /agents/run-stream: 401",
        "post /infra/cleanup: 401",
        "post /infra/groups: 401",
    ];

    readonly LiveHost host = watched.Host;

    [Fact]
    public async Task What_happens_to_the_service_is_in_the_tenants_log()
    {
        using var admin = host.Client(await host.Token("trail", "admin", "member"));
        using var auditor = host.Client(await host.Token("trail", "auditor"));
        using var operators = host.Client(host.AdminToken);
        var issued = (await admin.Post("/tokens", """{"name":"x","user":"bob","roles":["member"]}""")).Is(201);
        using var wrong = host.Client(issued["token"][..^3] + (issued["token"][^3] == 'A' ? "B" : "A") + issued["token"][^2..]);
        (await wrong.Get("/sessions")).IsProblem(401);
        (await admin.Send(HttpMethod.Patch, $"/tokens/{issued["token_id"]}", """{"roles":["member","approver"]}""")).Is(200);
        (await admin.Post($"/tokens/{issued["token_id"]}/rotate")).Is(200);
        var session = await admin.NewSession();
        var run = (await admin.Turn(session, "/say hello")).Is(200)["run_id"];
        (await auditor.Get($"/runs/{run}/trace")).Is(200);
        (await auditor.GetAsync("/audit/export")).EnsureSuccessStatusCode();
        (await admin.Delete($"/sessions/{session}")).Is(204);
        (await admin.Delete($"/tokens/{issued["token_id"]}")).Is(204);
        string[] wanted =
        [
            "access_granted", "access_refused", "token_issued", "token_roles_changed", "token_rotated", "token_revoked", "data_exported", "session_deleted",
        ];
        Got page = null!;
        await auditor.Until("/events?limit=1000", got => wanted.All((page = got).Json.GetProperty("events").EnumerateArray().Select(Type).Contains));
        Assert.DoesNotContain("secret_sha256", page.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_host_that_starts_and_stops_says_so_with_its_settings_and_without_a_secret()
    {
        string database, token, key;
        await using (var first = await LiveHost.Start(settings => settings with { TokenMode = true, Approvals = new() { FourEyes = true } }))
        {
            (database, token) = (first.Database, first.AdminToken);
            key = token.Split('.')[2];
            using var operators = first.Client(token);
            await operators.Until("/events?limit=1000", page => page.Json.GetProperty("events").EnumerateArray().Select(Type).Contains("host_started"));
        }
        await using var second = await LiveHost.Start(settings => settings with { TokenMode = true, Database = database });
        using var auditor = second.Client(token);
        Got got = null!;
        await auditor.Until("/events?limit=1000", page => (got = page).Json.GetProperty("events").EnumerateArray().Count(e => Type(e) == "host_started") == 2);
        var hosts = got.Json.GetProperty("events").EnumerateArray().Where(e => Type(e).StartsWith("host_", StringComparison.Ordinal)).ToList();
        Assert.Equal(["host_started", "host_stopped", "host_started"], hosts.Select(Type));
        string Setting(int at, string name) => hosts[at].GetProperty("payload").GetProperty("settings").EnumerateArray()
            .Single(setting => setting.GetProperty("name").GetString() == name).GetProperty("value").GetString()!;
        Assert.Equal(("true", "false", "token"), (Setting(0, "Cowork:Approvals:FourEyes"), Setting(2, "Cowork:Approvals:FourEyes"), Setting(2, "Cowork:Auth:Mode")));
        Assert.NotEqual(hosts[0].GetProperty("payload").GetProperty("settings_sha256").GetString(), hosts[2].GetProperty("payload").GetProperty("settings_sha256").GetString());
        Assert.NotEmpty(hosts[0].GetProperty("payload").GetProperty("version").GetString()!);
        Assert.DoesNotContain(key, got.Text, StringComparison.Ordinal);
        Assert.All(hosts.SelectMany(e => e.GetRawText().Split('"')), text => Assert.DoesNotContain("Password", text, StringComparison.OrdinalIgnoreCase));
    }

    [Fact]
    public async Task An_auditor_may_read_by_every_route_and_change_nothing_by_any()
    {
        // Of the operators' tenant, so that what is about all tenants is theirs to read, too.
        using var auditor = host.Client(await host.Token("default", "auditor"));
        var document = JsonNode.Parse((await auditor.Get("/openapi.json")).Text)!;
        var (wrong, tried) = (new List<string>(), 0);
        foreach (var (template, operations) in document["paths"]!.AsObject())
        {
            var path = string.Join('/', template.Split('/').Select(part => part.StartsWith('{') ? "x" : part));
            foreach (var (method, _) in operations!.AsObject())
            {
                tried++;
                using var request = new HttpRequestMessage(new(method.ToUpperInvariant()), path);
                if (method is "post" or "patch" or "put")
                {
                    request.Content = new StringContent("{}", System.Text.Encoding.UTF8, "application/json");
                }
                using var answer = await auditor.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
                var isRefused = (int)answer.StatusCode == 403;
                if (method == "get" ? isRefused && !template.StartsWith("/infra/", StringComparison.Ordinal) : !isRefused)
                {
                    wrong.Add($"{method} {template}: {(int)answer.StatusCode}");
                }
            }
        }
        Assert.True(tried > 150, $"{tried} operations");
        Assert.True(NotByRole.SetEquals(wrong), string.Join('\n', wrong.Order(StringComparer.Ordinal)));
    }

    static string Type(JsonElement e) => e.GetProperty("type").GetString()!;
}
