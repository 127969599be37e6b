using System.Text.Json;

namespace Cowork.Browser.Tests;

/// <summary>The page of metrics: figures, up to which event they hold, and the runs behind them.</summary>
public sealed class ConsoleMetricsSpecs(Chromium chromium, BrowsedHost browsed)
{
    [Fact]
    public async Task Figures_say_up_to_which_event_they_hold_grow_by_themselves_and_lead_to_the_runs_behind_them()
    {
        var host = await browsed.Started;
        var session = await host.Http.NewSession();
        (await host.Http.Turn(session, "/fail model_failed")).Is(200);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "metrics?range=1h");
        await tab.Shows("every figure holds up to event");
        var before = await Figure(tab, "Asked for");
        Assert.InRange(before, 1, long.MaxValue);
        (await host.Http.Turn(session, "/say one more")).Is(200);
        await tab.Page.WaitForFunctionAsync(
            """
            before => Number([...document.querySelectorAll(".figure")].find(figure => figure.textContent.startsWith("Asked for"))
                .querySelector("dd").textContent.replace(/\D/g, "")) > before
            """,
            before);
        // One stop of the Tab key; the arrows lead from point to point, and Enter to the runs of its time.
        var points = tab["[aria-label='Runs that ended'] a.point"];
        Assert.Equal(1, await tab["[aria-label='Runs that ended'] a.point[tabindex='0']"].CountAsync());
        await points.Last.FocusAsync();
        var label = await points.Last.GetAttributeAsync("aria-label");
        Assert.Matches("completed .*failed .*cancelled", label);
        Assert.Matches(@"up to event [\d\u202f]+", label);
        await tab.Press("Enter");
        await tab["main h1 >> text=Runs"].WaitForAsync();
        Assert.Matches("runs\\?since=.*&until=", tab.Page.Url);
        await tab["tbody >> text=/say one more"].First.WaitForAsync();
    }

    [Fact]
    public async Task The_range_and_its_stretches_stand_in_the_address_and_a_time_without_runs_says_what_to_type()
    {
        var host = await browsed.Started;
        (await host.Http.Turn(await host.Http.NewSession(), "/say hello")).Is(200);
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "metrics");
        await tab["button >> text=7 days"].ClickAsync();
        await tab["select"].SelectOptionAsync("1h");
        await tab.Page.WaitForURLAsync("**/metrics?range=7d&bucket=1h");
        await tab["[aria-label='Figures over time'] tbody tr"].First.WaitForAsync();
        await tab.Press("j");
        Assert.Equal(1, await tab["tbody tr.at"].CountAsync());
        await tab.Page.ReloadAsync();
        await tab["button[aria-pressed=true] >> text=7 days"].WaitForAsync();
        Assert.Equal("1h", await tab["select"].InputValueAsync());
        await tab.Go("metrics?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z");
        await tab.Shows("Nothing happened in this time");
        await tab["pre >> text=curl"].First.WaitForAsync();
        await tab["button >> text=2020"].ClickAsync();
        await tab["[aria-label='Figures over time'] tbody tr"].First.WaitForAsync();
        var metrics = (await host.Http.Get("/metrics")).Is(200).Json;
        await tab.Shows("All runs until now");
        Assert.Equal(JsonValueKind.Number, metrics.GetProperty("latency").GetProperty("execution").GetProperty("p95").ValueKind);
        await tab["[aria-label='Latencies of all runs'] >> text=execution"].First.WaitForAsync();
    }

    static async Task<long> Figure(ConsoleTab tab, string name) => long.Parse(
        string.Concat((await tab[$".figure:has-text('{name}') dd"].First.InnerTextAsync()).Where(char.IsAsciiDigit)), System.Globalization.CultureInfo.InvariantCulture);
}
