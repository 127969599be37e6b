using System.Text.Json;

using Cowork.Application;
using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;

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
        using (var stream = await AgentStream.Open(http, controller, "/agents/run", body, r => r.More.Add(key)))
        {
            var line = (await stream.UntilStatus("approval_required"))[^1];
            Assert.Equal("write_file", Text(line.GetProperty("approval"), "tool_name"));
            run = Text(line, "run_id");
            using var approver = tenant.Host.Client(await tenant.Host.Token(TrustedTenant.Org, "admin"));
            (await approver.Post($"/approvals/{Text(line.GetProperty("approval"), "approval_id")}/decision", """{"approved":true}""")).Is(200);
        }
        await tenant.Member.Until($"/runs/{run}", got => got["status"] == "completed");
        var again = Lines(await controller.Send(http, "/agents/run", body, r => r.More.Add(key)));
        Assert.Equal((run, "written"), (Text(again[^1], "run_id"), Text(again[^1], "text")));
    }

    [Theory]
    [InlineData("/agents/run", "the app's key is revoked")]
    [InlineData("/agents/run-stream", "the app's key is revoked")]
    [InlineData("/agents/run", "the certificate expires")]
    [InlineData("/agents/run-stream", "the certificate expires")]
    [InlineData("/agents/run-stream", "the session is closed")]
    [InlineData("/agents/run-stream", "the user is removed")]
    public async Task A_stream_ends_when_what_signed_for_it_is_worth_nothing_any_more_and_the_run_goes_on(string path, string end)
    {
        using var app = await RequestSigner.App(tenant.Admin, "ending");
        var certificates = tenant.Host.Services.GetRequiredService<SessionCertificates>();
        var opened = await Patience.Before(TimeSpan.FromSeconds(4), async at =>
        {
            var group = await tenant.NewGroup();
            var signer = RequestSigner.Controller(await tenant.Open(group, app), "agents");
            using var other = RequestSigner.Controller(await tenant.Open(group), "agents");
            var session = (await certificates.Verify(signer.Certificate!, default)).Session!;
            var certificate = end == "the certificate expires" ? await certificates.Issue(session with { ExpiresAt = at }, default) : signer.Certificate;
            var first = await AgentStream.Open(
                http, signer, path, Body("/tool write_file {\"path\":\"x.md\",\"content\":\"x\"}\n/say written"), r => r.Certificate = certificate);
            var second = await AgentStream.Open(http, other, path, Body("/say beside"));
            return (Group: group, Signer: signer, First: first, Second: second, Waits: (await first.UntilStatus("approval_required"))[^1]);
        });
        using var controller = opened.Signer;
        using var stream = opened.First;
        using var beside = opened.Second;
        _ = end switch
        {
            "the app's key is revoked" => (await tenant.Admin.Delete($"/infra/app-keys/{app.Kid}")).Is(204),
            "the session is closed" => (await controller.Send(
                http, "/infra/cleanup", $$"""{"group_id":"{{opened.Group}}"}""", r => r.Claims["aud"] = "orchestrator")).Is(200),
            _ => null,
        };
        if (end == "the user is removed")
        {
            await Groups.NoMember(tenant.Host, TrustedTenant.Org, opened.Group, "ann");
        }
        Assert.DoesNotContain(await stream.UntilEnd(), result => Text(result, "type") == "final");
        using var approver = tenant.Host.Client(await tenant.Host.Token(TrustedTenant.Org, "admin"));
        (await approver.Post($"/approvals/{Text(opened.Waits.GetProperty("approval"), "approval_id")}/decision", """{"approved":true}""")).Is(200);
        if (end != "the user is removed")
        {
            Assert.Equal("final", Text((await beside.UntilEnd())[^1], "type"));
        }
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
