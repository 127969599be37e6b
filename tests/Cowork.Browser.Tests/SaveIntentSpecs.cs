using System.Text.Json;

using Microsoft.Playwright;

namespace Cowork.Browser.Tests;

/// <summary>The event of contract E's tools (contracts/E-works.md, section 7), in a tool that another site embeds from a third one.</summary>
public sealed class SaveIntentSpecs(Chromium chromium, BrowsedHost browsed)
{
    /// <summary>What a tool does when it is told to save. <c>saved</c> tells what became of it.</summary>
    const string Tool = """
        <!doctype html>
        <title>a tool</title>
        <script>
            const __apiEndpoint = "HOST";
            let currentOutput = '{"rooms": 3.0, "esc": "\\u0000", "order": {"b": 1, "a": 2}}';

            async function call(method, path, body, headers) {
                const answer = await fetch(__apiEndpoint + path, {
                    method, body, credentials: "include", headers: { "Content-Type": "application/json", ...headers },
                });
                return {
                    status: answer.status, etag: answer.headers.get("ETag"), version: answer.headers.get("Contract-Version"), location: answer.headers.get("Location"),
                    text: await answer.text(),
                };
            }

            const intents = {
                create: () => call("POST", "/myworks", `{"bucket":"listings","label":"Elm Street","payload":${currentOutput}}`, { "Idempotency-Key": "first" }),
                save_updates: work => call("PATCH", `/myworks/${work.work_id}`, `{"payload":${currentOutput}}`, work.etag ? { "If-Match": work.etag } : {}),
                save_as_new: work => call("POST", "/myworks", `{"bucket":"${work.bucket}","label":"Copy of ${work.label}","payload":${currentOutput}}`, {}),
            };
            addEventListener("paw:works:save_current_output", async event => {
                const { active_work, intent } = event.detail;
                dispatchEvent(new CustomEvent("saved", { detail: await intents[intent](active_work).catch(error => ({ error: String(error) })) }));
            });
            const save = (intent, active_work) => new Promise(resolve => {
                addEventListener("saved", event => resolve(event.detail), { once: true });
                dispatchEvent(new CustomEvent("paw:works:save_current_output", { detail: { active_work, intent } }));
            });
        </script>
        """;

    const string Output = """{"rooms": 3.0, "esc": "\u0000", "order": {"b": 1, "a": 2}}""";

    [Fact]
    public async Task A_tool_in_a_frame_of_another_origin_saves_with_all_three_intents()
    {
        var (host, pages) = (await browsed.Started, browsed.Pages);
        var tool = pages.Add(Tool.Replace("HOST", host.Url, StringComparison.Ordinal));
        var site = pages.Add($"""<!doctype html><title>a site</title><iframe name="tool" src="{pages.Tools}{tool}"></iframe>""");
        var page = await chromium.NewPage();
        await using var context = page.Context;
        await page.GotoAsync(pages.Site + site);
        var frame = page.Frame("tool") ?? throw new InvalidOperationException("The page has no frame.");
        await frame.WaitForLoadStateAsync();
        Assert.Equal(pages.Tools, await frame.EvaluateAsync<string>("() => origin"));

        var created = await Save(frame, "create", new { });
        Assert.Equal((201, "\"1\"", "1.0"), (created.Status, created.ETag, created.Version));
        var work = created.Work;
        Assert.Equal($"/myworks/{work.GetProperty("work_id").GetString()}", created.Location);
        // Told twice, saved once.
        Assert.Equal(created.Text, (await Save(frame, "create", new { })).Text);

        var active = new { work_id = work.GetProperty("work_id").GetString(), bucket = "listings", label = "Elm Street", etag = created.ETag };
        await frame.EvaluateAsync("() => { currentOutput = '{\"rooms\":4}'; }");
        var updated = await Save(frame, "save_updates", active);
        Assert.Equal((200, "\"2\"", "1.0"), (updated.Status, updated.ETag, updated.Version));
        Assert.Equal("""{"rooms":4}""", updated.Work.GetProperty("payload").GetRawText());
        // Somebody was faster, and a page of another origin reads the refusal too.
        var stale = await Save(frame, "save_updates", active);
        Assert.Equal((412, "1.0", "PRECONDITION_FAILED"), (stale.Status, stale.Version, JsonElement.Parse(stale.Text).GetProperty("error").GetProperty("code").GetString()));

        await frame.EvaluateAsync($"() => {{ currentOutput = String.raw`{Output}`; }}");
        var copy = await Save(frame, "save_as_new", active);
        Assert.Equal(201, copy.Status);
        Assert.NotEqual(active.work_id, copy.Work.GetProperty("work_id").GetString());
        Assert.Contains($"\"payload\":{Output}}}", copy.Text, StringComparison.Ordinal);
        Assert.Contains($"\"payload\":{Output}}}", created.Text, StringComparison.Ordinal);

        var listed = await frame.EvaluateAsync<string>("""async () => (await call("GET", "/myworks?bucket=listing")).text""");
        var labels = JsonElement.Parse(listed).GetProperty("data").GetProperty("list").EnumerateArray().Select(w => w.GetProperty("label").GetString()!);
        Assert.Equal(["Copy of Elm Street", "Elm Street"], labels.Where(label => label.Contains("Elm", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_tool_with_a_token_sends_it_and_one_of_an_origin_that_is_not_listed_saves_nothing()
    {
        var (host, pages) = (await browsed.Started, browsed.Pages);
        var token = await host.Token("tools", "member");
        var tool = pages.Add(Tool.Replace("HOST", host.Url, StringComparison.Ordinal));
        var page = await chromium.NewPage();
        await using var context = page.Context;
        await page.GotoAsync(pages.Tools + tool);
        const string Saving = """
            async token => {
                const body = '{"bucket":"brand","label":"with a token","payload":{}}';
                return JSON.stringify(await call("POST", "/myworks", body, { "Authorization": "Bearer " + token }).catch(error => ({ error: error.name })));
            }
            """;
        Assert.Equal(201, JsonElement.Parse(await page.EvaluateAsync<string>(Saving, token)).GetProperty("status").GetInt32());
        var refused = JsonElement.Parse(await page.EvaluateAsync<string>(Saving, "cowork_wrong"));
        Assert.Equal(401, refused.GetProperty("status").GetInt32());
        Assert.Equal("UNAUTHORIZED", JsonElement.Parse(refused.GetProperty("text").GetString()!).GetProperty("error").GetProperty("code").GetString());

        await page.GotoAsync(pages.Tools.Replace("127.0.0.1", "localhost", StringComparison.Ordinal) + tool);
        Assert.Equal("""{"error":"TypeError"}""", await page.EvaluateAsync<string>(Saving, token));
        using var ann = host.Client(token);
        Assert.Single((await ann.Get("/myworks")).Is(200).Json.GetProperty("data").GetProperty("list").EnumerateArray());
    }

    static async Task<Saved> Save(IFrame frame, string intent, object activeWork)
    {
        var told = JsonElement.Parse(await frame.EvaluateAsync<string>("async ([intent, work]) => JSON.stringify(await save(intent, work))", new object[] { intent, activeWork }));
        Assert.False(told.TryGetProperty("error", out var error), error.ToString());
        return new(
            told.GetProperty("status").GetInt32(), told.GetProperty("etag").GetString(), told.GetProperty("version").GetString(), told.GetProperty("location").GetString(),
            told.GetProperty("text").GetString()!);
    }

    sealed record Saved(int Status, string? ETag, string? Version, string? Location, string Text)
    {
        public JsonElement Work => JsonElement.Parse(Text).GetProperty("data").GetProperty("work");
    }
}
