using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>A proposed policy over the decisions of the past.</summary>
public sealed class PolicySimulationSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    static string Body(object body) => JsonSerializer.Serialize(body);

    static List<(string Before, string After, int Calls)> Outcomes(Got got) =>
        [.. got.Json.GetProperty("outcomes").EnumerateArray().Select(o => (o.GetProperty("before").GetString()!, o.GetProperty("after").GetString()!, o.GetProperty("calls").GetInt32())).Order()];

    static JsonElement Rule(string name, string outcome, object? more = null) =>
        JsonSerializer.SerializeToElement(more is null ? new Dictionary<string, object> { ["name"] = name, ["outcome"] = outcome, ["reason"] = "Because." }
            : JsonSerializer.Deserialize<Dictionary<string, object>>(JsonSerializer.Serialize(more))!.Append(new("name", name)).Append(new("outcome", outcome))
                .Append(new("reason", "Because.")).ToDictionary());

    [Fact]
    public async Task What_would_have_been_decided_is_counted_with_examples_and_resumed()
    {
        using var theirs = await tenant.Stranger("admin", "auditor", "member", "approver");
        var session = await theirs.NewSession();
        async Task<string> Call(string tool, string input) => (await theirs.Turn(session, $"/tool {tool} {input}")).Is(200)["run_id"];
        var output = await Call("write_file", """{"path":".anton/output/a.md","content":"x"}""");
        await Call("list_files", """{"path":"."}""");
        var secret = await Call("read_file", """{"path":".env"}""");
        var waiting = await Call("write_file", """{"path":"b.md","content":"x"}""");

        // The policy in force decides as it did.
        var same = (await theirs.Post("/policy/simulate", Body(new { policy = (await theirs.Get("/policy")).Is(200).Json.GetProperty("policy") }))).Is(200);
        Assert.Equal([("allow", "allow", 2), ("confirm", "confirm", 1), ("deny", "deny", 1)], Outcomes(same));
        Assert.Equal(("4", "0", "0", ""), (same["decisions"], same["changed"], same["unknown"], same["next_cursor"]));
        Assert.Equal((await theirs.Get("/policy"))["digest"], same["digest"]);

        object[] rules = [Rule("no_output", "deny", new { kinds = new[] { "create", "overwrite" }, below_output = true }), Rule("rest", "allow", new { inside_grants = true })];
        var other = (await theirs.Post("/policy/simulate", Body(new { rules }))).Is(200);
        Assert.Equal([("allow", "allow", 1), ("allow", "deny", 1), ("confirm", "allow", 1), ("deny", "allow", 1)], Outcomes(other));
        Assert.Equal("3", other["changed"]);
        var examples = other.Json.GetProperty("examples").EnumerateArray().ToDictionary(e => e.GetProperty("run_id").GetString()!);
        Assert.Equal(new[] { output, secret, waiting }.Order(), examples.Keys.Order());
        Assert.Equal(
            ("write_file", "write_output", "no_output", "allow", "deny", ".anton/output/a.md"),
            (examples[output].GetProperty("tool").GetString(), examples[output].GetProperty("rule_before").GetString(), examples[output].GetProperty("rule_after").GetString(),
                examples[output].GetProperty("before").GetString(), examples[output].GetProperty("after").GetString(), examples[output].GetProperty("paths")[0].GetString()));
        // The run stands as it was when it was judged.
        (await theirs.Get($"/runs/{output}?as_of={examples[output].GetProperty("gid").GetInt64()}")).Is(200);

        var (parts, cursor) = (new List<(string, string, int)>(), (string?)null);
        do
        {
            var part = (await theirs.Post("/policy/simulate", Body(cursor is null ? new { rules, limit = 1 } : new { rules, limit = 1, cursor }))).Is(200);
            parts.AddRange(Outcomes(part));
            cursor = part.Json.GetProperty("next_cursor").GetString();
        }
        while (cursor is not null);
        Assert.Equal(Outcomes(other), parts.GroupBy(p => (p.Item1, p.Item2)).Select(g => (g.Key.Item1, g.Key.Item2, g.Sum(p => p.Item3))).Order());
        Assert.Equal([("allow", "deny", 1), ("confirm", "allow", 1)], Outcomes((await theirs.Post("/policy/simulate", Body(new { rules, tools = new[] { "write_*" } }))).Is(200)));
        var gid = examples[secret].GetProperty("gid").GetInt64();
        Assert.Equal(
            [("deny", "allow", 1)],
            Outcomes((await theirs.Post("/policy/simulate", Body(new { rules, from = $"{gid}", to = examples[secret].GetProperty("event_id").GetString() }))).Is(200)));
        Assert.Equal("0", (await theirs.Post("/policy/simulate", Body(new { rules, to = "2001-01-01" }))).Is(200)["decisions"]);
        // No other tenant's calls are among them.
        Assert.Equal("0", (await http.Post("/policy/simulate", Body(new { rules }))).Is(200)["decisions"]);
    }

    [Fact]
    public async Task What_would_have_happened_is_no_decision_of_the_past()
    {
        using var theirs = await tenant.Stranger("admin", "auditor", "member");
        var session = await theirs.NewSession();
        var run = (await theirs.Turn(session, """/tool write_file {"path":".anton/output/a.md","content":"x"}""")).Is(200)["run_id"];
        var rules = new[] { Rule("read_only", "deny", new { tools = new[] { "write_file" } }) };
        var at = (await theirs.Events(session)).First(e => e.GetProperty("type").GetString() == "policy_decision").GetProperty("id").GetInt64();
        var before = (await theirs.Post("/policy/simulate", Body(new { rules }))).Is(200);
        (await theirs.Post($"/runs/{run}/counterfactual", Body(new { from_event = at, rules }))).Is(200);
        var after = (await theirs.Post("/policy/simulate", Body(new { rules }))).Is(200);
        Assert.Equal([("allow", "deny", 1)], Outcomes(before));
        Assert.Equal(Outcomes(before), Outcomes(after));
        Assert.Equal(before["decisions"], after["decisions"]);
        // Where the run begins before the period, too.
        var last = (await theirs.Get("/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray().Last(e => e.GetProperty("type").GetString() == "policy_decision");
        Assert.Equal("0", (await theirs.Post("/policy/simulate", Body(new { rules, from = $"{last.GetProperty("gid").GetInt64()}" }))).Is(200)["decisions"]);
    }

    [Theory]
    [InlineData("""{}""", 422, "invalid_request", "$.rules")]
    [InlineData("""{"rules":[],"policy":{}}""", 422, "invalid_request", "$.policy")]
    [InlineData("""{"rules":[]}""", 422, "invalid_policy", "$.rules")]
    [InlineData("""{"rules":[{"name":"a","outcome":"maybe","reason":"x"}]}""", 422, "invalid_policy", "$.rules[0].outcome")]
    [InlineData("""{"policy":{"rules":[{"name":"a","outcome":"deny","reason":"x","path":["a"]}]}}""", 422, "invalid_policy", "$.policy.rules[0].path")]
    [InlineData("""{"policy":7}""", 422, "invalid_policy", "$.policy")]
    [InlineData("""{"policy":{"show_thinking":true},"from":"x"}""", 422, "invalid_request", "$.from")]
    [InlineData("""{"policy":{"show_thinking":true},"to":"9223372036854775807"}""", 422, "as_of_ahead", "$.to")]
    [InlineData("""{"policy":{"show_thinking":true},"form":"1"}""", 422, "invalid_request", "$.form")]
    [InlineData("""{"policy":{"show_thinking":true},"from":500}""", 422, "invalid_request", "$.from")]
    [InlineData("""{"policy":{"show_thinking":true},"from":"3","to":"1"}""", 422, "invalid_request", "$.to")]
    [InlineData("""{"policy":{"show_thinking":true},"limit":0}""", 422, "invalid_request", "$.limit")]
    [InlineData("""{"policy":{"show_thinking":true},"tools":[]}""", 422, "invalid_request", "$.tools")]
    [InlineData("""{"policy":{"show_thinking":true},"cursor":"1"}""", 422, "unknown_cursor", "$.cursor")]
    public async Task A_fault_is_refused_with_its_place(string body, int status, string code, string place)
    {
        var refused = (await http.Post("/policy/simulate", body)).IsProblem(status, code);
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty(place, out _), refused.Text);
    }

    [Fact]
    public async Task Auditors_and_administrators_alone_ask()
    {
        using var ann = await tenant.Client("member", "approver");
        (await ann.Get("/policy")).IsProblem(403, "role_missing");
        (await ann.Post("/policy/simulate", """{"policy":{"show_thinking":true}}""")).IsProblem(403, "role_missing");
    }
}
