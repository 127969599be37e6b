using System.Diagnostics;
using System.Text.Json;

using Microsoft.Playwright;

namespace Cowork.Bench;

/// <summary>What somebody at the console waits for: pages that are opened, and rows of the feed while much is going on. Debian's Chromium, headless, on the host's cores.</summary>
sealed class ConsoleBench : IAsyncDisposable
{
    const string Program = "/usr/bin/chromium";
    const int Sessions = 64;
    const int Openings = 7;

    readonly HostProcess host;
    readonly IPlaywright driver;
    readonly IBrowser browser;

    ConsoleBench(HostProcess host, IPlaywright driver, IBrowser browser) => (this.host, this.driver, this.browser) = (host, driver, browser);

    public static async Task<ConsoleBench> Start(HostProcess host)
    {
        if (!File.Exists(Program))
        {
            throw new InvalidOperationException($"{Program} is missing. Install it: apt-get install --no-install-recommends chromium");
        }
        var driver = await Playwright.CreateAsync();
        // Figures of its memory are exact only when it is told so.
        return new(host, driver, await driver.Chromium.LaunchAsync(new()
        {
            ExecutablePath = Program,
            Headless = true,
            ChromiumSandbox = Environment.UserName != "root",
            Args = ["--enable-precise-memory-info", "--no-proxy-server", "--js-flags=--expose-gc"],
        }));
    }

    /// <summary>
    /// A page that this browser has never opened, and the same once more: bytes and requests over the wire, and milliseconds from its navigation, which are the medians of
    /// several openings.
    /// </summary>
    /// <param name="content">A selector of what the page is opened for.</param>
    public async Task<(Opened Cold, Opened Warm)> Open(string path, string content)
    {
        var (cold, warm) = (new List<Opened>(), new List<Opened>());
        for (var i = 0; i < Openings; i++)
        {
            await using var context = await browser.NewContextAsync();
            cold.Add(await Open(context, path, content));
            warm.Add(await Open(context, path, content));
        }
        return (Median(cold), Median(warm));
    }

    static Opened Median(List<Opened> of)
    {
        double At(Func<Opened, double> figure) => of.Select(figure).Order().ElementAt(of.Count / 2);
        return of[^1] with { Paint = At(o => o.Paint), Content = At(o => o.Content) };
    }

    static Task<double> PaintOf(IPage page) => page.EvaluateAsync<double>(
        """
        () => new Promise(done => new PerformanceObserver(list => {
            done(list.getEntries().find(entry => entry.name === "first-contentful-paint").startTime);
        }).observe({ type: "paint", buffered: true }))
        """);

    async Task<Opened> Open(IBrowserContext context, string path, string content)
    {
        var page = await context.NewPageAsync();
        var (bytes, requests) = (0L, 0);
        var wire = await context.NewCDPSessionAsync(page);
        await wire.SendAsync("Network.enable");
        wire.Event("Network.responseReceived").OnEvent += (_, said) => requests += Int(said!.Value, "response.fromDiskCache") == 1 ? 0 : 1;
        wire.Event("Network.loadingFinished").OnEvent += (_, said) => bytes += Int(said!.Value, "encodedDataLength");
        var start = Stopwatch.GetTimestamp();
        await page.GotoAsync(Address(path), new() { WaitUntil = WaitUntilState.Commit });
        await page.Locator(content).First.WaitForAsync();
        var shown = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        var opened = new Opened(bytes, requests, await PaintOf(page), shown);
        await page.CloseAsync();
        return opened;
    }

    /// <summary>
    /// The feed's page while turns come at a rate: from the time in an event to its row in sight, the frames meanwhile, and the page's memory; then all that it keeps is
    /// scrolled through.
    /// </summary>
    /// <param name="turns">Per second.</param>
    public async Task<Followed> Follow(int turns, long events)
    {
        for (var i = 0; i < Sessions; i++)
        {
            await host.Session($"c{i}");
        }
        await using var context = await browser.NewContextAsync();
        var page = await context.NewPageAsync();
        await page.SetViewportSizeAsync(1440, 900);
        await page.GotoAsync(Address("/console/feed"));
        await page.Locator(".vrow").First.WaitForAsync();
        await page.EvaluateAsync(Watch);
        var (before, from, start) = (await Heap(page), await Count(page), Stopwatch.GetTimestamp());
        var heaps = new List<(long Events, long Bytes)> { (0, before) };
        using var over = new CancellationTokenSource();
        var load = Send(turns, over.Token);
        while (await Count(page) - from is var seen && seen < events)
        {
            if (seen >= heaps[^1].Events + events / 4)
            {
                heaps.Add((seen, await Heap(page)));
            }
            await Task.Delay(200, CancellationToken.None);
        }
        var (last, seconds) = (await Count(page) - from, Stopwatch.GetElapsedTime(start).TotalSeconds);
        await over.CancelAsync();
        await load;
        heaps.Add((last, await Heap(page)));
        var lags = await page.EvaluateAsync<double[]>("watched.lags.sort((a, b) => a - b)");
        var live = await page.EvaluateAsync<double[]>("watched.frames.splice(0).sort((a, b) => a - b)");
        var scrolled = await page.EvaluateAsync<double[]>(Scroll);
        return new(last / seconds, lags, live, scrolled, heaps);
    }

    public async ValueTask DisposeAsync()
    {
        await browser.DisposeAsync();
        driver.Dispose();
    }

    string Address(string path) => new Uri(host.Http.BaseAddress!, path).ToString();

    static long Int(JsonElement of, string path)
    {
        foreach (var name in path.Split('.'))
        {
            if (!of.TryGetProperty(name, out of))
            {
                return 0;
            }
        }
        return of.ValueKind == JsonValueKind.Number ? (long)of.GetDouble() : of.ValueKind == JsonValueKind.True ? 1 : 0;
    }

    static Task<long> Count(IPage page) => page.EvaluateAsync<long>("watched.count");

    /// <summary>Of what is still in use.</summary>
    static Task<long> Heap(IPage page) => page.EvaluateAsync<long>("() => { gc(); return performance.memory.usedJSHeapSize; }");

    async Task Send(int perSecond, CancellationToken ct)
    {
        using var inFlight = new SemaphoreSlim(Sessions);
        using var tick = new PeriodicTimer(TimeSpan.FromSeconds(1.0 / perSecond));
        var sent = new List<Task>();
        try
        {
            for (var i = 0; await tick.WaitForNextTickAsync(ct); i++)
            {
                await inFlight.WaitAsync(ct);
                sent.Add(Turn(i % Sessions));
            }
        }
        catch (OperationCanceledException)
        {
            // It has been enough.
        }
        await Task.WhenAll(sent);

        async Task Turn(int session)
        {
            await host.Turn($"c{session}", "/say hello");
            inFlight.Release();
        }
    }

    const string Watch = """
        async () => {
            const { live } = await import(new URL("live.js", document.querySelector("script[type=module]").src));
            const watched = window.watched = { count: 0, lags: [], frames: [], waiting: [] };
            live.on(events => {
                watched.count += events.length;
                events.forEach(event => watched.waiting.push([event.gid, Date.parse(event.ts)]));
            }, new AbortController().signal);
            const list = document.querySelector("[aria-label=Events]");
            let last = performance.now();
            const frame = now => {
                watched.frames.push(now - last);
                last = now;
                const top = Number((list.querySelector(".vrow .gid")?.textContent ?? "0").replace(/\D/g, ""));
                const at = Date.now();
                let seen = 0;
                for (; seen < watched.waiting.length && watched.waiting[seen][0] <= top; seen++) {
                    watched.lags.push(at - watched.waiting[seen][1]);
                }
                watched.waiting.splice(0, seen);
                requestAnimationFrame(frame);
            };
            requestAnimationFrame(frame);
        }
        """;

    const string Scroll = """
        async () => {
            const list = document.querySelector("[aria-label=Events]");
            const steps = 600, by = list.scrollHeight / steps, frames = [];
            const frame = () => new Promise(requestAnimationFrame);
            let last = await frame();
            for (let i = 0; i < steps; i++) {
                list.scrollTop += by;
                const now = await frame();
                frames.push(now - last);
                last = now;
            }
            return frames.sort((a, b) => a - b);
        }
        """;
}

/// <param name="Bytes">Over the wire, compressed.</param>
/// <param name="Paint">First contentful paint, ms from the navigation.</param>
/// <param name="Content">What the page is opened for is there, ms.</param>
sealed record Opened(long Bytes, int Requests, double Paint, double Content)
{
    public double KiB => Bytes / 1024.0;
}

/// <param name="PerSecond">Events.</param>
/// <param name="Lags">From an event's time to its row in sight, ms, sorted.</param>
/// <param name="Live">Time of a frame while events come, ms, sorted.</param>
/// <param name="Scrolled">Time of a frame while what was kept is scrolled through in 600 steps, ms, sorted.</param>
/// <param name="Heaps">Of the page after so many events.</param>
sealed record Followed(double PerSecond, double[] Lags, double[] Live, double[] Scrolled, IReadOnlyList<(long Events, long Bytes)> Heaps);
