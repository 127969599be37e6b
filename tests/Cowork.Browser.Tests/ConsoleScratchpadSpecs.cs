using System.Text.Json;

namespace Cowork.Browser.Tests;

/// <summary>The pages of scratchpads: cells with what they came to, and who executed them.</summary>
public sealed class ConsoleScratchpadSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task A_cell_is_executed_with_the_keyboard_and_its_output_comes_by_itself()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"scratchpads?session={session}");
        await tab.Shows("No scratchpads yet");
        var made = await Pad(host, session, "Draft", new { type = "markdown", content = "# Sales" }, new { type = "code", content = "print(6 * 7)" });
        await tab["tbody tr >> text=Draft"].WaitForAsync();
        await tab.Press("j");
        await tab.Press("Enter");
        await tab[".cell .reply >> text=Sales"].WaitForAsync();
        await tab.Shows("not executed");
        await tab.Press("j");
        await tab.Press("j");
        await tab.Press("r");
        await tab[".cell.at .output >> text=42"].WaitForAsync();
        await tab[".cell.at .cell-by >> text=user:local"].WaitForAsync();
        await tab[".cell.at .badge >> text=succeeded"].WaitForAsync();
        Assert.Contains("cell=cell_", tab.Page.Url, StringComparison.Ordinal);
        // What the agent executes says for which run.
        var run = (await host.Http.Turn(session, "```python\nprint(1 / 0)\n```")).Is(200)["run_id"];
        await tab[".cell .note.bad >> text=ZeroDivisionError"].WaitForAsync();
        await tab[".cell-by a"].First.ClickAsync();
        await tab["[aria-label=Steps]"].WaitForAsync();
        Assert.Contains($"runs/{run}", tab.Page.Url, StringComparison.Ordinal);
        (await host.Http.Delete($"/api/v1/scratchpads/{made}")).Is(204);
    }

    [Fact]
    public async Task Outputs_are_shown_in_their_best_form_and_do_nothing()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        object Shown(params (string Mime, object Data)[] forms) => new { output_type = "display_data", metadata = new { }, data = forms.ToDictionary(form => form.Mime, form => form.Data) };
        var outputs = new object[]
        {
            new { output_type = "stream", name = "stderr", text = "a\u202etxt.b\n" },
            Shown(("text/html", "<h1>Means</h1><script>document.body.textContent = 'stolen'</script>"), ("text/plain", "<IPython.core.display.HTML object>")),
            Shown(("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'><script>alert(1)</script><rect width='10' height='10'/></svg>")),
            Shown(("text/markdown", "**two** of [them](javascript:alert(2))")),
            Shown(("application/json", new { north = 12 })),
        };
        var pad = await Imported(host, session, outputs);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"scratchpads/{pad}");
        tab.Expected = "Blocked script execution";
        await tab.Page.FrameLocator("iframe.preview-frame").FrameLocator("iframe").GetByText("Means").WaitForAsync();
        await tab.Shows("U+202E");
        await tab[".output strong >> text=two"].WaitForAsync();
        await tab[".output cw-json >> text=north"].WaitForAsync();
        await tab[".output img"].WaitForAsync();
        Assert.Equal(0, await tab["main script, a[href^=javascript]"].CountAsync());
        await tab.Shows("also text/plain");
        await tab.IsForEverybody();
        var saved = await tab.Page.RunAndWaitForDownloadAsync(() => tab["button >> text=Notebook"].ClickAsync());
        Assert.Equal($"{pad}.ipynb", saved.SuggestedFilename);
    }

    /// <summary>A scratchpad with one cell that was executed elsewhere and came to these outputs.</summary>
    internal static async Task<string> Imported(LiveHost host, string session, params object[] outputs)
    {
        var notebook = new
        {
            nbformat = 4,
            nbformat_minor = 5,
            metadata = new { },
            cells = new object[] { new { cell_type = "code", id = "a", source = "show()", execution_count = 1, metadata = new { }, outputs } },
        };
        return (await host.Http.Post("/api/v1/scratchpads/import", JsonSerializer.Serialize(new { conversation_id = session, notebook }))).Is(201)["id"];
    }

    static async Task<string> Pad(LiveHost host, string session, string title, params object[] cells) =>
        (await host.Http.Post("/api/v1/scratchpads", JsonSerializer.Serialize(new { conversation_id = session, title, cells }))).Is(201)["id"];
}
