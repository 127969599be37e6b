using Cowork.Testing;

using Microsoft.Playwright;

namespace Cowork.Browser.Tests;

/// <summary>The one browser of the project: Debian's Chromium, headless. It starts when the first spec asks for it, and reaches nothing but this machine.</summary>
public sealed class Chromium : IAsyncDisposable
{
    const string Program = "/usr/bin/chromium";

    readonly Lazy<Task<(IPlaywright Driver, IBrowser Browser)>> started = new(Start);

    /// <summary>A new page in a profile of its own. The caller disposes of its <see cref="IPage.Context"/>.</summary>
    public async Task<IPage> NewPage()
    {
        var page = await (await (await started.Value).Browser.NewContextAsync()).NewPageAsync();
        page.SetDefaultTimeout((float)Patience.Limit.TotalMilliseconds);
        return page;
    }

    public async ValueTask DisposeAsync()
    {
        if (started.IsValueCreated)
        {
            var (driver, browser) = await started.Value;
            await browser.DisposeAsync();
            driver.Dispose();
        }
    }

    static async Task<(IPlaywright Driver, IBrowser Browser)> Start()
    {
        Assert.True(File.Exists(Program), $"{Program} is missing. Install it: apt-get install --no-install-recommends chromium");
        var driver = await Playwright.CreateAsync();
        var browser = await driver.Chromium.LaunchAsync(new()
        {
            ExecutablePath = Program,
            Headless = true,
            // Its sandbox needs a user that is not root.
            ChromiumSandbox = Environment.UserName != "root",
            Args =
            [
                "--disable-background-networking", "--disable-component-update", "--disable-domain-reliability", "--disable-sync", "--no-first-run", "--no-pings",
                "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
            ],
        });
        return (driver, browser);
    }
}
