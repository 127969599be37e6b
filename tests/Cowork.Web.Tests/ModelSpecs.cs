using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Testing;

using Microsoft.Extensions.Configuration;

namespace Cowork.Web.Tests;

/// <summary>Models as they are configured, and one asked by a real host.</summary>
public sealed class ModelSpecs
{
    static HostSettings Read(params (string Name, string Value)[] settings) =>
        HostSettings.Read([], new ConfigurationBuilder().AddInMemoryCollection(
            settings.GroupBy(s => s.Name).Select(s => new KeyValuePair<string, string?>(s.Key, s.Last().Value))).Build());

    [Fact]
    public void Nothing_configured_is_the_offline_model()
    {
        var settings = Read(("OPENAI_API_KEY", "sk-1"));
        Assert.Equal(("offline", 0), (settings.Runs.DefaultModel, settings.Models.Count));
    }

    [Fact]
    public void A_model_is_read_with_its_key_price_limits_and_time_outs()
    {
        var settings = Read(
            ("Cowork:Models:claude:Provider", "Anthropic"), ("Cowork:Models:claude:Model", "claude-x"), ("ANTHROPIC_API_KEY", " sk-ant-1 "),
            ("Cowork:Models:claude:MaxOutputTokens", "4000"), ("Cowork:Models:claude:Attempts", "2"), ("Cowork:Models:claude:BetweenTimeout", "00:00:30"),
            ("Cowork:Models:claude:Request:temperature", "0.2"), ("Cowork:Models:claude:Request:metadata:user_id", "u"), ("Cowork:Models:claude:Request:stop_sequences:0", "END"),
            ("Cowork:Models:claude:Request:flag", "True"), ("Cowork:Models:claude:Proxy", "http://u:p@proxy.example:3128"), ("HTTPS_PROXY", "http://elsewhere:1"),
            ("Cowork:Prices:claude-x:Input", "3"), ("Cowork:Prices:claude-x:Output", "15"), ("Cowork:Prices:claude-x:Cached", "0.3"),
            ("Cowork:Models:absent:Provider", "openai"));
        Assert.Equal("claude", settings.Runs.DefaultModel);
        Assert.Equal(["absent", "claude"], settings.Models.Select(m => m.Name));
        var model = settings.Models[1];
        Assert.Equal(("anthropic", "claude-x", "sk-ant-1", 4000), (model.Provider, model.Model, model.Key, model.MaxOutputTokens));
        Assert.Equal(new ModelPrice(3, 15, 0.3m), model.Price);
        Assert.Equal((2, TimeSpan.FromSeconds(30)), (model.Retries.Attempts, model.Timeouts.Idle));
        Assert.Equal(
            ["flag true", "metadata {\"user_id\":\"u\"}", "stop_sequences [\"END\"]", "temperature 0.2"], model.Request.Select(r => $"{r.Key} {r.Value.GetRawText()}"));
        Assert.Equal("http://u:p@proxy.example:3128/", model.Proxy?.ToString());
        Assert.DoesNotContain("u:p", model.ToString());
        Assert.Null(settings.Models[0].Proxy);
        Assert.False(settings.Models[0].IsReady);
    }

    [Fact]
    public void A_name_with_a_colon_has_its_price()
    {
        var model = Assert.Single(Read(
            ("Cowork:Models:local:Provider", "openai"), ("Cowork:Models:local:Model", "llama3:8b"), ("Cowork:Models:local:BaseUrl", "http://localhost:11434/v1"),
            ("Cowork:Prices:llama3:8b:Input", "0.1"), ("Cowork:Prices:llama3:8b:Output", "0.2")).Models);
        Assert.Equal(new ModelPrice(0.1m, 0.2m), model.Price);
    }

    [Fact]
    public void A_key_goes_only_where_somebody_sent_it()
    {
        var elsewhere = ("Cowork:Models:m:BaseUrl", "http://localhost:1/v1");
        Assert.Null(Read(("Cowork:Models:m:Provider", "openai"), elsewhere, ("OPENAI_API_KEY", "sk-1")).Models[0].Key);
        Assert.Equal("sk-2", Read(("Cowork:Models:m:Provider", "openai"), elsewhere, ("Cowork:Models:m:KeyVariable", "MINE"), ("MINE", "sk-2")).Models[0].Key);
        Assert.Equal("m", Read(("Cowork:Models:m:Provider", "openai"), elsewhere).Runs.DefaultModel);
    }

    [Theory]
    [InlineData("Cowork:Models:m:Provider", "mind-reader", "may be openai")]
    [InlineData("Cowork:Models:m:Modell", "x", "no setting Modell")]
    [InlineData("Cowork:Models:m:Key", "sk bad", "the key holds")]
    [InlineData("Cowork:Models:m:BaseUrl", "localhost:11434", "absolute http")]
    [InlineData("Cowork:Models:m:BaseUrl", "http://me:secret@localhost", "absolute http")]
    [InlineData("Cowork:Models:m:MaxOutputTokens", "0", "may be 1")]
    [InlineData("Cowork:Models:m:AnswerTimeout", "soon", "may be a time")]
    [InlineData("Cowork:Models:offline:Provider", "openai", "belongs to the offline model")]
    [InlineData("Cowork:Prices:m:Input", "1,5", "may be US dollars")]
    [InlineData("Cowork:Prices:m:Output", "1.5", "has no Input")]
    [InlineData("Cowork:Runs:DefaultModel", "n", "there are m, offline")]
    public void What_is_configured_wrongly_is_told_in_a_sentence(string name, string value, string words)
    {
        var e = Assert.Throws<ArgumentException>(() => Read(("Cowork:Models:m:Provider", "openai"), (name, value)));
        Assert.Contains(words, e.Message);
        Assert.DoesNotContain("sk bad", e.Message);
        Assert.DoesNotContain("secret", e.Message);
    }

    [Fact]
    public async Task A_turn_is_answered_by_a_model_that_failed_at_first()
    {
        await using var provider = new ModelServer();
        provider
            .ThenStatus(503, "{}")
            .ThenStream(
                """{"model":"m-2026","choices":[{"index":0,"delta":{"content":"Good morning."},"finish_reason":"stop"}]}""",
                """{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50}}""",
                "[DONE]");
        var model = new ModelSettings { Name = "m", Provider = "openai", Model = "m", BaseUrl = provider.Url, Key = "sk-secret-1", Price = new(2, 8) };
        await using var host = await LiveHost.Start(s => s with { Models = [model], Runs = s.Runs with { DefaultModel = "m" } });
        (await host.Http.Post("/sessions", """{"session_id":"s"}""")).Is(201);
        var turn = (await host.Http.Post("/sessions/s/turn", """{"message":"hello"}""")).Is(200);
        Assert.Equal(("completed", "Good morning.", "0.0006", "150"), (turn["status"], turn["reply"], turn["cost_usd"], turn["total_tokens"]));
        var feed = (await host.Http.Get("/sessions/s/events")).Is(200);
        Assert.Contains("model_retried", feed.Text);
        Assert.DoesNotContain("sk-secret-1", feed.Text);
    }

    [Fact]
    public async Task A_turn_is_answered_by_its_own_model_or_its_sessions_or_the_default()
    {
        await using var host = await LiveHost.Start(s => s with { Models = Offline("a", "b", "c"), Runs = s.Runs with { DefaultModel = "a" } });
        Assert.Equal("", (await host.Http.Post("/sessions", """{"session_id":"plain"}""")).Is(201)["model"]);
        Assert.Equal("b", (await host.Http.Post("/sessions", """{"session_id":"chosen","model":"b"}""")).Is(201)["model"]);
        Assert.Equal("b", (await host.Http.Get("/sessions/chosen")).Is(200)["model"]);

        Assert.Equal("a", await Answers("plain", "null"));
        Assert.Equal("c", await Answers("plain", "\"c\""));
        Assert.Equal("b", await Answers("chosen", "null"));
        Assert.Equal("c", await Answers("chosen", "\"c\""));
        // A run of a skill is a turn that names no model.
        var skill = (await host.Http.Post("/skills", """{"name":"s","prompt_template":"/say hi"}""")).Is(201);
        var run = (await host.Http.Post($"/skills/{skill["skill_id"]}/run", """{"session_id":"chosen"}""")).Is(200);
        Assert.Equal("b", (await host.Http.Get($"/runs/{run["run_id"]}")).Is(200)["model"]);

        async Task<string> Answers(string session, string model)
        {
            var turn = (await host.Http.Post($"/sessions/{session}/turn", $$"""{"message":"/say hi","model":{{model}}}""")).Is(200);
            Assert.Equal("completed", turn["status"]);
            return (await host.Http.Get($"/runs/{turn["run_id"]}")).Is(200)["model"];
        }
    }

    [Fact]
    public async Task A_model_that_is_not_there_is_refused_and_a_key_holds_for_one_model()
    {
        await using var host = await LiveHost.Start(s => s with { Models = Offline("a", "b") });
        var refused = (await host.Http.Post("/sessions", """{"session_id":"s","model":"z"}""")).IsProblem(422, "unknown_model");
        Assert.EndsWith("there are a, b, offline.", refused.Json.GetProperty("errors").GetProperty("$.model")[0].GetString());
        await host.Http.NewSession("s");
        (await host.Http.Post("/sessions/s/turn", """{"message":"/say hi","model":""}""")).IsProblem(422, "unknown_model");
        Assert.Equal("0", (await host.Http.Get("/sessions/s"))["runs"]);

        const string Asked = """{"message":"/say hi","model":"a","idempotency_key":"k"}""";
        var first = (await host.Http.Post("/sessions/s/turn", Asked)).Is(200);
        var again = (await host.Http.Post("/sessions/s/turn", Asked)).Is(200);
        Assert.Equal((first["run_id"], "True"), (again["run_id"], again["reused"]));
        (await host.Http.Post("/sessions/s/turn", """{"message":"/say hi","model":"b","idempotency_key":"k"}""")).IsProblem(422, "idempotency_key_reused");
        (await host.Http.Post("/sessions/s/turn", """{"message":"/say hi","idempotency_key":"k"}""")).IsProblem(422, "idempotency_key_reused");
    }

    static ModelSettings[] Offline(params string[] names) => [.. names.Select(name => new ModelSettings { Name = name, Provider = "offline", Model = name })];

    [Fact]
    public async Task A_proxy_is_used_only_where_a_models_settings_name_it()
    {
        await using var provider = new ModelServer();
        await using var proxy = new ModelServer();
        foreach (var server in (ModelServer[])[provider, proxy])
        {
            server.ThenStream("""{"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}""", "[DONE]");
        }
        var direct = new ModelSettings { Name = "direct", Provider = "openai", Model = "m", BaseUrl = provider.Url, Key = "sk-1" };
        var proxied = direct with { Name = "proxied", BaseUrl = new("http://models.invalid/v1"), Proxy = new(proxy.Url.GetLeftPart(UriPartial.Authority)) };
        await using var host = await LiveHost.Start(s => s with { Models = [direct, proxied], Memory = new() { NotesByModel = false } });
        var session = await host.Http.NewSession();
        foreach (var model in (string[])["direct", "proxied"])
        {
            Assert.Equal("hi", (await host.Http.Post($"/sessions/{session}/turn", $$"""{"message":"hello","model":"{{model}}"}""")).Is(200)["reply"]);
        }
        Assert.Equal((1, 1), (provider.Asked.Count, proxy.Asked.Count));
    }

    [Fact]
    public async Task A_model_that_loops_ends_as_limit_rounds()
    {
        await using var provider = new ModelServer();
        for (var i = 0; i < 6; i++)
        {
            provider.ThenStream(
                """{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"list_files","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}""",
                "[DONE]");
        }
        var model = new ModelSettings { Name = "m", Provider = "openai", Model = "m", BaseUrl = provider.Url };
        await using var host = await LiveHost.Start(s => s with
        {
            Models = [model],
            Runs = s.Runs with { DefaultModel = "m", Limits = s.Runs.Limits with { Rounds = 5 } },
        });
        var turn = (await host.Http.Turn(await host.Http.NewSession(), "hello")).Is(200);
        Assert.Equal(("failed", "limit_rounds"), (turn["status"], turn.Json.GetProperty("error").GetProperty("code").GetString()));
        Assert.Equal(5, provider.Asked.Count);
    }

    [Fact]
    public async Task Whatever_a_model_writes_is_kept_and_proved()
    {
        await using var provider = new ModelServer();
        provider
            .ThenStream(
                """{"choices":[{"index":0,"delta":{"content":"NUL \u0000, half \ud83d"}}]}""",
                """{"choices":[{"index":0,"delta":{"content":"\ude00 \udc00"}}]}""",
                """{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c\u0000","function":{"name":"read_file","arguments":"{\"path\":\"a\\u0000\""}}]}}]}""",
                """{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"d","function":{"name":"re\u0000ad\ud800","arguments":"{\"path\":\"\\ud800\"}"}}]},"finish_reason":"tool_calls"}]}""",
                "[DONE]")
            .ThenStream("""{"choices":[{"index":0,"delta":{"content":"\udfff\u0000"},"finish_reason":"stop"}]}""", "[DONE]");
        var model = new ModelSettings { Name = "m", Provider = "openai", Model = "m", BaseUrl = provider.Url };
        var database = await TestPostgres.NewDatabase();
        // A note that the model is asked for would be a job that is still under way when the database is checked.
        await using var host = await LiveHost.Start(s => s with
        {
            Database = database,
            Models = [model],
            Memory = new() { NotesByModel = false },
            Runs = s.Runs with { DefaultModel = "m" },
        });
        var turn = (await host.Http.Turn(await host.Http.NewSession("s"), "hello")).Is(200);
        Assert.Equal(("completed", "\\udfff\\u0000"), (turn["status"], turn["reply"]));
        var text = string.Concat((await host.Http.Events("s")).Where(e => e.GetProperty("type").GetString() == "output_delta")
            .Select(e => e.GetProperty("payload").GetProperty("text").GetString()));
        Assert.Equal("NUL \\u0000, half 😀 \\udc00\\udfff\\u0000", text);
        Assert.Null(Projections.TraceVerifier.Verify(await host.Http.GetByteArrayAsync($"/runs/{turn["run_id"]}/trace")).Fault);
        await Ledger.Check(database, [turn["run_id"]]);
    }

    [Fact]
    public async Task A_reply_that_ends_early_is_told_wherever_it_is_shown()
    {
        await using var provider = new ModelServer();
        provider
            .ThenStream("""{"choices":[{"index":0,"delta":{"content":"and then"},"finish_reason":"length"}]}""", "[DONE]")
            .ThenStream("""{"choices":[{"index":0,"delta":{"content":"the end."},"finish_reason":"stop"}]}""", "[DONE]");
        var model = new ModelSettings { Name = "m", Provider = "openai", Model = "m", BaseUrl = provider.Url, Price = new(2, 8) };
        await using var host = await LiveHost.Start(s => s with { Models = [model], Runs = s.Runs with { DefaultModel = "m" }, Memory = new() { NotesByModel = false } });
        var session = await host.Http.NewSession("s");
        var cut = (await host.Http.Turn(session, "hello")).Is(200);
        Assert.Equal(("completed", "and then", "length"), (cut["status"], cut["reply"], cut["stop_reason"]));
        Assert.Equal("length", (await host.Http.Get($"/runs/{cut["run_id"]}")).Is(200)["stop_reason"]);
        var whole = (await host.Http.Turn(session, "go on")).Is(200);
        Assert.Equal(System.Text.Json.JsonValueKind.Null, whole.Json.GetProperty("stop_reason").ValueKind);
        var events = (await host.Http.Events("s")).ToList();
        var completed = events.Where(e => e.GetProperty("type").GetString() == "run_completed").Select(e => e.GetProperty("payload")).ToList();
        Assert.Equal("length", completed[0].GetProperty("stop_reason").GetString());
        Assert.False(completed[1].TryGetProperty("stop_reason", out _));

        // This provider says nothing of tokens: they are estimated, told so, and cost something.
        var answer = events.First(e => e.GetProperty("type").GetString() == "llm_response").GetProperty("payload");
        Assert.True(answer.GetProperty("usage_estimated").GetBoolean());
        Assert.True(answer.GetProperty("cost_usd").GetDecimal() > 0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Thinking_comes_back_to_its_provider_and_is_shown_where_the_policy_says_so(bool shows)
    {
        await using var provider = new ModelServer();
        provider
            .ThenStream(
                """{"choices":[{"index":0,"delta":{"reasoning_content":"The files first."}}]}""",
                """{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"list_files","arguments":"{}"},"extra_content":{"google":{"thought_signature":"c2ln"}}}]}}]}""",
                """{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}""",
                "[DONE]")
            .ThenCut("""{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":1}}""")
            .ThenStream("""{"choices":[{"index":0,"delta":{"content":"None."},"finish_reason":"stop"}]}""", "[DONE]");
        var model = new ModelSettings { Name = "m", Provider = "openai", Model = "m", BaseUrl = provider.Url, Price = new(2, 8) };
        var database = await TestPostgres.NewDatabase();
        await using var host = await LiveHost.Start(s => s with
        {
            Database = database,
            Models = [model],
            Policy = new Policy(Policy.BuiltIn.Rules) { ShowThinking = shows },
            Runs = s.Runs with { DefaultModel = "m" },
            Memory = new() { NotesByModel = false },
        });
        var turn = (await host.Http.Turn(await host.Http.NewSession("s"), "hello")).Is(200);
        Assert.Equal(("completed", "None."), (turn["status"], turn["reply"]));
        var sent = provider.Asked.Last().Body.GetProperty("messages").GetRawText();
        Assert.Contains("\"reasoning_content\":\"The files first.\"", sent);
        Assert.Contains("\"extra_content\":{\"google\":{\"thought_signature\":\"c2ln\"}}", sent);
        var feed = (await host.Http.Get("/sessions/s/events")).Is(200).Text;
        Assert.Equal(shows, feed.Contains("thinking_delta", StringComparison.Ordinal));
        Assert.Equal(shows, feed.Contains("The files first.", StringComparison.Ordinal));
        Assert.DoesNotContain("c2ln", feed);
        Assert.Contains("""
            "usage":{"cost_usd":0.002008,"input_tokens":1000,"output_tokens":1}
            """, feed);
        var trace = await host.Http.GetStringAsync($"/runs/{turn["run_id"]}/trace");
        Assert.Contains("The files first.", trace);
        Assert.Contains("c2ln", trace);
        await Ledger.Check(database, [turn["run_id"]]);
    }
}
