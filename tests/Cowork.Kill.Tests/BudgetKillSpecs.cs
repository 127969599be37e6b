using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>The budget holds while a host is killed with calls of models under way.</summary>
public sealed class BudgetKillSpecs : DirectorySpecs
{
    [Fact]
    public async Task Two_hosts_of_which_one_is_killed_between_reservation_and_settlement_spend_no_more_than_the_budget()
    {
        await using var provider = new ModelServer();
        var killed = new TaskCompletionSource();
        for (var i = 0; i < 64; i++)
        {
            provider.ThenStreamAfter(
                killed.Task,
                """{"model":"m","choices":[{"index":0,"delta":{"content":"Done."},"finish_reason":"stop"}]}""",
                """{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":100}}""",
                "[DONE]");
        }
        var database = await TestPostgres.NewDatabase();
        (string, string)[] settings =
        [
            .. Shared, ("Cowork__Models__m__Provider", "openai"), ("Cowork__Models__m__Model", "m"), ("Cowork__Models__m__BaseUrl", provider.Url.ToString()),
            ("Cowork__Models__m__MaxOutputTokens", "100"), ("Cowork__Prices__m__Input", "0"), ("Cowork__Prices__m__Output", "10000"), ("Cowork__Memory__Notes", "extract"),
            ("Cowork__Runs__DefaultModel", "m"),
        ];
        await using var a = await HostProcess.Start(Path.Combine(Data, "a"), database, environment: settings);
        await using var b = await HostProcess.Start(Path.Combine(Data, "b"), database, environment: settings);
        var runs = new List<string>();
        for (var i = 0; i < 64; i++)
        {
            var http = i % 2 == 0 ? a.Http : b.Http;
            await http.NewSession($"s{i}");
            runs.Add((await http.Post($"/sessions/s{i}/turn", """{"message":"go","wait_for_completion":false}"""))["run_id"]);
        }
        // Every run has reserved a dollar and asked, or failed: the budget pays for ten.
        await b.Http.Until("/metrics", got => got.Is(200).Json.GetProperty("status_counts").GetProperty("failed").GetInt32() == 54);
        Assert.Equal(10, provider.Asked.Count);
        await a.Kill();
        killed.SetResult();
        var ended = await b.Http.Until(
            "/metrics",
            got => got.Is(200).Json.GetProperty("status_counts") is var counts && counts.GetProperty("completed").GetInt32() + counts.GetProperty("failed").GetInt32() == 64);
        // What the killed host had asked for counts as spent, so that nothing is left to ask again.
        Assert.Equal(10, provider.Asked.Count);
        var completed = ended.Json.GetProperty("status_counts").GetProperty("completed").GetInt32();
        Assert.InRange(completed, 1, 9);
        using var admin = new HttpClient { BaseAddress = new(b.Url) };
        admin.DefaultRequestHeaders.Authorization = new("Bearer", (await File.ReadAllTextAsync(Path.Combine(Data, "a", "admin-token"))).Trim());
        var budget = (await admin.Get("/api/cowork/config/budget")).Is(200);
        Assert.Equal(("10", "0", "0"), (Plain(budget, "spentUSD"), Plain(budget, "reservedUSD"), Plain(budget, "remainingUSD")));
        Assert.Equal(0, await b.Stop());
        await Ledger.Check(database, []);
    }

    static string Plain(Got got, string member) => got.Json.GetProperty(member).GetDecimal().ToString("0.######", System.Globalization.CultureInfo.InvariantCulture);
}
