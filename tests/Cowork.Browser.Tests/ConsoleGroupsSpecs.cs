using System.Text.Json;

namespace Cowork.Browser.Tests;

/// <summary>The pages of groups: what is said is followed, who is there is seen, and a group is archived.</summary>
public sealed class ConsoleGroupsSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task A_group_is_made_talked_in_followed_and_archived()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "groups");
        await tab["main h1 >> text=Groups"].WaitForAsync();
        await tab["button >> text=New group"].WaitForAsync();
        await tab.Press("n");
        await tab["#group-title"].FillAsync("Launch " + ConsolePageSpecs.Hostile);
        await tab.Press("Enter");
        await tab.Shows("Nothing was said yet");
        await tab["textarea"].FillAsync("/say **hello**");
        await tab.Press("Control+Enter");
        await tab["article.of-agent strong >> text=hello"].WaitForAsync();
        var group = tab.Page.Url.Split('/').Last();
        // What another says comes by itself, and so does who joins.
        (await host.Http.Post($"/groups/{group}/members", """{"user_id":"bob"}""")).Is(201);
        await tab[".people >> text=bob"].WaitForAsync();
        await tab["[aria-label='Change bob']"].ClickAsync();
        await tab["dialog button >> text=Make them admin"].ClickAsync();
        await tab[".people li:has-text('bob') .role"].WaitForAsync();
        await tab["button >> text=Add"].First.ClickAsync();
        await tab["#member-user"].FillAsync("carla");
        await tab["dialog button >> text=Add them"].ClickAsync();
        await tab[".people >> text=carla"].WaitForAsync();
        await tab["[aria-label='Change carla']"].ClickAsync();
        await tab["dialog button >> text=Remove"].ClickAsync();
        await tab[".people >> text=carla"].WaitForAsync(new() { State = Microsoft.Playwright.WaitForSelectorState.Detached });
        (await host.Http.Post($"/groups/{group}/messages", JsonSerializer.Serialize(new { text = "/say " + ConsolePageSpecs.Hostile }))).Is(202);
        await tab["article.of-agent"].Nth(1).WaitForAsync();
        await tab.ShowsTextsAsTexts();
        await tab.Press("Escape");
        await tab.Press("j");
        Assert.Equal("local said", await tab.Page.EvaluateAsync<string>("document.activeElement.getAttribute('aria-label')"));
        await tab.IsForEverybody();
        // Each message has an address.
        var seq = (await tab["article a.seq"].First.InnerTextAsync()).TrimStart('#');
        await tab["article a.seq"].First.ClickAsync();
        await tab.Page.WaitForURLAsync($"**/groups/{group}?seq={seq}");
        await tab.Page.WaitForFunctionAsync("seq => document.activeElement.dataset.seq === seq", seq);
        await tab["button >> text=Archive"].ClickAsync();
        await tab["#archive-reason"].FillAsync("It is over.");
        await tab["dialog button >> text=Archive it"].ClickAsync();
        await tab["h1 ~ .badge[data-status=archived]"].WaitForAsync();
        await tab.Shows("nothing is said in it any more");
        Assert.Equal("archived", (await host.Http.Get($"/groups/{group}")).Is(200)["status"]);
    }

    [Fact]
    public async Task The_list_shows_whose_groups_are_asked_for_and_a_new_one_by_itself()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "groups?scope=public");
        await tab["button[aria-pressed=true] >> text=Open to all"].WaitForAsync();
        (await host.Http.Post("/groups", """{"title":"Hidden room","is_private":true}""")).Is(201);
        (await host.Http.Post("/groups", """{"title":"Open room"}""")).Is(201);
        await tab["tbody tr >> text=Open room"].First.WaitForAsync();
        Assert.Equal(0, await tab["tbody tr:has-text('Hidden room')"].CountAsync());
        await tab["button >> text=Mine"].ClickAsync();
        await tab["tbody tr:has-text('Hidden room') >> text=members only"].WaitForAsync();
        await tab.Press("j");
        await tab.Press("Enter");
        await tab["[aria-label='Members and agents'] >> text=(you)"].WaitForAsync();
        Assert.Matches("groups/grp_", tab.Page.Url);
    }
}
