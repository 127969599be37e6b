using System.Text.RegularExpressions;

namespace Cowork.Browser.Tests;

/// <summary>What pages say holds: a part is not shown as the whole, and what is not so any more is not said any more.</summary>
public sealed class ConsoleTruthSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Theory]
    [InlineData("""{"path":"a.txt"}""", true)]
    [InlineData("""{"path":"./a.txt"}""", true)]
    [InlineData("""{"path":"a.txt","offset":2,"limit":1}""", false)]
    [InlineData("""{"path":"a.txt","limit":2}""", false)]
    public async Task What_a_call_would_change_is_counted_only_where_the_run_has_seen_the_whole_file(string read, bool isCounted)
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await File.WriteAllTextAsync(Path.Combine(host.Data, "workspaces", session, "a.txt"), "one\ntwo\nthree\nfour\n");
        var run = (await host.Http.Turn(session, $"/tool read_file {read}\n" + """/tool write_file {"path":"a.txt","content":"one\nTWO\n"}""")).Is(200);
        var approval = run.Json.GetProperty("pending_approval_ids")[0].GetString();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"approvals?at={approval}");
        var card = tab[$"article:has-text('{session}')"];
        await card.Locator(isCounted ? "text=1 added, 3 gone" : "text=Its present content is not shown here").First.WaitForAsync();
        (await host.Http.Post($"/runs/{run["run_id"]}/cancel", "{}")).Is(202);
    }

    [Fact]
    public async Task Texts_that_are_erased_go_from_pages_that_are_open_and_so_does_what_was_proven_of_them()
    {
        var host = await browsed.Started;
        const string Word = "elephantquartz";
        var session = (await host.Http.Post("/sessions", """{"subject":"of-open-pages"}""")).Is(201)["session_id"];
        var run = (await host.Http.Turn(session, $"/say {Word}")).Is(200)["run_id"];
        await using var ofRun = await ConsoleTab.Open(chromium, host.Url, $"runs/{run}");
        await using var ofList = await ConsoleTab.Open(chromium, host.Url, $"runs?q={Word}");
        await using var ofSession = await ConsoleTab.Open(chromium, host.Url, $"sessions/{session}");
        await using var ofFeed = await ConsoleTab.Open(chromium, host.Url, "feed");
        // While it is erased, its rows are not there.
        ofRun.Expected = ofSession.Expected = "404";
        await ofRun["button >> text=Verify"].ClickAsync();
        await ofRun["text=Recomputed here in"].WaitForAsync();
        foreach (var tab in (ConsoleTab[])[ofRun, ofList, ofSession, ofFeed])
        {
            await tab.Shows(Word);
        }
        (await host.Http.Delete("/subjects/of-open-pages")).Is(202);
        foreach (var tab in (ConsoleTab[])[ofRun, ofList, ofSession, ofFeed])
        {
            await tab.Page.WaitForFunctionAsync($"() => !document.querySelector('main').textContent.includes('{Word}')");
        }
        await ofRun["h1 >> text=[erased]"].WaitForAsync();
        Assert.Equal(0, await ofRun["text=Recomputed here in"].CountAsync());
        // What the host refuses of them is not offered.
        await ofRun["text=texts erased"].WaitForAsync();
        Assert.Equal(0, await ofRun["button:visible:has-text('What if…'), button:visible:has-text('Fork…'), a:has-text('Compare with…')"].CountAsync());
        await ofSession.Shows("nothing more is asked in it");
        Assert.Equal(0, await ofSession["#message:visible"].CountAsync());
    }

    [Fact]
    public async Task The_page_of_a_run_whose_session_is_deleted_says_that_there_is_no_such_run()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var run = (await host.Http.Turn(session, "/say giraffequartz")).Is(200)["run_id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"runs/{run}");
        tab.Expected = "404";
        await tab.Shows("giraffequartz");
        (await host.Http.Delete($"/sessions/{session}")).Is(204);
        await tab.Shows("There is no such run.");
        Assert.DoesNotContain("giraffequartz", await tab["main"].InnerTextAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_legal_hold_is_put_seen_and_ended_on_the_page_of_its_session()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"sessions/{session}");
        await tab["button >> text=Hold…"].ClickAsync();
        await tab["#hold-reason"].FillAsync("lawsuit 7");
        await tab["dialog button >> text=Hold it"].ClickAsync();
        await tab["main .badge >> text=legal hold"].WaitForAsync();
        await tab.Shows("until the legal hold ends");
        await tab.IsForEverybody();
        (await host.Http.Delete($"/sessions/{session}")).IsProblem(409, "session_held");
        await tab["button >> text=End the hold…"].ClickAsync();
        await tab["dialog button >> text=End it"].ClickAsync();
        await tab["button >> text=Hold…"].WaitForAsync();
        // What somebody else does is seen, too.
        (await host.Http.Post($"/sessions/{session}/hold", """{"reason":"lawsuit 8"}""")).Is(204);
        await tab["main .badge >> text=legal hold"].WaitForAsync();
        (await host.Http.Delete($"/sessions/{session}/hold")).Is(204);
        await tab["main .badge >> text=legal hold"].WaitForAsync(new() { State = Microsoft.Playwright.WaitForSelectorState.Detached });
    }

    [Fact]
    public async Task The_page_of_what_is_not_there_says_so_leads_back_and_shows_nothing_else()
    {
        var host = await browsed.Started;
        const string Nobody = "00000000000000000000000000";
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "runs");
        tab.Expected = "404";
        foreach (var path in (string[])[
            $"runs/run_{Nobody}", "sessions/never-made", $"schedules/sched_{Nobody}", $"skills/skill_{Nobody}", $"scratchpads/sp_{Nobody}", $"artifacts/art_{Nobody}",
            $"memories/mem_{Nobody}", $"groups/grp_{Nobody}", $"works/work_{Nobody}"])
        {
            await tab.Go(path);
            await tab["main .fault >> text=There is no such"].WaitForAsync();
            Assert.Equal((path, 1, 1, 0), (path, await tab["main h1"].CountAsync(), await tab["main .fault"].CountAsync(), await tab["main .fault button"].CountAsync()));
            Assert.Equal((path, 1, 0), (path, await tab["main .crumbs a"].CountAsync(), await tab["main table:visible"].CountAsync()));
        }
        await tab.IsForEverybody();
        var run = (await host.Http.Turn(await host.Http.NewSession(), "/say here")).Is(200)["run_id"];
        await tab.Go($"compare?left={run}&right=run_{Nobody}");
        await tab.Shows("There is no such run on the right");
    }

    [Fact]
    public async Task Arguments_with_a_number_that_no_double_is_are_shown_as_arguments()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var run = (await host.Http.Turn(session, """/tool write_file {"path":"far.json","content":"how far","n":1e400}""")).Is(200);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"approvals?at={run.Json.GetProperty("pending_approval_ids")[0].GetString()}");
        var card = tab[$"article:has-text('{session}')"];
        await card.Locator("cw-json .leaf >> text=1e400").WaitForAsync();
        await card.Locator("text=What would be written").WaitForAsync();
        (await host.Http.Post($"/runs/{run["run_id"]}/cancel", "{}")).Is(202);
    }

    /// <summary>A host without anything, where the lines of the empty pages are sent one after the other.</summary>
    [Fact]
    public async Task What_an_empty_page_says_to_type_fills_it()
    {
        await using var host = await LiveHost.Start(settings => settings with { ConsoleFiles = Environment.GetEnvironmentVariable("COWORK_CONSOLE_FILES") });
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "");
        foreach (var (page, row) in (IEnumerable<(string, string)>)[
            ("approvals", "article.approval"), ("scratchpads", "tbody tr"), ("artifacts", "tbody tr"), ("schedules", "tbody tr"), ("skills", "tbody tr"), ("groups", "tbody tr"),
            ("works", "tbody tr")])
        {
            await tab.Go(page);
            var lines = await tab["main .empty pre"].First.InnerTextAsync();
            foreach (var line in lines.Split('\n'))
            {
                var parts = Regex.Match(line, "^curl -s -X POST '([^']+)' -H 'content-type: application/json' -d '([^']+)'$");
                Assert.True(parts.Success, line);
                var answer = await host.Http.Post(new Uri(parts.Groups[1].Value).PathAndQuery, parts.Groups[2].Value);
                Assert.True((int)answer.Status is 200 or 201 or 202 || answer["code"] == "session_exists", $"{line}: {answer.Text}");
            }
            await tab[row].First.WaitForAsync();
        }
    }
}
