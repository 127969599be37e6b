using Microsoft.Playwright;

namespace Cowork.Browser.Tests;

/// <summary>What pages of the console are on paper, and what they show of what is long.</summary>
public sealed class ConsolePaperSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task A_run_is_printed_as_a_record_with_all_of_its_steps_and_events_and_what_Verify_said()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var text = new string('x', 3_000) + " the end of it";
        await File.WriteAllTextAsync(Path.Combine(host.Data, "workspaces", session, "long.txt"), text);
        var calls = Enumerable.Repeat("/tool list_files {}", 20).Append("""/tool read_file {"path":"long.txt"}""");
        var run = (await host.Http.Turn(session, string.Join('\n', calls))).Is(200)["run_id"];
        var events = (await host.Http.Get($"/runs/{run}/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray().ToList();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"runs/{run}");
        await tab[".wf-row"].Nth(20).WaitForAsync();
        await Print(tab);
        await tab[".sheet >> text=Not verified when this was printed."].WaitForAsync();
        // Those that came since are there, too.
        Assert.True(await tab[".sheet .of-events-all tbody tr"].CountAsync() >= events.Count);
        Assert.Equal(await tab[".wf-row"].CountAsync(), await tab[".sheet .step"].CountAsync());
        var paper = await tab[".sheet"].TextContentAsync();
        Assert.All(events, each => Assert.Contains(each.GetProperty("hash").GetString()!, paper, StringComparison.Ordinal));
        Assert.DoesNotContain("the end of it", paper, StringComparison.Ordinal);
        // White, whatever the theme is, and nothing to press.
        Assert.Equal("rgb(255, 255, 255)", await tab.Page.EvaluateAsync<string>("getComputedStyle(document.documentElement).backgroundColor"));
        Assert.Equal(0, await tab["nav >> visible=true"].CountAsync());
        Assert.Equal(0, await tab["main button >> visible=true"].CountAsync());
        await tab[".on-paper >> text=" + run].WaitForAsync();
        await tab[".on-paper >> text=Times of"].WaitForAsync();
        await Return(tab);
        Assert.Equal(0, await tab[".sheet, .on-paper"].CountAsync());

        await tab["button >> text=Verify"].ClickAsync();
        await tab[".run-verdict .note.good"].WaitForAsync();
        await Print(tab);
        await tab[".sheet .note.good >> text=Recomputed here"].WaitForAsync();
        Assert.Contains("the end of it", await tab[".sheet"].TextContentAsync(), StringComparison.Ordinal);
        await Return(tab);
        // By the browser's own way, too.
        Assert.NotEmpty(await tab.Page.PdfAsync());
    }

    [Fact]
    public async Task All_events_that_the_feed_has_are_printed_and_not_only_those_in_sight()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        (await host.Http.Turn(session, string.Join('\n', Enumerable.Repeat("/tool list_files {}", 20)))).Is(200);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"feed?session={session}");
        await tab["cw-rows .vrow"].First.WaitForAsync();
        await Print(tab);
        await tab.Page.WaitForFunctionAsync("""
            () => {
                dispatchEvent(new Event("beforeprint"));
                const { length } = document.querySelectorAll(".paper .vrow");
                return length > 60 && length === Number(document.querySelector("cw-rows > .vrow").getAttribute("aria-setsize"));
            }
            """);
        Assert.Equal(0, await tab["cw-rows > .vrow >> visible=true"].CountAsync());
        await Return(tab);
        Assert.Equal(0, await tab[".paper"].CountAsync());
    }

    [Fact]
    public async Task A_long_message_is_one_line_and_the_rest_a_button_away()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var run = (await host.Http.Turn(session, "/say " + string.Join(' ', Enumerable.Repeat("word", 200)) + "\nand its end")).Is(200)["run_id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"runs/{run}");
        var more = tab["button[aria-label='The whole message']"];
        await more.WaitForAsync();
        Assert.True(await tab["h1"].EvaluateAsync<bool>("line => line.offsetHeight < 40 && !line.textContent.includes('and its end')"));
        await more.FocusAsync();
        await tab.Press("Enter");
        await tab["h1.whole >> text=and its end"].WaitForAsync();
        Assert.Equal("true", await tab.Page.EvaluateAsync<string>("document.activeElement.getAttribute('aria-expanded')"));
        await tab.IsForEverybody();
        await tab.Press("Enter");
        await tab["h1.cut"].WaitForAsync();
        await tab.IsForEverybody();

        var brief = (await host.Http.Turn(session, "/say so")).Is(200)["run_id"];
        await tab.Go($"runs/{brief}");
        await tab["h1 ~ .badge[data-status=completed]"].WaitForAsync();
        await more.WaitForAsync(new() { State = WaitForSelectorState.Hidden });
    }

    [Fact]
    public async Task A_page_in_a_frame_is_as_high_as_its_texts_and_follows_the_theme_unless_it_has_colours()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        object Shown(string html) => new { output_type = "display_data", metadata = new { }, data = new Dictionary<string, string> { ["text/html"] = html } };
        var rows = string.Concat(Enumerable.Repeat("<tr><td onclick=\"alert(1)\">cell</td></tr>", 12));
        var pad = await ConsoleScratchpadSpecs.Imported(
            host, session, Shown("one word"), Shown($"<table>{rows}</table>"), Shown($"<h1 style=\"color: navy\">{string.Concat(Enumerable.Repeat("<p>long", 400))}"));
        await using var tab = await ConsoleTab.Open(
            chromium, host.Url, $"scratchpads/{pad}", prepare: page => page.EmulateMediaAsync(new() { ColorScheme = ColorScheme.Dark }));
        tab.Expected = "Blocked script execution";
        await tab.Page.WaitForFunctionAsync("""
            () => {
                const [word, table, long] = [...document.querySelectorAll("iframe.preview-frame")].map(frame => frame.offsetHeight);
                return word < 60 && table > 200 && table < 420 && long === 560;
            }
            """);
        Task<string> Theme(int frame) =>
            tab.Page.FrameLocator($"iframe.preview-frame >> nth={frame}").Locator("html").EvaluateAsync<string>("html => getComputedStyle(html).colorScheme");
        Assert.Equal("dark", await Theme(1));
        Assert.NotEqual("dark", await Theme(2));
    }

    static async Task Print(ConsoleTab tab)
    {
        await tab.Page.EmulateMediaAsync(new() { Media = Media.Print });
        await tab.Page.EvaluateAsync("dispatchEvent(new Event('beforeprint'))");
    }

    static async Task Return(ConsoleTab tab)
    {
        await tab.Page.EvaluateAsync("dispatchEvent(new Event('afterprint'))");
        await tab.Page.EmulateMediaAsync(new() { Media = Media.Screen });
    }
}
