using System.Text.Json.Nodes;

namespace Cowork.Web.Tests;

/// <summary>Who calls, what they may do, and which models they may name.</summary>
public sealed class MeSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    [Theory]
    [InlineData("member")]
    [InlineData("approver")]
    [InlineData("auditor")]
    [InlineData("admin")]
    public async Task The_operations_of_a_caller_are_those_that_no_role_is_missing_for(string role)
    {
        using var http = await tenant.Client(role);
        var me = (await http.Get("/me")).Is(200);
        Assert.Equal(("ann", "user:ann", tenant.Org, $"[\"{role}\"]", "token", "False"), (me["user"], me["actor"], me["org_id"], me["roles"], me["authentication"], me["is_operator"]));
        Assert.True(me.Json.GetProperty("expires_at").GetDateTimeOffset() > DateTimeOffset.UnixEpoch);
        HashSet<string> offered = [.. me.Json.GetProperty("operations").EnumerateArray().Select(name => name.GetString()!)];
        var document = JsonNode.Parse((await http.Get("/openapi.json")).Text)!;
        var tried = 0;
        foreach (var (path, operations) in document["paths"]!.AsObject())
        {
            // What reads without an id, and does not stream, can be tried.
            if (path.Contains('{', StringComparison.Ordinal) || path.EndsWith("/stream", StringComparison.Ordinal) || path.EndsWith("/shell/events", StringComparison.Ordinal)
                || operations!["get"] is not { } get)
            {
                continue;
            }
            var got = await http.Get(path);
            var isRefused = (int)got.Status == 403 && got["code"] is "role_missing" or "operator_only";
            Assert.True(offered.Contains((string)get["operationId"]!) != isRefused, $"{role} {path}: {got.Status}");
            tried++;
        }
        Assert.True(tried > 20, $"{tried}");
        Assert.Equal(role is "member" or "admin", offered.Contains("takeTurn"));
        Assert.Equal(role is "approver" or "admin", offered.Contains("decideApproval"));
        Assert.Equal(role == "admin", offered.Contains("issueToken"));
    }

    [Fact]
    public async Task The_local_user_needs_no_token_and_may_all_but_what_wants_one()
    {
        var me = (await tenant.Host.Http.Get("/me")).Is(200);
        Assert.Equal(("local", "local", "default", "True", "True"), (me["user"], me["authentication"], me["org_id"], me["is_operator"], me["sees_host"]));
        Assert.Equal(("", ""), (me["token_id"], me["expires_at"]));
        var offered = me.Json.GetProperty("operations").EnumerateArray().Select(name => name.GetString()).ToList();
        Assert.Contains("listDeadLetters", offered);
        Assert.DoesNotContain("createTask", offered);
    }

    [Fact]
    public async Task Models_are_listed_with_their_prices_and_without_secrets()
    {
        await using var host = await LiveHost.Start(settings => settings with
        {
            Models =
            [
                new() { Name = "fast", Provider = "openai", Model = "m-1", Key = "sk-secret", BaseUrl = new("http://user:secret@models.example/v1"), Price = new(2, 8, 0.5m) },
                new() { Name = "absent", Provider = "anthropic", Model = "m-2", MaxOutputTokens = 100 },
            ],
            Runs = settings.Runs with { DefaultModel = "fast" },
        });
        var list = (await host.Http.Get("/models")).Is(200);
        Assert.Equal("fast", list["default"]);
        Assert.Equal(
            """
            [{"name":"absent","provider":"anthropic","model":"m-2","is_default":false,"is_ready":false,"max_output_tokens":100,"price":null},
            {"name":"fast","provider":"openai","model":"m-1","is_default":true,"is_ready":true,"max_output_tokens":null,"price":{"input":2,"output":8,"cached":0.5}},
            {"name":"offline","provider":"offline","model":"offline","is_default":false,"is_ready":true,"max_output_tokens":null,"price":null}]
            """.ReplaceLineEndings(""),
            list["models"]);
        Assert.DoesNotContain("secret", list.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Every_contract_lets_a_turn_choose_its_model_and_refuses_one_that_is_not_there()
    {
        await using var host = await LiveHost.Start(settings => settings with
        {
            Models = [.. new[] { "a", "b" }.Select(name => new Application.Models.ModelSettings { Name = name, Provider = "offline", Model = name })],
            Runs = settings.Runs with { DefaultModel = "a" },
        });
        using var http = host.Client(host.AdminToken);
        var session = await http.NewSession();
        var skill = (await http.Post("/skills", """{"name":"s","prompt_template":"/say hi"}""")).Is(201)["skill_id"];
        foreach (var (path, body, id, expected) in ((string, string, string, int)[])
            [
                ($"/sessions/{session}/turn", """{"message":"/say hi","model":"NAME"}""", "run_id", 200),
                ($"/skills/{skill}/run", $$"""{"session_id":"{{session}}","model":"NAME"}""", "run_id", 200),
                ("/api/v1/responses", $$"""{"conversation_id":"{{session}}","input":"/say hi","model":"NAME","stream":false}""", "id", 200),
                ($"/api/cowork/sessions/{session}/tasks", """{"prompt":"/say hi","model":"NAME"}""", "taskId", 201),
            ])
        {
            var run = (await http.Post(path, body.Replace("NAME", "b", StringComparison.Ordinal))).Is(expected)[id];
            Assert.Equal((path, "b"), (path, (await http.Get($"/runs/{run}")).Is(200)["model"]));
            (await http.Post(path, body.Replace("NAME", "c", StringComparison.Ordinal))).IsProblem(422, "unknown_model");
        }
    }
}
