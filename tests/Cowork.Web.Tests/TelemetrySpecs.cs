using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Testing;

using Microsoft.Extensions.Configuration;

using Npgsql;

namespace Cowork.Web.Tests;

/// <summary>Traces, metrics and logs of real hosts, as a collector gets them.</summary>
public sealed class TelemetrySpecs : DirectorySpecs
{
    const string Request = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const string TraceId = "0af7651916cd43dd8448eb211c80319c";


    [Theory]
    [InlineData("http/protobuf")]
    [InlineData("grpc")]
    public async Task A_turn_is_one_trace_from_its_request_to_its_tool_and_the_log_leads_there(string protocol)
    {
        await using var collector = await Collector.Start();
        await using var host = await HostProcess.Start(
            Data, await TestPostgres.NewDatabase(),
            environment: [.. collector.Environment(protocol), ("OTEL_SERVICE_NAME", "cowork-test"), ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=spec")]);
        await host.Http.NewSession("traced");
        await using var following = await EventReader.Open(host.Http, "/sessions/traced/events/stream");
        var turn = (await host.Http.Post(
            "/sessions/traced/turn", JsonSerializer.Serialize(new { message = "/tool list_files {}\n/say done" }), ("traceparent", Request))).Is(200);
        Assert.Equal("completed", turn["status"]);
        var run = turn["run_id"];
        // Only the batch in which the turn's first event lies is in its trace for sure.
        var spans = await collector.Trace(TraceId, s => s.Any(x => x.Kind == 2) && s.Any(x => x.Name == "run") && s.Any(x => x.Name == "project metrics"));

        SentSpan The(string name) => Assert.Single(spans, s => s.Name == name);
        var server = The("POST /sessions/{session_id}/turn");
        Assert.Equal("b7ad6b7169203331", server.ParentId);
        Assert.Equal(
            ("POST", "/sessions/{session_id}/turn", "200", "default"), (server["http.request.method"], server["http.route"], server["http.response.status_code"], server["cowork.org"]));
        var asked = The("command SubmitTurn");
        var work = The("run");
        Assert.Equal((server.SpanId, asked.SpanId), (asked.ParentId, work.ParentId));
        Assert.Equal((run, "completed"), (work["cowork.run_id"], work["cowork.run.outcome"]));
        var call = The("execute_tool list_files");
        Assert.Equal(The("step call_tool").SpanId, call.ParentId);
        Assert.Equal(("execute_tool", "list_files", run, "traced", "1"), (
            call["gen_ai.operation.name"], call["gen_ai.tool.name"], call["cowork.run_id"], call["cowork.session_id"], call["cowork.attempt"]));
        var chats = spans.Where(s => s.Name == "chat offline").ToList();
        Assert.Equal(spans.Where(s => s.Name == "step ask_model").Select(s => s.SpanId).Order(), chats.Select(c => c.ParentId).Order());
        Assert.Equal(["stop", "tool_calls"], chats.Select(c => c["gen_ai.response.finish_reasons"]!).Order());
        Assert.All(chats, c => Assert.True(c["gen_ai.operation.name"] == "chat" && long.Parse(c["gen_ai.usage.output_tokens"]!) > 0 && c.Kind == 3));
        Assert.All(spans.Where(s => s.Name.StartsWith("step ", StringComparison.Ordinal)), s => Assert.Equal(work.SpanId, s.ParentId));
        var commands = spans.Where(s => s.Name.StartsWith("command ", StringComparison.Ordinal)).ToList();
        var doing = spans.Where(s => s.Name.StartsWith("step ", StringComparison.Ordinal) || s.Name == "chat offline").Append(server).Select(s => s.SpanId).ToHashSet();
        Assert.All(commands, c => Assert.Contains(c.ParentId, doing));
        var appends = spans.Where(s => s.Name == "append").ToList();
        Assert.Equal(commands.Select(c => c.SpanId).Order(), appends.Select(a => a.ParentId).Order());
        Assert.All(appends, a => Assert.Equal(("postgresql", "ok", run), (a["db.system.name"], a["cowork.append.outcome"], a["cowork.run_id"])));
        var flushes = spans.Where(s => s.Name == "flush").ToList();
        Assert.Equal(appends.Select(a => a.SpanId).Order(), flushes.Select(f => f.ParentId).Order());
        Assert.All(flushes, f => Assert.Equal(("postgresql", "1"), (f["db.system.name"], f["cowork.commit_count"])));
        Assert.All(spans.Where(s => s.Name == "project metrics"), p =>
        {
            Assert.Contains(p.ParentId, commands.Select(c => c.SpanId));
            Assert.Equal(("metrics", "ok"), (p["cowork.projection"], p["cowork.projection.outcome"]));
        });
        Assert.DoesNotContain(spans, s => s.IsError);
        Assert.Equal(("cowork-test", "spec"), (collector.Resource["service.name"], collector.Resource["deployment.environment.name"]));

        // And back: every event of the turn names the trace, and the span of the command that wrote it.
        var events = (await host.Http.Events("traced")).Where(e => e.GetProperty("run_id").GetString() == run).ToList();
        Assert.Equal(["run_created", "run_completed"], events.Select(e => e.GetProperty("type").GetString()!).Where(t => t is "run_created" or "run_completed"));
        Assert.All(events, e => Assert.Equal(TraceId, e.GetProperty("correlation_id").GetString()));
        var gids = events.Select(e => e.GetProperty("gid").GetInt64()).ToList();
        Assert.All(appends, a => Assert.Contains(long.Parse(a["cowork.gid"]!), gids));
        var bundle = (await host.Http.Get($"/runs/{run}/trace")).Is(200);
        Assert.All(bundle.Json.GetProperty("events").EnumerateArray(), e => Assert.Equal(TraceId, e.GetProperty("correlation_id").GetString()));
        Assert.Null(Projections.TraceVerifier.Verify(Encoding.UTF8.GetBytes(bundle.Text)).Fault);
        await following.Through(events[^1].GetProperty("id").GetInt64());
        await MetricsArrive(collector);
        await following.DisposeAsync();
        await Patience.Until(() => collector.Points.Last(p => p.Name == "cowork.feed.followers").Value == 0, () => "somebody still follows");
        Assert.Equal(TraceId, (await host.Http.Get("/runs/none", ("traceparent", Request))).IsProblem(404)["trace_id"]);
        Assert.Equal(0, await host.Stop());
    }

    static async Task MetricsArrive(Collector collector)
    {
        (string Name, string Unit, string Attribute)[] wanted =
        [
            ("http.server.request.duration", "s", "http.route"), ("cowork.append.duration", "s", "cowork.append.outcome"), ("cowork.append.batch.size", "{commit}", ""),
            ("db.client.operation.duration", "s", "db.system.name"), ("cowork.events", "{event}", ""), ("cowork.runs", "{run}", "cowork.run.outcome"),
            ("cowork.run.queue.duration", "s", ""), ("cowork.run.execution.duration", "s", "cowork.run.outcome"),
            ("gen_ai.client.token.usage", "{token}", "gen_ai.token.type"), ("gen_ai.client.operation.duration", "s", "gen_ai.request.model"),
            ("cowork.jobs.held", "{job}", "cowork.job.kind"), ("cowork.feed.followers", "{follower}", ""), ("cowork.feed.lag", "s", ""),
        ];
        foreach (var (name, unit, attribute) in wanted)
        {
            await Patience.Until(
                () => collector.Points.Any(p => p.Name == name && p.Unit == unit && (attribute.Length == 0 || p.Attributes.ContainsKey(attribute))),
                () => $"no {name} in {unit} with {attribute} among\n{string.Join('\n', collector.Points.DistinctBy(p => p.Name))}");
        }
        Assert.Equal(1, collector.Points.Last(p => p.Name == "cowork.runs").Value);
        await Patience.Until(() => collector.Points.Last(p => p.Name == "cowork.jobs.held").Value == 0, () => "jobs are still held");
    }

    [Fact]
    public async Task What_the_sampler_leaves_out_is_still_named_in_log_and_lines()
    {
        await using var collector = await Collector.Start();
        await using var provider = new ModelServer().ThenStatus(400, "{}");
        await using var host = await HostProcess.Start(
            Data, await TestPostgres.NewDatabase(), environment:
            [
                .. collector.Environment(), ("OTEL_TRACES_SAMPLER", "always_off"), ("Cowork__Models__m__Provider", "openai"), ("Cowork__Models__m__BaseUrl", $"{provider.Url}"),
                ("Cowork__Models__m__Key", "sk-1"),
            ]);
        await host.Http.NewSession("sampled");
        var run = (await host.Http.Post("/sessions/sampled/turn", """{"message":"hello"}""", ("traceparent", Request))).Is(200)["run_id"];
        await Patience.Until(() => collector.Points.Any(p => p.Name == "cowork.runs" && p.Attributes["cowork.run.outcome"] == "failed"), () => "no metric came");
        Assert.All(
            (await host.Http.Events("sampled")).Where(e => e.GetProperty("run_id").GetString() == run), e => Assert.Equal(TraceId, e.GetProperty("correlation_id").GetString()));
        Assert.Contains(
            host.Output.Split('\n'),
            line => line.Contains("gave no whole answer", StringComparison.Ordinal) && line.EndsWith($" run_id={run} trace_id={TraceId}", StringComparison.Ordinal));
        Assert.Equal(0, await host.Stop());
        Assert.Empty(collector.Spans);
    }

    [Fact]
    public async Task Without_an_endpoint_nothing_listens_and_events_still_name_their_request()
    {
        await using var host = await LiveHost.Start();
        Assert.False(Spans.Source.HasListeners());
        Assert.False(Measures.Events.Enabled || Measures.AppendDuration.Enabled || Measures.ModelDuration.Enabled);
        await host.Http.NewSession("plain");
        (await host.Http.Post("/sessions/plain/turn", """{"message":"/say hello"}""", ("traceparent", Request))).Is(200);
        var events = await host.Http.Events("plain");
        Assert.All(events.Where(e => e.GetProperty("run_id").ValueKind == JsonValueKind.String), e => Assert.Equal(TraceId, e.GetProperty("correlation_id").GetString()));
        var refused = (await host.Http.Get("/runs/none", ("traceparent", "nonsense"))).IsProblem(404)["trace_id"];
        Assert.True(refused.Length == 32 && refused.All(char.IsAsciiHexDigitLower) && refused != TraceId, refused);
    }

    [Fact]
    public void What_nobody_looks_at_allocates_nothing()
    {
        var (claim, step, start) = (new Claim("o", "run", "k", 1), new NextStep.Finish(), new StreamStart(default, TraceId, null));
        var context = new ToolContext("o", new("s"), new("r"), Grants.Of(Grant.Of("/w")), "t", 1);
        void Once()
        {
            Spans.Command("Something", "o")?.Dispose();
            Spans.Run(claim, start, "n")?.Dispose();
            Spans.Step(step, claim)?.Dispose();
            Spans.Tool("t", context)?.Dispose();
            Measures.AppendDuration.Record(1, new KeyValuePair<string, object?>("cowork.append.outcome", "ok"));
            Measures.Events.Add(1);
            Measures.BatchSize.Record(1);
        }
        Once();
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 1_000; i++)
        {
            Once();
        }
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Theory]
    [InlineData("", false, false)]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT=http://h:4317", true, true)]
    [InlineData("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://h:4318/v1/traces", true, false)]
    [InlineData("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://h:4318/v1/metrics", false, true)]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT=http://h:4317 OTEL_METRICS_EXPORTER=none", true, false)]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT=http://h:4317 OTEL_TRACES_EXPORTER=none OTEL_METRICS_EXPORTER=none", false, false)]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT=http://h:4317 OTEL_SDK_DISABLED=true", false, false)]
    [InlineData("OTEL_SERVICE_NAME=x OTEL_EXPORTER_OTLP_HEADERS=k=v", false, false)]
    public void What_is_sent_is_what_the_variables_say(string variables, bool traces, bool metrics)
    {
        var settings = Read(variables);
        Assert.Equal((traces, metrics), (settings?.Traces ?? false, settings?.Metrics ?? false));
    }

    [Theory]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4317", "absolute http")]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT=http://h OTEL_EXPORTER_OTLP_PROTOCOL=http/json", "may be grpc or http/protobuf")]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT=http://h OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=x", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")]
    public void A_variable_that_cannot_be_meant_is_told_in_a_sentence(string variables, string words) =>
        Assert.Contains(words, Assert.Throws<ArgumentException>(() => Read(variables)).Message);

    static TelemetrySettings? Read(string variables) => HostSettings.Read([], new ConfigurationBuilder().AddInMemoryCollection(
        variables.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(v => v.Split('=', 2)).Select(v => new KeyValuePair<string, string?>(v[0], v[1]))).Build()).Telemetry;

    [Fact]
    public async Task No_line_span_or_metric_holds_a_secret_or_what_was_said()
    {
        const string Key = "sk-model-key-4711";
        const string Password = "hunter2-database";
        const string Header = "otlp-header-key-77";
        const string Prompt = "Bertram keeps the marmalade behind the piano";
        const string Answer = "Nobody told anyone about the piano stool";
        await using var collector = await Collector.Start();
        await using var provider = new ModelServer();
        provider
            .ThenStatus(503, $$$"""{"error":{"message":"busy with {{{Prompt}}} for {{{Key}}}"}}""")
            .ThenStream(
                $$$"""{"model":"m-1","choices":[{"index":0,"delta":{"content":"{{{Answer}}}"},"finish_reason":"stop"}]}""",
                """{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50}}""", "[DONE]")
            .ThenStatus(400, $$$"""{"error":{"message":"cannot note {{{Prompt}}} with {{{Key}}}"}}""")
            .ThenStatus(400, $$$"""{"error":{"message":"cannot say {{{Prompt}}} with {{{Key}}}"}}""")
            .ThenCut($$$"""{"model":"m-1","choices":[{"index":0,"delta":{"content":"{{{Answer}}}"}}]}""");
        var database = new NpgsqlConnectionStringBuilder(await TestPostgres.NewDatabase()) { Password = Password }.ConnectionString;
        await using var host = await HostProcess.Start(
            Data, database, environment:
            [
                .. collector.Environment(), ("OTEL_EXPORTER_OTLP_HEADERS", $"api-key={Header}"), ("Logging__LogLevel__Default", "Debug"), ("Cowork__Log__Format", "json"),
                ("Cowork__Auth__Mode", "token"), ("Cowork__Models__m__Provider", "openai"), ("Cowork__Models__m__BaseUrl", $"{provider.Url}"), ("Cowork__Models__m__Key", Key),
                ("Cowork__Models__m__Attempts", "2"), ("Cowork__Prices__m__Input", "2"), ("Cowork__Prices__m__Output", "8"),
            ]);
        using var admin = host.Admin();
        var token = (await admin.Post("/tokens", """{"name":"t","user":"ann","roles":["member"]}""")).Is(201)["token"];
        using var ann = new HttpClient { BaseAddress = new(host.Url), DefaultRequestHeaders = { Authorization = new("Bearer", token) } };
        string[] bad = [$"Bearer {token[..^1]}x", "Bearer not-a-token-9182", "Basic YW5uOnNlc2FtZS1vcGVu", $"Bearer {token}, Bearer {token}"];
        foreach (var header in bad)
        {
            (await host.Http.Get("/sessions", ("Authorization", header))).IsProblem(401);
        }
        await ann.NewSession("quiet");
        var told = (await ann.Post("/sessions/quiet/turn", JsonSerializer.Serialize(new { message = Prompt }), ("traceparent", Request))).Is(200);
        Assert.Equal(("completed", Answer), (told["status"], told["reply"]));
        await ann.Until("/sessions/quiet/memories", got => got.Text.Contains("model_refused", StringComparison.Ordinal));
        Assert.Equal("failed", (await ann.Turn("quiet", Prompt)).Is(200)["status"]);
        (await ann.Turn("quiet", Prompt, wait: false)).Is(202);
        (await ann.Post("/sessions/quiet/turn", $$"""{"message":"{{Prompt}}","wait_timeout_seconds":"{{Prompt}}"}""")).IsProblem(422);
        (await host.Http.Get($"/sessions?access_token={token}")).IsProblem(401);
        await collector.Trace(TraceId, s => s.Any(x => x.Name == "run") && s.Any(x => x.Name == "notes") && s.Count(x => x.Name == "chat m") == 3);
        await Patience.Until(() => collector.Points.Any(p => p.Name == "cowork.model.cost" && p.Unit == "{USD}"), () => "no cost came");
        Assert.Contains(collector.Headers, h => h.Contains($"api-key: {Header}", StringComparison.Ordinal));
        Assert.Equal(0, await host.Stop());

        // The first start prints the admin's token once, for the person who started it; that is no line of the log.
        var lines = host.Output.Split('\n').Where(line => line.StartsWith('{')).Select(line => JsonElement.Parse(line)).ToList();
        var root = File.ReadAllText(Path.Combine(Data, "admin-token")).Trim();
        string[] secrets =
        [
            Key, Password, Header, Prompt, "marmalade", Answer, token, token[^20..], root, root[^20..], "not-a-token-9182", "YW5uOnNlc2FtZS1vcGVu", Convert.ToBase64String(Encoding.UTF8.GetBytes(Prompt)),
        ];
        var sent = collector.Bodies.Select(Encoding.UTF8.GetString).ToList();
        foreach (var secret in secrets)
        {
            Assert.DoesNotContain(lines, line => line.GetRawText().Contains(secret, StringComparison.Ordinal));
            Assert.DoesNotContain(sent, body => body.Contains(secret, StringComparison.Ordinal));
        }
        // Were the lines not those of the run, or the bodies not those of the host, this would have proved nothing.
        var failed = lines.Single(line => Of(line, "run_id") == told["run_id"] && Of(line, "message")!.Contains("gave no whole answer", StringComparison.Ordinal));
        Assert.Equal((TraceId, "warn"), (Of(failed, "trace_id"), Of(failed, "level")));
        Assert.Contains(lines, line =>
            Of(line, "run_id") == told["run_id"] && Of(line, "trace_id") == TraceId && Of(line, "message")!.Contains("gave no notes", StringComparison.Ordinal));
        Assert.Equal("model_unavailable", failed.GetProperty("attributes").GetProperty("Code").GetString());
        Assert.Contains(sent, body => body.Contains("POST /sessions/{session_id}/turn", StringComparison.Ordinal));
    }

    static string? Of(JsonElement line, string member) => line.TryGetProperty(member, out var value) ? value.GetString() : null;
}
