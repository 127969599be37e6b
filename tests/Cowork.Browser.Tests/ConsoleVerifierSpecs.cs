using System.Text;

using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Playwright;

namespace Cowork.Browser.Tests;

/// <summary>The console checks a bundle in the browser, and comes to the verdict of <c>cowork verify</c>.</summary>
public sealed class ConsoleVerifierSpecs(Chromium chromium, BrowsedHost browsed)
{
    const int Batch = 100;

    /// <summary>How many tampered forms are compared in each of four parts.</summary>
    const int Tampered = 200;

    [Fact]
    public async Task A_bundle_of_each_release_and_of_this_host_is_as_sound_in_the_browser()
    {
        var (host, page) = await Open();
        await using var context = page.Context;
        foreach (var bundle in await Bundles(host))
        {
            var (report, fault) = TraceVerifier.Verify(bundle);
            Assert.Null(fault);
            var found = (await BrowserVerifier.Verdicts(page, [bundle])).Single();
            Assert.Equal((report!.Expired, report.Erased), (found.Report!.Expired, found.Report.Erased));
            Assert.Equal((report.RunId, report.Digest, report.Events), (found.Report.RunId, found.Report.Digest, found.Report.Events));
            Assert.Equal(report.Signature is not null, found.Report.Signature is { IsSigned: true });
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public async Task Each_tampered_bundle_is_named_at_the_same_place_as_on_the_command_line(int part)
    {
        var (host, page) = await Open();
        await using var context = page.Context;
        var bundles = await Bundles(host);
        foreach (var seed in Seeds.Many(ordinary: 1, chaos: 20))
        {
            var random = new Random((10 * seed) + part);
            var forgers = bundles.Select(bundle => TamperedBundles.Of(bundle, random).GetEnumerator()).ToList();
            var tampered = Enumerable.Range(0, Tampered).Select(i => Next(forgers[i % forgers.Count])).ToList();
            foreach (var (batch, files) in tampered.Chunk(Batch).Index())
            {
                foreach (var (i, (file, found)) in files.Zip(await BrowserVerifier.Verdicts(page, files)).Index())
                {
                    var wanted = TraceVerifier.Verify(file).Fault?.Location;
                    Assert.True(wanted == found.Fault?.Location, $"seed {seed}, part {part}, bundle {batch * Batch + i}: {wanted}, in the browser {found.Fault}");
                }
            }
        }

        static byte[] Next(IEnumerator<byte[]> forger) => forger.MoveNext() ? forger.Current : throw new InvalidOperationException("A forger never ends.");
    }

    [Fact]
    public async Task A_tombstone_is_taken_where_the_command_line_takes_it()
    {
        var (host, page) = await Open();
        await using var context = page.Context;
        var bundle = (await Bundles(host))[^1];
        List<byte[]> files =
        [
            .. new[]
                {
                    "{}", "[1]", """{"by":0}""", """{"by":-1}""", """{"by":1.5}""", """{"by":"1"}""", """{"by":1,"note":1}""", """{"by":1,"counterfactual":2}""",
                    """{"by":9007199254740993}""",
                }
                .Select(stone => TamperedBundles.WithTombstones(bundle, $$"""{"tombstone":{{stone}}}""")),
            .. new[] { ("related", "session-"), ("related", "run-"), ("events", "run-") }
                .Select(place => TamperedBundles.WithTombstones(bundle, """{"tombstone":{"by":1}}""", place.Item1, place.Item2)),
        ];
        foreach (var (file, found) in files.Zip(await BrowserVerifier.Verdicts(page, files)))
        {
            var (report, fault) = TraceVerifier.Verify(file);
            Assert.Equal((report?.Expired, fault?.Location, fault?.Message), (found.Report?.Expired, found.Fault?.Location, found.Fault?.Message));
        }
    }

    [Fact]
    public async Task The_page_of_a_run_says_what_it_checked_and_marks_each_row()
    {
        var host = await browsed.Started;
        using var http = host.Client(host.AdminToken);
        var session = await http.NewSession();
        var run = (await http.Post($"/sessions/{session}/turn", """{"message":"/tool list_files {}\n/say done"}""")).Is(200)["run_id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"runs/{run}");
        await tab.Page.GetByRole(AriaRole.Button, new() { Name = "Verify", Exact = true }).ClickAsync();
        await tab.Shows("chains: intact");
        await tab.Shows("Recomputed here in");
        var rows = tab[".wf-hash"];
        Assert.Equal(await rows.CountAsync(), await tab[".wf-hash.kind-proven"].CountAsync());
        await tab.IsForEverybody();

        // A host that lies: the same bundle with another word in it.
        await tab.Page.RouteAsync("**/trace", async route =>
        {
            var answer = await route.FetchAsync();
            await route.FulfillAsync(new() { Response = answer, Body = (await answer.TextAsync()).Replace("done", "gone", StringComparison.Ordinal) });
        });
        await tab.Go($"runs/{run}");
        await tab.Page.GetByRole(AriaRole.Button, new() { Name = "Verify", Exact = true }).ClickAsync();
        await tab.Shows("Not sound.");
        Assert.True(await tab[".kind-refused[data-hash]"].CountAsync() > 0);
    }

    [Fact]
    public async Task A_sound_bundle_proves_nothing_of_another_run_and_no_event_that_the_page_shows_otherwise()
    {
        var host = await browsed.Started;
        using var http = host.Client(host.AdminToken);
        var session = await http.NewSession();
        var run = (await http.Post($"/sessions/{session}/turn", """{"message":"/tool read_file {\"path\":\"none.txt\",\"limit\":12345678901234567890}\n/say done"}""")).Is(200)["run_id"];
        var other = (await http.Turn(session, "/say another")).Is(200)["run_id"];
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"runs/{run}");
        async Task Verify()
        {
            await tab.Go($"runs/{run}");
            await tab.Page.GetByRole(AriaRole.Button, new() { Name = "Verify", Exact = true }).ClickAsync();
            await tab.Shows("Not sound.");
        }
        async Task Answer(string address, Func<string, string> text) => await tab.Page.RouteAsync(address, async route =>
        {
            var answer = await route.FetchAsync();
            await route.FulfillAsync(new() { Response = answer, Body = text(await answer.TextAsync()) });
        });

        var bundle = (await http.Get($"/runs/{other}/trace")).Is(200).Text;
        await Answer("**/trace", _ => bundle);
        await Verify();
        await tab.Shows(other);
        Assert.Equal(0, await tab[".kind-proven[data-hash]"].CountAsync());
        await tab.Page.UnrouteAsync("**/trace");

        // The bundle is the run's own, and the page was told something else: another number, another person, other hashes.
        await Answer("**/events?*", text => text.Replace("12345678901234567890", "12345678901234567891", StringComparison.Ordinal));
        await Verify();
        await tab[".run-verdict code >> text=input"].WaitForAsync();
        Assert.Equal(1, await tab[".wf-row:has-text('read_file') .wf-hash.kind-refused"].CountAsync());
        Assert.True(await tab[".wf-hash.kind-proven"].CountAsync() > 0);
        await tab.IsForEverybody();
        await tab.Page.UnrouteAsync("**/events?*");
        await Answer("**/events?*", text => text.Replace("\"actor\":\"", "\"actor\":\"not-", StringComparison.Ordinal));
        await Verify();
        await tab[".run-verdict code >> text=actor"].First.WaitForAsync();
        Assert.Equal(0, await tab[".kind-proven[data-hash]"].CountAsync());
        await tab.Page.UnrouteAsync("**/events?*");
        await Answer("**/events?*", text => text.Replace("\"hash\":\"", "\"hash\":\"0", StringComparison.Ordinal));
        await Verify();
        await tab.Shows("Nothing on this page is proven.");
    }

    async Task<(LiveHost Host, IPage Page)> Open()
    {
        var host = await browsed.Started;
        var page = await chromium.NewPage();
        await page.GotoAsync($"{host.Url}/console/");
        return (host, page);
    }

    /// <summary>Those that are kept of each release, and one of this host, whose events a signed head covers.</summary>
    static async Task<List<byte[]>> Bundles(LiveHost host)
    {
        using var http = host.Client(host.AdminToken);
        var session = await http.NewSession();
        var run = (await http.Post($"/sessions/{session}/turn", """{"message":"/tool write_file {\"path\":\".anton/output/a.md\",\"content\":\"# A\"}\n/tool remember {\"content\":\"tea\"}\n/say done"}""")).Is(200)["run_id"];
        var own = await http.Until($"/runs/{run}/trace", got => got.Is(200).Json.TryGetProperty("log", out _));
        var kept = Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "bundles"), "cowork-trace-*.json").Order(StringComparer.Ordinal).Select(File.ReadAllBytes).ToList();
        return [Encoding.UTF8.GetBytes(own.Text), .. kept, TamperedBundles.WithTombstones(kept.Last(bundle => bundle.AsSpan().IndexOf("memory_written.v1"u8) > 0))];
    }
}
