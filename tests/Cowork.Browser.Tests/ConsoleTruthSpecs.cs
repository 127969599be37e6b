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
