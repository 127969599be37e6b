using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Projections;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>Lists by names: <c>q</c>.</summary>
public sealed class NameSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    [Fact]
    public async Task Every_kind_of_thing_is_found_by_part_of_its_name()
    {
        var here = await tenant.Another();
        var http = here.Http;
        (await http.Post("/sessions", """{"session_id":"quince-1","metadata":{"title":"Fig TREES"}}""")).Is(201);
        var conversation = (await http.Post("/api/v1/conversations", """{"title":"About figs"}""")).Is(201)["id"];
        (await http.Turn("quince-1", "/tool write_file {\"path\":\".anton/output/figures.md\",\"content\":\"x\"}")).Is(200);
        var skill = (await http.Post("/skills", """{"name":"config","description":"daily","prompt_template":"/say ok"}""")).Is(201)["skill_id"];
        (await http.Post("/scheduled-runs", $$"""{"name":"Figs hourly","session_id":"quince-1","skill_id":"{{skill}}","interval_seconds":3600,"active":false}""")).Is(201);
        (await http.Post("/api/v1/schedules", JsonSerializer.Serialize(new { project_id = Domain.ProjectKey.General.Id, cron = "0 9 * * 1", prompt = "How are the figs?" }))).Is(201);
        var pad = (await http.Post("/api/v1/scratchpads", JsonSerializer.Serialize(new { conversation_id = conversation, title = "Old" }))).Is(201)["id"];
        (await http.Send(HttpMethod.Patch, $"/api/v1/scratchpads/{pad}", """{"title":"Fig count"}""")).Is(200);
        (await http.Upload("a,b", "fig prices.csv")).Is(201);
        (await http.Post("/groups", """{"title":"Fig growers"}""")).Is(201);
        (await http.Post("/tokens", """{"name":"prefig","user":"fig-bot"}""")).Is(201);
        (string Path, string Member, int Count)[] lists =
        [
            ("/sessions", "sessions", 2), ("/skills", "skills", 1), ("/scheduled-runs", "scheduled_runs", 1), ("/api/v1/schedules", "data", 1), ("/scratchpads", "scratchpads", 1),
            ("/artifacts", "artifacts", 1), ("/artifacts?session_id=quince-1", "artifacts", 1), ("/api/v1/files", "data", 1), ("/groups", "groups", 1),
            ("/groups?scope=public", "groups", 1), ("/groups?scope=all", "groups", 1), ("/tokens", "tokens", 1),
        ];
        foreach (var (path, member, count) in lists)
        {
            var to = path + (path.Contains('?', StringComparison.Ordinal) ? "&" : "?");
            var found = await http.Until($"{to}q=FIG", got => got.Is(200).Json.GetProperty(member).GetArrayLength() == count);
            Assert.All(found.Json.GetProperty(member).EnumerateArray(), row => Assert.Contains("fig", row.GetRawText(), StringComparison.OrdinalIgnoreCase));
            Assert.Empty((await http.Get($"{to}q=fig%20zzz")).Is(200).Json.GetProperty(member).EnumerateArray());
            Assert.Equal((await http.Get($"{to}limit=100")).Is(200).Json.GetProperty(member).GetRawText(), (await http.Get($"{to}q=%20&limit=100")).Is(200).Json.GetProperty(member).GetRawText());
        }
        Assert.Equal("quince-1", (await http.Get("/sessions?q=uinc")).Is(200).Json.GetProperty("sessions")[0].GetProperty("session_id").GetString());
        Assert.Equal("About figs", (await http.Get("/sessions?q=about")).Is(200).Json.GetProperty("sessions")[0].GetProperty("title").GetString());
        Assert.Empty((await http.Get("/scratchpads?q=old")).Is(200).Json.GetProperty("scratchpads").EnumerateArray());
        Assert.Equal("1", (await http.Get("/api/v1/files?q=fig")).Is(200)["total"]);

        // Another tenant finds none of it, nor does who is no member of a private group.
        using var stranger = await tenant.Stranger("admin");
        using var plain = await here.Client("member");
        foreach (var (path, list, _) in lists.Where(list => list.Path != "/artifacts?session_id=quince-1"))
        {
            Assert.Empty((await stranger.Get($"{path}{(path.Contains('?', StringComparison.Ordinal) ? "&" : "?")}q=fig")).Is(200).Json.GetProperty(list).EnumerateArray());
        }
        (await http.Post("/groups", """{"title":"Fig secrets","is_private":true}""")).Is(201);
        await http.Until("/groups?q=secrets", got => got.Is(200)["total"] == "1");
        Assert.Empty((await plain.Get("/groups?scope=public&q=secrets")).Is(200).Json.GetProperty("groups").EnumerateArray());
        Assert.Empty((await plain.Get("/groups?q=secrets")).Is(200).Json.GetProperty("groups").EnumerateArray());
        (await plain.Get("/groups?scope=all&q=secrets")).IsProblem(403, "role_missing");
        (await plain.Get("/tokens?q=fig")).IsProblem(403, "role_missing");

        // What is gone is not found.
        (await http.Delete("/sessions/quince-1")).Is(204);
        Assert.Equal(1, (await http.Get("/sessions?q=fig")).Is(200).Json.GetProperty("sessions").GetArrayLength());
        Assert.Empty((await http.Get("/artifacts?q=figures")).Is(200).Json.GetProperty("artifacts").EnumerateArray());
    }

    [Fact]
    public async Task A_list_by_name_goes_on_by_its_cursor_and_is_of_now()
    {
        var here = await tenant.Another();
        for (var i = 0; i < 7; i++)
        {
            (await here.Http.Post("/skills", $$"""{"name":"{{(i % 2 == 0 ? "even" : "odd")}}-{{i}}","prompt_template":"/say ok"}""")).Is(201);
        }
        await here.Http.Until("/skills?q=even", got => got.Is(200).Json.GetProperty("skills").GetArrayLength() == 4);
        var names = new List<string?>();
        var page = (await here.Http.Get("/skills?q=Even&limit=2")).Is(200);
        for (; ; page = (await here.Http.Get($"/skills?limit=2&cursor={page["next_cursor"]}")).Is(200))
        {
            names.AddRange(page.Json.GetProperty("skills").EnumerateArray().Select(skill => skill.GetProperty("name").GetString()));
            if (page["next_cursor"] is not { Length: > 0 })
            {
                break;
            }
            (await here.Http.Get($"/skills?q=odd&cursor={page["next_cursor"]}")).IsProblem(422, "unknown_cursor");
        }
        Assert.Equal(["even-6", "even-4", "even-2", "even-0"], names);
        (await here.Http.Get("/skills?q=even&as_of=1")).IsProblem(422, "as_of_unsupported");
        (await here.Http.Get("/skills?q=")).IsProblem(422, "invalid_request");
        (await here.Http.Get($"/skills?q={new string('x', 1_001)}")).IsProblem(422, "invalid_request");
        // Letters that no name can hold are in none.
        Assert.Empty((await here.Http.Get("/skills?q=%25_'\"")).Is(200).Json.GetProperty("skills").EnumerateArray());
        var rows = tenant.Host.Services.GetRequiredService<StorageEngine>().Rows;
        Assert.Null(await rows.FindDifference(Names.Model, CancellationToken.None));
        await SamePlaces(rows, here.Org);
    }

    /// <summary>A name stands at the place of its thing, so that a page of names is one of things.</summary>
    static async Task SamePlaces(IRows rows, string org)
    {
        var names = await rows.List(org, Names.Model.Table, new(Scope: Domain.Skill.Aggregate.Name), CancellationToken.None);
        var skills = await rows.List(org, Skills.Model.Table, new(), CancellationToken.None);
        Assert.Equal(skills.Select(row => ($"skill-{row.Key}", row.Created)), names.Select(row => (row.Key, row.Created)));
    }
}
