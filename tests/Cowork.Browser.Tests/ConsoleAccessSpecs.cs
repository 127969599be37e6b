namespace Cowork.Browser.Tests;

/// <summary>The page of access: tokens, what roles may do, and the rules.</summary>
public sealed class ConsoleAccessSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task A_token_is_issued_shown_once_gets_other_roles_and_is_revoked()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "access");
        await tab["main table"].WaitForAsync();
        await tab.Press("n");
        var name = "spec " + ConsolePageSpecs.Hostile[..80];
        await tab["#token-name"].FillAsync(name);
        await tab["#token-user"].FillAsync("dora");
        await tab["#role-auditor"].CheckAsync();
        await tab["#token-days"].FillAsync("3");
        await tab["dialog button >> text=Issue it"].ClickAsync();
        await tab.Shows("Copy the token now");
        var secret = await tab["dialog pre"].InnerTextAsync();
        using (var theirs = host.Client(secret))
        {
            var me = (await theirs.Get("/me")).Is(200);
            Assert.Equal(("dora", 2), (me["user"], me.Json.GetProperty("roles").GetArrayLength()));
        }
        await tab.IsForEverybody();
        await tab.Press("Escape");
        await tab["tbody tr:has-text('dora') >> text=2 d left"].WaitForAsync();
        Assert.DoesNotContain(secret, await tab["body"].InnerTextAsync(), StringComparison.Ordinal);
        await tab.ShowsTextsAsTexts();
        await tab["tbody tr:has-text('dora') button.row-link"].ClickAsync();
        await tab["dialog button >> text=Other roles"].ClickAsync();
        await tab["#role-member"].UncheckAsync();
        await tab["dialog button >> text=Change"].ClickAsync();
        await tab["tbody tr:has-text('dora'):not(:has-text('member'))"].WaitForAsync();
        await tab["tbody tr:has-text('dora') button.row-link"].ClickAsync();
        await tab["dialog button >> text=Revoke"].ClickAsync();
        await tab["dialog button.danger >> text=Revoke"].ClickAsync();
        await tab["tbody tr:has-text('dora')"].WaitForAsync(new() { State = Microsoft.Playwright.WaitForSelectorState.Detached });
        using var after = host.Client(secret);
        (await after.Get("/me")).IsProblem(401);
    }

    /// <summary>A page that came from another machine without HTTPS has no clipboard, and beside a dialog nothing can be selected.</summary>
    [Fact]
    public async Task A_secret_in_a_dialog_is_copied_where_a_page_has_no_clipboard_and_who_has_no_copy_is_told()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "access", prepare: page => page.AddInitScriptAsync(
            "Object.defineProperty(navigator, 'clipboard', { value: undefined }); addEventListener('copy', () => window.copied = document.activeElement.value)"));
        await tab["button >> text=New token"].WaitForAsync();
        await tab.Press("n");
        await tab["#token-name"].FillAsync("to be copied");
        await tab["dialog button >> text=Issue it"].ClickAsync();
        await tab.Shows("Copy the token now");
        await tab["dialog button >> text=Copy"].ClickAsync();
        // It is said where a screen reader is, too.
        await tab["dialog [role=status] >> text=Copied."].WaitForAsync();
        Assert.Equal(await tab["dialog pre"].InnerTextAsync(), await tab.Page.EvaluateAsync<string>("window.copied"));
        Assert.Equal("Copy", await tab.Page.EvaluateAsync<string>("document.activeElement.textContent"));
        await tab.Page.EvaluateAsync("document.execCommand = () => false");
        await tab["dialog button >> text=Copy"].ClickAsync();
        await tab["dialog [role=status] >> text=did not let this page copy"].WaitForAsync();
    }

    [Fact]
    public async Task A_user_is_named_as_people_know_them_unless_that_could_pass_for_another_name()
    {
        var host = await browsed.Started;
        foreach (var user in (string[])["ann%40example.com", "%D0%B0nn%40example.com", "ann%20"])
        {
            (await host.Http.Post("/tokens", $$"""{"name":"named","user":"{{user}}","roles":["member"]}""")).Is(201);
        }
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "access");
        await tab["tbody tr >> text=ann%20"].WaitForAsync();
        await tab["tbody tr >> text=%D0%B0nn%40example.com"].WaitForAsync();
        await tab["tbody tr [title='ann%40example.com'] >> text=ann@example.com"].WaitForAsync();
    }

    [Fact]
    public async Task A_call_is_held_against_the_rules_by_its_address_and_by_hand()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"access?show=rules&tool=read_file&session={session}&input=%7B%22path%22%3A%22.env%22%7D");
        await tab[".verdict .badge[data-status=deny]"].WaitForAsync();
        await tab["tr:has-text('secret_path') >> text=decides"].WaitForAsync();
        await tab["tr:has-text('read_inside') >> text=matches"].WaitForAsync();
        await tab["#check-input"].FillAsync($$"""{"path":"{{ConsolePageSpecs.Hostile[..40].Replace('"', ' ')}}"}""");
        await tab.Press("Escape");
        await tab.Press("c");
        await tab[".verdict .badge[data-status=allow]"].WaitForAsync();
        await tab["#check-input"].FillAsync("{");
        await tab["button >> text=Which rule decides?"].ClickAsync();
        await tab.Shows("The arguments are no JSON");
        var rules = (await host.Http.Get("/policy")).Is(200).Json.GetProperty("policy").GetProperty("rules").GetArrayLength();
        Assert.Equal(rules, await tab["[aria-label='Rules, in their order'] tbody tr"].CountAsync());
    }

    /// <summary>This browser would keep one of two members with the same name, and write another number.</summary>
    [Fact]
    public async Task A_call_is_judged_as_it_was_written_in_any_session_that_is_named()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"access?show=rules&tool=write_file&session={session}&input="
            + Uri.EscapeDataString("""{"path":"../../../etc/passwd","content":"x","path":"new.txt"}"""));
        await tab["tr:has-text('invalid_input') >> text=decides"].WaitForAsync();
        await tab["#check-session"].FillAsync(await host.Http.NewSession());
        await tab["#check-input"].FillAsync("""{},"tool":"read_file" """);
        await tab["button >> text=Which rule decides?"].ClickAsync();
        await tab.Shows("The arguments are no JSON");
        await tab["#check-input"].FillAsync("""{"path":"new.txt","content":"x"}""");
        await tab["button >> text=Which rule decides?"].ClickAsync();
        await tab[".verdict .badge[data-status=confirm]"].WaitForAsync();
        tab.Expected = "422";
        await tab["#proposed"].FillAsync("""[{"name":"all","outcome":"deny","outcome":"allow","reason":"x"}]""");
        await tab["button >> text=Hold them against the log"].ClickAsync();
        await tab.Shows("invalid_policy");
    }

    [Fact]
    public async Task Other_rules_are_held_against_what_was_decided()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        (await host.Http.Turn(session, """/tool list_files {}""")).Is(200);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "access?show=rules");
        await tab["#proposed"].FillAsync("""[{"name":"none","outcome":"deny","reason":"Nothing is allowed."}]""");
        await tab["button >> text=Hold them against the log"].ClickAsync();
        await tab["[aria-label='What would be different'] tr:has-text('list_files')"].First.WaitForAsync();
        await tab["[aria-label='Calls that would be decided otherwise'] tbody tr"].First.WaitForAsync();
        await tab.IsForEverybody();
    }

    [Fact]
    public async Task What_roles_may_do_is_searched_and_who_may_not_issue_tokens_is_not_offered_it()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "access", prepare: page => page.RouteAsync("**/me", async route =>
        {
            var text = await (await route.FetchAsync()).TextAsync();
            text = text.Replace("\"listTokens\",", "", StringComparison.Ordinal).Replace("\"getPolicy\",", "", StringComparison.Ordinal);
            await route.FulfillAsync(new() { ContentType = "application/json", Body = text });
        }));
        await tab.Shows("What roles may do");
        Assert.Equal(["Roles"], await tab[".tabs a"].AllInnerTextsAsync());
        await tab["input[type=search]"].FillAsync("revoke token");
        var row = tab["tbody tr"];
        await tab.Page.WaitForFunctionAsync("() => document.querySelectorAll('tbody tr').length === 1");
        Assert.Contains("DELETE /tokens/{token_id}", await row.InnerTextAsync(), StringComparison.Ordinal);
        Assert.Equal(["yes", "no", "no", "no"], await tab["tbody .tick"].EvaluateAllAsync<string[]>("cells => cells.map(cell => cell.textContent)"));
        Assert.Matches("q=revoke", tab.Page.Url);
    }
}
