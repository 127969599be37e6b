namespace Cowork.Browser.Tests;

/// <summary>The pages of memories.</summary>
public sealed class ConsoleMemoriesSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task A_memory_leads_to_the_run_as_it_was_when_it_was_written()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "memories?kind=memory");
        await tab["button[aria-pressed=true] >> text=fact"].WaitForAsync();
        var run = (await host.Http.Turn(session, "/tool remember {\"content\":\"Quinces ripen in October.\"}\n/say noted")).Is(200)["run_id"];
        var row = tab["tbody tr:has-text('Quinces ripen')"].First;
        await row.WaitForAsync();
        await row.Locator($"a[href$='sessions/{session}']").WaitForAsync();
        await tab.Press("j");
        await tab.Press("Enter");
        await tab["h1 >> text=Quinces ripen in October."].WaitForAsync();
        await tab["a >> text=the run as it was then"].WaitForAsync();
        await tab.IsForEverybody();
        await tab["a >> text=the run as it was then"].ClickAsync();
        await tab.Shows("as of event");
        Assert.Matches($"runs/{run}\\?at=", tab.Page.Url);
    }

    [Fact]
    public async Task A_dialog_stays_while_a_text_in_it_is_selected_beyond_its_edge_and_goes_with_a_press_beside_it()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "memories");
        await tab["button >> text=State a fact"].WaitForAsync();
        await tab.Press("n");
        await tab["#memory-content"].FillAsync("half a fact");
        var (box, field) = ((await tab["dialog"].BoundingBoxAsync())!, (await tab["#memory-content"].BoundingBoxAsync())!);
        await tab.Page.Mouse.MoveAsync(field.X + 60, field.Y + 12);
        await tab.Page.Mouse.DownAsync();
        await tab.Page.Mouse.MoveAsync(box.X - 40, field.Y + 12);
        await tab.Page.Mouse.UpAsync();
        // Nor does a press on its margin close it.
        await tab.Page.Mouse.ClickAsync(box.X + 4, box.Y + 4);
        Assert.Equal(1, await tab["dialog[open]"].CountAsync());
        Assert.Equal("half a fact", await tab["#memory-content"].InputValueAsync());
        await tab.Page.Mouse.ClickAsync(box.X - 40, box.Y - 40);
        await tab["dialog"].WaitForAsync(new() { State = Microsoft.Playwright.WaitForSelectorState.Detached });
    }

    [Fact]
    public async Task A_fact_is_stated_found_by_its_words_changed_and_deleted()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "memories");
        await tab["button >> text=State a fact"].WaitForAsync();
        await tab.Press("n");
        await tab["#memory-content"].FillAsync("The medlar is picked " + ConsolePageSpecs.Hostile);
        await tab["dialog button >> text=State it"].ClickAsync();
        await tab["tbody tr:has-text('The medlar')"].WaitForAsync();
        await tab.ShowsTextsAsTexts();
        await host.Http.Until("/search?kinds=memories&q=medlar", got => got.Json.GetProperty("hits").GetArrayLength() > 0);
        await tab["input[type=search]"].FillAsync("medlar picked");
        await tab.Page.WaitForFunctionAsync("() => document.querySelectorAll('tbody tr').length === 1");
        await tab["tbody tr .row-link"].ClickAsync();
        await tab["dt >> text=Said by"].WaitForAsync();
        await tab["button >> text=Change"].ClickAsync();
        await tab["#memory-content"].FillAsync("The medlar is picked after frost.");
        await tab["dialog button >> text=Change"].ClickAsync();
        await tab["h1 >> text=after frost"].WaitForAsync();
        await tab["button >> text=Delete"].ClickAsync();
        await tab["dialog button.danger"].ClickAsync();
        await tab["h1 >> text=Memories"].WaitForAsync();
        Assert.DoesNotContain("medlar", (await host.Http.Get("/api/v1/memories?limit=1000")).Is(200).Text, StringComparison.Ordinal);
    }
}
