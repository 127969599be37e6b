using Microsoft.Playwright;

namespace Cowork.Browser.Tests;

/// <summary>What every page of another origin can rely on.</summary>
public sealed class CorsSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task A_listed_origin_reads_an_answer_and_another_one_does_not()
    {
        var (host, pages) = (await browsed.Started, browsed.Pages);
        var page = await chromium.NewPage();
        await using var context = page.Context;
        var path = pages.Add("<!doctype html><title>a page</title>");
        Assert.Equal((200, "live"), await Fetched(page, pages.Site + path, $"{host.Url}/health/live"));
        // The same page under the machine's other name is another origin, which nothing lists.
        Assert.Equal((0, "TypeError"), await Fetched(page, pages.Site.Replace("127.0.0.1", "localhost", StringComparison.Ordinal) + path, $"{host.Url}/health/live"));
    }

    /// <summary>Status and <c>status</c> of an answer that the page reads; 0 and the name of the error: it does not.</summary>
    static async Task<(int Status, string Said)> Fetched(IPage page, string from, string url)
    {
        await page.GotoAsync(from);
        var said = await page.EvaluateAsync<string[]>(
            """
            async url => {
                try {
                    const answer = await fetch(url);
                    return [String(answer.status), (await answer.json()).status];
                } catch (e) {
                    return ["0", e.name];
                }
            }
            """,
            url);
        return (int.Parse(said[0]), said[1]);
    }
}
