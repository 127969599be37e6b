using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Web.Http;

using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>/openapi.json describes what there is, and answers are as it says.</summary>
public sealed class OpenApiSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task Every_mapped_route_is_described()
    {
        var document = await Document();
        var mapped = tenant.Host.Services.GetServices<EndpointDataSource>().SelectMany(s => s.Endpoints).OfType<RouteEndpoint>()
            .Where(e => e.RoutePattern.RawText != "/openapi.json")
            .SelectMany(e => e.Metadata.GetMetadata<HttpMethodMetadata>()!.HttpMethods.Select(m => $"{m} {Normal(e.RoutePattern.RawText!)}"))
            // OpenAPI has no word for it. Over HTTP/2 it is what GET with an upgrade is over HTTP/1.1.
            .Where(route => !route.StartsWith("CONNECT ", StringComparison.Ordinal));
        var described = document["paths"]!.AsObject().SelectMany(p => p.Value!.AsObject().Select(o => $"{o.Key.ToUpperInvariant()} {Normal(p.Key)}"));
        Assert.Equal(mapped.Order(), described.Order());
        static string Normal(string path) => path.Length > 1 ? path.TrimEnd('/').Replace("{**", "{", StringComparison.Ordinal) : path;
    }

    const string Callback = "get /api/v1/connectors/oauth/callback";

    /// <summary>It has no answer but a WebSocket, by an upgrade (101) or over HTTP/2 (200), and a token of its own in the query.</summary>
    const string Socket = "get /groups/{group_id}/ws";

    [Fact]
    public async Task Every_operation_says_what_it_takes_and_answers()
    {
        foreach (var (path, operations) in (await Document())["paths"]!.AsObject())
        {
            foreach (var (method, operation) in operations!.AsObject())
            {
                var where = $"{method} {path}";
                Assert.True(operation!["summary"] is not null, where);
                var parameters = operation["parameters"]?.AsArray().Select(p => (string)p!["name"]!).ToList() ?? [];
                Assert.True(path.Split('/').Where(p => p.StartsWith('{')).All(p => parameters.Contains(p.Trim('{', '}'))), where);
                Assert.Equal(method is "post" or "patch", parameters.Contains("Idempotency-Key"));
                Assert.Equal(method is "post" or "patch" or "put", operation["requestBody"] is not null);
                var responses = operation["responses"]!.AsObject();
                Assert.True(responses.Any(r => r.Key.StartsWith('2')) && responses.ContainsKey("101") == (where == Socket), where);
                foreach (var (status, response) in responses.Where(r => r.Key is not ("101" or "204" or "304") && (where, r.Key) != (Socket, "200")))
                {
                    var contents = response!["content"]!.AsObject();
                    // A browser that comes back from a service gets a page, whatever it brings.
                    var hasPage = where == Callback && status is "400" or "409" or "410" or "502";
                    var isStreamedOrPacked = where is "get /runs/{run_id}/trace" or "post /api/v1/responses"
                        or "get /api/v1/responses/{run_id}" or "post /api/v1/scratchpads/{scratchpad_id}/cells/{cell_id}/run";
                    var forms = hasPage ? 2 : status != "200" ? 1 : path == "/metrics" ? 3 : isStreamedOrPacked ? 2 : 1;
                    Assert.Equal((where, forms), (where, contents.Count));
                    foreach (var content in contents)
                    {
                        Assert.True(content.Value!["schema"] is not null, $"{where} {status}");
                        var isError = path.StartsWith("/myworks", StringComparison.Ordinal)
                            ? content.Key == "application/json" && (string?)content.Value["schema"]!["$ref"] == "#/components/schemas/WorkError"
                            : content.Key == ProblemDetails.ContentType || (hasPage && content.Key == "text/html");
                        Assert.Equal((where, status[0] is '4' or '5'), (where, isError));
                    }
                }
            }
        }
    }

    [Fact]
    public async Task Operations_have_names_that_are_methods_and_say_who_may_call_and_what_is_refused()
    {
        var document = await Document();
        Assert.Equal("/", (string?)document["servers"]!.AsArray().Single()!["url"]);
        var tags = document["tags"]!.AsArray();
        Assert.All(tags, tag => Assert.EndsWith(".", (string?)tag!["description"], StringComparison.Ordinal));
        var names = new List<string>();
        foreach (var (path, operations) in document["paths"]!.AsObject())
        {
            foreach (var (method, operation) in operations!.AsObject())
            {
                var where = $"{method} {path}";
                names.Add((string)operation!["operationId"]!);
                Assert.Matches(
                    "^(add|append|archive|cancel|change|check|create|decide|delete|discard|download|duplicate|erase|fork|hold|"
                    + "get|import|interrupt|issue|list|open|pause|preview|release|replay|restart|resume|revoke|rotate|run|search|simulate|stream|take|trigger|upload)[A-Z][A-Za-z]+$",
                    names[^1]);
                Assert.Contains((string?)operation["tags"]!.AsArray().Single(), tags.Select(tag => (string?)tag!["name"]));
                // Health is for whoever watches, public keys are public, a page asks how to sign in before it has, and a browser that comes back has a state; everything else takes a token, which local mode does without, but for contract C.
                var security = path.StartsWith("/health", StringComparison.Ordinal) || where is Callback or Socket or "get /infra/jwks.json" or "get /console/config.json" ? "[]"
                    : path.StartsWith("/api/cowork/", StringComparison.Ordinal) ? """[{"token":[]}]"""
                    : where == "post /infra/groups" ? """[{"app":[]}]"""
                    : where == "post /infra/routing-token" ? """[{"app":[]},{"token":[]},{}]"""
                    : where == "post /infra/cleanup" || path.StartsWith("/agents/", StringComparison.Ordinal) ? """[{"session":[]}]"""
                    : """[{"token":[]},{}]""";
                Assert.Equal((where, security), (where, operation["security"]!.ToJsonString()));
                Assert.Equal((where, method is "post" or "patch" or "put"), (where, operation["requestBody"] is not null));
                var refused = operation["responses"]!.AsObject().Where(r => r.Key[0] is '4' or '5').ToList();
                Assert.All((string[])["400", "403", "431"], status => Assert.Contains(refused, r => r.Key == status));
                var (type, shape) = path.StartsWith("/myworks", StringComparison.Ordinal) ? ("application/json", "WorkError") : (ProblemDetails.ContentType, "Problem");
                Assert.All(refused, r => Assert.Equal($"#/components/schemas/{shape}", (string?)r.Value!["content"]![type]!["schema"]!["$ref"]));
            }
        }
        Assert.Equal(names.Distinct().Count(), names.Count);
    }

    /// <summary>Where the schema of a member is, and what it is: null is said once, sets of words have names, times and ids have formats.</summary>
    [Theory]
    [InlineData("NewTurn/message", """{"type":"string"}""")]
    [InlineData("NewTurn/model", """{"type":["null","string"]}""")]
    [InlineData("NewDecision/approved", """{"type":"boolean"}""")]
    [InlineData("NewSkill/prompt_template", """{"type":"string"}""")]
    [InlineData("NewScheduledRun/name", """{"type":["null","string"]}""")]
    [InlineData("NewScheduledRun/interval_seconds", """{"type":"integer","format":"int64","default":3600}""")]
    [InlineData("NewScheduledRun/overlap", """{"oneOf":[{"type":"null"},{"$ref":"#/components/schemas/OverlapPolicy"}]}""")]
    [InlineData("NewSession/metadata", """{"type":["null","object"]}""")]
    [InlineData("NewToken/roles", """{"type":["null","array"],"items":{"$ref":"#/components/schemas/Role"}}""")]
    [InlineData("NewWork/payload", """{"type":"object"}""")]
    [InlineData("NewWork/metadata", """{"type":["null","object"]}""")]
    [InlineData("WorkDetails/payload", """{"type":"object"}""")]
    [InlineData("WorkSummary/metadata", """{"type":"object"}""")]
    [InlineData("WorkSummary/bucket", """{"$ref":"#/components/schemas/WorkBucket"}""")]
    [InlineData("RunDetails/message", """{"type":"string"}""")]
    [InlineData("RunDetails/reply", """{"type":["null","string"]}""")]
    [InlineData("RunDetails/lineage", """{"oneOf":[{"type":"null"},{"$ref":"#/components/schemas/RunLineage"}]}""")]
    [InlineData("RunDetails/error", """{"oneOf":[{"type":"null"},{"$ref":"#/components/schemas/RunErrorShape"}]}""")]
    [InlineData("RunDetails/status", """{"$ref":"#/components/schemas/RunStatus"}""")]
    [InlineData("RunDetails/pending_approval_ids", """{"type":"array","items":{"type":"string"}}""")]
    [InlineData("RunDetails/started_at", """{"type":["null","string"],"format":"date-time"}""")]
    [InlineData("LedgerShape/status", """{"oneOf":[{"type":"null"},{"$ref":"#/components/schemas/RunStatus"}]}""")]
    [InlineData("LedgerShape/mode", """{"$ref":"#/components/schemas/TriggerMode"}""")]
    [InlineData("ApprovalDetails/status", """{"$ref":"#/components/schemas/ApprovalStatus"}""")]
    [InlineData("ApprovalDetails/tool_input", """{"type":["string","object"]}""")]
    [InlineData("ScheduledRunDetails/status", """{"$ref":"#/components/schemas/ScheduleStatus"}""")]
    [InlineData("ScheduledRunDetails/params", """{"type":"object"}""")]
    [InlineData("RunSummary/status", """{"$ref":"#/components/schemas/RunStatus"}""")]
    [InlineData("RunSummary/message", """{"type":["string","object"]}""")]
    [InlineData("TraceEvent/id", """{"type":"string","format":"uuid"}""")]
    [InlineData("DeadLetter/id", """{"type":"string","format":"uuid"}""")]
    [InlineData("FeedEvent/type", """{"type":"string"}""")]
    [InlineData("Problem/errors", """{"type":"object","additionalProperties":{"type":"array","items":{"type":"string"}}}""")]
    public async Task Members_are_described_as_they_are(string member, string schema)
    {
        var described = (await Document())["components"]!["schemas"]![member.Split('/')[0]]!["properties"]![member.Split('/')[1]]!.AsObject();
        described.Remove("description");
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(schema), described), described.ToJsonString());
    }

    [Theory]
    [InlineData("RunStatus", "queued running approval_required completed failed cancelled")]
    [InlineData("ApprovalStatus", "pending approved rejected expired")]
    [InlineData("ScheduleStatus", "active paused")]
    [InlineData("MisfirePolicy", "one none all")]
    [InlineData("OverlapPolicy", "skip queue parallel")]
    [InlineData("SlotOutcome", "fired caught_up skipped replanned")]
    [InlineData("TriggerMode", "automatic manual")]
    [InlineData("MemoryKind", "session_summary learning memory")]
    [InlineData("Role", "admin approver member auditor")]
    [InlineData("WorkerMode", "queue")]
    [InlineData("HealthStatus", "live ready ok")]
    public async Task Closed_sets_of_words_are_enumerations(string name, string words) =>
        Assert.Equal(words, string.Join(' ', (await Document())["components"]!["schemas"]![name]!["enum"]!.AsArray().Select(word => (string?)word)));

    [Fact]
    public async Task Answers_have_exactly_the_members_that_are_described()
    {
        var session = (await http.Post("/sessions", """{"metadata":{"a":1}}""")).Is(201);
        var turn = (await http.Turn(session["session_id"], "/say ok")).Is(200);
        var run = turn["run_id"];
        var refused = await http.Get("/sessions/nobody");
        var writing = (await http.Turn(session["session_id"], "/tool write_file {\"path\":\".anton/output/a.md\",\"content\":\"x\"}")).Is(200)["run_id"];
        var made = (await http.Get($"/runs/{writing}/artifacts")).Json.GetProperty("artifacts")[0];
        var artifact = $"/artifacts/{made.GetProperty("artifact_id")}";
        var skill = (await http.Post("/skills", """{"name":"described","prompt_template":"/say ok"}""")).Is(201);
        var skillRun = (await http.Post($"/skills/{skill["skill_id"]}/run", $$"""{"session_id":"{{session["session_id"]}}"}""")).Is(200);
        var schedule = (await http.Post(
            "/scheduled-runs",
            $$"""{"name":"d","session_id":"{{session["session_id"]}}","skill_id":"{{skill["skill_id"]}}","interval_seconds":60,"active":false}""")).Is(201);
        var triggered = (await http.Post($"/scheduled-runs/{schedule["schedule_id"]}/trigger", """{"wait_for_completion":true}""")).Is(200);
        var ledger = (await http.Get($"/scheduled-runs/{schedule["schedule_id"]}/runs")).Is(200);
        (string Schema, JsonElement Answer)[] pairs =
        [
            ("SessionAnswer", session.Json),
            ("SessionDetails", (await http.Get($"/sessions/{session["session_id"]}")).Json),
            ("SessionList", (await http.Get("/sessions")).Json),
            ("TurnAnswer", turn.Json),
            ("RunDetails", (await http.Get($"/runs/{run}")).Json),
            ("RunList", (await http.Get($"/sessions/{session["session_id"]}/runs")).Json),
            ("CancelAnswer", (await http.Post($"/runs/{run}/cancel")).Json),
            ("ArtifactList", (await http.Get($"/runs/{run}/artifacts")).Json),
            ("ArtifactDetails", made),
            ("ArtifactSummary", (await http.Get(artifact)).Json),
            ("ArtifactVersionList", (await http.Get($"{artifact}/versions")).Json),
            ("ArtifactVersionDetails", (await http.Get($"{artifact}/versions")).Json.GetProperty("versions")[0]),
            ("SkillDetails", skill.Json),
            ("SkillList", (await http.Get("/skills")).Json),
            ("SkillVersionDetails", (await http.Get($"/skills/{skill["skill_id"]}/versions/1")).Json),
            ("SkillVersionList", (await http.Get($"/skills/{skill["skill_id"]}/versions")).Json),
            ("SkillRunAnswer", skillRun.Json),
            ("MemoryList", (await http.Get($"/sessions/{session["session_id"]}/memories")).Json),
            ("MemoryDetails", (await http.Get($"/sessions/{session["session_id"]}/memories")).Json.GetProperty("memories")[0]),
            ("ScheduledRunDetails", schedule.Json),
            ("ScheduledRunList", (await http.Get("/scheduled-runs")).Json),
            ("TriggerAnswer", triggered.Json),
            ("ScheduledRunLedger", ledger.Json),
            ("LedgerShape", ledger.Json.GetProperty("runs")[0]),
            ("SchedulePreview", (await http.Get("/api/v1/schedules/preview?cron=@daily")).Json),
            ("EventList", (await http.Get($"/sessions/{session["session_id"]}/events")).Json),
            ("FeedEvent", (await http.Events(session["session_id"]))[0]),
            ("TenantEventList", (await http.Get("/events")).Json),
            ("IssuedToken", (await http.Post("/tokens", """{"name":"x"}""")).Json),
            ("TokenList", (await http.Get("/tokens")).Json),
            ("TokenShape", (await http.Get("/tokens")).Json.GetProperty("tokens")[0]),
            ("ToolList", (await http.Get("/tools")).Json),
            ("MetricsAnswer", (await http.Get("/metrics")).Json),
            ("HostFigures", (await tenant.Host.Http.Get("/metrics")).Json.GetProperty("host")),
            ("ProjectionList", (await tenant.Host.Http.Get("/projections")).Json),
            ("ProjectionShape", (await tenant.Host.Http.Get("/projections")).Json.GetProperty("projections")[0]),
            ("TenantMemoryList", (await http.Get("/memories")).Json),
            ("JobKindList", (await tenant.Host.Http.Get("/engine/jobs")).Json),
            ("ProblemSummary", (await http.Get("/engine/problems")).Json),
            ("RoleList", (await http.Get("/roles")).Json),
            ("OperationAccess", (await http.Get("/roles")).Json.GetProperty("operations")[0]),
            ("Readiness", (await http.Get("/health/ready")).Json),
            ("Liveness", (await http.Get("/health/live")).Json),
        ];
        var schemas = (await Document())["components"]!["schemas"]!;
        foreach (var (schema, answer) in pairs)
        {
            // What expired alone has it.
            var described = schemas[schema]!["properties"]!.AsObject().Select(p => p.Key).Where(name => (schema, name) != ("FeedEvent", "tombstone"));
            Assert.Equal((schema, string.Join(' ', described.Order())), (schema, string.Join(' ', answer.EnumerateObject().Select(m => m.Name).Order())));
        }
        Assert.Subset(schemas["Problem"]!["properties"]!.AsObject().Select(p => p.Key).ToHashSet(), refused.Json.EnumerateObject().Select(m => m.Name).ToHashSet());
    }

    async Task<JsonNode> Document() => JsonNode.Parse((await http.Get("/openapi.json")).Is(200).Text)!;
}
