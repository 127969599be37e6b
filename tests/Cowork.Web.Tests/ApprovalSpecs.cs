using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>Approvals over HTTP: what waits, who may decide, and that the run goes on, here or on another host.</summary>
public sealed class ApprovalSpecs(LocalHost local) : IClassFixture<LocalHost>
{
    const string Message = "/tool write_file {\"path\":\"report.md\",\"content\":\"hello\"}\n/say done";

    readonly HttpClient http = local.Http;

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
                "decided_at", "decided_by", "decision_note"],
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
    public async Task Deciding_needs_the_role_and_with_four_eyes_another_person_and_is_the_tenants_own()
    {
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true, Approvals = new() { FourEyes = true } });
        using var ann = host.Client(await host.Token("acme", "member", "approver"));
        using var viewer = host.Client(await host.Token("acme", "member"));
        using var other = host.Client(await host.Token("globex", "approver"));
        using var admin = host.Client(host.AdminToken);
        var bobs = await admin.Send(HttpMethod.Post, "/tokens", JsonSerializer.Serialize(new { name = "b", user = "bob", roles = (string[])["approver"], org_id = "acme" }));
        using var bob = host.Client(bobs.Is(201)["token"]);
        var turn = (await ann.Turn(await ann.NewSession(), Message)).Is(200);
        var path = $"/approvals/{turn.Json.GetProperty("pending_approval_ids")[0].GetString()}";
        const string Yes = """{"approved":true}""";
        (await viewer.Post($"{path}/decision", Yes)).IsProblem(403, "role_missing");
        (await other.Get(path)).IsProblem(404);
        (await other.Post($"{path}/decision", Yes)).IsProblem(404);
        Assert.Empty((await other.Get("/approvals?status=all")).Is(200).Json.GetProperty("approvals").EnumerateArray());
        (await ann.Post($"{path}/decision", Yes)).IsProblem(403, "four_eyes");
        Assert.Equal("user:bob", (await bob.Post($"{path}/decision", Yes)).Is(200)["decided_by"]);
        await ann.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
    }

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

    [Fact]
    public async Task Asked_on_one_host_that_is_killed_decided_on_another_the_run_goes_on_there()
    {
        var (one, two, shared) = (TestPostgres.NewDirectory(), TestPostgres.NewDirectory(), TestPostgres.NewDirectory());
        var roots = ("Cowork__WorkspaceRoots__0", shared);
        try
        {
            var database = await TestPostgres.NewDatabase();
            await using var first = await HostProcess.Start(one, database, 0, roots);
            await using var second = await HostProcess.Start(two, database, 0, roots);
            var workspace = Path.Combine(shared, "work");
            var session = (await first.Http.Post("/sessions", JsonSerializer.Serialize(new { workspace_path = workspace }))).Is(201)["session_id"];
            var turn = (await first.Http.Turn(session, Message)).Is(200);
            var id = turn.Json.GetProperty("pending_approval_ids")[0].GetString();
            await first.Kill();
            (await second.Http.Post($"/approvals/{id}/decision", """{"approved":true}""")).Is(200);
            await second.Http.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
            Assert.Equal("hello", await File.ReadAllTextAsync(Path.Combine(workspace, "report.md")));
            await Ledger.Check(database, [turn["run_id"]]);
        }
        finally
        {
            Directory.Delete(one, recursive: true);
            Directory.Delete(two, recursive: true);
            Directory.Delete(shared, recursive: true);
        }
    }
}
