using System.Collections.Concurrent;
using System.Text.Json;

using Microsoft.Playwright;

namespace Cowork.Browser.Tests;

/// <summary>Lists that go on while things happen: what they show is what there is, whole and in its order.</summary>
public sealed class ConsoleListSpecs(Chromium chromium, BrowsedHost browsed)
{
    /// <summary>More than two pages of the list of runs.</summary>
    const int Burst = 120;

    [Fact]
    public async Task Rows_that_came_while_the_page_could_not_ask_are_between_the_old_ones_and_the_new_ones_and_Back_finds_its_place()
    {
        var host = await browsed.Started;
        const string word = "quincetree";
        await Say(host, word, 10);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"runs?q={word}");
        tab.Expected = "Failed to load resource";
        await tab.Page.WaitForFunctionAsync("() => document.querySelectorAll('main tbody tr').length === 10");
        await tab["[data-state=live] >> visible=true"].First.WaitForAsync();
        await tab.Page.RouteAsync("**/runs?*", route => route.AbortAsync());
        await Say(host, word, Burst);
        // The rows that were there stay.
        Assert.Equal(10, await tab["main tbody tr"].CountAsync());
        await tab.Page.UnrouteAsync("**/runs?*");
        await Say(host, word, 10);
        await tab.Page.WaitForFunctionAsync("""
            count => {
                // Those that came while it was scrolled.
                document.querySelector(".pill:not(.hidden)")?.click();
                scrollTo(0, document.documentElement.scrollHeight);
                return document.querySelectorAll("main tbody tr .badge[data-status=completed]").length === count;
            }
            """, Burst + 20);
        var shown = await tab["main tbody a.row-link"].EvaluateAllAsync<string[]>("links => links.map(link => link.href.split('/').pop())");
        var runs = (await host.Http.Get($"/runs?q={word}&limit=200")).Is(200).Json.GetProperty("runs").EnumerateArray().Select(run => run.GetProperty("run_id").GetString()!);
        Assert.Equal(runs, shown);

        await tab[$"a.row-link[href$='{shown[^20]}']"].ScrollIntoViewIfNeededAsync();
        await tab[$"a.row-link[href$='{shown[^20]}']"].ClickAsync();
        await tab["h1 ~ .badge"].First.WaitForAsync();
        await tab.Page.GoBackAsync();
        await tab[$"tr.at a[href$='{shown[^20]}']"].WaitForAsync();
        await tab.Page.WaitForFunctionAsync("() => scrollY > 1000");
    }

    [Fact]
    public async Task Runs_that_is_left_open_at_its_top_does_not_grow_with_each_run()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "runs");
        await tab.Page.SetViewportSizeAsync(1440, 400);
        var last = "";
        for (var i = 0; i < 14; i++)
        {
            var session = await host.Http.NewSession();
            var runs = await Task.WhenAll(Enumerable.Range(0, 12).Select(n => host.Http.Turn(session, $"/say {n}")));
            last = runs[^1].Is(200)["run_id"];
        }
        await tab[$"tbody a[href$='{last}']"].First.WaitForAsync();
        Assert.InRange(await tab["tbody tr"].CountAsync(), 50, 159);
    }

    [Fact]
    public async Task A_row_of_a_further_page_goes_when_the_filter_is_not_for_it_any_more()
    {
        var host = await browsed.Started;
        const string word = "medlartree";
        var session = await host.Http.NewSession();
        var call = JsonSerializer.Serialize(new { path = "b.txt", content = word });
        var waits = (await host.Http.Turn(session, $"/tool write_file {call}")).Is(200)["run_id"];
        await Say(host, word, 55);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"runs?q={word}&status=approval_required,completed");
        await tab.Page.WaitForFunctionAsync("() => { scrollTo(0, document.documentElement.scrollHeight); return document.querySelectorAll('main tbody tr').length === 56 }");
        await tab["[data-state=live] >> visible=true"].First.WaitForAsync();
        (await host.Http.Post($"/runs/{waits}/cancel")).Is(202);
        await tab[$"a.row-link[href$='{waits}']"].WaitForAsync(new() { State = WaitForSelectorState.Detached });
        Assert.Equal(55, await tab["main tbody tr"].CountAsync());
    }

    [Fact]
    public async Task What_names_a_row_can_be_read_beside_long_texts_and_what_is_cut_is_whole_in_its_title()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession($"long-{(await host.Http.NewSession())[^12..]}-{new string('x', 100)}");
        (await host.Http.Turn(session, "/say quarterly figures of the northern region")).Is(200);
        await ConsoleFileSpecs.Upload(host, session, "quarterly-figures-of-the-northern-region.csv", "text/csv", "a;b\n1;2\n");
        await host.Http.Until($"/sessions?q={session}", got => got.Is(200).Json.GetProperty("sessions").GetArrayLength() == 1);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "");
        foreach (var path in (string[])[$"runs?session_id={session}", $"files?session={session}", $"sessions?q={session}"])
        {
            await tab.Go(path);
            await tab["main tbody tr"].First.WaitForAsync();
            foreach (var width in (int[])[380, 1600, 1280])
            {
                await tab.Page.SetViewportSizeAsync(width, 900);
                var cut = await tab.Page.EvaluateAsync<string>("""
                    () => [...document.querySelectorAll("main .table-wrap")].filter(table => table.offsetWidth > 0)
                        .map(table => table.scrollWidth > table.clientWidth ? "wider than its place" : table.querySelector("a.row-link").clientWidth < 110 ? "cut" : "").join("")
                    """);
                Assert.True(cut.Length == 0, $"{path}, {width}: {cut}");
            }
        }
        await tab["[aria-label=Sessions] a.row-link"].HoverAsync();
        Assert.Equal(session, await tab["[aria-label=Sessions] a.row-link"].GetAttributeAsync("title"));
        // What has a title of its own lies above the row's link, and leads there.
        await tab["[aria-label=Sessions] td.text .cut"].Last.HoverAsync();
        Assert.Contains(session, await tab["[aria-label=Sessions] td.text .cut"].Last.GetAttributeAsync("title"), StringComparison.Ordinal);
        await tab["[aria-label=Sessions] td.text .cut"].Last.ClickAsync();
        await tab.Page.WaitForURLAsync($"**/sessions/{session}");
    }

    [Fact]
    public async Task Calls_that_wait_are_all_there_and_those_that_were_decided_go_on_page_by_page()
    {
        var host = await browsed.Started;
        var sessions = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => host.Http.NewSession()));
        var runs = new List<string>();
        foreach (var session in sessions)
        {
            var asked = (await host.Http.Turn(session, "/tool write_file " + JsonSerializer.Serialize(new { path = $"{session}.txt", content = "x" }))).Is(200);
            Assert.Equal("approval_required", asked["status"]);
            runs.Add(asked["run_id"]);
        }
        // Of a page that holds two, the oldest are on the last one.
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "approvals", prepare: page => page.RouteAsync(
            "**/approvals?*", route => route.ContinueAsync(new()
            {
                Url = route.Request.Url.Replace("limit=1000", "limit=2", StringComparison.Ordinal).Replace("limit=100", "limit=2", StringComparison.Ordinal),
            })));
        foreach (var session in sessions)
        {
            await tab[$".approval-head >> text={session}.txt"].WaitForAsync();
        }
        var heads = (await tab[".approval-head"].AllInnerTextsAsync()).ToList();
        var places = sessions.Select(session => heads.FindIndex(head => head.Contains(session, StringComparison.Ordinal))).ToList();
        Assert.Equal(places.Order(), places);

        foreach (var session in sessions)
        {
            var approval = (await host.Http.Get($"/approvals?session_id={session}")).Is(200).Json.GetProperty("approvals")[0].GetProperty("approval_id").GetString();
            (await host.Http.Post($"/approvals/{approval}/decision", """{"approved":false}""")).Is(200);
            await tab[$".approval-head >> text={session}.txt"].WaitForAsync(new() { State = WaitForSelectorState.Detached });
        }
        await tab.Go("approvals?show=history");
        await tab.Page.WaitForFunctionAsync("""
            run => {
                const isThere = document.querySelector(`a.row-link[href$='${run}']`) !== null;
                isThere || document.querySelector("main .more:not(.hidden) button")?.click();
                return isThere;
            }
            """, runs[0]);
        foreach (var run in runs)
        {
            Assert.Equal(1, await tab[$"tr:has(.badge[data-status=rejected]) a.row-link[href$='{run}']"].CountAsync());
        }
    }

    [Fact]
    public async Task Things_are_found_by_their_names_and_each_kind_is_asked_for_a_few_with_the_words()
    {
        var host = await browsed.Started;
        var word = "walnut" + (await host.Http.NewSession())[^8..];
        var session = await host.Http.NewSession($"{word}-session");
        (await host.Http.Post("/skills", JsonSerializer.Serialize(new { name = $"{word}-skill", prompt_template = "/say x" }))).Is(201);
        (await host.Http.Post("/groups", JsonSerializer.Serialize(new { title = $"{word} group" }))).Is(201);
        (await host.Http.Post("/myworks", JsonSerializer.Serialize(new { bucket = "listings", label = $"{word} work", payload = new { price = 1 } }))).Is(201);
        await ConsoleFileSpecs.Upload(host, session, $"{word}.txt", "text/plain", "one");
        await host.Http.Until($"/api/v1/files?q={word}", got => got.Is(200)["total"] == "1");
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "access");
        var asked = new ConcurrentQueue<string>();
        tab.Page.Request += (_, request) => asked.Enqueue(new Uri(request.Url).PathAndQuery);
        await tab.Press("Control+k");
        await tab["dialog.palette input"].WaitForAsync();
        await tab.Page.Keyboard.TypeAsync(word, new() { Delay = 30 });
        foreach (var name in (string[])[session, $"{word}-skill", $"{word} group", $"{word} work", $"{word}.txt"])
        {
            await tab[$".hits li >> text='{name}'"].First.WaitForAsync();
        }
        foreach (var path in (string[])["/sessions", "/skills", "/groups", "/artifacts", "/scratchpads"])
        {
            var here = asked.Where(each => each.StartsWith($"{path}?", StringComparison.Ordinal)).ToList();
            Assert.Contains(here, each => each.Contains($"q={word}&", StringComparison.Ordinal));
            Assert.All(here, each => Assert.Matches("q=[a-z0-9]+&limit=6", each));
        }
        await tab[$".hits li >> text='{word} group'"].First.ClickAsync();
        await tab[$"h1 >> text={word} group"].WaitForAsync();
    }

    [Fact]
    public async Task Lists_find_by_name_what_is_not_among_their_newest()
    {
        await using var host = await LiveHost.Start();
        (await host.Http.Post("/skills", """{"name":"an-old-almond","prompt_template":"/say x"}""")).Is(201);
        (await host.Http.Post("/groups", """{"title":"Almond growers"}""")).Is(201);
        for (var i = 0; i < 205; i++)
        {
            (await host.Http.Post("/skills", $$"""{"name":"newer-{{i}}","prompt_template":"/say x"}""")).Is(201);
        }
        await host.Http.Until("/skills?q=newer-204", got => got.Is(200).Json.GetProperty("skills").GetArrayLength() == 1);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "skills");
        await tab["main a.row-link >> text='newer-204'"].WaitForAsync();
        await tab["main input[data-search]"].FillAsync("ALMOND old");
        await tab["main a.row-link >> text='an-old-almond'"].WaitForAsync();
        Assert.Equal(1, await tab["main tbody tr"].CountAsync());
        Assert.Contains("q=ALMOND", tab.Page.Url, StringComparison.Ordinal);
        await tab["main input[data-search]"].FillAsync("no such thing");
        await tab.Shows("No skill is like that");
        await tab["main input[data-search]"].FillAsync("");
        await tab["main a.row-link >> text='newer-204'"].WaitForAsync();
        await tab.Press("Control+k");
        await tab["dialog.palette input"].FillAsync("almond");
        await tab[".hits li >> text='Almond growers'"].First.WaitForAsync();
        await tab[".hits li >> text='an-old-almond'"].ClickAsync();
        await tab["h1 >> text=an-old-almond"].WaitForAsync();
        await tab.Go("groups?q=growers");
        await tab["main a.row-link >> text='Almond growers'"].WaitForAsync();
        await tab.IsForEverybody();
    }

    [Fact]
    public async Task Of_what_does_not_exist_nothing_is_offered_and_a_search_that_finds_nothing_says_so()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "runs/run_00000000000000000000000000");
        tab.Expected = "404";
        await tab.Shows("no such run");
        Assert.Equal(0, await tab["main button, main a.button"].CountAsync());
        await tab.Go("sessions/not-yet");
        await tab.Shows("no such session");
        Assert.Equal(0, await tab["main textarea"].CountAsync());
        // What is typed before the search is there is not lost.
        await tab.Press("Control+k");
        await tab.Page.Keyboard.TypeAsync("zzqqzzqq");
        await tab.Shows("Nothing found");
        await tab["dialog.palette input"].FillAsync("skill_00000000000000000000000000");
        await tab[".hits >> text=skill_00000000000000000000000000"].WaitForAsync();
        await tab.Press("Escape");
        await tab.Go("feed?q=zzqqzzqq");
        await tab.Shows("No event is like that");
    }

    [Fact]
    public async Task Roles_that_change_while_a_page_is_open_take_effect_and_what_was_being_written_stays()
    {
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true });
        var token = await host.Token("acme", "member");
        using var member = host.Client(token);
        using var admin = host.Client(await host.Token("acme", "admin"));
        var id = (await member.Get("/me")).Is(200)["token_id"];
        var session = await member.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"sessions/{session}");
        tab.Expected = "401|403";
        await tab["#token"].FillAsync(token);
        await tab.Press("Enter");
        await tab["#message"].FillAsync("half a sentence");
        Assert.Equal(0, await tab["nav a >> text=Feed"].CountAsync());

        (await admin.Send(HttpMethod.Patch, $"/tokens/{id}", """{"roles":["member","auditor"]}""")).Is(200);
        await tab.Page.EvaluateAsync("document.dispatchEvent(new Event('visibilitychange'))");
        await tab["nav a >> text=Feed"].WaitForAsync();
        await tab.Page.WaitForFunctionAsync("() => document.querySelector('#message')?.value === 'half a sentence'");

        (await admin.Send(HttpMethod.Patch, $"/tokens/{id}", """{"roles":["auditor"]}""")).Is(200);
        await tab["#message"].WaitForAsync(new() { State = WaitForSelectorState.Detached });
    }

    /// <summary>So many runs, in some sessions at once.</summary>
    static Task Say(LiveHost host, string word, int count) => Task.WhenAll(Enumerable.Range(0, 5).Select(async part =>
    {
        var session = await host.Http.NewSession();
        for (var i = part; i < count; i += 5)
        {
            (await host.Http.Turn(session, $"/say {word} {i}")).Is(200);
        }
    }));
}
