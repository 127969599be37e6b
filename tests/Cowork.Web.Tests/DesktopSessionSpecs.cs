using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>Sessions of contract C.</summary>
public sealed class DesktopSessionSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Theory]
    [InlineData("/api/cowork/sessions")]
    [InlineData("/api/cowork/sessions/nobody")]
    public async Task Every_route_wants_a_token_also_in_local_mode(string path)
    {
        var refused = (await tenant.Host.Http.Get(path)).IsProblem(401, "unauthorized");
        Assert.Equal("Bearer realm=\"cowork\"", refused.Headers.WwwAuthenticate.ToString());
        (await tenant.Host.Http.Get(path, ("Authorization", "Basic eDp5"))).IsProblem(401, "unauthorized");
        (await tenant.Host.Http.Get(path, ("Authorization", "Bearer cowork_nonsense"))).IsProblem(401, "unauthorized");
        using var admin = tenant.Host.Client(tenant.Host.AdminToken);
        Assert.NotEqual(401, (int)(await admin.Get(path)).Status);
    }

    [Fact]
    public async Task A_session_of_another_contract_has_its_one_implicit_grant()
    {
        var made = (await http.Post("/sessions", "{}")).Is(201);
        var conversation = (await http.Post("/api/v1/conversations", "{}")).Is(201)["id"];
        var shown = (await http.Get($"/api/cowork/sessions/{made["session_id"]}")).Is(200);
        Assert.Equal(["sessionId", "userId", "grants", "connectors", "createdAt", "status"], shown.Json.EnumerateObject().Select(member => member.Name));
        Assert.Equal((made["session_id"], "local", "[]", "active", made["created_at"]), (shown["sessionId"], shown["userId"], shown["connectors"], shown["status"], shown["createdAt"]));
        Assert.Equal(
            $$"""[{"path":"{{made["workspace_path"]}}","allowWrite":true,"allowCreate":true,"allowDelete":true,"outputRoots":[".anton/output"]}]""", shown["grants"]);
        var listed = (await http.Get("/api/cowork/sessions?limit=2")).Is(200).Json;
        Assert.Equal(JsonValueKind.Array, listed.ValueKind);
        Assert.Equal([conversation.Replace("conv_", "sess_", StringComparison.Ordinal), made["session_id"]], listed.EnumerateArray().Select(s => s.GetProperty("sessionId").GetString()));
        // Any form of an id is accepted.
        Assert.Equal(shown.Text, (await http.Get($"/api/cowork/sessions/{made["session_id"].Replace("sess_", "conv_", StringComparison.Ordinal)}")).Is(200).Text);
        Assert.Equal(shown.Text, (await http.Get($"/api/cowork/sessions/{made["session_id"]["sess_".Length..]}")).Is(200).Text);
        (await http.Get("/api/cowork/sessions/nobody")).IsProblem(404, "not_found");
        Assert.True((await http.Get("/api/cowork/sessions/a%20b")).IsProblem(422).Json.GetProperty("errors").TryGetProperty("sessionId", out _));
        (await http.Get("/api/cowork/sessions?limit=0")).IsProblem(422);
    }
}
