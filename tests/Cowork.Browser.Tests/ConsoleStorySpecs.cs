using Microsoft.Playwright;

namespace Cowork.Browser.Tests;

/// <summary>Each page of the console shows a story as it was. <c>./cowork screenshots</c> takes its pictures, for docs/console, of these.</summary>
public sealed class ConsoleStorySpecs(Chromium chromium)
{
    /// <summary>Folder for pictures; null: none are taken.</summary>
    static readonly string? Pictures = Environment.GetEnvironmentVariable("COWORK_SCREENSHOTS") is { Length: > 0 } folder ? folder : null;

    [Fact]
    public async Task Pages_tell_what_an_agent_did_and_what_it_waits_for()
    {
        await using var story = await LaunchStory.Begin(isSlow: Pictures is not null);
        await using var tab = await ConsoleTab.Open(chromium, story.Host.Url, "");
        await tab["[aria-labelledby=needs] tbody tr >> text=launch-audit"].WaitForAsync();
        Assert.Equal(["invoices", "launch-audit"], await tab["[aria-labelledby=needs] tbody tr td:nth-child(3)"].AllInnerTextsAsync());

        await tab.Go("runs");
        await tab["tbody tr >> nth=8"].WaitForAsync();
        await Take(tab, "runs");

        await tab.Go("runs/" + story.Waiting);
        await tab["button >> text=Approve this call"].WaitForAsync();
        Assert.Equal(
            ["queued", "recall memory", "sonnet-like-1", "list_files", "read_file", "sonnet-like-1", "search_files", "read_file", "recall", "sonnet-like-1", "write_file", "delete_file"],
            await tab[".wf-row b"].AllInnerTextsAsync());
        await Take(tab, "run-waiting");

        await tab.Go("runs/" + story.Done);
        await tab[".reply td >> text=venue"].WaitForAsync();
        Assert.Equal("completed", await tab["h1 ~ .badge"].First.GetAttributeAsync("data-status"));
        await tab[".wf-row:has-text('delete_file')"].ClickAsync();
        await tab["[aria-label='The step'] >> text=It is stale."].WaitForAsync();
        await Take(tab, "run");

        await tab.Go("approvals");
        await tab["article [aria-label^='What would']"].First.WaitForAsync();
        await Take(tab, "approvals");

        await tab.Go("feed");
        await tab.Shows("none is missing");
        await tab[".vrow >> nth=10"].ClickAsync();
        await tab["[aria-label='The event'] cw-json"].WaitForAsync();
        await Take(tab, "feed");

        await tab.Go("sessions");
        await tab["tbody tr >> nth=4"].WaitForAsync();
        await Take(tab, "sessions");

        await tab.Go("sessions/research");
        await tab["tbody tr"].First.WaitForAsync();
        await Take(tab, "session");
    }

    [Fact]
    public async Task Pages_tell_what_was_asked_again_what_is_planned_and_what_agents_use_and_make()
    {
        await using var story = await LaunchStory.Begin(isSlow: Pictures is not null);
        var made = await story.GoOn();
        await using var tab = await ConsoleTab.Open(chromium, story.Host.Url, "");
        await tab["[aria-labelledby=needs] tbody tr >> nth=1"].WaitForAsync();
        await tab["[aria-labelledby=next] tbody tr >> nth=2"].WaitForAsync();
        await tab["[aria-labelledby=day] a.point"].First.WaitForAsync();
        await Take(tab, "overview");

        await tab.Go($"compare?left={story.Done}&right={made.Again}");
        await tab.Shows("Here they part");
        await tab[".cmp-open [aria-label=Result] .added, .cmp-open [aria-label=Memories]"].First.WaitForAsync();
        await Take(tab, "compare");

        await tab.Go("schedules");
        await tab["tbody tr >> nth=3 >> svg[aria-label]"].WaitForAsync();
        await Take(tab, "schedules");

        await tab.Go("schedules/" + made.Schedule);
        await tab["tbody tr .badge >> text=fired"].WaitForAsync();
        await tab[".slots li >> nth=50"].WaitForAsync();
        await Take(tab, "schedule");

        await tab.Go("skills");
        await tab["tbody tr >> nth=2"].WaitForAsync();
        await Take(tab, "skills");

        await tab.Go("skills/" + made.Skill);
        await tab["[aria-label=Template] .added >> text=in at most"].WaitForAsync();
        await tab["[aria-label=Runs] tbody tr >> nth=2"].WaitForAsync();
        await Take(tab, "skill");

        await tab.Go("scratchpads");
        await tab["tbody tr >> nth=2"].WaitForAsync();
        await Take(tab, "scratchpads");

        await tab.Go("scratchpads/" + made.Scratchpad);
        await tab.Page.FrameLocator("iframe.preview-frame").FrameLocator("iframe").GetByText("venue").WaitForAsync();
        await tab[".output img"].WaitForAsync();
        await Take(tab, "scratchpad");

        await tab.Go($"files?session=research&at={made.File}");
        await tab["[aria-label='The file'] td >> text=venue"].WaitForAsync();
        await tab["[aria-labelledby=made] tbody tr"].First.WaitForAsync();
        await Take(tab, "files");

        await tab.Go("artifacts");
        await tab["tbody tr >> nth=1"].WaitForAsync();
        await Take(tab, "artifacts");

        await tab.Go("artifacts/" + made.Artifact);
        await tab.Page.FrameLocator("iframe.preview-frame").FrameLocator("iframe").GetByText("Monday at ten.").WaitForAsync();
        await Take(tab, "artifact");
    }

    [Fact]
    public async Task Pages_tell_what_is_known_who_talks_and_how_the_host_is()
    {
        await using var story = await LaunchStory.Begin(isSlow: Pictures is not null);
        var group = await story.Talk();
        await using var tab = await ConsoleTab.Open(chromium, story.Host.Url, "memories");
        await tab["tbody tr >> text=Mara signs releases."].First.WaitForAsync();
        await Take(tab, "memories");

        await tab["tbody tr:has-text('Mara signs releases.') a.row-link"].First.ClickAsync();
        await tab["a >> text=the run as it was then"].WaitForAsync();
        await Take(tab, "memory");

        await tab.Go("groups");
        await tab["tbody tr"].First.WaitForAsync();
        await Take(tab, "groups");

        await tab.Go("groups/" + group);
        await tab["article.of-agent strong >> text=Friday"].WaitForAsync();
        await Take(tab, "group");

        await tab.Go("works");
        await tab["tbody tr >> nth=2"].WaitForAsync();
        await Take(tab, "works");

        await tab["tbody tr:has-text('Elm Street, offer 2') a.row-link"].ClickAsync();
        await tab["cw-json"].First.WaitForAsync();
        await Take(tab, "work");

        await tab.Go("connectors");
        await tab["tbody tr >> nth=2"].WaitForAsync();
        await Take(tab, "connectors");

        await tab.Go("metrics?range=1h");
        await tab["[aria-label='Runs that ended'] a.point"].First.WaitForAsync();
        await Take(tab, "metrics");

        await tab.Go("health");
        await tab["[aria-labelledby=heads] dl"].WaitForAsync();
        await tab["[aria-labelledby=jobs] tbody tr"].First.WaitForAsync();
        await Take(tab, "health");

        await tab.Go("access?show=rules&tool=read_file&session=research&input=%7B%22path%22%3A%22.env%22%7D");
        await tab["tr:has-text('secret_path') >> text=decides"].WaitForAsync();
        await Take(tab, "access");
    }

    /// <summary>Light and dark, at the size of a laptop, and light on a telephone.</summary>
    static async Task Take(ConsoleTab tab, string name)
    {
        if (Pictures is null)
        {
            return;
        }
        foreach (var (suffix, width, height, theme) in (IEnumerable<(string, int, int, ColorScheme)>)[
            ("", 1280, 800, ColorScheme.Light), ("-dark", 1280, 800, ColorScheme.Dark), ("-narrow", 380, 760, ColorScheme.Light)])
        {
            await tab.Page.SetViewportSizeAsync(width, height);
            await tab.Page.EmulateMediaAsync(new() { ColorScheme = theme, ReducedMotion = ReducedMotion.Reduce });
            await tab.Page.ScreenshotAsync(new() { Path = Path.Combine(Pictures, $"{name}{suffix}.png") });
        }
        await tab.Page.SetViewportSizeAsync(1440, 900);
        await tab.Page.EmulateMediaAsync(new() { ColorScheme = ColorScheme.Light });
    }
}
