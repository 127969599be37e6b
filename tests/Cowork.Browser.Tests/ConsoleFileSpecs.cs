using System.Net.Http.Headers;

using Microsoft.Playwright;

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
        // What its runs made stands below.
        (await host.Http.Turn(session, """/tool write_file {"path":".anton/output/plan.md","content":"# Plan"}""")).Is(200);
        await tab["[aria-labelledby=made] tbody tr >> text=plan.md"].WaitForAsync();
        await tab["input[type=search]"].FillAsync("none");
        await tab.Shows("No file is like that");
    }

    [Fact]
    public async Task A_file_is_uploaded_to_the_session_and_deleted()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"files?session={session}");
        await tab.Shows("No files yet");
        await tab["input[type=file]"].SetInputFilesAsync(new FilePayload { Name = "notes.txt", MimeType = "text/plain", Buffer = "by hand"u8.ToArray() });
        await tab["[aria-label='The file'] >> text=by hand"].WaitForAsync();
        Assert.Contains("notes.txt", (await host.Http.Get($"/api/v1/files?conversation_id={session}")).Is(200).Text, StringComparison.Ordinal);
        await tab["[aria-label='The file'] button >> text=Delete"].ClickAsync();
        await tab["dialog button.danger"].ClickAsync();
        await tab.Shows("No files yet");
        Assert.DoesNotContain("notes.txt", (await host.Http.Get($"/api/v1/files?conversation_id={session}")).Is(200).Text, StringComparison.Ordinal);
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

    internal static async Task Upload(LiveHost host, string session, string name, string type, string content)
    {
        using var bytes = new StringContent(content);
        bytes.Headers.ContentType = MediaTypeHeaderValue.Parse(type);
        using var form = new MultipartFormDataContent { { new StringContent(session), "conversation_id" }, { bytes, "file", name } };
        using var answer = await host.Http.PostAsync("/api/v1/files", form);
        Assert.True((int)answer.StatusCode == 201, await answer.Content.ReadAsStringAsync());
    }
}
