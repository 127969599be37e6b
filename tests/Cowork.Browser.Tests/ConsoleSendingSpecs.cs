using Microsoft.Playwright;

namespace Cowork.Browser.Tests;

/// <summary>What a reader sends is sent once, whatever happens to the press or to its answer.</summary>
public sealed class ConsoleSendingSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task A_second_press_sends_nothing_a_second_time()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"sessions/{session}");
        var (answer, sent) = (new TaskCompletionSource(), 0);
        await tab.Page.RouteAsync("**/turn", async route =>
        {
            sent++;
            await answer.Task;
            await route.ContinueAsync();
        });
        await tab["#message"].FillAsync("/say once");
        await tab.Press("Control+Enter");
        await tab["form[aria-busy=true]"].WaitForAsync();
        await tab.Press("Control+Enter");
        await tab["form button[type=submit]"].DispatchEventAsync("click");
        answer.SetResult();
        await tab.Page.WaitForURLAsync("**/console/runs/*");
        Assert.Equal(1, sent);
        // The same of a dialog, by the mouse.
        await tab.Go("groups?scope=all");
        await tab["button >> text=New group"].WaitForAsync();
        await tab.Press("n");
        await tab["#group-title"].FillAsync("Pressed twice");
        await tab["dialog button[type=submit]"].DblClickAsync();
        await tab.Shows("Nothing was said yet");
        await tab.Go("groups?scope=all");
        await tab["tbody tr >> text=Pressed twice"].First.WaitForAsync();
        Assert.Equal(1, await tab["tbody tr:has-text('Pressed twice')"].CountAsync());
    }

    [Fact]
    public async Task A_press_after_a_lost_answer_asks_for_the_same_run_and_who_has_gone_on_is_not_fetched_back()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"sessions/{session}");
        tab.Expected = "ERR_";
        var (answer, keys) = (new TaskCompletionSource(), new List<string>());
        await tab.Page.RouteAsync("**/turn", async route =>
        {
            keys.Add(route.Request.Headers["idempotency-key"]);
            if (keys.Count == 1)
            {
                await route.FetchAsync();
                await route.AbortAsync("connectionreset");
                return;
            }
            await answer.Task;
            await route.ContinueAsync();
        });
        await tab["#message"].FillAsync("/say lost");
        await tab.Press("Control+Enter");
        await tab.Shows("The host does not answer.");
        Assert.Equal("/say lost", await tab["#message"].InputValueAsync());
        await tab.Press("Control+Enter");
        await tab["form[aria-busy=true]"].WaitForAsync();
        await tab[".nav-link >> text=Memories"].ClickAsync();
        await tab["h1 >> text=Memories"].WaitForAsync();
        answer.SetResult();
        await tab.Shows("The run has begun");
        Assert.EndsWith("/console/memories", tab.Page.Url, StringComparison.Ordinal);
        Assert.Equal((2, 1), (keys.Count, keys.Distinct().Count()));
        await tab["button >> text=Open it"].ClickAsync();
        await tab.Page.WaitForURLAsync("**/console/runs/*");
        Assert.Equal(1, (await host.Http.Get($"/runs?session_id={session}")).Is(200).Json.GetProperty("runs").GetArrayLength());
    }

    [Fact]
    public async Task A_message_that_was_not_sent_stands_beside_the_next_one_and_is_sent_again_with_its_key()
    {
        var host = await browsed.Started;
        var group = (await host.Http.Post("/groups", """{"title":"Lost words"}""")).Is(201)["group_id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"groups/{group}");
        tab.Expected = "ERR_";
        var (isLost, keys) = (true, new List<string>());
        await tab.Page.RouteAsync("**/messages", async route =>
        {
            if (route.Request.Method == "POST")
            {
                keys.Add(route.Request.Headers["idempotency-key"]);
            }
            await (isLost && route.Request.Method == "POST" ? route.AbortAsync() : route.ContinueAsync());
        });
        await tab["textarea"].FillAsync("/say first");
        await tab.Press("Control+Enter");
        await tab["textarea"].FillAsync("and what came next");
        await tab.Shows("Not sent");
        Assert.Equal("and what came next", await tab["textarea"].InputValueAsync());
        isLost = false;
        await tab["button >> text=Send again"].ClickAsync();
        await tab["article.said >> text=first"].First.WaitForAsync();
        await tab["button >> text=Send again"].WaitForAsync(new() { State = WaitForSelectorState.Detached });
        Assert.Equal((2, 1), (keys.Count, keys.Distinct().Count()));
    }

    [Fact]
    public async Task A_refusal_names_the_place_of_what_is_wrong()
    {
        var host = await browsed.Started;
        await host.Http.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "access?show=rules");
        tab.Expected = "422";
        await tab["#proposed"].FillAsync("""[{"name":"all","outcome":"deny"}]""");
        await tab["button >> text=Hold them against the log"].ClickAsync();
        await tab.Shows("$.rules[0].reason");
    }

    [Fact]
    public async Task Who_would_lose_what_they_were_writing_is_asked_before()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "memories");
        await tab[".nav-link >> text=Sessions"].ClickAsync();
        await tab[$"a.row-link >> text={session}"].ClickAsync();
        await tab["#message"].ClickAsync();
        await tab.Page.ReloadAsync();
        Assert.Equal(0, tab.Asked);
        await tab["#message"].ClickAsync();
        await tab.Page.Keyboard.TypeAsync("half a sentence");
        tab.Leaves = false;
        var asked = new TaskCompletionSource();
        tab.Page.Dialog += (_, _) => asked.TrySetResult();
        await tab.Page.EvaluateAsync("setTimeout(() => location.reload())");
        await asked.Task;
        Assert.Equal("half a sentence", await tab["#message"].InputValueAsync());

        // Inside of the console: by a link, by a key, and by Back.
        foreach (var leave in (Func<Task>[])
            [
                () => tab[".nav-link >> text=Skills"].ClickAsync(),
                async () =>
                {
                    await tab.Press("Escape");
                    await tab.Press("g");
                    await tab.Press("k");
                },
                () => tab.Page.EvaluateAsync("history.back()"),
            ])
        {
            await tab["#message"].FocusAsync();
            await leave();
            await tab["dialog >> text=Leave what you were writing?"].WaitForAsync();
            await tab["dialog button >> text=Close"].ClickAsync();
            Assert.EndsWith($"sessions/{session}", tab.Page.Url, StringComparison.Ordinal);
            Assert.Equal("half a sentence", await tab["#message"].InputValueAsync());
        }
        await tab.Page.EvaluateAsync("history.back()");
        await tab["dialog button >> text=Leave it"].ClickAsync();
        await tab["h1 >> text=Sessions"].WaitForAsync();
        await tab.Page.GoBackAsync();
        await tab["h1 >> text=Memories"].WaitForAsync();

        // What was sent, and what is looked for, is not asked for.
        await tab.Go($"sessions/{session}");
        await tab["#message"].FillAsync("/say sent");
        await tab.Press("Control+Enter");
        await tab.Page.WaitForURLAsync("**/console/runs/*");
        await tab.Go("skills");
        await tab["main input[data-search]"].FillAsync("fig");
        await tab[".nav-link >> text=Sessions"].ClickAsync();
        await tab["h1 >> text=Sessions"].WaitForAsync();
        await tab.Page.ReloadAsync();
        Assert.Equal(1, tab.Asked);
    }
}
