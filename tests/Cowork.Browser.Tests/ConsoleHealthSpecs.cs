using Npgsql;

namespace Cowork.Browser.Tests;

/// <summary>The page of health: projections, jobs, those that were given up, hosts and heads.</summary>
public sealed class ConsoleHealthSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task Jobs_that_were_given_up_are_shown_with_their_error_tried_again_and_forgotten()
    {
        var host = await browsed.Started;
        await GiveUp(host, "appr_retried", "the first " + ConsolePageSpecs.Hostile);
        await GiveUp(host, "appr_forgotten", "the second");
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "health");
        await tab["tr:has-text('the first')"].WaitForAsync();
        await tab.ShowsTextsAsTexts();
        await tab["[aria-labelledby=jobs] tr >> text=approval_expiry"].First.WaitForAsync();
        await tab["[aria-labelledby=nodes] >> text=answers you"].WaitForAsync();
        await tab["[aria-labelledby=heads] >> text=Covers"].WaitForAsync();
        await tab.IsForEverybody();
        await tab["tr:has-text('the first') button >> text=Try again"].ClickAsync();
        await tab["tr:has-text('the first')"].WaitForAsync(new() { State = Microsoft.Playwright.WaitForSelectorState.Detached });
        // The job is done now: there is nothing that expires.
        await host.Http.Until("/engine/jobs", got => !got.Text.Contains("\"given_up\":2", StringComparison.Ordinal));
        await tab.Press("j");
        await tab.Press("Enter");
        await tab["dialog >> text=appr_forgotten"].WaitForAsync();
        await tab["dialog button >> text=Forget it"].ClickAsync();
        await tab["dialog button.danger >> text=Forget it"].ClickAsync();
        await tab.Shows("No job was given up.");
        Assert.Empty((await host.Http.Get("/engine/dead-letters")).Is(200).Json.GetProperty("dead_letters").EnumerateArray());
    }

    [Fact]
    public async Task A_run_whose_job_was_given_up_says_so_and_leads_to_the_job_and_back_until_it_goes_on()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var run = (await host.Http.Turn(session, """/tool write_file {"path":"a.txt","content":"x"}""")).Is(200)["run_id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "", prepare: async page =>
        {
            await page.RouteAsync("**/engine/dead-letters*", route => route.FulfillAsync(new()
            {
                ContentType = "application/json",
                Body = $$"""
                    {"dead_letters":[{"id":"00000000-0000-0000-0000-000000000001","org_id":"default","kind":"run","key":"{{run["run_".Length..]}}",
                     "exception":"System.TimeoutException","message":"The model did not answer.","attempts":6,"sent_at":"2026-11-30T08:00:00.000Z"}],"total":1}
                    """,
            }));
            await Problems(page, """{"parked":[],"behind":[],"dead_letters":1,"audit_fault":false}""");
        });
        await tab.Shows("One job was given up.");
        Assert.Equal("Health! a job was given up", await tab["nav a[href$=health]"].TextContentAsync());
        await tab.IsForEverybody();
        await tab.Go($"runs/{run}");
        await tab.Shows("Its job was given up");
        await tab["main .badge >> text=given up"].WaitForAsync();
        await tab.IsForEverybody();
        await tab["a >> text=the job on Health"].ClickAsync();
        await tab["dialog >> text=The model did not answer."].WaitForAsync();
        await tab["dialog a"].ClickAsync();
        await tab.Page.WaitForURLAsync($"**/runs/{run}");
        await tab.Shows("Its job was given up");
        (await host.Http.Post($"/runs/{run}/cancel", "{}")).Is(202);
        await tab["text=Its job was given up"].WaitForAsync(new() { State = Microsoft.Playwright.WaitForSelectorState.Detached });
        await tab["main .badge[data-status=cancelled]"].First.WaitForAsync();
    }

    [Fact]
    public async Task A_run_finds_its_job_among_any_number_that_were_given_up()
    {
        var host = await browsed.Started;
        var run = (await host.Http.Turn(await host.Http.NewSession(), """/tool write_file {"path":"a.txt","content":"x"}""")).Is(200)["run_id"];
        await using var database = new NpgsqlConnection(host.Database);
        await database.OpenAsync();
        await using var insert = new NpgsqlCommand(
            $"""
            INSERT INTO cowork.jobs (tenant_id, kind, key, due, epoch, attempts, error_type, error, failed_at, letter)
            SELECT 'default', 'run', CASE n WHEN 0 THEN '{run["run_".Length..]}' ELSE 'far' || n END, now() + interval '365000 days', 0, 6, 'System.TimeoutException',
                'far behind', now() + n * interval '1 second', gen_random_uuid()
            FROM generate_series(0, 1100) n
            """,
            database);
        await insert.ExecuteNonQueryAsync();
        try
        {
            await using var tab = await ConsoleTab.Open(chromium, host.Url, $"runs/{run}");
            await tab.Shows("Its job was given up");
        }
        finally
        {
            await using var clear = new NpgsqlCommand("DELETE FROM cowork.jobs WHERE error = 'far behind'", database);
            await clear.ExecuteNonQueryAsync();
        }
    }

    [Fact]
    public async Task Trying_all_again_asks_before_takes_all_and_leaves_the_other_sections_in_reach()
    {
        var host = await browsed.Started;
        await using var database = new NpgsqlConnection(host.Database);
        await database.OpenAsync();
        await using var insert = new NpgsqlCommand(
            """
            INSERT INTO cowork.jobs (tenant_id, kind, key, due, epoch, attempts, error_type, error, failed_at, letter)
            SELECT 'default', 'approval_expiry', 'appr_many' || n, now() + interval '365000 days', 0, 6, 'System.TimeoutException', 'one of many', now(), gen_random_uuid()
            FROM generate_series(1, 1100) n
            """,
            database);
        await insert.ExecuteNonQueryAsync();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "health");
        await tab.Page.WaitForFunctionAsync("() => /1\\s1\\d\\d jobs were given up/.test(document.querySelector('main').textContent)");
        Assert.Equal(20, await tab["[aria-labelledby=letters] tbody tr"].CountAsync());
        await tab.Press("y");
        await tab["dialog >> text=are tried again"].WaitForAsync();
        await tab["dialog button.danger >> text=Try all"].ClickAsync();
        await tab.Page.WaitForFunctionAsync("() => !document.querySelector('main').textContent.includes('one of many')");
        await host.Http.Until("/engine/dead-letters", got => !got.Text.Contains("one of many", StringComparison.Ordinal));
    }

    [Fact]
    public async Task What_is_parked_is_said_where_its_figures_and_what_it_finds_are_shown()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "", prepare: async page =>
        {
            await page.RouteAsync("**/health/ready", route => route.FulfillAsync(new()
            {
                ContentType = "application/json",
                Body = """{"status":"ready","engine":"marten","parked":["messages","metrics"],"audit_fault":null}""",
            }));
            await Problems(page, """{"parked":["messages","metrics"],"behind":["usage"],"dead_letters":0,"audit_fault":true}""");
        });
        await tab["main >> text=2 projections are parked"].WaitForAsync();
        Assert.Equal("Health! 2 projections are parked, a projection is behind, no head is signed", await tab["nav a[href$=health]"].TextContentAsync());
        await tab.IsForEverybody();
        await tab.Go("metrics");
        await tab.Shows("These figures stand still");
        await tab.Go("sessions?q=nothing-like-it");
        await tab.Shows("The search is behind");
    }

    [Fact]
    public async Task A_projection_that_stands_before_an_event_shows_the_event_and_its_error()
    {
        var host = await browsed.Started;
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "health", prepare: page => page.RouteAsync("**/projections", async route =>
        {
            var parked = """
                {"gid":812,"event_id":"019af0c4-0000-7000-8000-000000000001","type":"run_created.v9","stream_id":"run-01","error":"No such event as run_created.v9",
                 "parked_at":"2026-11-30T08:00:00.000Z"}
                """;
            var text = await (await route.FetchAsync()).TextAsync();
            await route.FulfillAsync(new() { ContentType = "application/json", Body = text.Replace("\"parked\":null}]", $"\"parked\":{parked}}}]", StringComparison.Ordinal) });
        }));
        await tab["[aria-labelledby=projections] .badge >> text=parked"].WaitForAsync();
        var note = await tab[".note.bad"].First.InnerTextAsync();
        Assert.Contains("stands before event 812", note, StringComparison.Ordinal);
        Assert.Contains("No such event as run_created.v9", note, StringComparison.Ordinal);
        await tab.IsForEverybody();
    }

    /// <summary>What a job leaves that has failed as often as it is tried.</summary>
    static async Task GiveUp(LiveHost host, string key, string why)
    {
        await using var database = new NpgsqlConnection(host.Database);
        await database.OpenAsync();
        await using var insert = new NpgsqlCommand(
            """
            INSERT INTO cowork.jobs (tenant_id, kind, key, due, epoch, attempts, error_type, error, failed_at, letter)
            VALUES ('default', 'approval_expiry', $1, now() + interval '365000 days', 0, 6, 'System.TimeoutException', $2, now(), gen_random_uuid())
            """,
            database)
        { Parameters = { new() { Value = key }, new() { Value = why } } };
        await insert.ExecuteNonQueryAsync();
    }

    static async Task Problems(Microsoft.Playwright.IPage page, string json) =>
        await page.RouteAsync("**/engine/problems", route => route.FulfillAsync(new() { ContentType = "application/json", Body = json }));
}
