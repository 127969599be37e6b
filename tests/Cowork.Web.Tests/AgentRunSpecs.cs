using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>Runs of agents that a group's controller asks for: as lines, as events, and again under the same key.</summary>
public sealed class AgentRunSpecs(TrustedTenant tenant) : IClassFixture<TrustedTenant>
{
    readonly HttpClient http = tenant.Host.Http;

    static string Body(string message, string agent = "assistant", string more = "") =>
        $$"""{"agent_id":"{{agent}}","messages":[{"role":"user","content":{{JsonSerializer.Serialize(message)}}}]{{more}}}""";

    static List<JsonElement> Lines(Got got) => [.. got.Is(200).Text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonElement.Parse(line))];

    static List<(string? Id, string? Event, JsonElement Data)> Events(Got got) =>
    [
        .. got.Is(200).Text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Where(part => part.Contains("data: ", StringComparison.Ordinal)).Select(part =>
        {
            var fields = part.Split('\n').Select(line => line.Split(": ", 2)).Where(field => field.Length == 2).ToDictionary(field => field[0], field => field[1]);
            return (fields.GetValueOrDefault("id"), fields.GetValueOrDefault("event"), JsonElement.Parse(fields["data"]));
        }),
    ];

    static string Text(JsonElement of, string member) => of.GetProperty(member).ToString();

    async Task<RequestSigner> Controller(string? group = null) => RequestSigner.Controller(await tenant.Open(group), "agents");

    [Fact]
    public async Task A_run_answers_with_a_line_for_each_result_and_is_a_run_of_the_groups_session()
    {
        var got = await (await Controller()).Send(http, "/agents/run", Body("/tool list_files {}\n/say hello there"));
        Assert.Equal("application/x-ndjson", got.ContentType);
        var lines = Lines(got);
        Assert.Equal(Enumerable.Range(1, lines.Count), lines.Select(line => line.GetProperty("id").GetInt32()));
        Assert.Equal(
            ["status", "status", "step_finish", "tool_call", "tool_result", "text_delta", "step_finish", "final"], lines.Select(line => Text(line, "type")));
        Assert.Equal(("hello there", "completed"), (Text(lines[^1], "text"), Text(lines[^1], "status")));
        Assert.All(lines, line => Assert.Equal("assistant", Text(line, "agent_id")));
        var run = (await tenant.Member.Get($"/runs/{Text(lines[0], "run_id")}")).Is(200);
        Assert.Equal(("hello there", tenant.Group.Replace("grp_", "sess_", StringComparison.Ordinal)), (run["reply"], run["session_id"]));
    }

    [Fact]
    public async Task A_stream_has_the_same_results_as_events_and_goes_on_behind_the_last_one_seen()
    {
        var controller = await Controller();
        var key = ("Idempotency-Key", $"stream-{controller.Kid}");
        var whole = Events(await controller.Send(http, "/agents/run-stream", Body("/say one two"), r => r.More.Add(key)));
        Assert.All(whole, e => Assert.Equal((Text(e.Data, "id"), Text(e.Data, "type")), (e.Id, e.Event)));
        Assert.Equal("final", whole[^1].Event);
        foreach (var seen in Enumerable.Range(0, whole.Count))
        {
            var rest = await controller.Send(http, "/agents/run-stream", Body("/say one two"), r => r.More.AddRange([key, ("Last-Event-ID", $"{seen}")]));
            Assert.Equal(whole.Skip(seen).Select(e => e.Data.GetRawText()), Events(rest).Select(e => e.Data.GetRawText()));
            Assert.Equal(["true"], rest.Headers.GetValues("Idempotency-Replayed"));
        }
        (await controller.Send(http, "/agents/run-stream", Body("/say one two"), r => r.More.AddRange([key, ("Last-Event-ID", "999")]))).IsProblem(422, "cursor_ahead");
        (await controller.Send(http, "/agents/run-stream", Body("/say another"), r => r.More.Add(key))).IsProblem(422, "idempotency_key_reused");
    }

    [Fact]
    public async Task A_client_that_goes_away_does_not_stop_the_run_and_an_approval_shows()
    {
        var controller = await Controller();
        var key = ("Idempotency-Key", $"away-{controller.Kid}");
        var body = Body("/tool write_file {\"path\":\"x.md\",\"content\":\"x\"}\n/say written");
        string run;
        var signed = controller.Sign(http, "/agents/run", body, r => r.More.Add(key));
        using (var request = new HttpRequestMessage(signed.Method, signed.Path) { Content = new StringContent(body, System.Text.Encoding.UTF8, "application/json") })
        {
            foreach (var (name, value) in signed.Headers)
            {
                request.Headers.TryAddWithoutValidation(name, value);
            }
            request.Content.Headers.ContentType = new("application/json");
            using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
            JsonElement line;
            do
            {
                line = JsonElement.Parse((await reader.ReadLineAsync())!);
            }
            while (!(line.TryGetProperty("status", out var status) && status.GetString() == "approval_required"));
            Assert.Equal("write_file", Text(line.GetProperty("approval"), "tool_name"));
            run = Text(line, "run_id");
            using var approver = tenant.Host.Client(await tenant.Host.Token(TrustedTenant.Org, "admin"));
            (await approver.Post($"/approvals/{Text(line.GetProperty("approval"), "approval_id")}/decision", """{"approved":true}""")).Is(200);
        }
        await tenant.Member.Until($"/runs/{run}", got => got["status"] == "completed");
        var again = Lines(await controller.Send(http, "/agents/run", body, r => r.More.Add(key)));
        Assert.Equal((run, "written"), (Text(again[^1], "run_id"), Text(again[^1], "text")));
    }

    [Fact]
    public async Task Who_may_not_and_what_is_wrong_is_refused_and_begins_nothing()
    {
        var controller = await Controller();
        (await controller.Send(http, "/agents/run", Body("/say x", agent: "nobody"))).IsProblem(422, "unknown_agent");
        (await controller.Send(http, "/agents/run", "{}")).IsProblem(422, "invalid_request");
        (await controller.Send(http, "/agents/run", """{"agent_id":"assistant","messages":[]}""")).IsProblem(422, "invalid_request");
        (await controller.Send(http, "/agents/run", """{"agent_id":"assistant","messages":[{"role":"assistant","content":"x"}]}""")).IsProblem(422, "invalid_request");
        (await controller.Send(http, "/agents/run", """{"agent_id":"assistant","messages":[{"role":"tool","content":"x"}]}""")).IsProblem(422, "invalid_request");
        (await controller.Send(http, "/agents/run", Body("/say x", more: ""","context":7"""))).IsProblem(422, "invalid_request");
        (await controller.Send(http, "/agents/run", Body("/say ok", more: ""","context":{"locale":"de"}"""))).Is(200);
        // After a cleanup the certificate is worth nothing, and other sessions of the group go on.
        var other = await Controller();
        var done = controller.Sign(http, "/infra/cleanup", $$"""{"group_id":"{{tenant.Group}}"}""", r => r.Claims["aud"] = "orchestrator");
        (await http.Send(done.Method, done.Path, done.Body, done.Headers)).Is(200);
        (await controller.Send(http, "/agents/run", Body("/say x"))).IsProblem(401, "session_closed");
        (await other.Send(http, "/agents/run", Body("/say x"))).Is(200);
    }

    [Fact]
    public async Task A_run_fails_with_an_error_and_then_the_final_result()
    {
        var lines = Lines(await (await Controller(tenant.OtherGroup)).Send(http, "/agents/run", Body("/fail no more")));
        Assert.Equal(["error", "final"], lines.TakeLast(2).Select(line => Text(line, "type")));
        Assert.Equal("failed", Text(lines[^1], "status"));
        Assert.Equal("model_failed", Text(lines[^2].GetProperty("error"), "code"));
    }
}
