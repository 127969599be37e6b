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
}
