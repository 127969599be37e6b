using System.Text.Json;

using Cowork.Application.Models;
using Cowork.Testing;

namespace Cowork.Browser.Tests;

/// <summary>A page outlives the host that it came from.</summary>
public sealed class ConsoleRestartSpecs(Chromium chromium)
{
    [Fact]
    public async Task A_run_is_followed_from_its_turn_to_its_seal_over_a_restart_of_its_host()
    {
        await using var model = new ModelServer();
        model.Then(async asked =>
        {
            await asked.Head();
            await asked.Event(Said("It begins"));
            await asked.Gone();
        }).ThenStream(
            Said("It goes on and **ends**."),
            """{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}""",
            """{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}""",
            "[DONE]");
        var settings = new ModelSettings { Name = "slow", Provider = ModelSettings.OpenAi, Model = "slow-1", BaseUrl = model.Url, Price = new(3, 15) };
        await using var host = await LiveHost.Start(given => given with { Models = [settings] });
        await host.Http.NewSession("long");
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "sessions/long");
        // What a page asks for while its host is away is refused, and the browser says so.
        tab.Expected = "Failed to load resource";
        await tab["textarea"].FillAsync("What comes of it?");
        await tab["select[aria-label=Model]"].SelectOptionAsync("slow");
        await tab.Press("Tab");
        await tab["button >> text=Send"].ClickAsync();
        await tab["[aria-label=Reply] >> text=It begins"].WaitForAsync();
        Assert.Equal("running", await tab["h1 ~ .badge"].First.GetAttributeAsync("data-status"));

        await host.Restart();

        await tab["h1 ~ .badge[data-status=completed]"].WaitForAsync();
        await tab["[aria-label=Reply] strong >> text=ends"].WaitForAsync();
        await tab["[data-state=live] >> visible=true"].First.WaitForAsync();
        // Every event is there once, in the order of the stream.
        var run = tab.Page.Url.Split('/').Last().Split('?')[0];
        var events = (await host.Http.Get($"/runs/{run}/events")).Is(200).Json.GetProperty("events").GetArrayLength();
        await tab.Shows($"{events} events");
        await tab["nav a >> text=Runs"].First.ClickAsync();
        await tab["tbody tr:has-text('What comes of it?') td:last-child >> text=◆"].WaitForAsync();
    }

    static string Said(string text) => JsonSerializer.Serialize(new { model = "slow-1", choices = new[] { new { index = 0, delta = new { content = text } } } });
}
