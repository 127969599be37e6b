using System.Collections.Concurrent;
using System.Text.Json;

namespace Cowork.Browser.Tests;

/// <summary>The pages of artifacts: what a file holds is shown without trusting it, and its digest leads to the step that wrote it.</summary>
public sealed class ConsoleArtifactSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task A_page_that_a_run_wrote_is_shown_with_its_styles_and_without_its_scripts_and_its_digest_leads_to_the_step()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await Write(host, session, "report.html", Report("nine"));
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"artifacts?session={session}");
        await tab["tbody tr >> text=report.html"].WaitForAsync();
        // Another one, and another version, come by themselves.
        var run = await Write(host, session, "report.html", Report("ten"));
        await tab["tbody tr:has-text('report.html') >> text='2'"].First.WaitForAsync();
        tab.Expected = "Blocked script execution";
        await tab.Press("j");
        await tab.Press("Enter");
        var shown = tab.Page.FrameLocator("iframe.preview-frame").FrameLocator("iframe");
        await shown.GetByText("Friday at ten.").WaitForAsync();
        Assert.Equal("rgb(0, 128, 0)", await shown.Locator("h1").EvaluateAsync<string>("h => getComputedStyle(h).color"));
        Assert.Equal("null", await shown.Locator("h1").EvaluateAsync<string>("() => origin"));
        await tab.Press("d");
        await tab["[aria-label='What version 2 changed'] .added >> text=ten"].WaitForAsync();
        await tab.Press("d");
        await tab.Press("[");
        await shown.GetByText("Friday at nine.").WaitForAsync();
        await tab["button.chip >> text=Source"].ClickAsync();
        await tab["[aria-label='Source of report.html'] >> text=stolen"].WaitForAsync();
        await tab.Press("k");
        await tab.Press("Enter");
        await tab["tr.shown >> text=version 2"].WaitForAsync();
        await tab.Press("[");
        await tab["tr.shown >> text=version 1"].WaitForAsync();
        await tab.Press("]");
        await tab["tr.shown >> text=version 2"].WaitForAsync();
        await tab["a >> text=the step"].First.ClickAsync();
        await tab.Page.WaitForURLAsync($"**/runs/{run}?*step=*");
        await tab["[aria-label='The step'] h2 >> text=write_file"].WaitForAsync();
        await tab["[aria-label='The step'] >> text=Friday at ten"].First.WaitForAsync();
        await tab["[aria-label=Artifacts] a >> text=report.html"].ClickAsync();
        await tab["h1 >> text=report.html"].WaitForAsync();

        static string Report(string time) =>
            $"<style>h1 {{ color: green }}</style><h1>Launch</h1>\n<p>Friday at {time}.</p>\n<script>document.querySelector('h1').textContent = 'stolen'</script>";
    }

    [Fact]
    public async Task What_a_page_asks_for_elsewhere_does_not_come_and_it_leads_nowhere()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await Write(host, session, "a.html", """
            <meta http-equiv="refresh" content="0;url=https://elsewhere.example/away"><img src="https://elsewhere.example/p.png" onerror="document.title = 'stolen'">
            <form action="https://elsewhere.example/f"><button>Send</button></form><a href="https://elsewhere.example/l" target="_top">Go</a><p>That is all.</p>
            """);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"artifacts?session={session}");
        // What is refused is told on the browser's console.
        tab.Expected = "elsewhere.example|Blocked script execution|Refused to execute the redirect|Blocked form submission|Unsafe attempt";
        var asked = new ConcurrentQueue<(string Url, string? Failure)>();
        tab.Page.Context.RequestFailed += (_, request) => asked.Enqueue((request.Url, request.Failure));
        tab.Page.Context.RequestFinished += (_, request) => asked.Enqueue((request.Url, null));
        await tab["a.row-link"].ClickAsync();
        var shown = tab.Page.FrameLocator("iframe.preview-frame").FrameLocator("iframe");
        await shown.GetByText("That is all.").WaitForAsync();
        await shown.GetByText("Go", new() { Exact = true }).ClickAsync();
        await shown.GetByText("That is all.").WaitForAsync();
        Assert.StartsWith($"{host.Url}/console/artifacts/", tab.Page.Url, StringComparison.Ordinal);
        Assert.Equal("a.html · Cowork", await tab.Page.TitleAsync());
        Assert.All(asked.Where(request => request.Url.Contains("elsewhere", StringComparison.Ordinal)), request => Assert.Equal("csp", request.Failure));
    }

    [Theory]
    [InlineData("prices.csv", "item,usd\n\"venue, hall\",400\n", "td >> text=venue, hall")]
    [InlineData("sales.csv", "Name;Umsatz\n\"Müller; Söhne\";1.234,50\n", "td.num >> text=1.234,50")]
    [InlineData("notes.md", "# Notes\n\n- **two** of them\n", ".reply strong >> text=two")]
    [InlineData("figures.json", """{"north": [1, 2]}""", "cw-json >> text=north")]
    [InlineData("chart.svg", """<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><script>alert(1)</script><rect width="10" height="10"/></svg>""", "img[alt='chart.svg']")]
    [InlineData("log.txt", "one\ntwo\n", "[aria-label='log.txt'] >> text=two")]
    public async Task A_file_is_shown_in_its_form(string name, string content, string shown)
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await Write(host, session, name, content);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"artifacts?session={session}");
        await tab["a.row-link"].ClickAsync();
        await tab[shown].First.WaitForAsync();
        await tab.IsForEverybody();
        var saved = await tab.Page.RunAndWaitForDownloadAsync(() => tab["button >> text=Save"].ClickAsync());
        Assert.Equal((name, content), (saved.SuggestedFilename, await File.ReadAllTextAsync((await saved.PathAsync())!)));
    }

    static async Task<string> Write(LiveHost host, string session, string name, string content)
    {
        var input = JsonSerializer.Serialize(new { path = ".anton/output/" + name, content });
        var asked = (await host.Http.Turn(session, $"/tool write_file {input}")).Is(200);
        Assert.Equal("completed", asked["status"]);
        return asked["run_id"];
    }
}
