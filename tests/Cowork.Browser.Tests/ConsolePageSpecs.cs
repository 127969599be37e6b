using System.Text.Json;

namespace Cowork.Browser.Tests;

/// <summary>What holds for every page of the console.</summary>
public sealed class ConsolePageSpecs(Chromium chromium, BrowsedHost browsed)
{
    /// <summary>HTML, a script, text that is turned around, a terminal's colour, an address that is code, and Markdown with a picture from elsewhere.</summary>
    public const string Hostile =
        "<img src=x onerror=alert(1)><script>alert(2)</script> \u202egnp.exe\u202c \u001b[31mred\u001b[0m a\u200bb [press](javascript:alert(3)) ![p](https://elsewhere.example/p.png) </title>";

    /// <summary>Paths with names of <see cref="Seeded"/> in braces, and a text that is there when the page is.</summary>
    [Theory]
    [InlineData("", "Needs a person")]
    [InlineData("feed", "none is missing")]
    [InlineData("runs", "Needs")]
    [InlineData("runs/{run}", "delete_inside")]
    [InlineData("compare", "Choose a run")]
    [InlineData("compare?left={run}", "Only of its session")]
    [InlineData("compare?left={other}&right={run}&step=1", "Here they part")]
    [InlineData("sessions", "Folder")]
    [InlineData("sessions/{session}", "Send")]
    [InlineData("approvals", "For exactly these arguments")]
    [InlineData("approvals?show=history", "Decided")]
    [InlineData("memories", "Written")]
    [InlineData("groups", "Open to all")]
    [InlineData("works", "brand assets")]
    [InlineData("connectors", "PostgreSQL")]
    [InlineData("metrics", "every figure holds up to event")]
    [InlineData("health", "The log ends at event")]
    [InlineData("access", "anywhere")]
    [InlineData("access?show=roles&q=token", "What roles may do")]
    [InlineData("access?show=rules", "In force on this host")]
    [InlineData("schedules", "The next 24 hours")]
    [InlineData("schedules/{schedule}", "Made by user:local")]
    [InlineData("skills", "Parameters")]
    [InlineData("skills/{skill}", "In the session")]
    [InlineData("scratchpads", "Last change")]
    [InlineData("scratchpads/{pad}", "not executed")]
    [InlineData("files?session={session}", "No files yet")]
    [InlineData("artifacts", "Written by")]
    [InlineData("artifacts/{artifact}", "of a day")]
    [InlineData("nowhere", "There is no such page")]
    public async Task A_page_is_for_everybody_and_loads_nothing_from_elsewhere(string path, string shown)
    {
        var (host, ids) = await Seeded();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, Filled(path, ids));
        if (shown != "Needs")
        {
            await tab.Shows(shown);
        }
        await tab["main h1"].First.WaitForAsync();
        await tab["[data-state=live] >> visible=true"].First.WaitForAsync();
        await tab.IsForEverybody();
    }

    [Theory]
    [InlineData("")]
    [InlineData("feed?deltas=1")]
    [InlineData("runs")]
    [InlineData("runs/{run}")]
    [InlineData("compare?left={run}&right={other}")]
    [InlineData("sessions/{session}")]
    [InlineData("approvals")]
    [InlineData("schedules")]
    [InlineData("schedules/{schedule}")]
    [InlineData("skills")]
    [InlineData("skills/{skill}")]
    [InlineData("scratchpads")]
    [InlineData("scratchpads/{pad}")]
    [InlineData("artifacts")]
    [InlineData("artifacts/{artifact}")]
    public async Task What_others_wrote_does_nothing_and_hides_nothing(string path)
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        // In lists messages stand: the overview shows the newest that failed, and of calls that wait only the oldest.
        var other = (await host.Http.Turn(session, "/fail " + Hostile))["run_id"];
        var input = JsonSerializer.Serialize(new { path = "a\u202etxt.b", content = Hostile }).Replace("\\u202E", "\u202e", StringComparison.Ordinal);
        var run = (await host.Http.Turn(session, $"/tool write_file {input}")).Is(200)["run_id"];
        Dictionary<string, string> ids = new()
        {
            ["session"] = session,
            ["run"] = run,
            ["other"] = other,
            ["skill"] = await Skill(host, Hostile),
            ["schedule"] = await Schedule(host, Hostile),
            ["pad"] = await Pad(host, session, Hostile),
            ["artifact"] = await Artifact(host, Hostile),
        };
        await using var tab = await ConsoleTab.Open(chromium, host.Url, Filled(path, ids));
        await tab.ShowsTextsAsTexts();
        (await host.Http.Post($"/runs/{run}/cancel", "{}")).Is(202);
    }

    [Fact]
    public async Task The_keyboard_leads_to_every_page_and_through_its_rows()
    {
        var (host, _) = await Seeded();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "");
        await tab.Shows("Needs a person");
        await tab.Press("g");
        await tab.Press("r");
        await tab["main h1 >> text=Runs"].WaitForAsync();
        await tab["tbody tr"].First.WaitForAsync();
        await tab.Press("j");
        await tab.Press("j");
        Assert.Equal(1, await tab["tbody tr.at"].CountAsync());
        await tab.Press("/");
        Assert.Equal("search", await tab.Page.EvaluateAsync<string>("document.activeElement.type"));
        await tab.Press("Escape");
        await tab.Press("k");
        await tab.Press("Enter");
        await tab["[aria-label=Steps]"].WaitForAsync();
        Assert.Matches("/console/runs/run_", tab.Page.Url);
        await tab.Press("?");
        await tab.Shows("Fold the waits");
        await tab.Press("Escape");
        await tab.Page.GoBackAsync();
        await tab["main h1 >> text=Runs"].WaitForAsync();
        await tab.Go("runs");
        await tab.Press("Tab");
        Assert.Equal("Skip to the content", await tab.Page.EvaluateAsync<string>("document.activeElement.textContent"));
    }

    [Fact]
    public async Task A_page_below_the_prefix_of_a_proxy_finds_its_files_and_the_API()
    {
        var (host, ids) = await Seeded();
        const string Prefix = "/team/cowork";
        await using var tab = await ConsoleTab.Open(chromium, host.Url, Filled("sessions/{session}", ids), Prefix, async page => await page.Context.RouteAsync(
            $"{host.Url}{Prefix}/**", route => route.ContinueAsync(new() { Url = route.Request.Url.Replace(Prefix, "", StringComparison.Ordinal) })));
        await tab["textarea"].WaitForAsync();
        Assert.Equal($"{host.Url}{Prefix}/console/runs", await tab.Page.EvaluateAsync<string>("[...document.querySelectorAll('.nav-link')].find(a => a.textContent === 'Runs').href"));
        // Its stream is asked for below the prefix too, by a worker whose requests nobody here turns.
        tab.Expected = "404";
    }

    [Fact]
    public async Task A_page_is_live_where_a_browser_cannot_run_the_worker_that_tabs_share()
    {
        await using var tab = await ConsoleTab.Open(chromium, (await browsed.Started).Url, "skills", prepare: page => page.AddInitScriptAsync(
            "window.SharedWorker = class extends EventTarget { constructor() { super(); this.port = new MessageChannel().port1; setTimeout(() => this.dispatchEvent(new Event('error'))); } }"));
        await tab["[data-state=live] >> visible=true"].First.WaitForAsync();
    }

    static string Filled(string path, Dictionary<string, string> ids) =>
        ids.Aggregate(path, (filled, id) => filled.Replace($"{{{id.Key}}}", id.Value, StringComparison.Ordinal));

    /// <summary>What pages are of, by the names that paths have for it.</summary>
    async Task<(LiveHost Host, Dictionary<string, string> Ids)> Seeded()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var other = (await host.Http.Turn(session, "/say **hello**")).Is(200)["run_id"];
        await File.WriteAllTextAsync(Path.Combine(host.Data, "workspaces", session, "a.txt"), "old");
        var run = (await host.Http.Turn(session, """/tool delete_file {"path":"a.txt"}""")).Is(200)["run_id"];
        return (host, new()
        {
            ["session"] = session,
            ["run"] = run,
            ["other"] = other,
            ["skill"] = await Skill(host, "of a day"),
            ["schedule"] = await Schedule(host, "night"),
            ["pad"] = await Pad(host, session, "Draft"),
            ["artifact"] = await Artifact(host, "of a day"),
        });
    }

    static async Task<string> Schedule(LiveHost host, string text) => (await host.Http.Post(
        "/api/v1/schedules", JsonSerializer.Serialize(new { project_id = "proj_00000000000000000000000000", cron = "30 2 * * *", timezone = "Europe/Berlin", prompt = "/say " + text }))).Is(201)["id"];

    static async Task<string> Pad(LiveHost host, string session, string text) => (await host.Http.Post(
        "/api/v1/scratchpads", JsonSerializer.Serialize(new { conversation_id = session, title = text, cells = new[] { new { type = "markdown", content = text }, new { type = "code", content = text } } }))).Is(201)["id"];

    /// <summary>Its path and its content have the text, as far as a path can.</summary>
    static async Task<string> Artifact(LiveHost host, string text)
    {
        var input = JsonSerializer.Serialize(new { path = $".anton/output/a{(text == Hostile ? "\u202etxt.b" : ".txt")}", content = text });
        var run = (await host.Http.Turn(await host.Http.NewSession(), $"/tool write_file {input}")).Is(200)["run_id"];
        return (await host.Http.Get($"/runs/{run}/artifacts")).Is(200).Json.GetProperty("artifacts")[0].GetProperty("artifact_id").GetString()!;
    }

    static async Task<string> Skill(LiveHost host, string text)
    {
        var made = JsonSerializer.Serialize(new { name = $"s-{(await host.Http.NewSession())[^12..]}", description = text, prompt_template = "/say {day} " + text });
        var skill = (await host.Http.Post("/skills", made)).Is(201)["skill_id"];
        (await host.Http.Post($"/skills/{skill}/versions", JsonSerializer.Serialize(new { prompt_template = "/say {day}\n" + text }))).Is(201);
        return skill;
    }
}
