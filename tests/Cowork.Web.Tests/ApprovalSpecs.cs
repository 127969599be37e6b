using Cowork.Application.Models;
using Cowork.Testing;

using Microsoft.Extensions.Configuration;

namespace Cowork.Web.Tests;

/// <summary>Approvals over HTTP: what waits, who may decide, and that the run goes on, here or on another host.</summary>
public sealed class ApprovalSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Message = "/tool write_file {\"path\":\"report.md\",\"content\":\"hello\"}\n/say done";

    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_waiting_turn_answers_when_a_person_is_needed_and_the_decision_lets_it_go_on()
    {
        var session = (await http.Post("/sessions")).Is(201);
        var turn = (await http.Turn(session["session_id"], Message)).Is(200);
        Assert.Equal("approval_required", turn["status"]);
        var id = turn.Json.GetProperty("pending_approval_ids")[0].GetString()!;
        var pending = Assert.Single((await http.Get($"/approvals?session_id={session["session_id"]}")).Is(200).Json.GetProperty("approvals").EnumerateArray());
        Assert.Equal(id, pending.GetProperty("approval_id").GetString());
        Assert.Equal("report.md", pending.GetProperty("tool_input").GetProperty("path").GetString());
        Assert.Equal(
            ["approval_id", "session_id", "run_id", "tool_call_id", "tool_name", "tool_input", "args_digest", "reason", "rule", "status", "created_at", "expires_at",
                "decided_at", "decided_by", "decision_note", "id", "decided_by_issuers"],
            pending.EnumerateObject().Select(m => m.Name));

        var decided = (await http.Post($"/approvals/{id}/decision", """{"approved":true,"note":"fine"}""", ("Idempotency-Key", "k1"))).Is(200);
        Assert.Equal(("approved", "user:local", "fine"), (decided["status"], decided["decided_by"], decided["decision_note"]));
        Assert.Equal(decided.Text, (await http.Get($"/approvals/{id}")).Is(200).Text);
        await http.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
        Assert.Equal("hello", await File.ReadAllTextAsync(Path.Combine(session["workspace_path"], "report.md")));

        Assert.Equal(decided.Text, (await http.Post($"/approvals/{id}/decision", """{"approved":true}""")).Is(200).Text);
        Assert.Equal(decided.Text, (await http.Post($"/approvals/{id}/decision", """{"approved":true,"note":"fine"}""", ("Idempotency-Key", "k1"))).Is(200).Text);
        (await http.Post($"/approvals/{id}/decision", """{"approved":false}""")).IsProblem(409, "approval_decided");
        (await http.Post($"/approvals/{id}/decision", """{"approved":false}""", ("Idempotency-Key", "k1"))).IsProblem(422, "idempotency_key_reused");
        Assert.Empty((await http.Get($"/approvals?session_id={session["session_id"]}")).Is(200).Json.GetProperty("approvals").EnumerateArray());
        Assert.Single((await http.Get($"/approvals?status=approved&session_id={session["session_id"]}")).Is(200).Json.GetProperty("approvals").EnumerateArray());
    }

    [Fact]
    public async Task Approve_and_reject_racing_64_times_leave_one_decision_each()
    {
        await Task.WhenAll(Enumerable.Range(0, 64).Select(async i =>
        {
            var session = await http.NewSession($"race-{i}");
            var turn = (await http.Turn(session, Message)).Is(200);
            var path = $"/approvals/{turn.Json.GetProperty("pending_approval_ids")[0].GetString()}";
            // The same person's hand with the same key, another one's without, and both outcomes at once.
            var answers = await Task.WhenAll(
                http.Post($"{path}/decision", """{"approved":true,"note":"yes"}""", ("Idempotency-Key", $"yes-{i}")),
                http.Post($"{path}/decision", """{"approved":false,"note":"no"}""", ("Idempotency-Key", $"no-{i}")),
                http.Post($"{path}/decision", """{"approved":false}"""),
                http.Post($"{path}/decision", """{"approved":true}"""));
            var approved = (await http.Get(path)).Is(200)["status"] == "approved";
            Assert.Equal(approved ? [200, 409, 409, 200] : [409, 200, 200, 409], answers.Select(answer => (int)answer.Status));
            await http.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
            var decided = Assert.Single(await http.Events(session), e => e.GetProperty("type").GetString() == "approval_decided");
            Assert.Equal(approved ? "approved" : "rejected", decided.GetProperty("payload").GetProperty("outcome").GetString());
            Assert.Equal(approved, File.Exists(Path.Combine(tenant.WorkspaceOf(session), "report.md")));
        }));
    }

    [Fact]
    public async Task Long_arguments_are_shown_whole_by_themselves_and_in_a_list_as_far_as_they_fit()
    {
        await using var provider = new ModelServer();
        var content = new string('x', 3 << 20);
        for (var i = 0; i < 2; i++)
        {
            provider.ThenStream(
                $$$"""{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"write_file","arguments":"{\"path\":\"r.md\",\"content\":\"{{{content}}}\"}"}}]},"finish_reason":"tool_calls"}]}""",
                """{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}""",
                "[DONE]");
        }
        var model = new ModelSettings { Name = "m", Provider = "openai", Model = "m", BaseUrl = provider.Url };
        await using var host = await LiveHost.Start(s => s with { Models = [model], Runs = s.Runs with { DefaultModel = "m" } });
        foreach (var session in (string[])["s", "t"])
        {
            Assert.Equal("approval_required", (await host.Http.Turn(await host.Http.NewSession(session), "write")).Is(200)["status"]);
        }
        var listed = (await host.Http.Get("/approvals")).Is(200).Json.GetProperty("approvals").EnumerateArray().ToList();
        Assert.Equal([content.Length, 0], listed.Select(a => a.GetProperty("tool_input").TryGetProperty("content", out var whole) ? whole.GetString()!.Length : 0));
        Assert.Equal(64, listed[1].GetProperty("tool_input").GetProperty("sha256").GetString()!.Length);
        var one = (await host.Http.Get($"/approvals/{listed[1].GetProperty("approval_id").GetString()}")).Is(200);
        Assert.Equal(content, one.Json.GetProperty("tool_input").GetProperty("content").GetString());
    }

    [Fact]
    public async Task A_policy_from_a_file_decides_and_what_no_rule_fits_is_denied_by_name()
    {
        var file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, """{"rules":[{"name":"ask_to_look","outcome":"confirm","reason":"Looking around.","kinds":["list"]}]}""");
            var settings = HostSettings.Read([], new ConfigurationBuilder().AddInMemoryCollection([new("Cowork:Policy", file)]).Build());
            await using var host = await LiveHost.Start(usual => usual with { Policy = settings.Policy });
            var turn = (await host.Http.Turn(await host.Http.NewSession("s"), "/tool read_file {\"path\":\"a\"}\n/tool list_files {}")).Is(200);
            Assert.Equal("approval_required", turn["status"]);
            var verdicts = (await host.Http.Events("s")).Where(e => e.GetProperty("type").GetString() == "policy_decision").Select(e => e.GetProperty("payload")).ToList();
            Assert.Equal(["deny no_rule", "confirm ask_to_look"], verdicts.Select(v => $"{v.GetProperty("outcome").GetString()} {v.GetProperty("rule").GetString()}"));
        }
        finally
        {
            File.Delete(file);
        }
        Assert.Throws<ArgumentException>(
            () => HostSettings.Read([], new ConfigurationBuilder().AddInMemoryCollection([new("Cowork:Policy", file)]).Build()));
    }

    [Fact]
    public async Task The_approvals_of_a_deleted_session_are_not_listed_any_more()
    {
        var (gone, stays) = (await http.NewSession(), await http.NewSession());
        foreach (var session in (string[])[stays, gone])
        {
            Assert.Equal("approval_required", (await http.Turn(session, Message)).Is(200)["status"]);
        }
        (await http.Delete($"/sessions/{gone}")).Is(204);
        foreach (var status in (string[])["all", "pending", "rejected"])
        {
            var shown = (await http.Get($"/approvals?limit=1000&status={status}")).Is(200).Json.GetProperty("approvals").EnumerateArray()
                .Select(a => a.GetProperty("session_id").GetString()).ToList();
            Assert.DoesNotContain(gone, shown);
            Assert.Equal(status != "rejected", shown.Contains(stays));
        }
    }

    [Fact]
    public async Task What_is_written_below_the_output_root_is_shown()
    {
        var session = await http.NewSession();
        var turn = (await http.Turn(session, "/tool write_file {\"path\":\".anton/output/r.md\",\"content\":\"hello\"}")).Is(200);
        Assert.Equal("completed", turn["status"]);
        var artifact = Assert.Single((await http.Get($"/runs/{turn["run_id"]}/artifacts")).Is(200).Json.GetProperty("artifacts").EnumerateArray());
        Assert.Equal((".anton/output/r.md", 5, 1), (artifact.GetProperty("path").GetString(), artifact.GetProperty("bytes").GetInt32(), artifact.GetProperty("version").GetInt32()));
    }

    [Theory]
    [InlineData("/approvals?status=perhaps", 422)]
    [InlineData("/approvals?limit=0", 422)]
    [InlineData("/approvals?session_id=", 422)]
    [InlineData("/approvals?session_id=nobody", 404)]
    [InlineData("/approvals/appr_01kdvkjr000000000000000005", 404)]
    [InlineData("/approvals/run_01kdvkjr000000000000000005", 404)]
    public async Task What_is_not_there_or_not_valid_is_refused(string path, int status) => (await http.Get(path)).IsProblem(status);

    [Theory]
    [InlineData("{}", "$.approved")]
    [InlineData("""{"approved":null}""", "$.approved")]
    [InlineData("""{"approved":"yes"}""", "$.approved")]
    [InlineData("""{"approved":true,"note":5}""", "$.note")]
    public async Task A_decision_says_yes_or_no(string body, string path) =>
        Assert.True((await http.Post("/approvals/appr_01kdvkjr000000000000000005/decision", body)).IsProblem(422).Json.GetProperty("errors").TryGetProperty(path, out _));

    [Fact]
    public async Task An_approval_expires_into_a_reject_by_the_system()
    {
        await using var host = await LiveHost.Start(settings => settings with { Approvals = new() { ExpireAfter = TimeSpan.FromMilliseconds(300) } });
        var turn = (await host.Http.Turn(await host.Http.NewSession(), Message)).Is(200);
        var path = $"/approvals/{turn.Json.GetProperty("pending_approval_ids")[0].GetString()}";
        var expired = await host.Http.Until(path, approval => approval["status"] == "expired");
        Assert.Equal("system", expired["decided_by"]);
        (await host.Http.Post($"{path}/decision", """{"approved":true}""")).IsProblem(409, "approval_decided");
        await host.Http.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
    }
}
