using System.Text.Json;

namespace Cowork.Browser.Tests;

/// <summary>The pages of schedules: what is planned, across changes of the clocks, and why each planned time had a run or had none.</summary>
public sealed class ConsoleScheduleSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task The_ledger_grows_by_itself_and_says_why_there_was_a_run_or_none()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        await File.WriteAllTextAsync(Path.Combine(host.Data, "workspaces", session, "a.txt"), "old");
        // Its run waits for a person, so that the next planned times find it live.
        var skill = (await host.Http.Post("/skills", JsonSerializer.Serialize(new { name = $"tidy-{session[^12..]}", prompt_template = """/tool delete_file {{"path":"a.txt"}}""" }))).Is(201)["skill_id"];
        var made = JsonSerializer.Serialize(new { session_id = session, skill_id = skill, name = $"tidy {session}", interval_seconds = 1 });
        var schedule = (await host.Http.Post("/scheduled-runs", made)).Is(201)["schedule_id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"schedules/{schedule}");
        await tab["tbody tr .badge[data-status=approval_required]"].WaitForAsync();
        await tab["tbody tr >> text=The run before had not ended (overlap: skip)."].First.WaitForAsync();
        await tab["h1"].ClickAsync();
        await tab.Press("p");
        await tab["dialog button.danger"].ClickAsync();
        await tab["h1 ~ .badge[data-status=paused]"].WaitForAsync();
        await tab["tbody tr >> text=Paused by user:local."].WaitForAsync();
        await tab.Shows("It is paused: nothing is planned.");
        await tab["button >> text=Run it now"].ClickAsync();
        await tab["tbody tr >> text=Started by user:local."].WaitForAsync();
        await tab["button >> text=Resume"].ClickAsync();
        await tab["tbody tr >> text=Resumed by user:local"].WaitForAsync();
        await tab["h1"].ClickAsync();
        await tab.Press("p");
        await tab["dialog button.danger"].ClickAsync();
        await tab["h1 ~ .badge[data-status=paused]"].WaitForAsync();
        // The calendar's day chooses what the ledger shows.
        await tab[".day.today"].ClickAsync();
        Assert.Matches("day=\\d{4}-\\d{2}-\\d{2}$", tab.Page.Url);
        // The calendar is drawn anew, and the reader is where they were.
        Assert.Contains("today", await tab.Page.EvaluateAsync<string>("document.activeElement.className"), StringComparison.Ordinal);
        await tab[".day >> nth=0"].ClickAsync();
        await tab.Shows("Nothing was decided on that day");
        await tab.Press("0");
        await tab["tbody tr >> text=Made by user:local"].WaitForAsync();
        foreach (var approval in (await host.Http.Get($"/approvals?session_id={session}")).Is(200).Json.GetProperty("approvals").EnumerateArray())
        {
            (await host.Http.Post($"/approvals/{approval.GetProperty("approval_id").GetString()}/decision", """{"approved":false}""")).Is(200);
        }
    }

    [Fact]
    public async Task The_next_fifty_times_say_where_the_clocks_go_forward_and_back()
    {
        var host = await browsed.Started;
        var project = (await host.Http.Post("/api/v1/projects", """{"name":"Clocks"}""")).Is(201)["id"];
        var made = JsonSerializer.Serialize(new { project_id = project, cron = "30 2 * * *", timezone = "Europe/Berlin", prompt = "/say night", status = "active" });
        var schedule = (await host.Http.Post("/api/v1/schedules", made)).Is(201)["id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"schedules/{schedule}?from=2027-03-26T12:00:00Z");
        await tab[".slots li:has-text('28 Mar 2027, 03:00') >> text=The clocks go forward: the times from 02:00 to 03:00 do not exist on this day, and come now."].WaitForAsync();
        Assert.Equal(50, await tab[".slots li:not(.small)"].CountAsync());
        Assert.Equal(1, await tab[".slots .change"].CountAsync());
        await tab["button >> text=To the next change of the clocks"].ClickAsync();
        await tab[".slots li:has-text('31 Oct 2027, 02:30') >> text=this is the first"].WaitForAsync();
        Assert.Contains("+01:00", await tab[".slots li:has-text('01 Nov 2027, 02:30')"].InnerTextAsync(), StringComparison.Ordinal);
        await tab["button >> text=From now"].ClickAsync();
        await tab.Shows("The next 50");
        await tab.Leave();
        (await host.Http.Delete($"/api/v1/schedules/{schedule}")).Is(204);
    }

    [Fact]
    public async Task A_schedule_of_either_kind_is_made_with_its_next_times_in_sight_and_deleted()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var skill = (await host.Http.Post("/skills", JsonSerializer.Serialize(new { name = $"a-{session[^12..]}", prompt_template = "/say {day}" }))).Is(201)["skill_id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "schedules");
        tab.Expected = "422";
        await tab["button >> text=New schedule"].WaitForAsync();
        await tab.Press("n");
        await tab["dialog [role=status] time >> nth=2"].WaitForAsync();
        await tab["dialog input.mono"].FillAsync("61 * * * *");
        await tab["dialog [role=status]:has-text('minute')"].WaitForAsync();
        await tab["dialog input.mono"].FillAsync("30 4 * * *");
        await tab["dialog textarea"].FillAsync("What is new?");
        await tab["dialog button >> text=Plan it"].ClickAsync();
        await tab["h1 >> text=What is new?"].WaitForAsync();
        await tab["button >> text=Delete"].ClickAsync();
        await tab["dialog button.danger"].ClickAsync();
        await tab["h1 >> text=Schedules"].WaitForAsync();
        await tab.Press("n");
        await tab["dialog button.chip >> text=A skill"].ClickAsync();
        await tab["dialog select"].First.SelectOptionAsync(skill);
        await tab["dialog label:has-text('day') input"].First.FillAsync("today");
        await tab["dialog input[list]"].FillAsync(session);
        await tab["dialog button >> text=Plan it"].ClickAsync();
        await tab["tbody tr .badge >> text=fired"].WaitForAsync();
        await tab.Shows("every hour");
        var made = tab.Page.Url.Split('/').Last();
        await tab.Leave();
        (await host.Http.Delete($"/scheduled-runs/{made}")).Is(204);
    }

    [Fact]
    public async Task Schedules_of_both_kinds_are_one_list_with_the_next_day_of_each()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        var skill = (await host.Http.Post("/skills", JsonSerializer.Serialize(new { name = $"s-{session[^12..]}", prompt_template = "/say ok" }))).Is(201)["skill_id"];
        var later = JsonSerializer.Serialize(new { session_id = session, skill_id = skill, name = $"hourly {session}", interval_seconds = 3600, start_in_seconds = 3600 });
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"schedules?q={session}");
        await tab["main .empty"].WaitForAsync();
        var schedule = (await host.Http.Post("/scheduled-runs", later)).Is(201)["schedule_id"];
        await tab["tbody tr:has-text('every hour') svg[aria-label='planned times']"].WaitForAsync();
        var prompt = JsonSerializer.Serialize(new { project_id = "proj_00000000000000000000000000", cron = "0 9 * * *", timezone = "Asia/Tokyo", prompt = $"/say {session}", status = "paused" });
        var other = (await host.Http.Post("/api/v1/schedules", prompt)).Is(201)["id"];
        await tab["tbody tr:has-text('Asia/Tokyo') .badge[data-status=paused]"].WaitForAsync();
        await tab["button.chip >> text=active"].ClickAsync();
        await tab["tbody tr:has-text('Asia/Tokyo')"].WaitForAsync(new() { State = Microsoft.Playwright.WaitForSelectorState.Detached });
        Assert.Contains("status=active", tab.Page.Url, StringComparison.Ordinal);
        await tab.Press("j");
        await tab.Press("Enter");
        await tab["h2 >> text=Ledger"].WaitForAsync();
        Assert.EndsWith($"schedules/{schedule}", tab.Page.Url, StringComparison.Ordinal);
        await tab.Leave();
        (await host.Http.Delete($"/scheduled-runs/{schedule}")).Is(204);
        (await host.Http.Delete($"/api/v1/schedules/{other}")).Is(204);
    }
}
