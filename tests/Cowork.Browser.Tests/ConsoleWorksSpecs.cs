using System.Text.Json;

namespace Cowork.Browser.Tests;

/// <summary>The pages of works.</summary>
public sealed class ConsoleWorksSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task Works_are_found_by_bucket_and_words_and_a_new_one_comes_by_itself()
    {
        var host = await browsed.Started;
        await Made(host, "listings", "12 Quince Street", new { price = 1 }, "A house with a garden.");
        await Made(host, "transactions", "Quince Street, offer", new { offer = 2 }, null);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "works?q=quince");
        await tab["tbody tr >> nth=1"].WaitForAsync();
        Assert.Equal(["Quince Street, offer", "12 Quince Street"], await tab["tbody tr .row-link"].AllInnerTextsAsync());
        await tab["button >> text=listings"].ClickAsync();
        await tab.Page.WaitForFunctionAsync("() => document.querySelectorAll('tbody tr').length === 1");
        Assert.EndsWith("works?q=quince&bucket=listings", tab.Page.Url, StringComparison.Ordinal);
        await Made(host, "listings", "14 Quince Street", new { price = 3 }, null);
        await tab["tbody tr >> text=14 Quince Street"].WaitForAsync();
        await tab["input[type=search]"].FillAsync("nothing like that");
        await tab.Shows("No work is like that");
    }

    [Fact]
    public async Task A_work_shows_its_payload_as_it_was_sent_and_a_page_in_a_frame_that_runs_no_script()
    {
        var host = await browsed.Started;
        var work = await Made(
            host, "brand", "Palette " + ConsolePageSpecs.Hostile,
            new { html = "<h1>Autumn</h1><script>parent.document.title = 'taken'</script>", note = ConsolePageSpecs.Hostile }, ConsolePageSpecs.Hostile);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"works/{work}");
        // What it says of a script that it does not run.
        tab.Expected = "sandboxed";
        await tab["cw-json >> text=Autumn"].WaitForAsync();
        await tab.ShowsTextsAsTexts();
        await tab.IsForEverybody();
        await tab["[aria-label=html] button >> text=As a page"].ClickAsync();
        var frame = tab.Page.FrameLocator("iframe");
        await frame.FrameLocator("iframe").Locator("h1 >> text=Autumn").WaitForAsync();
        Assert.Equal(("allow-scripts", ""), (await tab["iframe"].GetAttributeAsync("sandbox"), await frame.Locator("iframe").GetAttributeAsync("sandbox")));
        Assert.DoesNotContain("taken", await tab.Page.TitleAsync(), StringComparison.Ordinal);
        await tab["button >> text=Change"].ClickAsync();
        await tab["#work-label"].FillAsync("Palette of autumn");
        await tab["#work-tags"].FillAsync("warm, quiet");
        await tab["dialog button >> text=Change it"].ClickAsync();
        await tab["h1 >> text=Palette of autumn"].WaitForAsync();
        await tab[".role >> text=quiet"].WaitForAsync();
        await tab["button >> text=Duplicate"].ClickAsync();
        await tab.Page.WaitForURLAsync(url => url.Contains("/works/work_", StringComparison.Ordinal) && !url.EndsWith(work, StringComparison.Ordinal));
        await tab["h1 >> text=Palette"].WaitForAsync();
        await tab["button >> text=Delete"].ClickAsync();
        await tab["dialog button.danger"].ClickAsync();
        await tab["h1 >> text=Works"].WaitForAsync();
    }

    [Fact]
    public async Task A_payload_keeps_its_numbers_and_members_and_is_as_long_as_it_was_sent()
    {
        var host = await browsed.Started;
        const string Payload = """{"n":12345678901234567890, "d":1.0,"r":1,"r":2}""";
        var work = (await host.Http.Post("/myworks", $$"""{"bucket":"listings","label":"Numbers","payload":{{Payload}}}""")).Is(201)
            .Json.GetProperty("data").GetProperty("work").GetProperty("work_id").GetString();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"works/{work}");
        await tab["cw-json >> text=12345678901234567890"].WaitForAsync();
        Assert.Equal("n: 12345678901234567890d: 1.0r: 1r: 2", await tab["cw-json"].First.TextContentAsync());
        await tab[$"dl.facts dd >> text={Payload.Length} B"].WaitForAsync();
    }

    static async Task<string> Made(LiveHost host, string bucket, string label, object payload, string? preview) =>
        (await host.Http.Post("/myworks", JsonSerializer.Serialize(new { bucket, label, payload, preview, tags = new[] { "spec" } }))).Is(201)
            .Json.GetProperty("data").GetProperty("work").GetProperty("work_id").GetString()!;
}
