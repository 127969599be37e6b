using System.Text.Json;

namespace Cowork.Browser.Tests;

/// <summary>The pages of skills: versions, what each changed, a try, and the runs of exactly one version.</summary>
public sealed class ConsoleSkillSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task A_version_shows_what_it_changed_and_is_tried_and_its_runs_come_by_themselves()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var skill = await New(host, "greet", "/say Hello {name}.\n");
        await Version(host, skill, "/say Good day {name}, {{really}}.\n");
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"skills/{skill}");
        await tab["h2 >> text=Version 2"].First.WaitForAsync();
        await tab["[aria-label=Template] .gone >> text=Hello"].WaitForAsync();
        await tab["[aria-label=Template] .added >> text=Good day"].WaitForAsync();
        await tab.Shows("No run of this version yet");
        await tab["textarea"].FillAsync("Mara");
        await tab["[aria-label='The message'] >> text=/say Good day Mara, {really}."].WaitForAsync();
        await tab["[aria-label='Try it'] input"].FillAsync(session);
        await tab["button >> text=Run it"].ClickAsync();
        await tab["[aria-label='Try it'] .reply >> text=Good day Mara, {really}."].WaitForAsync();
        await tab["[aria-label=Runs] tbody tr >> text=Good day Mara"].WaitForAsync();
        // The version before has none of them.
        await tab.Press("Escape");
        await tab["h1"].ClickAsync();
        await tab.Press("[");
        await tab["h2 >> text=Runs of exactly version 1"].WaitForAsync();
        await tab.Shows("No run of this version yet");
        Assert.Contains("version=1", tab.Page.Url, StringComparison.Ordinal);
        // Another version comes without a word from here.
        await Version(host, skill, "/say Hi {name}.\n");
        await tab["a.row-link >> text=version 3"].WaitForAsync();
    }

    [Fact]
    public async Task A_skill_is_made_in_the_list_and_gets_a_version_on_its_page()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "skills");
        await tab["button >> text=New skill"].ClickAsync();
        var name = "made-" + (await host.Http.NewSession())[^12..];
        await tab["dialog input"].First.FillAsync(name);
        await tab["dialog textarea"].FillAsync("Show {");
        await tab["dialog button[type=submit]"].ClickAsync();
        await tab["dialog .fault"].WaitForAsync();
        tab.Expected = "422";
        await tab["dialog textarea"].FillAsync("Show {day}.");
        await tab["dialog button[type=submit]"].ClickAsync();
        await tab[$"h1 >> text={name}"].WaitForAsync();
        await tab["button >> text=New version"].ClickAsync();
        Assert.Equal("Show {day}.", await tab["dialog textarea"].InputValueAsync());
        await tab["dialog textarea"].FillAsync("Show {day} in one table.");
        await tab["dialog button[type=submit]"].ClickAsync();
        await tab["h2 >> text=Version 2"].First.WaitForAsync();
        await tab["[aria-label=Template] .added >> text=in one table"].WaitForAsync();
    }

    [Fact]
    public async Task The_keyboard_goes_through_the_versions_and_then_through_the_runs()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var skill = await New(host, "walk", "/say Hello {name}.\n");
        await Version(host, skill, "/say Good day {name}.\n");
        (await host.Http.Post($"/skills/{skill}/run", JsonSerializer.Serialize(new { session_id = session, @params = new { name = "Mara" } }))).Is(200);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"skills/{skill}");
        await tab["[aria-label=Versions] tr.shown >> text=version 2"].WaitForAsync();
        await tab["[aria-label=Runs] tbody tr >> text=Good day Mara"].WaitForAsync();
        await tab.Press("j");
        await tab["[aria-label=Versions] tr.at >> text=version 1"].WaitForAsync();
        await tab.Press("j");
        await tab["[aria-label=Runs] tr.at >> text=Good day Mara"].WaitForAsync();
        Assert.Equal(1, await tab["main tr.at"].CountAsync());
        await tab.Press("k");
        await tab["[aria-label=Versions] tr.at >> text=version 1"].WaitForAsync();
        await tab.Press("Enter");
        await tab["h2 >> text=Runs of exactly version 1"].WaitForAsync();
        await tab["[aria-label=Versions] tr.shown >> text=version 1"].WaitForAsync();
    }

    static async Task<string> New(LiveHost host, string name, string template) => (await host.Http.Post(
        "/skills", JsonSerializer.Serialize(new { name = $"{name}-{(await host.Http.NewSession())[^12..]}", prompt_template = template }))).Is(201)["skill_id"];

    static async Task Version(LiveHost host, string skill, string template) =>
        (await host.Http.Post($"/skills/{skill}/versions", JsonSerializer.Serialize(new { prompt_template = template }))).Is(201);
}
