using System.Text.Json;

namespace Cowork.Browser.Tests;

/// <summary>The page that shows two runs beside each other, and what goes off from a run's page.</summary>
public sealed class ConsoleCompareSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task Two_runs_stand_beside_each_other_and_the_first_step_that_differs_is_open()
    {
        var (host, session) = await Begun();
        var left = await Written(host, session, "nine");
        // The second run remembers the first, once the index of memories has come to it.
        string right;
        do
        {
            right = await Written(host, session, "ten");
        }
        while (!(await host.Http.Get($"/runs/diff?left={left}&right={right}")).Is(200).Text.Contains("\"differs\":\"memories\"", StringComparison.Ordinal));
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"compare?left={left}&right={right}");
        await tab.Shows("Here they part");
        await tab["text=Other memories were found. >> visible=true"].First.WaitForAsync();
        Assert.Equal(["recall memory", "offline", "write_file", "offline"], await tab[".cmp-row .cmp-side-cell:nth-child(2) b"].AllInnerTextsAsync());
        // The arguments, line by line, and the artifact's content.
        await tab.Press("j");
        await tab.Press("j");
        await tab[".cmp-open [aria-label=Arguments] .gone >> text=nine"].WaitForAsync();
        await tab[".cmp-open [aria-label=Arguments] .added >> text=ten"].WaitForAsync();
        Assert.Contains("step=3", tab.Page.Url, StringComparison.Ordinal);
        await tab["[aria-labelledby=cmp-made] button >> text=Show"].ClickAsync();
        await tab["[aria-label='What differs in .anton/output/a.txt'] .added >> text=ten"].WaitForAsync();
        await tab.Press("x");
        await tab.Page.WaitForURLAsync($"**/compare?left={right}&right={left}");
        await tab[".cmp-row"].First.WaitForAsync();
        await tab.Press("n");
        await tab["a >> text=right step"].ClickAsync();
        await tab.Page.WaitForURLAsync($"**/runs/{left}?step=*");
        await tab["[aria-label='The step'] >> text=Recorded as"].WaitForAsync();
    }

    [Fact]
    public async Task What_each_run_remembered_is_a_difference_and_a_step_of_memories_has_one_digest()
    {
        var (host, session) = await Begun();
        var left = (await host.Http.Turn(session, """/tool remember {"content":"Mara signs releases."}""")).Is(200)["run_id"];
        var right = (await host.Http.Turn(session, """/tool remember {"content":"Ann signs releases."}""")).Is(200)["run_id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"compare?left={left}&right={right}");
        await tab[".cmp-open dt >> text=Memories"].WaitForAsync();
        Assert.Equal(0, await tab[".cmp-open dt >> text=Came to"].CountAsync());
        await tab["[aria-label='Show fact 1']"].ClickAsync();
        await tab["[aria-label='What differs in fact 1'] .gone >> text=Mara signs releases."].WaitForAsync();
        await tab["[aria-label='What differs in fact 1'] .added >> text=Ann signs releases."].WaitForAsync();
        await tab.IsForEverybody();
        await tab["[aria-labelledby=cmp-left] a >> text=the memory"].First.ClickAsync();
        await tab["h1 >> text=Mara signs releases."].WaitForAsync();
    }

    [Fact]
    public async Task What_would_have_happened_is_asked_on_a_run_s_page_and_shown_beside_it()
    {
        var (host, session) = await Begun();
        var run = await Written(host, session, "nine");
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"runs/{run}?step=tool%3A3");
        await tab["[aria-label='The step'] >> text=write_file"].First.WaitForAsync();
        await tab["button >> text=What if…"].ClickAsync();
        var rules = tab["dialog textarea.mono"];
        await rules.FillAsync("nonsense");
        await tab["dialog button[type=submit]"].ClickAsync();
        await tab["dialog >> text=The rules are no JSON"].WaitForAsync();
        await rules.FillAsync("""[{"name":"read_only","outcome":"deny","reason":"Nothing is written.","kinds":["create","overwrite"]}]""");
        await tab["dialog button[type=submit]"].ClickAsync();
        await tab.Page.WaitForURLAsync($"**/compare?left={run}&right=*");
        await tab.Shows("They part at step 3");
        await tab.Shows("what if: another policy");
        await tab[".cmp-open >> text=deny (read_only)"].WaitForAsync();
        var other = tab.Page.Url.Split("right=")[1].Split('&')[0];
        await tab.Go($"runs/{other}");
        await tab["a >> text=Compare with its origin"].ClickAsync();
        await tab.Page.WaitForURLAsync($"**/compare?left={run}&right={other}");
        // A fork, from the end on.
        await tab.Go($"runs/{run}");
        await tab["button >> text=Fork…"].ClickAsync();
        await tab["dialog textarea"].FillAsync("/say forked");
        await tab["dialog button[type=submit]"].ClickAsync();
        await tab["h1 >> text=/say forked"].WaitForAsync();
        await tab[".badge >> text=forked"].WaitForAsync();
    }

    [Fact]
    public async Task Two_runs_are_chosen_in_the_list_with_the_keyboard_and_compared()
    {
        var (host, session) = await Begun();
        var runs = new[] { await Written(host, session, "nine"), await Written(host, session, "nine") };
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"runs?session_id={session}");
        await tab["tbody tr >> nth=1"].WaitForAsync();
        Assert.Equal("1", await tab[".pick input"].First.EvaluateAsync<string>("box => getComputedStyle(box).opacity"));
        await tab.Press("j");
        await tab.Press("c");
        await tab.Shows("One run is chosen.");
        await tab.Press("j");
        await tab.Press("c");
        await tab.Shows("Two runs are chosen.");
        await tab.Press("d");
        await tab.Page.WaitForURLAsync($"**/compare?left={runs[0]}&right={runs[1]}");
        // One is chosen on its page, the other one in the list.
        await tab.Go($"compare?left={runs[0]}");
        await tab.Shows("Choose the run that stands beside it.");
        await tab["button >> text=Only of its session"].ClickAsync();
        await tab["tbody tr >> nth=1"].WaitForAsync();
        await tab.Press("j");
        await tab.Press("Enter");
        await tab.Page.WaitForURLAsync($"**/compare?left={runs[0]}&right={runs[1]}");
    }

    async Task<(LiveHost Host, string Session)> Begun()
    {
        var host = await browsed.Started;
        return (host, await host.Http.NewSession());
    }

    static async Task<string> Written(LiveHost host, string session, string time)
    {
        var input = JsonSerializer.Serialize(new { path = ".anton/output/a.txt", content = $"The launch is\nat {time}.\n" });
        var asked = (await host.Http.Turn(session, $"/tool write_file {input}\n/say done")).Is(200);
        Assert.Equal("completed", asked["status"]);
        return asked["run_id"];
    }
}
