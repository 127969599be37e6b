using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Projections;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary><c>GET /metrics</c> of a real host on PostgreSQL: exact figures, whatever hosts did; and the projection under it.</summary>
public sealed class MetricsSpecs(TestTenant first) : IClassFixture<TestTenant>, IAsyncLifetime
{
    const string OpenMetrics = "application/openmetrics-text";

    /// <summary>Of one spec: figures are a tenant's.</summary>
    TestTenant tenant = null!;

    HttpClient Http => tenant.Http;

    public async ValueTask InitializeAsync() => tenant = await first.Another();

    public ValueTask DisposeAsync() => tenant.DisposeAsync();

    [Fact]
    public async Task Before_the_first_run_there_are_no_figures_and_no_fault()
    {
        var got = (await Http.Get("/metrics")).Is(200);
        Assert.Equal("application/json", got.ContentType);
        Assert.Equal(0, got.Json.GetProperty("run_count").GetInt64());
        Assert.Equal(JsonValueKind.Null, got.Json.GetProperty("success_rate").ValueKind);
        Assert.Equal(JsonValueKind.Null, got.Json.GetProperty("since").ValueKind);
        Assert.Equal(JsonValueKind.Null, got.Json.GetProperty("latency").GetProperty("queue").GetProperty("p50").ValueKind);
        Assert.Equal(0, ExpositionText.Read(await Text("text/plain"), openMetrics: false).Values["cowork_runs_created_total"]);
        Assert.Equal(0, ExpositionText.Read(await Text(OpenMetrics), openMetrics: true).Values["cowork_runs_created_total"]);
    }

    [Fact]
    public async Task After_runs_of_every_outcome_the_figures_are_exact()
    {
        await Http.NewSession("m");
        await Http.NewSession("held");
        var tokens = 0L;
        for (var i = 0; i < 4; i++)
        {
            tokens += (await Http.Turn("m", $"/say number {i}")).Is(200).Json.GetProperty("total_tokens").GetInt64();
        }
        Assert.Equal("failed", (await Http.Turn("m", "/fail on purpose")).Is(200)["status"]);
        // One that waits for a person, one that waits behind it, and one that does not wait any more.
        var asks = (await Http.Turn("held", "/tool write_file {\"path\":\"notes.txt\",\"content\":\"x\"}")).Is(200);
        Assert.Equal("approval_required", asks["status"]);
        await Http.Turn("held", "/say later", wait: false);
        var dropped = (await Http.Turn("held", "/say never", wait: false)).Is(202)["run_id"];
        (await Http.Post($"/runs/{dropped}/cancel")).Is(202);

        var got = await Counted(8, queued: 1, running: 0, waiting: 1, completed: 4, failed: 1, cancelled: 1);
        Assert.Equal(0.8, got.Json.GetProperty("success_rate").GetDouble());
        var latency = got.Json.GetProperty("latency");
        Assert.Equal((6, 5, 0), (Count(latency, "queue"), Count(latency, "execution"), Count(latency, "approval")));
        Assert.InRange(latency.GetProperty("execution").GetProperty("p99").GetDouble(), 0, 60);
        Assert.True(latency.GetProperty("queue").GetProperty("p50").GetDouble() <= latency.GetProperty("queue").GetProperty("p99").GetDouble());

        var approval = asks.Json.GetProperty("pending_approval_ids")[0].GetString();
        (await Http.Post($"/approvals/{approval}/decision", """{"approved":true}""")).Is(200);
        got = await Counted(8, queued: 0, running: 0, waiting: 0, completed: 6, failed: 1, cancelled: 1);
        latency = got.Json.GetProperty("latency");
        Assert.Equal((7, 7, 1), (Count(latency, "queue"), Count(latency, "execution"), Count(latency, "approval")));
        foreach (var session in (string[])["m", "held"])
        {
            foreach (var run in (await Http.Get($"/sessions/{session}/runs")).Json.GetProperty("runs").EnumerateArray())
            {
                tokens += session == "held" ? run.GetProperty("total_tokens").GetInt64() : 0;
            }
        }
        Assert.Equal(tokens, got.Json.GetProperty("total_tokens").GetInt64());
        Assert.Equal(0m, got.Json.GetProperty("cost_usd").GetDecimal());
        var first = (await Http.Get("/sessions/m/runs")).Json.GetProperty("runs").EnumerateArray().Last();
        Assert.Equal(first.GetProperty("created_at").GetString(), got["since"]);

        // The same in text, whatever the format.
        foreach (var text in new[] { ExpositionText.Read(await Text("text/plain"), false), ExpositionText.Read(await Text(OpenMetrics), true) })
        {
            Assert.Equal(8, text.Values["cowork_runs_created_total"]);
            Assert.Equal((6, 1, 1), (Ended("completed"), Ended("failed"), Ended("cancelled")));
            Assert.Equal(0, text.Values["cowork_runs_open{status=\"approval_required\"}"]);
            Assert.Equal((7, 7, 1), (Of("run_queue"), Of("run_execution"), Of("approval_wait")));
            Assert.Equal(tokens, text.Values["cowork_tokens_total{direction=\"input\"}"] + text.Values["cowork_tokens_total{direction=\"output\"}"]);
            double Ended(string status) => text.Values[$"cowork_runs_ended_total{{status=\"{status}\"}}"];
            double Of(string latency) => text.Values[$"cowork_{latency}_seconds_count"];
        }
        await Whole();
    }

    [Fact]
    public async Task Figures_of_the_host_are_for_auditors_and_tenants_see_their_own_runs_only()
    {
        await Http.NewSession("mine");
        await Http.Turn("mine", "/say hello");
        await Counted(1, completed: 1);
        var counted = (await tenant.Host.Http.Get("/metrics")).Is(200);
        Assert.Equal("marten", counted.Json.GetProperty("host").GetProperty("engine").GetString());
        Assert.Equal(
            [("memory_words", false), ("messages", false), ("metrics", false), ("names", false), ("retained", false), ("run_sources", false), ("usage", false)],
            counted.Json.GetProperty("host").GetProperty("projections").EnumerateArray().Select(p => (p.GetProperty("name").GetString(), p.GetProperty("parked").GetBoolean())));
        var text = ExpositionText.Read((await tenant.Host.Http.Get("/metrics", ("Accept", OpenMetrics))).Is(200).Text, true);
        Assert.True(text.Values["cowork_log_head_gid"] >= text.Values["cowork_metrics_as_of_gid"]);
        Assert.InRange(text.Values["process_resident_memory_bytes"], 1 << 20, 1L << 36);
        Assert.InRange(text.Values["process_start_time_seconds"], 1.7e9, 1e10);
        Assert.Equal(("bytes", "seconds"), (text.Units["process_resident_memory_bytes"], text.Units["cowork_run_queue_seconds"]));
        Assert.Equal(("counter", "histogram"), (text.Types["cowork_runs_ended"], text.Types["cowork_run_queue_seconds"]));

        using var member = await tenant.Stranger("member");
        var theirs = (await member.Get("/metrics")).Is(200);
        Assert.Equal((0, JsonValueKind.Null), (theirs.Json.GetProperty("run_count").GetInt64(), theirs.Json.GetProperty("host").ValueKind));
        var told = ExpositionText.Read((await member.Get("/metrics", ("Accept", "text/plain"))).Is(200).Text, false);
        Assert.Equal(0, told.Values["cowork_runs_created_total"]);
        Assert.DoesNotContain(told.Types.Keys, name => name.StartsWith("process_", StringComparison.Ordinal) || name.Contains("log_head", StringComparison.Ordinal));
        (await member.Get("/projections")).IsProblem(403, "role_missing");
        (await member.Get("/engine/nodes")).IsProblem(403, "role_missing");
        (await member.Get("/engine/jobs")).IsProblem(403, "role_missing");
        // What is about all tenants is for the auditors of the operator's own.
        using var theirAuditor = await tenant.Stranger("auditor", "admin");
        Assert.Equal(JsonValueKind.Null, (await theirAuditor.Get("/metrics")).Is(200).Json.GetProperty("host").ValueKind);
        (await theirAuditor.Get("/projections")).IsProblem(403, "operator_only");
        (await theirAuditor.Get("/engine/nodes")).IsProblem(403, "operator_only");
        (await theirAuditor.Get("/engine/jobs")).IsProblem(403, "operator_only");
        using var auditor = tenant.Host.Client(await tenant.Host.Token("default", "auditor"));
        Assert.Equal(JsonValueKind.Object, (await auditor.Get("/metrics")).Is(200).Json.GetProperty("host").ValueKind);
        (await auditor.Get("/projections")).Is(200);
        using var nobody = tenant.Host.Client("cowork_nonsense");
        (await nobody.Get("/metrics")).IsProblem(401);
    }

    [Theory]
    [InlineData(null, "application/json")]
    [InlineData("*/*", "application/json")]
    [InlineData("", "application/json")]
    [InlineData("application/json", "application/json")]
    [InlineData("application/json, text/plain, */*", "application/json")]
    [InlineData("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json")] // a browser
    [InlineData("text/plain", "text/plain")]
    [InlineData("text/*", "text/plain")]
    [InlineData("TEXT/Plain; version=0.0.4", "text/plain")]
    [InlineData("text/plain; q=0.5, application/json; q=0.4", "text/plain")]
    [InlineData("text/plain, */*", "text/plain")] // named is more than not excluded
    [InlineData("text/plain; q=0, */*", "application/json")]
    [InlineData("application/openmetrics-text", OpenMetrics)]
    [InlineData("application/*; q=0.1, application/openmetrics-text; q=0.9", OpenMetrics)]
    [InlineData("application/openmetrics-text; version=0.0.1, text/plain; q=0.2", "text/plain")] // a version that is not spoken here
    [InlineData(
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
        + "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        OpenMetrics)] // Prometheus 3
    [InlineData("text/plain;version=0.0.4;q=1,*/*;q=0.1", "text/plain")]
    [InlineData("image/png", "application/json")]
    [InlineData("no media type at all", "application/json")]
    public async Task The_client_chooses_the_format(string? accept, string contentType)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/metrics");
        if (accept is not null)
        {
            request.Headers.TryAddWithoutValidation("Accept", accept);
        }
        using var got = await Http.SendAsync(request);
        Assert.Equal(200, (int)got.StatusCode);
        Assert.Equal(contentType, got.Content.Headers.ContentType!.MediaType);
        Assert.Equal("Accept", got.Headers.Vary.Single());
        var version = got.Content.Headers.ContentType.Parameters.FirstOrDefault(p => p.Name == "version")?.Value;
        Assert.Equal(contentType switch { "text/plain" => "0.0.4", OpenMetrics => "1.0.0", _ => null }, version);
        var text = await got.Content.ReadAsStringAsync();
        if (contentType == "application/json")
        {
            JsonDocument.Parse(text).Dispose();
        }
        else
        {
            ExpositionText.Read(text, contentType == OpenMetrics);
        }
    }

    static int Count(JsonElement latency, string of) => latency.GetProperty(of).GetProperty("count").GetInt32();

    async Task<string> Text(string accept)
    {
        var got = (await Http.Get("/metrics", ("Accept", accept))).Is(200);
        Assert.Equal(accept, got.ContentType);
        return got.Text;
    }

    /// <summary>Waits until the metrics have caught up, and they are these.</summary>
    async Task<Got> Counted(int runs, int queued = 0, int running = 0, int waiting = 0, int completed = 0, int failed = 0, int cancelled = 0)
    {
        var wanted = $"{runs}: {queued} {running} {waiting} {completed} {failed} {cancelled}";
        return await Http.Until("/metrics", got =>
        {
            var s = got.Is(200).Json.GetProperty("status_counts");
            return wanted == $"{got["run_count"]}: {Of("queued")} {Of("running")} {Of("approval_required")} {Of("completed")} {Of("failed")} {Of("cancelled")}";
            long Of(string status) => s.GetProperty(status).GetInt64();
        });
    }

    async Task Whole()
    {
        var rows = tenant.Host.Services.GetRequiredService<IRows>();
        foreach (var model in ReadModels.Tables)
        {
            Assert.Null(await rows.FindDifference(model, CancellationToken.None));
        }
    }
}
