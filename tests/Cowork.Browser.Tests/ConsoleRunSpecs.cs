using Microsoft.Playwright;

namespace Cowork.Browser.Tests;

/// <summary>The pages of runs and approvals: what goes on is followed, and what waits is decided.</summary>
public sealed class ConsoleRunSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task A_run_is_followed_from_its_turn_to_its_end_and_an_approval_in_the_page_resumes_the_very_call()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var file = Path.Combine(host.Data, "workspaces", session, "old.txt");
        await File.WriteAllTextAsync(file, "stale");
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"sessions/{session}");
        await tab["textarea"].FillAsync("""/tool delete_file {"path":"old.txt"}""");
        await tab.Press("Control+Enter");
        // Without a word from here: the page is that of the new run, and the run comes to its call.
        await tab["button >> text=Approve this call"].WaitForAsync();
        await tab["h1 ~ .badge[data-status=approval_required]"].WaitForAsync();
        Assert.True(File.Exists(file));
        await tab["[aria-label=Note]"].FillAsync("it is stale");
        await tab["button >> text=Approve this call"].ClickAsync();
        await tab["h1 ~ .badge[data-status=completed]"].WaitForAsync();
        await tab["[aria-label='The step'] >> text=approved"].WaitForAsync();
        Assert.False(File.Exists(file));
        var run = tab.Page.Url.Split('/').Last().Split('?')[0];
        var decided = (await host.Http.Get($"/approvals?status=approved&session_id={session}")).Is(200).Json.GetProperty("approvals")[0];
        Assert.Equal((run, "it is stale"), (decided.GetProperty("run_id").GetString(), decided.GetProperty("decision_note").GetString()));
        // The slider shows the run as it was: before it was decided, and now again.
        var slider = tab["input[type=range]"];
        await slider.FocusAsync();
        await slider.PressAsync("Home");
        await tab.Shows("as of event 1 of");
        Assert.Equal(1, await tab[".wf-row"].CountAsync());
        await slider.PressAsync("End");
        await tab["h1 ~ .badge[data-status=completed]"].WaitForAsync();
        // A figure leads to the events that it comes from, and each of them has an address, here and in the feed.
        await tab[".figure:has-text('Waited') button"].ClickAsync();
        await tab[".parts button >> text=approval_decided"].ClickAsync();
        await tab["[aria-label='The step'] h2 >> text=approval_decided"].WaitForAsync();
        await tab.Page.ReloadAsync();
        await tab["[aria-label='The step'] h2 >> text=approval_decided"].WaitForAsync();
        await tab["[aria-label='The step'] dd a"].First.ClickAsync();
        await tab["[aria-label='The event'] h2 >> text=approval_decided"].WaitForAsync();
        Assert.Matches($"feed\\?session={session}&at=\\d+$", tab.Page.Url);
    }

    [Fact]
    public async Task A_run_that_came_to_no_good_end_opens_at_the_step_it_ended_in_and_while_the_model_is_asked_a_row_grows()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var failed = (await host.Http.Turn(session, "/fail the model hung up")).Is(200)["run_id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"runs/{failed}");
        await tab[".wf-row[aria-selected=true]:has(.wf-bar.refused) >> text=model_failed"].WaitForAsync();
        await tab["[aria-label='The step'] >> text=the model hung up"].WaitForAsync();
        await tab.IsForEverybody();

        var limited = (await host.Http.Turn(session, string.Join('\n', Enumerable.Repeat("/tool list_files {}", 62)))).Is(200)["run_id"];
        await using var unmade = await ConsoleTab.Open(chromium, host.Url, $"runs/{limited}");
        await unmade[".wf-row[aria-selected=true] >> text=limit_tool_calls"].WaitForAsync();
        Assert.Equal(62, await unmade[".wf-took >> text=not made"].CountAsync());
        Assert.Equal("0 ms", await unmade[".figure:has-text('Tools') dd"].InnerTextAsync());

        var slow = (await host.Http.Turn(session, "/sleep 60000", wait: false)).Is(202)["run_id"];
        await using var running = await ConsoleTab.Open(chromium, host.Url, $"runs/{slow}");
        var took = running[".wf-row:has(.wf-bar.model.open) .wf-took"];
        await took.WaitForAsync();
        var first = await took.InnerTextAsync();
        await running.Page.WaitForFunctionAsync("before => document.querySelector('.wf-row:has(.wf-bar.model.open) .wf-took')?.textContent !== before", first);
        (await host.Http.Post($"/runs/{slow}/cancel")).Is(202);
        await running[".wf-row[aria-selected=true]:has(.wf-bar.refused)"].WaitForAsync();
        await running["[aria-label='The step'] .badge[data-status=cancelled]"].WaitForAsync();
    }

    [Fact]
    public async Task What_the_policy_denies_is_not_said_to_be_rejected()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var run = (await host.Http.Turn(session, """/tool read_file {"path":"../../outside.txt"}""")).Is(200)["run_id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"runs/{run}");
        await tab[".wf-row >> text=read_file"].ClickAsync();
        await tab["[aria-label='The step'] .inspector-title .badge[data-status=deny]"].WaitForAsync();
    }

    [Fact]
    public async Task Words_find_what_was_said_in_sessions()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        // A session is called like what was said first.
        (await host.Http.Turn(session, "/say Good morning.")).Is(200);
        (await host.Http.Turn(session, "/say The persimmon is ripe.")).Is(200);
        await host.Http.Until("/search?kinds=replies&q=persimmon", got => got.Json.GetProperty("hits").GetArrayLength() > 0);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "sessions");
        await tab["tbody tr"].First.WaitForAsync();
        await tab["input[type=search]"].FillAsync("persimmon");
        await tab.Shows("No session has such a name");
        await tab["[aria-labelledby=said] tbody tr >> text=persimmon"].First.WaitForAsync();
        await tab.IsForEverybody();
        await tab[$"[aria-labelledby=said] a[href$='sessions/{session}']"].First.ClickAsync();
        await tab["[aria-label='Runs'] tbody tr >> text=persimmon"].WaitForAsync();
    }

    [Fact]
    public async Task The_inbox_is_decided_with_the_keyboard_and_the_list_of_runs_follows()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await using var list = await ConsoleTab.Open(chromium, host.Url, $"runs?session_id={session}");
        await list.Shows("No run is like that");
        var run = (await host.Http.Turn(session, """/tool write_file {"path":"b.txt","content":"1"}""")).Is(200)["run_id"];
        await list["tbody .badge[data-status=approval_required]"].WaitForAsync();
        var approval = (await host.Http.Get($"/approvals?session_id={session}")).Is(200).Json.GetProperty("approvals")[0].GetProperty("approval_id").GetString();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"approvals?at={approval}");
        await tab["article.at >> text=b.txt"].First.WaitForAsync();
        await tab.Press("e");
        await tab.Page.Keyboard.TypeAsync("not that name");
        await tab.Press("Escape");
        await tab.Press("r");
        await tab["article >> text=b.txt"].First.WaitForAsync(new() { State = WaitForSelectorState.Detached });
        await list["tbody .badge[data-status=completed]"].WaitForAsync();
        var decided = (await host.Http.Get($"/approvals/{approval}")).Is(200);
        Assert.Equal(("rejected", "not that name"), (decided["status"], decided["decision_note"]));
        Assert.Equal("completed", (await host.Http.Get($"/runs/{run}")).Is(200)["status"]);
    }

    [Fact]
    public async Task A_hundred_thousand_rows_scroll_and_only_those_in_sight_are_there()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "");
        var measured = await tab.Page.EvaluateAsync<int[]>("""
            async () => {
                const app = document.querySelector("script[type=module]").src;
                const { rows } = await import(new URL("ui/rows.js", app));
                const list = rows({ label: "many", render: (i, row) => row.append("row " + i) });
                list.style.height = "600px";
                document.querySelector("main").replaceChildren(list);
                list.update(100000);
                const frame = () => new Promise(requestAnimationFrame);
                await frame();
                let most = 0, late = 0, last = performance.now();
                for (let i = 0; i < 120; i++) {
                    list.scrollTop += 25000;
                    await frame();
                    await frame();
                    const now = performance.now();
                    late = Math.max(late, now - last);
                    last = now;
                    most = Math.max(most, list.querySelectorAll(".vrow").length);
                }
                list.scrollTop = list.scrollHeight;
                await frame();
                await frame();
                return [most, Math.round(late), list.textContent.includes("row 99999") ? 1 : 0];
            }
            """);
        TestContext.Current.TestOutputHelper?.WriteLine($"{measured[0]} rows at once, the longest two frames took {measured[1]} ms");
        Assert.True(measured[0] is > 20 and < 60);
        Assert.Equal(1, measured[2]);
    }

    [Fact]
    public async Task The_feed_grows_by_itself_and_shows_where_an_event_is_missing()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "feed");
        await tab.Shows("none is missing");
        var session = await host.Http.NewSession();
        await tab[".vrow >> text=session_created"].First.WaitForAsync();
        await tab.Page.GetByPlaceholder("Session").FillAsync(session);
        await tab[$".vrow >> text={session}"].First.WaitForAsync();
        await tab[".vrow"].First.ClickAsync();
        await tab["[aria-label='The event'] >> text=workspace_path"].WaitForAsync();
        var proofs = await tab.Page.EvaluateAsync<string[]>("""
            async () => {
                const { FeedLog } = await import(new URL("pages/feed-log.js", document.querySelector("script[type=module]").src));
                const event = (gid, stream_id, version) => ({ gid, stream_id, version, type: "x", payload: {}, hash: "" });
                const tell = events => { const log = new FeedLog(1000); log.add(events); const { missing, foreign, count } = log.proof(); return `${count} ${missing} ${foreign}`; };
                return [
                    tell([event(1, "a", 1), event(2, "a", 2), event(3, "b", 1)]),
                    tell([event(1, "a", 1), event(4, "b", 1), event(5, "a", 2)]),
                    tell([event(1, "a", 1), event(2, "b", 1), event(5, "a", 3)]),
                ];
            }
            """);
        Assert.Equal(["3  0", "3  2", "3 2 2"], proofs);
    }
}
