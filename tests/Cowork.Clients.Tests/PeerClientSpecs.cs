using System.Text.Json;

namespace Cowork.Clients.Tests;

/// <summary>
/// A client that was written against contract A before there was this host: it reads these documents by these names, in these types, and nothing else. What
/// stands here may be added to and never changed.
/// </summary>
public sealed class PeerClientSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Turn = "run_id:string status:string reply:string? error:object? pending_approval_ids:[string] total_tokens:int tool_calls:int reused:bool";
    const string Listed = "run_id:string session_id:string status:string reply:string? error:object? pending_approval_ids:[string] total_tokens:int tool_calls:int created_at:time";
    const string Run = Listed + " message:string model:string skill_id:string? skill_version:int? started_at:time? completed_at:time? attempt:int cost_usd:number";
    const string Event = "id:int run_id:string? type:string event_type:string ts:time payload:object";
    const string Approval =
        "approval_id:string session_id:string run_id:string tool_name:string tool_input:object args_digest:string reason:string status:string created_at:time expires_at:time "
        + "decided_at:time? decided_by:string? decision_note:string?";
    const string Artifact = "artifact_id:string run_id:string path:string sha256:string bytes:int created_at:time";
    const string Skill =
        "skill_id:string name:string description:string metadata:object latest_version:int prompt_template:string? required_params:[string] created_at:time updated_at:time";
    const string Version = "skill_id:string version:int prompt_template:string? required_params:[string] created_at:time";

    static readonly string[] Final = ["completed", "approval_required", "cancelled", "failed"];

    readonly HttpClient http = tenant.Http;

    /// <summary>Reads a document as the client does.</summary>
    static JsonElement Read(JsonElement document, string shape)
    {
        foreach (var (name, kind) in shape.Split(' ').Select(member => (member[..member.IndexOf(':')], member[(member.IndexOf(':') + 1)..])))
        {
            Assert.True(document.TryGetProperty(name, out var value), $"There is no {name}: {document}");
            Assert.True(Is(value, kind), $"{name} is no {kind}: {document}");
        }
        return document;
    }

    static bool Is(JsonElement value, string kind) => (kind, value.ValueKind) switch
    {
        ([.., '?'], JsonValueKind.Null) => true,
        ([.. var some, '?'], _) => Is(value, some),
        (['[', .. var some, ']'], JsonValueKind.Array) => value.EnumerateArray().All(item => Is(item, some)),
        ("string", JsonValueKind.String) or ("object", JsonValueKind.Object) or ("number", JsonValueKind.Number) or ("bool", JsonValueKind.True or JsonValueKind.False) => true,
        ("int", JsonValueKind.Number) => value.TryGetInt64(out _),
        ("time", JsonValueKind.String) => value.TryGetDateTimeOffset(out _) && value.GetString()!.EndsWith('Z'),
        _ => false,
    };

    /// <summary>The document's only members, in this order.</summary>
    static JsonElement Envelope(Got got, params string[] members)
    {
        Assert.Equal(members, got.Is(200).Json.EnumerateObject().Select(m => m.Name));
        return got.Json;
    }

    static List<JsonElement> Items(JsonElement envelope, string member, string shape) => [.. envelope.GetProperty(member).EnumerateArray().Select(item => Read(item, shape))];

    static string Text(JsonElement of, string member) => of.GetProperty(member).ToString();

    /// <summary>A session as the contract's example has it.</summary>
    async Task<string> Session()
    {
        var made = (await http.Post(
            "/sessions",
            """{"metadata":{"team":"analytics","auth_context":{"user_id":"u-123","org_id":"org-9","roles":["analyst"],"attributes":{"region":"us"}}}}""")).Is(201).Json;
        Read(made, "session_id:string workspace_path:string metadata:object");
        Assert.Equal("""{"team":"analytics"}""", made.GetProperty("metadata").GetRawText());
        return Text(made, "session_id");
    }

    async Task<JsonElement> Take(string session, string message, string? key = null) => Read(
        (await http.Post($"/sessions/{session}/turn", JsonSerializer.Serialize(new
        {
            message,
            idempotency_key = key,
            wait_for_completion = true,
            wait_timeout_seconds = 300,
        }))).Is(200).Json,
        Turn);

    /// <summary>The whole feed, page by page, as a poller reads it.</summary>
    async Task<List<JsonElement>> Feed(string session, int limit = 3)
    {
        var seen = new List<JsonElement>();
        for (var since = 0L; ;)
        {
            var page = Envelope(await http.Get($"/sessions/{session}/events?since_id={since}&limit={limit}"), "session_id", "events", "next_since_id");
            Assert.Equal(session, Text(page, "session_id"));
            var events = Items(page, "events", Event);
            Assert.InRange(events.Count, 0, limit);
            Assert.All(events, e => Assert.Equal(Text(e, "type"), Text(e, "event_type")));
            seen.AddRange(events);
            var next = page.GetProperty("next_since_id").GetInt64();
            Assert.Equal(events.Count == 0 ? since : events[^1].GetProperty("id").GetInt64(), next);
            if (events.Count == 0)
            {
                Assert.Equal(Enumerable.Range(1, seen.Count), seen.Select(e => e.GetProperty("id").GetInt32()));
                return seen;
            }
            since = next;
        }
    }

    [Fact]
    public async Task Turns_and_runs_are_read_as_ever()
    {
        var session = await Session();
        var first = await Take(session, "/tool list_files {}\n/say all of them", "key-1");
        Assert.Equal(("completed", "all of them", "1", "False", ""), (Text(first, "status"), Text(first, "reply"), Text(first, "tool_calls"), Text(first, "reused"), Text(first, "error")));
        Assert.True(first.GetProperty("total_tokens").GetInt64() > 0);
        var again = await Take(session, "/tool list_files {}\n/say all of them", "key-1");
        Assert.Equal((Text(first, "run_id"), "True", "all of them"), (Text(again, "run_id"), Text(again, "reused"), Text(again, "reply")));
        var failed = await Take(session, "/fail on purpose");
        Assert.Equal(("failed", ""), (Text(failed, "status"), Text(failed, "reply")));
        Read(failed.GetProperty("error"), "code:string message:string");

        // Not waiting is polling.
        var going = Read((await http.Post($"/sessions/{session}/turn", """{"message":"/sleep 300\n/say late","wait_for_completion":false}""")).Is(202).Json, Turn);
        Assert.Contains(Text(going, "status"), (string[])["queued", "running"]);
        var ended = await http.Until($"/runs/{Text(going, "run_id")}", run => Final.Contains(Text(Read(run.Is(200).Json, Run), "status")));
        Assert.Equal(("completed", "late"), (ended["status"], ended["reply"]));

        var list = Envelope(await http.Get($"/sessions/{session}/runs"), "session_id", "runs", "next_cursor");
        Assert.Equal(session, Text(list, "session_id"));
        Assert.Equal(
            [Text(going, "run_id"), Text(failed, "run_id"), Text(first, "run_id")], Items(list, "runs", Listed).Select(run => Text(run, "run_id")));

        var stopped = Text(Read((await http.Post($"/sessions/{session}/turn", """{"message":"/sleep 60000","wait_for_completion":false}""")).Is(202).Json, Turn), "run_id");
        Read((await http.Post($"/runs/{stopped}/cancel")).Is(202).Json, "run_id:string status:string cancel_requested:bool");
        Assert.Equal("cancelled", (await http.Until($"/runs/{stopped}", run => Final.Contains(run["status"])))["status"]);
    }

    [Fact]
    public async Task Events_are_read_as_ever()
    {
        var session = await Session();
        await Take(session, "/tool remember {\"content\":\"The balloon is red.\"}");
        var run = Text(await Take(session, "What colour is the balloon?"), "run_id");
        var feed = await Feed(session);
        Assert.Equal("session_created", Text(feed[0], "type"));
        var own = feed.Where(e => Text(e, "run_id") == run).Select(e => (Type: Text(e, "type"), Payload: e.GetProperty("payload"))).ToList();
        Assert.Equal(["run_created", "run_queued", "run_started", "memory_retrieval"], own.Take(4).Select(e => e.Type));
        var retrieval = Read(own.Single(e => e.Type == "memory_retrieval").Payload, "retrieved_count:int provenance:[object]");
        Assert.InRange(retrieval.GetProperty("retrieved_count").GetInt32(), 1, 8);
        Assert.All(retrieval.GetProperty("provenance").EnumerateArray(), p => Assert.Contains(Text(Read(p, "kind:string id:string"), "kind"), (string[])["session_summary", "learning", "memory"]));
        Read(own.Single(e => e.Type == "llm_response").Payload, "model:string stop_reason:string input_tokens:int output_tokens:int tool_calls:int cost_usd:number?");
        Read(own.First(e => e.Type == "output_delta").Payload, "text:string");
        Read(own.Single(e => e.Type == "assistant_reply").Payload, "content:string");
        Assert.Contains(own, e => e.Type == "run_completed");
        var first = feed.Where(e => Text(e, "run_id") != run).ToLookup(e => Text(e, "type"), e => e.GetProperty("payload"));
        Read(first["tool_call"].Single(), "id:string name:string input:object");
        Read(first["tool_result"].Single(), "id:string name:string content_preview:string");
    }

    [Fact]
    public async Task Approvals_are_read_as_ever()
    {
        var session = await Session();
        string[] messages = ["/tool write_file {\"path\":\"a.md\",\"content\":\"x\"}\n/say done", "/tool delete_file {\"path\":\"a.md\"}\n/say kept"];
        foreach (var (message, approved) in messages.Zip([true, false]))
        {
            var turn = await Take(session, message);
            Assert.Equal("approval_required", Text(turn, "status"));
            var id = turn.GetProperty("pending_approval_ids").EnumerateArray().Single().GetString()!;
            var pending = (await http.Get($"/approvals?session_id={session}")).Is(200).Json;
            var asked = Items(pending, "approvals", Approval).Single();
            Assert.Equal((id, "pending", Text(turn, "run_id")), (Text(asked, "approval_id"), Text(asked, "status"), Text(asked, "run_id")));
            Assert.Contains(Items((await http.Get("/approvals")).Is(200).Json, "approvals", Approval), a => Text(a, "approval_id") == id);
            var decided = Read((await http.Post($"/approvals/{id}/decision", JsonSerializer.Serialize(new { approved, note = "by analyst" }))).Is(200).Json, Approval);
            Assert.Equal((approved ? "approved" : "rejected", "by analyst"), (Text(decided, "status"), Text(decided, "decision_note")));
            var run = await http.Until($"/runs/{Text(turn, "run_id")}", run => run["status"] == "completed");
            Assert.Empty(Read(run.Json, Run).GetProperty("pending_approval_ids").EnumerateArray());
            Assert.Empty(Items((await http.Get($"/approvals?session_id={session}&status=pending")).Json, "approvals", Approval));
        }
        Assert.Single(Items((await http.Get($"/approvals?session_id={session}&status=approved")).Json, "approvals", Approval));
        Assert.Single(Items((await http.Get($"/approvals?session_id={session}&status=rejected")).Json, "approvals", Approval));
    }

    [Fact]
    public async Task Artifacts_and_the_trace_are_read_as_ever()
    {
        var session = await Session();
        var run = Text(await Take(session, "/tool write_file {\"path\":\".anton/output/churn.csv\",\"content\":\"a,b\"}"), "run_id");
        var list = Envelope(await http.Get($"/runs/{run}/artifacts"), "run_id", "artifacts");
        Assert.Equal(run, Text(list, "run_id"));
        var artifact = Items(list, "artifacts", Artifact).Single();
        Assert.Equal((run, ".anton/output/churn.csv", "3"), (Text(artifact, "run_id"), Text(artifact, "path"), Text(artifact, "bytes")));
        var trace = Read((await http.Get($"/runs/{run}/trace")).Is(200).Json, "run:object events:[object] artifacts:[object]");
        Read(trace.GetProperty("run"), Run);
        Items(trace, "artifacts", Artifact);
        Items(trace, "events", "id:string type:string ts:time data:object");
    }

    [Fact]
    public async Task Skills_are_read_as_ever()
    {
        var session = await Session();
        var made = Read((await http.Post(
            "/skills",
            """{"name":"peer_churn","description":"Analyze churn by cohort","prompt_template":"/say Churn by {dimension} for {period}.","metadata":{"team":"analytics"}}""")).Is(201).Json, Skill);
        var id = Text(made, "skill_id");
        Assert.Equal(("peer_churn", "Analyze churn by cohort", "1"), (Text(made, "name"), Text(made, "description"), Text(made, "latest_version")));
        Assert.Contains(Items((await http.Get("/skills")).Is(200).Json, "skills", Skill), s => Text(s, "skill_id") == id);
        var second = Read((await http.Post($"/skills/{id}/versions", """{"prompt_template":"/say Churn by {dimension} in {period}!"}""")).Is(201).Json, Version);
        Assert.Equal((id, "2"), (Text(second, "skill_id"), Text(second, "version")));
        Items((await http.Get($"/skills/{id}/versions")).Is(200).Json, "versions", Version);
        Assert.Equal("/say Churn by {dimension} in {period}!", Text(Read((await http.Get($"/skills/{id}")).Is(200).Json, Skill), "prompt_template"));

        var ran = Read(
            (await http.Post($"/skills/{id}/run", $$$"""{"session_id":"{{{session}}}","version":2,"params":{"dimension":"cohort","period":"Q1"}}""")).Is(200).Json,
            Turn + " skill_id:string skill_version:int rendered_prompt:string");
        Assert.Equal(
            ("completed", "Churn by cohort in Q1!", id, "2", "/say Churn by cohort in Q1!"),
            (Text(ran, "status"), Text(ran, "reply"), Text(ran, "skill_id"), Text(ran, "skill_version"), Text(ran, "rendered_prompt")));
        var listed = Items(Envelope(await http.Get($"/sessions/{session}/runs"), "session_id", "runs", "next_cursor"), "runs", Listed).Single();
        Assert.Equal(Text(ran, "run_id"), Text(listed, "run_id"));
    }

    [Theory]
    [InlineData("GET", "/sessions/nobody/runs", 404)]
    [InlineData("GET", "/sessions/nobody/events", 404)]
    [InlineData("GET", "/runs/run_01k9nobody0000000000000000", 404)]
    [InlineData("GET", "/skills/skill_01k9nobody0000000000000000", 404)]
    [InlineData("GET", "/sessions/peers/events?since_id=-1", 422)]
    public async Task What_goes_wrong_is_told_by_status_and_detail(string method, string path, int status)
    {
        await http.Post("/sessions", """{"session_id":"peers"}""");
        Read((await http.Send(new(method), path, null)).IsProblem(status).Json, "status:int title:string detail:string code:string");
    }
}
