using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>Lists whose rows name long texts.</summary>
public sealed class ListSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_list_of_long_templates_is_bounded_by_bytes()
    {
        var template = "/say " + new string('t', 250_000);
        for (var i = 0; i < 40; i++)
        {
            (await http.Post("/skills", JsonSerializer.Serialize(new { name = $"long-{i}", prompt_template = template }))).Is(201);
        }
        var list = (await http.Get("/skills?limit=1000")).Is(200);
        var names = list.Json.GetProperty("skills").EnumerateArray().Select(skill => skill.GetProperty("name").GetString()).ToList();
        Assert.Equal(Enumerable.Range(0, names.Count).Select(i => $"long-{39 - i}"), names);
        Assert.InRange(list.Text.Length, 8_000_000, 9_000_000);
        var rest = (await http.Get($"/skills?limit=1000&cursor={list["next_cursor"]}")).Is(200).Json.GetProperty("skills");
        Assert.Equal($"long-{39 - names.Count}", rest[0].GetProperty("name").GetString());
    }

    [Fact]
    public async Task Lists_go_on_by_their_cursors_to_their_end()
    {
        await using var host = await LiveHost.Start();
        var http = host.Http;
        var skill = (await http.Post("/skills", """{"name":"s","prompt_template":"/say ok"}""")).Is(201)["skill_id"];
        for (var i = 0; i < 5; i++)
        {
            await http.NewSession($"s{i}");
            (await http.Turn("s0", $"/tool remember {{\"content\":\"number {i}\"}}\n/say ok")).Is(200);
            (await http.Turn(await http.NewSession($"held{i}"), "/tool write_file {\"path\":\"r.md\",\"content\":\"x\"}")).Is(200);
            (await http.Post("/skills", $$"""{"name":"s{{i}}","prompt_template":"/say ok"}""")).Is(201);
            var schedule = $$"""{"name":"n{{i}}","session_id":"s0","skill_id":"{{skill}}","interval_seconds":3600,"start_in_seconds":3600,"active":{{(i % 2 == 0 ? "true" : "false")}}}""";
            (await http.Post("/scheduled-runs", schedule)).Is(201);
        }
        // What is noted of a session follows the ends of its runs.
        await http.Until("/sessions/s0/memories?limit=1000", got => got.Is(200).Text.Split("Answered:").Length == 6);
        foreach (var (path, member, filter) in ((string, string, string)[])
            [
                ("/sessions", "sessions", ""), ("/sessions/s0/runs", "runs", ""), ("/approvals", "approvals", "status=all&"), ("/approvals", "approvals", ""),
                ("/skills", "skills", ""),
                ("/scheduled-runs", "scheduled_runs", "status=active&"), ("/sessions/s0/memories", "memories", ""),
            ])
        {
            var whole = (await http.Get($"{path}?{filter}limit=1000")).Is(200);
            Assert.Equal("", whole["next_cursor"]);
            var wanted = whole.Json.GetProperty(member).EnumerateArray().Select(item => item.GetRawText()).ToList();
            Assert.True(wanted.Count > 2, $"{path} {wanted.Count}");
            var page = (await http.Get($"{path}?{filter}limit=2")).Is(200);
            var found = new List<string>();
            while (true)
            {
                found.AddRange(page.Json.GetProperty(member).EnumerateArray().Select(item => item.GetRawText()));
                if (page["next_cursor"] is not { Length: > 0 } cursor)
                {
                    break;
                }
                page = (await http.Get($"{path}?limit=2&cursor={cursor}")).Is(200);
            }
            Assert.Equal(wanted, found);
        }
    }
}
