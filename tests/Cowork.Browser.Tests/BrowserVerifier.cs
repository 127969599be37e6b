using System.Text.Json;

using Microsoft.Playwright;

namespace Cowork.Browser.Tests;

/// <summary>The console's verifier of bundles, in a page of the console.</summary>
static class BrowserVerifier
{
    /// <summary>What it says of each file.</summary>
    /// <param name="page">Of the console.</param>
    public static async Task<List<Verdict>> Verdicts(IPage page, IEnumerable<byte[]> files)
    {
        var json = await page.EvaluateAsync<string>(
            """
            async files => {
                const { verify } = await import(new URL('verify/verify.js', document.querySelector('script[src]').src));
                const verdicts = [];
                for (const file of files) {
                    const { report, fault } = await verify(Uint8Array.from(atob(file), c => c.charCodeAt(0)));
                    verdicts.push({ report, fault });
                }
                return JSON.stringify(verdicts);
            }
            """,
            files.Select(Convert.ToBase64String).ToArray());
        return JsonSerializer.Deserialize<List<Verdict>>(json, JsonSerializerOptions.Web)!;
    }

    public sealed record Verdict(Report? Report, Fault? Fault);

    /// <param name="Erased">Events with erased texts.</param>
    /// <param name="Expired">Memories whose own events expired.</param>
    public sealed record Report(string RunId, string Digest, int Events, int Erased, int Expired, Signature? Signature);

    /// <param name="IsSigned">Null: the page could not check it.</param>
    public sealed record Signature(bool? IsSigned);

    public sealed record Fault(string Location, string Message);
}
