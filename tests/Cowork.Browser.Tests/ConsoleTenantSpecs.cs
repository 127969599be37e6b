namespace Cowork.Browser.Tests;

/// <summary>Two tenants of one host, each in a browser of its own, with sessions of the same name.</summary>
public sealed class ConsoleTenantSpecs(Chromium chromium, ConsoleTenantSpecs.TwoTenants tenants) : IClassFixture<ConsoleTenantSpecs.TwoTenants>
{
    [Theory]
    [InlineData("pear", "quince")]
    [InlineData("quince", "pear")]
    public async Task Two_tenants_see_nothing_of_each_other_in_lists_in_what_is_found_and_live(string mine, string theirs)
    {
        var (host, me, them) = (tenants.Host, tenants.By[mine], tenants.By[theirs]);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "");
        // The run of the other tenant is none of this one's.
        tab.Expected = "404";
        await tab["#token"].FillAsync(me.Token);
        await tab["label >> text=Keep it"].ClickAsync();
        await tab.Press("Enter");
        await tab["h1 >> text=Overview"].WaitForAsync();
        foreach (var (path, shown) in (IEnumerable<(string, string)>)[
            ("", $"/fail {mine}"), ("runs", $"/fail {mine}"), ("sessions", "plan"), ("sessions/plan", $"/fail {mine}"), ("runs/" + me.Run, $"{mine}.txt"), ("approvals", $"{mine}.txt"),
            ("feed", mine), ("runs/" + them.Run, "There is no such run.")])
        {
            await tab.Go(path);
            await tab["main"].GetByText(shown).First.WaitForAsync();
            Assert.DoesNotContain(theirs, await tab["body"].InnerTextAsync(), StringComparison.Ordinal);
        }

        await tab.Go("runs");
        await tab["tbody tr"].First.WaitForAsync();
        await tab.Press("Control+k");
        var found = tab["#hits li"];
        foreach (var (words, count) in (IEnumerable<(string, int)>)[(theirs, 0), (mine, 1)])
        {
            var answer = await tab.Page.RunAndWaitForResponseAsync(() => tab["dialog input"].FillAsync(words), response => response.Url.Contains($"/search?q={words}", StringComparison.Ordinal));
            Assert.Equal(count > 0, (await answer.JsonAsync())!.Value.GetProperty("hits").GetArrayLength() > 0);
        }
        await found.Filter(new() { HasText = mine }).First.WaitForAsync();
        await tab.Press("Escape");

        await tab["[data-state=live] >> visible=true"].First.WaitForAsync();
        await tab.Page.EvaluateAsync("""
            async () => {
                window.heard = [];
                const { live } = await import(new URL("live.js", document.querySelector("script[type=module]").src));
                live.on(events => heard.push(...events));
            }
            """);
        using var other = host.Client(them.Token);
        using var own = host.Client(me.Token);
        (await other.Turn("talk", $"/say late {theirs}")).Is(200);
        (await own.Turn("talk", $"/say late {mine}")).Is(200);
        await tab["tbody tr"].GetByText($"/say late {mine}").First.WaitForAsync();
        await tab.Page.WaitForFunctionAsync("() => heard.some(event => event.type === 'run_completed')");
        var heard = await tab.Page.EvaluateAsync<string>("JSON.stringify(heard)");
        Assert.Contains($"late {mine}", heard, StringComparison.Ordinal);
        Assert.DoesNotContain(theirs, heard + await tab["body"].InnerTextAsync(), StringComparison.Ordinal);
    }

    /// <summary>A host with two tenants, by the word that only theirs have.</summary>
    public sealed class TwoTenants : IAsyncLifetime
    {
        public LiveHost Host { get; private set; } = null!;

        public Dictionary<string, (string Token, string Run)> By { get; } = [];

        public async ValueTask InitializeAsync()
        {
            Host = await LiveHost.Start(settings => settings with { TokenMode = true });
            foreach (var (org, word) in (IEnumerable<(string, string)>)[("acme", "pear"), ("umbra", "quince")])
            {
                var token = await Host.Token(org, "member", "auditor");
                using var http = Host.Client(token);
                await http.NewSession("plan");
                await http.NewSession("talk");
                await http.Turn("plan", $"/fail {word}");
                By[word] = (token, (await http.Turn("plan", $$"""/tool write_file {"path":"{{word}}.txt","content":"1"}""")).Is(200)["run_id"]);
            }
        }

        public ValueTask DisposeAsync() => Host.DisposeAsync();
    }
}
