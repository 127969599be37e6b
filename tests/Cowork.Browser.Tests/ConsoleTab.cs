using System.Collections.Concurrent;
using System.Diagnostics;

using Microsoft.Playwright;

namespace Cowork.Browser.Tests;

/// <summary>A tab of the browser on the console, which keeps what goes wrong in it: exceptions, errors on its console, breaches of its policy, requests that leave the host.</summary>
public sealed class ConsoleTab : IAsyncDisposable
{
    /// <summary>Reads rules of WCAG 2.2 AA and what its authors call best practice.</summary>
    static readonly Lazy<Task<string>> Axe = new(ReadAxe);

    readonly ConcurrentQueue<string> faults = new();

    ConsoleTab(IPage page, string url) => (Page, Url) = (page, url);

    public IPage Page { get; }

    /// <summary>Of /console/, with the slash at its end.</summary>
    public string Url { get; }

    /// <summary>Begins the addresses of another host that the page may ask, an authority; null: none.</summary>
    public string? Elsewhere { get; set; }

    /// <summary>What a spec brings about itself, by parts of the texts, separated by <c>|</c>: a refused token is an error on the browser's console.</summary>
    public string? Expected { get; set; }

    /// <summary>Whether the reader leaves the page when the browser asks whether texts that were not sent may be lost.</summary>
    public bool Leaves { get; set; } = true;

    /// <summary>How often the browser has asked that.</summary>
    public int Asked { get; private set; }

    public ILocator this[string selector] => Page.Locator(selector);

    /// <param name="path">Of a page, below /console/.</param>
    /// <param name="prefix">Of a proxy's addresses.</param>
    /// <param name="prepare">Called before the page is opened.</param>
    public static async Task<ConsoleTab> Open(Chromium chromium, string host, string path, string prefix = "", Func<IPage, Task>? prepare = null)
    {
        var tab = new ConsoleTab(await chromium.NewPage(), $"{host}{prefix}/console/");
        await (prepare?.Invoke(tab.Page) ?? Task.CompletedTask);
        tab.Watch(host);
        await tab.Page.AddInitScriptAsync("addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective + ' ' + e.blockedURI))");
        await tab.Go(path);
        return tab;
    }

    public async Task Go(string path)
    {
        await Page.GotoAsync(Url + path);
        await Page.Locator("main").WaitForAsync();
    }

    /// <summary>Leaves the console: for a spec that goes on to delete what the page shows, which would then ask for what is no more.</summary>
    public Task Leave() => Page.GotoAsync("about:blank");

    public Task Press(string keys) => Page.Keyboard.PressAsync(keys);

    /// <summary>Waits for a text in sight.</summary>
    public Task Shows(string text) => Page.GetByText(text).First.WaitForAsync();

    /// <summary>What others wrote, <see cref="ConsolePageSpecs.Hostile"/> among it, is in sight as text, with what it hides written out, and has become nothing else.</summary>
    public async Task ShowsTextsAsTexts()
    {
        await Shows("U+202E");
        var text = await Page.Locator("main").InnerTextAsync();
        Assert.DoesNotContain("\u202e", text, StringComparison.Ordinal);
        Assert.DoesNotContain("\u001b", text, StringComparison.Ordinal);
        Assert.Equal(0, await Page.Locator("main img, main script, main iframe, a[href^=javascript]").CountAsync());
    }

    /// <summary>Nobody is kept out of what is shown: axe finds nothing, in both themes, wide and narrow, and nothing is wider than the screen.</summary>
    public async Task IsForEverybody()
    {
        foreach (var width in (int[])[1440, 380])
        {
            await Page.SetViewportSizeAsync(width, 900);
            Assert.True(await Page.EvaluateAsync<bool>("document.documentElement.scrollWidth <= innerWidth"), $"{Page.Url} is wider than {width} pixels.");
            // The dark theme changes colours and nothing else.
            foreach (var (theme, rules) in ((ColorScheme, string)[])[(ColorScheme.Light, "undefined"), (ColorScheme.Dark, "['color-contrast', 'link-in-text-block']")])
            {
                await Page.EmulateMediaAsync(new() { ColorScheme = theme, ReducedMotion = ReducedMotion.Reduce });
                await Page.EvaluateAsync(await Axe.Value);
                var found = await Page.EvaluateAsync<string>(
                    $"async () => JSON.stringify((await axe.run(document, {{ resultTypes: ['violations'], runOnly: {rules} }})).violations"
                    + ".map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html + ' ' + n.failureSummary).join(' | ')))");
                Assert.True(found == "[]", $"{Page.Url}, {theme}, {width}: {found}");
            }
        }
        await Page.SetViewportSizeAsync(1440, 900);
    }

    public async ValueTask DisposeAsync()
    {
        await Page.Context.DisposeAsync();
        Assert.DoesNotContain(faults, fault => Expected?.Split('|').Any(part => fault.Contains(part, StringComparison.Ordinal)) is not true);
    }

    void Watch(string host)
    {
        Page.PageError += (_, error) => faults.Enqueue(error);
        Page.Console += (_, message) =>
        {
            if (message.Type is "error" or "warning")
            {
                faults.Enqueue(message.Text);
            }
        };
        Page.Dialog += async (_, dialog) =>
        {
            if (dialog.Type == DialogType.BeforeUnload)
            {
                Asked++;
                await (Leaves ? dialog.AcceptAsync() : dialog.DismissAsync());
                return;
            }
            faults.Enqueue($"The page said: {dialog.Message}");
        };
        Page.Request += (_, request) =>
        {
            if (!request.Url.StartsWith(host, StringComparison.Ordinal) && !request.Url.StartsWith("blob:", StringComparison.Ordinal)
                && (Elsewhere is null || !request.Url.StartsWith(Elsewhere, StringComparison.Ordinal)))
            {
                faults.Enqueue($"The page asked for {request.Url}.");
            }
        };
    }

    static async Task<string> ReadAxe()
    {
        var root = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(root, "Cowork.sln")))
        {
            root = Path.GetDirectoryName(root) ?? throw new InvalidOperationException("The specs run outside of the repository.");
        }
        var start = new ProcessStartInfo("bash", [Path.Combine(root, "cowork"), "generators"]) { RedirectStandardOutput = true };
        using var process = Process.Start(start)!;
        var modules = (await process.StandardOutput.ReadToEndAsync()).Trim();
        await process.WaitForExitAsync();
        return await File.ReadAllTextAsync(Path.Combine(modules, "node_modules", "axe-core", "axe.min.js"));
    }
}
