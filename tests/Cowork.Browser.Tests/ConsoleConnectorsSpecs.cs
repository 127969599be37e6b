using System.Text.Json;

using Microsoft.AspNetCore.WebUtilities;

namespace Cowork.Browser.Tests;

/// <summary>The page of connections to sources outside.</summary>
public sealed class ConsoleConnectorsSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task A_connection_is_made_tested_and_deleted_and_its_secret_is_never_shown()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "connectors?spec=postgres");
        await tab["button[aria-pressed=true] >> text=PostgreSQL"].WaitForAsync();
        await tab.Press("n");
        await tab["#connection-name"].FillAsync("Ledger of the page");
        foreach (var (field, value) in (IEnumerable<(string, string)>)[
            ("host", "127.0.0.1"), ("port", "1"), ("database", "ledger"), ("user", "reader"), ("password", "quite-secret")])
        {
            await tab[$"#field-{field}"].FillAsync(value);
        }
        Assert.Equal("password", await tab["#field-password"].GetAttributeAsync("type"));
        await tab["dialog button >> text=Connect"].ClickAsync();
        var row = tab["tbody tr:has-text('Ledger of the page')"];
        await row.WaitForAsync();
        Assert.Contains("not reached", await row.InnerTextAsync(), StringComparison.Ordinal);
        var made = (await Connection(host, "Ledger of the page"))!.Value;
        await row.Locator("button >> text=Test").ClickAsync();
        await host.Http.Until($"/api/v1/connectors/connections/{made.GetProperty("id").GetString()}", got => got["checked_at"] != made.GetProperty("checked_at").GetString());
        await row.Locator("button.row-link").ClickAsync();
        await tab["dialog >> text=the host answers none of them"].WaitForAsync();
        Assert.DoesNotContain("quite-secret", await tab["body"].InnerTextAsync() + await tab.Page.ContentAsync(), StringComparison.Ordinal);
        await tab["dialog button >> text=Delete"].ClickAsync();
        await tab["dialog button.danger"].ClickAsync();
        await row.WaitForAsync(new() { State = Microsoft.Playwright.WaitForSelectorState.Detached });
        Assert.Null(await Connection(host, "Ledger of the page"));
    }

    [Fact]
    public async Task What_connections_are_called_is_text_and_a_new_one_comes_by_itself()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "connectors?spec=http");
        await tab.Shows("No connection to HTTP API");
        var connection = (await host.Http.Post(
            "/api/v1/connectors/connections",
            JsonSerializer.Serialize(new { spec_id = "http", name = ConsolePageSpecs.Hostile, credentials = new { base_url = "http://127.0.0.1:1/" } }))).Is(201)["id"];
        await tab["tbody tr"].First.WaitForAsync();
        await tab.ShowsTextsAsTexts();
        await tab.IsForEverybody();
        await tab.Go($"connectors?at={connection}");
        await tab["dialog dt >> text=Credentials"].WaitForAsync();
        await tab.Leave();
        (await host.Http.Delete($"/api/v1/connectors/connections/{connection}")).Is(204);
    }

    [Fact]
    public async Task To_a_source_that_asks_its_users_itself_a_link_leads_and_one_that_does_not_know_the_host_is_named()
    {
        var host = await browsed.Started;
        var waits = (await host.Http.Post("/api/v1/connectors/connections", """{"spec_id":"github","name":"Waits","credentials":{}}""")).Is(201)["id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "connectors?spec=notion");
        tab.Expected = "503";
        await tab["pre >> text=oauth/notion/start?name=Notion"].WaitForAsync();
        await tab.Press("n");
        await tab["#connection-name"].FillAsync("Pages");
        await tab["dialog button >> text=Ask Notion"].ClickAsync();
        await tab["dialog .fault >> text=has not registered this host at Notion"].WaitForAsync();
        await tab["#spec"].SelectOptionAsync("github");
        await LeadsTo(tab, host);
        await tab.IsForEverybody();
        await tab.Go($"connectors?at={waits}");
        await tab["dialog button >> text=Ask for consent"].ClickAsync();
        await LeadsTo(tab, host);
        await tab.Leave();
        (await host.Http.Delete($"/api/v1/connectors/connections/{waits}")).Is(204);
    }

    static async Task LeadsTo(ConsoleTab tab, LiveHost host)
    {
        await tab["dialog button >> text=Ask GitHub"].ClickAsync();
        var link = tab["dialog a >> text=Go on to GitHub"];
        var there = new Uri((await link.GetAttributeAsync("href"))!);
        var query = QueryHelpers.ParseQuery(there.Query);
        Assert.Equal(
            (BrowsedHost.Consent, $"{host.Url}/api/v1/connectors/oauth/callback", "S256"),
            (there.GetLeftPart(UriPartial.Path), query["redirect_uri"].ToString(), query["code_challenge_method"].ToString()));
        Assert.Equal(("_blank", "noreferrer noopener"), (await link.GetAttributeAsync("target"), await link.GetAttributeAsync("rel")));
    }

    static async Task<JsonElement?> Connection(LiveHost host, string name)
    {
        var found = (await host.Http.Get("/api/v1/connectors/connections?spec_id=postgres")).Is(200).Json.GetProperty("data").EnumerateArray()
            .Where(each => each.GetProperty("name").GetString() == name).ToList();
        return found.Count == 0 ? null : found[0];
    }
}
