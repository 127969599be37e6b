namespace Cowork.Web.Tests;

/// <summary>Groups of contract D over HTTP.</summary>
public sealed class GroupSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_group_is_created_with_its_session_and_shown()
    {
        var created = (await http.Post("/groups", """{"title":"Q2 report"}""")).Is(201);
        Assert.Equal("active", created["status"]);
        Assert.Equal(created["group_id"]["grp_".Length..], created["session_id"]["sess_".Length..]);
        var shown = (await http.Get($"/groups/{created["group_id"]}")).Is(200);
        Assert.Equal("Q2 report", shown["title"]);
        Assert.Equal("assistant", shown.Json.GetProperty("agents")[0].GetProperty("agent_id").GetString());
        Assert.Equal("admin", shown.Json.GetProperty("members")[0].GetProperty("role").GetString());
        var listed = (await http.Get("/groups")).Is(200).Json.GetProperty("groups").EnumerateArray().Select(group => group.GetProperty("group_id").GetString());
        Assert.Contains(created["group_id"], listed);
    }
}
