using System.Text.Json;

namespace Cowork.Browser.Tests;

/// <summary>What holds for every page of the console.</summary>
public sealed class ConsolePageSpecs(Chromium chromium, BrowsedHost browsed)
{
    /// <summary>HTML, a script, text that is turned around, a terminal's colour, an address that is code, and Markdown with a picture from elsewhere.</summary>
    public const string Hostile =
        "<img src=x onerror=alert(1)><script>alert(2)</script> \u202egnp.exe\u202c \u001b[31mred\u001b[0m a\u200bb [press](javascript:alert(3)) ![p](https://elsewhere.example/p.png) </title>";

    /// <summary>Paths with {run} and {session}, and a text that is there when the page is.</summary>
    [Theory]
    [InlineData("", "Needs a person")]
    [InlineData("feed", "none is missing")]
    [InlineData("runs", "Needs")]
    [InlineData("runs/{run}", "delete_inside")]
    [InlineData("sessions", "Folder")]
    [InlineData("sessions/{session}", "Send")]
    [InlineData("approvals", "For exactly these arguments")]
    [InlineData("approvals?show=history", "Decided")]
    [InlineData("nowhere", "There is no such page")]
    public async Task A_page_is_for_everybody_and_loads_nothing_from_elsewhere(string path, string shown)
    {
        var (host, session, run) = await Seeded();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, path.Replace("{run}", run, StringComparison.Ordinal).Replace("{session}", session, StringComparison.Ordinal));
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
    [InlineData("sessions/{session}")]
    [InlineData("approvals")]
    public async Task What_others_wrote_does_nothing_and_hides_nothing(string path)
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        // In lists messages stand: the overview shows the newest that failed, and of calls that wait only the oldest.
        await host.Http.Turn(session, "/fail " + Hostile);
        var input = JsonSerializer.Serialize(new { path = "a\u202etxt.b", content = Hostile }).Replace("\\u202E", "\u202e", StringComparison.Ordinal);
        var run = (await host.Http.Turn(session, $"/tool write_file {input}")).Is(200)["run_id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, path.Replace("{run}", run, StringComparison.Ordinal).Replace("{session}", session, StringComparison.Ordinal));
        await tab.Shows("U+202E");
        var text = await tab["main"].InnerTextAsync();
        Assert.DoesNotContain("\u202e", text, StringComparison.Ordinal);
        Assert.DoesNotContain("\u001b", text, StringComparison.Ordinal);
        Assert.Equal(0, await tab["main img, main script, main iframe, a[href^=javascript]"].CountAsync());
        (await host.Http.Post($"/runs/{run}/cancel", "{}")).Is(202);
    }

    [Fact]
    public async Task The_keyboard_leads_to_every_page_and_through_its_rows()
    {
        var (host, _, _) = await Seeded();
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
        var (host, session, _) = await Seeded();
        const string Prefix = "/team/cowork";
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"sessions/{session}", Prefix, async page => await page.Context.RouteAsync(
            $"{host.Url}{Prefix}/**", route => route.ContinueAsync(new() { Url = route.Request.Url.Replace(Prefix, "", StringComparison.Ordinal) })));
        await tab["textarea"].WaitForAsync();
        Assert.Equal($"{host.Url}{Prefix}/console/runs", await tab.Page.EvaluateAsync<string>("[...document.querySelectorAll('.nav-link')].find(a => a.textContent === 'Runs').href"));
        // Its stream is asked for below the prefix too, by a worker whose requests nobody here turns.
        tab.Expected = "404";
    }

    async Task<(LiveHost Host, string Session, string Run)> Seeded()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        (await host.Http.Turn(session, "/say **hello**")).Is(200);
        await File.WriteAllTextAsync(Path.Combine(host.Data, "workspaces", session, "a.txt"), "old");
        return (host, session, (await host.Http.Turn(session, """/tool delete_file {"path":"a.txt"}""")).Is(200)["run_id"]);
    }
}
