using System.Net.Http.Headers;

namespace Cowork.Browser.Tests;

/// <summary>The page of uploaded files, and the way to it from a session.</summary>
public sealed class ConsoleFileSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task Files_of_a_session_come_by_themselves_and_are_shown_and_saved()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"sessions/{session}");
        await tab["a.button >> text=Files"].ClickAsync();
        await tab.Shows("No files yet");
        await Upload(host, session, "prices.csv", "text/csv", "item,usd\nvenue,400\n");
        await tab["tbody tr >> text=prices.csv"].WaitForAsync();
        await tab["tbody tr >> text=found by search"].WaitForAsync();
        await tab.Press("j");
        await tab.Press("Enter");
        await tab["[aria-label='The file'] td >> text=venue"].WaitForAsync();
        Assert.Contains("at=file_", tab.Page.Url, StringComparison.Ordinal);
        await tab.IsForEverybody();
        var saved = await tab.Page.RunAndWaitForDownloadAsync(() => tab.Press("s"));
        Assert.Equal(("prices.csv", "item,usd\nvenue,400\n"), (saved.SuggestedFilename, await File.ReadAllTextAsync((await saved.PathAsync())!)));
        await tab["input[type=search]"].FillAsync("none");
        await tab.Shows("No file is like that");
    }

    [Fact]
    public async Task A_hostile_name_and_content_are_shown_as_they_are()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await Upload(host, session, "<b>x.txt", "text/plain", ConsolePageSpecs.Hostile);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"files?session={session}");
        await tab["a.row-link >> text=<b>x.txt"].ClickAsync();
        await tab.Shows("U+202E");
        var text = await tab["main"].InnerTextAsync();
        Assert.DoesNotContain("\u202e", text, StringComparison.Ordinal);
        Assert.DoesNotContain("\u001b", text, StringComparison.Ordinal);
        Assert.Equal(0, await tab["main img, main script, main iframe, main td b"].CountAsync());
    }

    static async Task Upload(LiveHost host, string session, string name, string type, string content)
    {
        using var bytes = new StringContent(content);
        bytes.Headers.ContentType = MediaTypeHeaderValue.Parse(type);
        using var form = new MultipartFormDataContent { { new StringContent(session), "conversation_id" }, { bytes, "file", name } };
        using var answer = await host.Http.PostAsync("/api/v1/files", form);
        Assert.True((int)answer.StatusCode == 201, await answer.Content.ReadAsStringAsync());
    }
}
