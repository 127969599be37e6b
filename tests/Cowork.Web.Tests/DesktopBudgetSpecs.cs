using Cowork.Application.Models;
using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>Budget and usage of contract C.</summary>
public sealed class DesktopBudgetSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Path = "/api/cowork/config/budget";

    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_budget_is_ten_dollars_until_an_administrator_sets_another()
    {
        using var ours = await tenant.Stranger("admin", "member");
        var first = (await ours.Get(Path)).Is(200);
        Assert.Equal(
            ["dailyLimitUSD", "remainingUSD", "softLimitUSD", "spentUSD", "reservedUSD", "resetsAt", "modelsNotHeld"], first.Json.EnumerateObject().Select(member => member.Name));
        Assert.Equal((10m, 10m, 8m, 0m), (Usd(first, "dailyLimitUSD"), Usd(first, "remainingUSD"), Usd(first, "softLimitUSD"), Usd(first, "spentUSD")));
        Assert.EndsWith("T00:00:00.000Z", first["resetsAt"], StringComparison.Ordinal);
        Assert.Equal("""["offline"]""", first["modelsNotHeld"]);

        var set = (await ours.Send(HttpMethod.Put, Path, """{"dailyLimitUSD":2.5000009,"softLimitUSD":1}""")).Is(200);
        Assert.Equal((2.5m, 2.5m, 1m), (Usd(set, "dailyLimitUSD"), Usd(set, "remainingUSD"), Usd(set, "softLimitUSD")));
        Assert.Equal(set.Text, (await ours.Get(Path)).Is(200).Text);
        Assert.Equal((0m, 0m), (Usd((await ours.Send(HttpMethod.Put, Path, """{"dailyLimitUSD":0}""")).Is(200), "dailyLimitUSD"), Usd(await ours.Get(Path), "softLimitUSD")));
        Assert.Equal(1_000_000_000m, Usd((await ours.Send(HttpMethod.Put, Path, """{"dailyLimitUSD":1000000000}""")).Is(200), "remainingUSD"));
        (await ours.Send(HttpMethod.Put, Path, """{"dailyLimitUSD":7}""", ("Idempotency-Key", "k"))).Is(200);
        (await ours.Send(HttpMethod.Put, Path, """{"dailyLimitUSD":6}""")).Is(200);
        var again = (await ours.Send(HttpMethod.Put, Path, """{"dailyLimitUSD":7}""", ("Idempotency-Key", "k"))).Is(200);
        Assert.Equal(("true", 6m), (again.Headers.GetValues("Idempotency-Replayed").Single(), Usd(again, "dailyLimitUSD")));
        (await ours.Send(HttpMethod.Put, Path, """{"dailyLimitUSD":8}""", ("Idempotency-Key", "k"))).IsProblem(422, "idempotency_key_reused");
        var text = (await ours.Send(HttpMethod.Put, Path, """{"dailyLimitUSD":"7"}""")).IsProblem(422);
        Assert.Equal("Has the wrong type: a number is wanted.", text["detail"]);
        // Another tenant's is its own.
        Assert.Equal(10m, Usd((await http.Get(Path)).Is(200), "dailyLimitUSD"));
    }

    [Theory]
    [InlineData("{}", "$.dailyLimitUSD")]
    [InlineData("""{"dailyLimitUSD":null}""", "$.dailyLimitUSD")]
    [InlineData("""{"dailyLimitUSD":-0.01}""", "$.dailyLimitUSD")]
    [InlineData("""{"dailyLimitUSD":"5"}""", "$.dailyLimitUSD")]
    [InlineData("""{"dailyLimitUSD":1000000000.01}""", "$.dailyLimitUSD")]
    [InlineData("""{"dailyLimitUSD":1e300}""", "$.dailyLimitUSD")]
    [InlineData("""{"dailyLimitUSD":5,"softLimitUSD":5.01}""", "$.softLimitUSD")]
    [InlineData("""{"dailyLimitUSD":5,"softLimitUSD":-1}""", "$.softLimitUSD")]
    public async Task A_bad_limit_is_refused_with_its_place(string body, string place) =>
        Assert.True((await http.Send(HttpMethod.Put, Path, body)).IsProblem(422, "invalid_request").Json.GetProperty("errors").TryGetProperty(place, out _));

    [Fact]
    public async Task Members_see_the_budget_and_do_not_set_it()
    {
        using var member = await tenant.Client("member");
        (await member.Get(Path)).Is(200);
        (await member.Send(HttpMethod.Put, Path, """{"dailyLimitUSD":1}""")).IsProblem(403, "role_missing");
        (await tenant.Host.Http.Get(Path)).IsProblem(401, "unauthorized");
    }

    [Fact]
    public async Task Usage_is_told_by_model_with_the_attempts_that_failed_and_costs_only_where_the_price_is_known()
    {
        await using var provider = new ModelServer();
        provider
            .ThenStatus(503, "{}")
            .ThenCut("""{"model":"m","choices":[{"index":0,"delta":{"content":"Go"}}],"usage":{"prompt_tokens":70,"completion_tokens":30}}""")
            .ThenStream(
                """{"model":"m","choices":[{"index":0,"delta":{"content":"Good morning."},"finish_reason":"stop"}]}""",
                """{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50}}""",
                "[DONE]");
        var model = new ModelSettings { Name = "priced", Provider = "openai", Model = "m", BaseUrl = provider.Url, Key = "sk-secret-1", Price = new(2, 8), MaxOutputTokens = 100 };
        await using var host = await LiveHost.Start(s => s with { Models = [model], Memory = new() { NotesByModel = false } });
        using var admin = host.Client(host.AdminToken);
        (await admin.Post("/sessions", """{"session_id":"s"}""")).Is(201);
        var none = (await admin.Get("/api/cowork/sessions/s/usage")).Is(200);
        Assert.Equal("""{"totalTokens":0,"totalCostUSD":0,"breakdown":[]}""", none.Text);
        var free = (await admin.Post("/sessions/s/turn", """{"message":"/say hi","model":"offline"}""")).Is(200);
        var turn = (await admin.Post("/sessions/s/turn", """{"message":"hello","model":"priced"}""")).Is(200);
        Assert.Equal(("completed", "250", "0.00098"), (turn["status"], turn["total_tokens"], turn["cost_usd"]));
        var usage = (await admin.Get("/api/cowork/sessions/s/usage")).Is(200);
        var offline = (await admin.Get($"/runs/{free["run_id"]}")).Json;
        Assert.Equal(250 + offline.GetProperty("total_tokens").GetInt64(), usage.Json.GetProperty("totalTokens").GetInt64());
        Assert.Equal(0.00098m, Usd(usage, "totalCostUSD"));
        var models = usage.Json.GetProperty("breakdown").EnumerateArray().ToList();
        Assert.Equal(["offline", "priced"], models.Select(m => m.GetProperty("model").GetString()));
        Assert.Equal(System.Text.Json.JsonValueKind.Null, models[0].GetProperty("cost").ValueKind);
        Assert.Equal("""{"model":"priced","inputTokens":170,"outputTokens":80,"cost":0.00098}""", models[1].GetRawText());
        // The same once more, from the sums that are kept.
        Assert.Equal(usage.Text, (await admin.Get("/api/cowork/sessions/s/usage")).Is(200).Text);
        var budget = (await admin.Get(Path)).Is(200);
        // The first attempt was turned away, and costs nothing.
        Assert.Equal((0.00098m, 0m), (Usd(budget, "spentUSD"), Usd(budget, "reservedUSD")));
        var feed = (await admin.Events("s")).Where(e => e.GetProperty("type").GetString()!.StartsWith("budget_", StringComparison.Ordinal)).ToList();
        Assert.Equal(["budget_reserved", "budget_settled", "budget_reserved", "budget_settled", "budget_reserved", "budget_settled"], feed.Select(e => e.GetProperty("type").GetString()));
        Assert.Equal(["0", "0.00038", "0.0006"], feed.Where(e => e.GetProperty("payload").TryGetProperty("spent_usd", out _)).Select(e => e.GetProperty("payload").GetProperty("spent_usd").GetRawText()));
        (await admin.Get("/api/cowork/sessions/nobody/usage")).IsProblem(404, "not_found");
        (await http.Get("/api/cowork/sessions/s/usage")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task Tasks_at_once_spend_no_more_than_the_budget()
    {
        await using var provider = new ModelServer();
        var reserved = new TaskCompletionSource();
        for (var i = 0; i < 64; i++)
        {
            provider.ThenStreamAfter(
                reserved.Task,
                """{"model":"m","choices":[{"index":0,"delta":{"content":"Done."},"finish_reason":"stop"}]}""",
                """{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":100}}""",
                "[DONE]");
        }
        var model = new ModelSettings { Name = "m", Provider = "openai", Model = "m", BaseUrl = provider.Url, Key = "sk-1", Price = new(0, 10_000), MaxOutputTokens = 100 };
        await using var host = await LiveHost.Start(s => s with { Models = [model], Runs = s.Runs with { DefaultModel = "m" }, Memory = new() { NotesByModel = false } });
        using var admin = host.Client(host.AdminToken);
        var runs = await Task.WhenAll(Enumerable.Range(0, 64).Select(async i =>
        {
            await admin.NewSession($"s{i}");
            return (await admin.Post($"/sessions/s{i}/turn", """{"message":"go","wait_for_completion":false}"""))["run_id"];
        }));
        await admin.Until("/metrics", got => got.Is(200).Json.GetProperty("status_counts").GetProperty("failed").GetInt32() == 54);
        Assert.Equal((0m, 10m, 10), (Usd(await admin.Get(Path), "remainingUSD"), Usd(await admin.Get(Path), "reservedUSD"), provider.Asked.Count));
        reserved.SetResult();
        await admin.Until("/metrics", got => got.Is(200).Json.GetProperty("status_counts").GetProperty("completed").GetInt32() == 10);
        Assert.Equal((0m, 10m, 0m), (Usd(await admin.Get(Path), "remainingUSD"), Usd(await admin.Get(Path), "spentUSD"), Usd(await admin.Get(Path), "reservedUSD")));
        Assert.Equal(10, provider.Asked.Count);
        foreach (var run in runs)
        {
            var shown = (await admin.Get($"/runs/{run}")).Is(200);
            Assert.True(shown["status"] == "completed" || shown.Json.GetProperty("error").GetProperty("code").GetString() == "budget_exceeded", shown.Text);
        }
    }

    static decimal Usd(Got got, string member) => got.Json.GetProperty(member).GetDecimal();
}
