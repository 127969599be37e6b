using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>
/// The members that clients of the original agent service read, beside ours (docs/compatibility.md). One table says where each is; it may be added to and never
/// shortened.
/// </summary>
public sealed class CompatibilitySpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Run =
        "/id:string /session_id:string /created_at:time /started_at:time? /completed_at:time? /status:string /prompt:string /response:string? /error:object? /input_tokens:integer "
        + "/output_tokens:integer /cancel_requested:boolean /worker_mode:string /pending_approval_ids:array";

    const string Turn = "/run_id:string /status:string /reply:string? /error:object? /pending_approval_ids:array /total_tokens:integer /tool_calls:integer /reused:boolean";
    const string Artifact = "/id:string /kind:string /path:string /created_at:time";

    const string Approval =
        "/id:string /session_id:string /run_id:string /tool_name:string /tool_input:object /reason:string /status:string /created_at:time /decided_at:time? /decision_note:string?";

    const string Skill =
        "/id:string /name:string /description:string /latest_version:integer /created_at:time /updated_at:time /metadata:object /latest_prompt_template:string "
        + "/latest_required_params:array /latest_version_created_at:time";

    const string Version = "/id:string /name:string /description:string /latest_version:integer /metadata:object /created_at:time";

    const string Schedule =
        "/id:string /name:string /session_id:string /skill_id:string /skill_version:integer? /params:object /interval_seconds:integer /next_run_at:time? /status:string "
        + "/last_run_id:string? /last_run_at:time? /created_at:time /updated_at:time";

    const string Event = "/id:integer /run_id:string? /ts:time /event_type:string /payload:object";

    /// <summary>Route, where in the answer, and the members there by JSON pointer and type; <c>*</c>: each item.</summary>
    static readonly (string Route, string At, string Members)[] Members =
    [
        ("POST /sessions", "", "/session_id:string /workspace_path:string /metadata:object"),
        ("POST /sessions/{session_id}/turn", "", Turn),
        ("POST /sessions/{session_id}/turn", "/run", Run),
        ("GET /sessions/{session_id}/runs", "", "/session_id:string"),
        ("GET /sessions/{session_id}/runs", "/runs/*", Run),
        ("GET /sessions/{session_id}/events", "", "/session_id:string /next_since_id:integer"),
        ("GET /sessions/{session_id}/events", "/events/*", Event),
        ("GET /runs/{run_id}", "", Run),
        ("POST /runs/{run_id}/cancel", "", "/run_id:string /status:string /cancel_requested:boolean /message:string"),
        ("GET /runs/{run_id}/artifacts", "", "/run_id:string"),
        ("GET /runs/{run_id}/artifacts", "/artifacts/*", Artifact),
        ("GET /artifacts/{artifact_id}", "", Artifact),
        ("GET /runs/{run_id}/trace", "/run", Run),
        ("GET /runs/{run_id}/trace", "/events/*", "/session_id:string /ts:time /event_type:string /payload:object"),
        ("GET /runs/{run_id}/trace", "/artifacts/*", Artifact),
        ("GET /approvals", "/approvals/*", Approval),
        ("GET /approvals/{approval_id}", "", Approval),
        ("POST /approvals/{approval_id}/decision", "", Approval),
        ("POST /skills", "", Skill),
        ("GET /skills", "/skills/*", Skill),
        ("GET /skills/{skill_id}", "", Skill),
        ("POST /skills/{skill_id}/versions", "", Version),
        ("GET /skills/{skill_id}/versions", "/versions/*", Version),
        ("GET /skills/{skill_id}/versions/{version}", "", Version),
        ("POST /skills/{skill_id}/run", "", Turn + " /skill_id:string /skill_version:integer /rendered_prompt:string"),
        ("POST /skills/{skill_id}/run", "/run", Run),
        ("POST /scheduled-runs", "", Schedule),
        ("GET /scheduled-runs", "/scheduled_runs/*", Schedule),
        ("GET /scheduled-runs/{schedule_id}", "", Schedule),
        ("POST /scheduled-runs/{schedule_id}/pause", "", Schedule),
        ("POST /scheduled-runs/{schedule_id}/resume", "", Schedule),
        ("POST /scheduled-runs/{schedule_id}/trigger", "", Turn + " /schedule_id:string /skill_id:string /skill_version:integer /rendered_prompt:string"),
        ("POST /scheduled-runs/{schedule_id}/trigger", "/run", Run),
        ("POST /scheduled-runs/{schedule_id}/trigger", "/schedule", Schedule),
        ("GET /metrics", "", "/run_count:integer /completed:integer /failed:integer /approval_required:integer /cancelled:integer /running:integer /queued:integer "
            + "/status_counts:object /latency_p50:number /latency_p95:number /success_rate:number"),
        ("GET /health", "", "/status:string"),
    ];

    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task The_original_services_members_are_in_every_answer_with_the_values_that_ours_have()
    {
        var answers = new Dictionary<string, JsonElement>();
        async Task<JsonElement> Call(string route, int status, string? body, params string[] ids)
        {
            var path = route[(route.IndexOf(' ') + 1)..];
            foreach (var id in ids)
            {
                path = path[..path.IndexOf('{')] + id + path[(path.IndexOf('}') + 1)..];
            }
            return answers[route] = (await http.Send(new(route[..route.IndexOf(' ')]), path, body)).Is(status).Json;
        }
        var session = Text(await Call("POST /sessions", 201, """{"session_id":"original"}"""), "/session_id");
        var turn = await Call(
            "POST /sessions/{session_id}/turn", 200,
            """{"message":"/tool write_file {\"path\":\".anton/output/table.csv\",\"content\":\"a,b\"}\n/say done"}""", session);
        var run = await Call("GET /runs/{run_id}", 200, null, Text(turn, "/run_id"));
        var artifact = (await Call("GET /runs/{run_id}/artifacts", 200, null, Text(turn, "/run_id"))).GetProperty("artifacts")[0];
        await Call("GET /artifacts/{artifact_id}", 200, null, Text(artifact, "/id"));
        var trace = await Call("GET /runs/{run_id}/trace", 200, null, Text(turn, "/run_id"));
        var events = await Call("GET /sessions/{session_id}/events", 200, null, session);

        // The run is what the turn says of it, and what its events say.
        Assert.Equal(run.GetRawText(), turn.GetProperty("run").GetRawText());
        AssertSame(run, "/run_id", "/id");
        AssertSame(run, "/message", "/prompt");
        AssertSame(run, "/reply", "/response");
        Assert.Equal(("done", "queue", "False"), (Text(run, "/response"), Text(run, "/worker_mode"), Text(run, "/cancel_requested")));
        var rounds = events.GetProperty("events").EnumerateArray().Where(e => Text(e, "/event_type") == "llm_response").Select(e => e.GetProperty("payload")).ToList();
        Assert.Equal(2, rounds.Count);
        foreach (var tokens in (string[])["input_tokens", "output_tokens"])
        {
            var sum = rounds.Sum(round => round.GetProperty(tokens).GetInt64());
            Assert.Equal((tokens, sum), (tokens, run.GetProperty(tokens).GetInt64()));
            Assert.True(sum > 0, tokens);
        }
        Assert.Equal(run.GetProperty("total_tokens").GetInt64(), run.GetProperty("input_tokens").GetInt64() + run.GetProperty("output_tokens").GetInt64());
        AssertSame(artifact, "/artifact_id", "/id");
        Assert.Equal("csv", Text(artifact, "/kind"));

        // The trace says the same of the run, and of each event what it stores.
        foreach (var member in (string[])["id", "prompt", "response", "input_tokens", "output_tokens", "cancel_requested", "worker_mode"])
        {
            Assert.Equal((member, Text(run, "/" + member)), (member, Text(trace, "/run/" + member)));
        }
        Assert.All(trace.GetProperty("events").EnumerateArray(), e =>
        {
            AssertSame(e, "/data", "/payload");
            Assert.Equal((session, Text(e, "/type")[..Text(e, "/type").LastIndexOf('.')]), (Text(e, "/session_id"), Text(e, "/event_type")));
        });
        Assert.Equal(("csv", Text(artifact, "/id")), (Text(trace, "/artifacts/0/kind"), Text(trace, "/artifacts/0/id")));

        // Cancelling says what comes of it.
        var slow = Text((await http.Turn(session, "/sleep 60000", wait: false)).Is(202).Json, "/run_id");
        Assert.Contains("cancelled", Text(await Call("POST /runs/{run_id}/cancel", 202, null, slow), "/message"), StringComparison.Ordinal);
        var stopped = (await http.Until($"/runs/{slow}", got => got["status"] == "cancelled")).Json;
        Assert.Equal("True", Text(stopped, "/cancel_requested"));
        Assert.Equal("The run had ended before: it is cancelled.", (await http.Post($"/runs/{slow}/cancel")).Is(200)["message"]);
        await Call("GET /sessions/{session_id}/runs", 200, null, session);

        var asks = (await http.Turn(session, """/tool delete_file {"path":".anton/output/table.csv"}""")).Is(200).Json;
        var approval = Text(asks, "/pending_approval_ids/0");
        await Call("GET /approvals", 200, null);
        AssertSame(await Call("GET /approvals/{approval_id}", 200, null, approval), "/approval_id", "/id");
        Assert.Equal((approval, "approved"), Two(await Call("POST /approvals/{approval_id}/decision", 200, """{"approved":true}""", approval), "/id", "/status"));
        await http.Until($"/runs/{Text(asks, "/run_id")}", got => got["status"] == "completed");

        var skill = await Call("POST /skills", 201, """{"name":"weekly_table","prompt_template":"/say {what}","description":"d"}""");
        var id = Text(skill, "/id");
        AssertSame(skill, "/skill_id", "/id");
        var second = await Call("POST /skills/{skill_id}/versions", 201, """{"prompt_template":"/say {what} by {whom}"}""", id);
        Assert.Equal((id, "2", "weekly_table"), (Text(second, "/id"), Text(second, "/latest_version"), Text(second, "/name")));
        var shown = await Call("GET /skills/{skill_id}", 200, null, id);
        AssertSame(shown, "/prompt_template", "/latest_prompt_template");
        AssertSame(shown, "/required_params", "/latest_required_params");
        Assert.Equal(("""["what","whom"]""", Text(second, "/created_at")), Two(shown, "/latest_required_params", "/latest_version_created_at"));
        Assert.NotEqual(Text(shown, "/created_at"), Text(shown, "/latest_version_created_at"));
        await Call("GET /skills", 200, null);
        await Call("GET /skills/{skill_id}/versions", 200, null, id);
        Assert.Equal(("1", "2"), Two(await Call("GET /skills/{skill_id}/versions/{version}", 200, null, id, "1"), "/version", "/latest_version"));
        var ran = await Call("POST /skills/{skill_id}/run", 200, $$$"""{"session_id":"{{{session}}}","params":{"what":"it","whom":"us"}}""", id);
        Assert.Equal(("/say it by us", "it by us"), Two(ran, "/run/prompt", "/run/response"));

        var plan = $$$"""{"session_id":"{{{session}}}","skill_id":"{{{id}}}","params":{"what":"it","whom":"all"},"start_in_seconds":3600}""";
        var schedule = await Call("POST /scheduled-runs", 201, plan);
        AssertSame(schedule, "/schedule_id", "/id");
        Assert.Equal(("weekly_table-every-3600s", "3600"), Two(schedule, "/name", "/interval_seconds"));
        await Call("POST /scheduled-runs/{schedule_id}/pause", 200, null, Text(schedule, "/id"));
        await Call("POST /scheduled-runs/{schedule_id}/resume", 200, null, Text(schedule, "/id"));
        var triggered = await Call("POST /scheduled-runs/{schedule_id}/trigger", 200, """{"wait_for_completion":true}""", Text(schedule, "/id"));
        Assert.Equal(("/say it by all", "it by all"), Two(triggered, "/rendered_prompt", "/reply"));
        AssertSame(triggered, "/run_id", "/schedule/last_run_id");
        AssertSame(triggered, "/run_id", "/run/id");
        Assert.Equal(
            (await Call("GET /scheduled-runs/{schedule_id}", 200, null, Text(schedule, "/id"))).GetRawText(), triggered.GetProperty("schedule").GetRawText());
        await Call("GET /scheduled-runs", 200, null);

        // Metrics follow the log.
        await http.Until("/metrics", got => got["completed"] == "4");
        var metrics = await Call("GET /metrics", 200, null);
        foreach (var status in (string[])["queued", "running", "approval_required", "completed", "failed", "cancelled"])
        {
            AssertSame(metrics, $"/status_counts/{status}", "/" + status);
        }
        AssertSame(metrics, "/latency/execution/p50", "/latency_p50");
        AssertSame(metrics, "/latency/execution/p95", "/latency_p95");
        Assert.True(metrics.GetProperty("latency_p95").GetDouble() > 0);
        Assert.Equal("ok", Text(await Call("GET /health", 200, null), "/status"));

        foreach (var (route, at, members) in Members)
        {
            var places = Places(answers[route], at).ToList();
            Assert.True(places.Count > 0, $"{route}: nothing at {at}: {answers[route]}");
            foreach (var (place, member) in places.SelectMany(place => members.Split(' ').Select(member => (place, member))))
            {
                var (pointer, type) = (member[..member.IndexOf(':')], member[(member.IndexOf(':') + 1)..]);
                Assert.True(place.TryGetProperty(pointer[1..], out var value) && Is(value, type), $"{route}: {at}{pointer} is no {type}: {place}");
            }
        }
    }

    [Theory]
    [InlineData("""  """, "nameless-every-3600s")]
    [InlineData(""","name":null""", "nameless-every-3600s")]
    [InlineData(""","name":null,"interval_seconds":7""", "nameless-every-7s")]
    [InlineData(""","interval_seconds":90,"skill_version":1""", "nameless-every-90s")]
    [InlineData(""","name":"mine","interval_seconds":90""", "mine")]
    public async Task A_schedule_without_a_name_is_named_for_its_skill_and_interval(string more, string name)
    {
        var session = await http.NewSession();
        var skills = (await http.Get("/skills?limit=1000")).Json.GetProperty("skills").EnumerateArray().Where(s => Text(s, "/name") == "nameless").ToList();
        var skill = skills is [var there] ? Text(there, "/id") : (await http.Post("/skills", """{"name":"nameless","prompt_template":"/say ok"}""")).Is(201)["id"];
        var made = (await http.Post("/scheduled-runs", $$"""{"session_id":"{{session}}","skill_id":"{{skill}}","active":false{{more}}}""")).Is(201);
        Assert.Equal(name, made["name"]);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    public async Task A_version_below_one_is_400_also_without_such_a_skill(int version)
    {
        var session = await http.NewSession();
        var skill = (await http.Post("/skills", $$"""{"name":"below{{version}}","prompt_template":"/say ok"}""")).Is(201)["id"];
        foreach (var id in (string[])[skill, "skill_01k9sk1110000000000000000z"])
        {
            (await http.Post($"/skills/{id}/run", $$"""{"session_id":"{{session}}","version":{{version}}}""")).IsProblem(400, "invalid_version");
            (await http.Post("/scheduled-runs", $$"""{"session_id":"{{session}}","skill_id":"{{id}}","skill_version":{{version}}}""")).IsProblem(400, "invalid_version");
        }
    }

    /// <summary>The values at a pointer, each item where it has a star.</summary>
    static IEnumerable<JsonElement> Places(JsonElement of, string pointer) => pointer.Split('/').Skip(1).Aggregate(
        (IEnumerable<JsonElement>)[of],
        (places, part) => places.SelectMany(place => part == "*" ? place.EnumerateArray().AsEnumerable() : [place.GetProperty(part)]).ToList());

    static string Text(JsonElement of, string pointer) => pointer.Split('/').Skip(1).Aggregate(
        of, (place, part) => place.ValueKind == JsonValueKind.Array ? place[int.Parse(part)] : place.GetProperty(part)).ToString();

    static (string, string) Two(JsonElement of, string first, string second) => (Text(of, first), Text(of, second));

    static void AssertSame(JsonElement of, string pointer, string other) => Assert.Equal((other, Text(of, pointer)), (other, Text(of, other)));

    static bool Is(JsonElement value, string type) => (type, value.ValueKind) switch
    {
        ([.., '?'], JsonValueKind.Null) => true,
        ([.. var some, '?'], _) => Is(value, some),
        ("string", JsonValueKind.String) or ("object", JsonValueKind.Object) or ("array", JsonValueKind.Array) => true,
        ("boolean", JsonValueKind.True or JsonValueKind.False) or ("number", JsonValueKind.Number) => true,
        ("integer", JsonValueKind.Number) => value.TryGetInt64(out _),
        ("time", JsonValueKind.String) => value.TryGetDateTimeOffset(out _),
        _ => false,
    };
}
