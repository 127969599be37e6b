namespace Cowork.Browser.Tests;

/// <summary>A browser's own WebSocket on a group, which sends no headers of ours and sees of a refusal that there was one.</summary>
public sealed class WebSocketSpecs(Chromium chromium, BrowsedHost browsed)
{
    const string Page =
        """
        <!doctype html><title>group</title><script>
        window.seen = [];
        window.codes = [];
        window.connect = url => new Promise(resolve => {
            const socket = window.socket = new WebSocket(url);
            socket.onopen = () => resolve("open");
            socket.onmessage = e => window.seen.push(JSON.parse(e.data));
            socket.onclose = e => { window.codes.push(e.code); resolve("closed"); };
        });
        window.say = (text, id) => window.socket.send(JSON.stringify({ type: "message", text, message_id: id }));
        </script>
        """;

    [Fact]
    public async Task A_page_talks_to_a_group_goes_on_where_it_stopped_and_is_refused_without_a_token()
    {
        var (host, pages) = (await browsed.Started, browsed.Pages);
        var group = (await host.Http.Post("/groups", """{"title":"talk"}""")).Is(201)["group_id"];
        var token = (await host.Http.Post($"/groups/{group}/token", "{}")).Is(200)["routing_token"];
        var page = await chromium.NewPage();
        await using var context = page.Context;
        await page.GotoAsync(pages.Site + pages.Add(Page));

        Assert.Equal("open", await page.EvaluateAsync<string>("url => connect(url)", GroupClient.Address(host.Url, group, token).ToString()));
        await page.EvaluateAsync("say('hello from a page €', 'm1')");
        await page.EvaluateAsync("say('and again', 'm2')");
        await page.WaitForFunctionAsync("seen.filter(m => m.type === 'user_message_stored').length === 2");
        Assert.Equal("hello from a page €", await page.EvaluateAsync<string>("seen[0].text"));
        await page.EvaluateAsync("socket.close(1000)");
        await page.WaitForFunctionAsync("codes.length === 1");
        Assert.Equal(1000, await page.EvaluateAsync<int>("codes[0]"));

        var last = await page.EvaluateAsync<int>("seen[seen.length - 1].seq");
        Assert.Equal("open", await page.EvaluateAsync<string>("url => connect(url)", GroupClient.Address(host.Url, group, token, last).ToString()));
        await page.EvaluateAsync("say('more', 'm3')");
        await page.WaitForFunctionAsync("seen.some(m => m.message_id === 'm3')");
        Assert.True(await page.EvaluateAsync<bool>("seen.filter(m => m.seq).every((m, i) => m.seq === i + 1)"));

        Assert.Equal("closed", await page.EvaluateAsync<string>("url => connect(url)", GroupClient.Address(host.Url, group, "wrong").ToString()));
        Assert.Equal(1006, await page.EvaluateAsync<int>("codes[codes.length - 1]"));
        // Pages that nobody has listed do not get in, whatever token they have (Cowork:Cors:Origins).
        await page.GotoAsync("about:blank");
        Assert.Equal("closed", await page.EvaluateAsync<string>(
            "url => new Promise(resolve => { const socket = new WebSocket(url); socket.onopen = () => resolve('open'); socket.onclose = () => resolve('closed'); })",
            GroupClient.Address(host.Url, group, token).ToString()));
    }
}
