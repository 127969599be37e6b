using System.Text.Json;

using Cowork.Testing;
using Cowork.Web.Http;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>Two hosts on one database whose tenants have small quotas, each of another thing.</summary>
public sealed class SmallQuotas : IAsyncLifetime
{
    static readonly Application.TenantQuotas Quotas = new(new(), new Dictionary<string, Application.TenantQuota>
    {
        ["few-sessions"] = new() { Sessions = 2 },
        ["few-schedules"] = new() { Schedules = 1 },
        ["few-requests"] = new() { RequestsPerSecond = 2 },
        ["few-bytes"] = new() { StoredBytes = 40_000 },
        ["few-blobs"] = new() { Blobs = 1 },
        ["few-streams"] = new() { Streams = 1 },
        ["few-responses"] = new() { Streams = 1 },
        ["no-queue"] = new() { QueuedRuns = 1 },
    });

    public LiveHost One { get; private set; } = null!;

    public LiveHost Other { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        One = await LiveHost.Start(settings => settings with { TokenMode = true, Quotas = Quotas, Limits = new() { StreamsPerToken = 2, FailuresPerMinute = int.MaxValue } });
        Other = await LiveHost.Start(settings => settings with { TokenMode = true, Quotas = Quotas, Database = One.Database, Blobs = Path.Combine(One.Data, "blobs") });
    }

    public async ValueTask DisposeAsync()
    {
        await Other.DisposeAsync();
        await One.DisposeAsync();
        await Ledger.CheckLog(One.Database);
    }
}

/// <summary>What a tenant may have and do is bounded, and what it may not is refused with a code of its own.</summary>
public sealed class QuotaSpecs(SmallQuotas hosts) : IClassFixture<SmallQuotas>
{
    [Fact]
    public async Task A_tenant_with_all_its_sessions_gets_no_more_on_any_host_until_it_deletes_one()
    {
        var (http, there) = await Clients("few-sessions");
        var first = (await http.Post("/sessions", """{"session_id":"a"}""", ("Idempotency-Key", "first"))).Is(201);
        await there.NewSession("b");
        foreach (var host in (HttpClient[])[http, there])
        {
            await host.Until("/metrics", got => got.Json.GetProperty("quotas").GetProperty("sessions").GetProperty("used").GetInt64() == 2);
            Assert.NotNull((await host.Post("/sessions", "{}")).IsProblem(429, "tenant_sessions_full").Headers.RetryAfter);
        }
        // A repeat is answered like the first request.
        Assert.Equal(first.Text, (await http.Post("/sessions", """{"session_id":"a"}""", ("Idempotency-Key", "first"))).Is(201).Text);
        (await http.Delete("/sessions/b")).Is(204);
        await Patience.Until(() => http.Post("/sessions", """{"session_id":"c"}"""), got => (int)got.Status == 201, got => got.Text);
    }

    [Fact]
    public async Task A_tenant_with_all_its_schedules_gets_no_more()
    {
        var (http, _) = await Clients("few-schedules");
        var session = await http.NewSession();
        var skill = (await http.Post("/skills", """{"name":"s","prompt_template":"/say x"}""")).Is(201)["skill_id"];
        var body = JsonSerializer.Serialize(new { session_id = session, skill_id = skill, interval_seconds = 3600 });
        (await http.Post("/scheduled-runs", body)).Is(201);
        var refused = (await http.Post("/scheduled-runs", body)).IsProblem(429, "tenant_schedules_full");
        Assert.NotNull(refused.Headers.RetryAfter);
    }

    [Fact]
    public async Task A_tenant_that_sends_too_much_is_refused_and_no_other_is()
    {
        var (http, _) = await Clients("few-requests");
        var (other, _) = await Clients("others");
        Got? refused = null;
        for (var i = 0; i < 20; i++)
        {
            var got = await http.Get("/sessions");
            refused = (int)got.Status == 429 ? got : refused;
            (await other.Get("/sessions")).Is(200);
        }
        Assert.Equal(1, (int)refused!.IsProblem(429, "rate_limited").Headers.RetryAfter!.Delta!.Value.TotalSeconds);
        var metrics = await http.Until("/metrics", got => (int)got.Status == 200);
        Assert.True(metrics.Json.GetProperty("quotas").GetProperty("requests").GetProperty("refused").GetInt64() > 0);
    }

    [Theory]
    [InlineData("few-bytes", 50_000, "tenant_storage_full", "stored_bytes")]
    [InlineData("few-blobs", 70_000, "tenant_blobs_full", "blobs")]
    public async Task A_tenant_that_has_stored_enough_stores_no_more_and_reads_on(string org, int length, string code, string figure)
    {
        var (http, there) = await Clients(org);
        var session = await http.NewSession();
        var turn = (await http.Turn(session, $"/say ok\n{new string('x', length)}")).Is(200);
        Assert.Equal(code, (await Patience.Until(() => there.Turn(session, "/say more"), got => (int)got.Status == 507, got => got.Text)).Code);
        Assert.Equal(code, (await Patience.Until(() => http.Turn(session, "/say more"), got => (int)got.Status == 507, got => got.Text)).Code);
        (await http.Post("/sessions", "{}")).IsProblem(507, code);
        (await http.Post("/skills", """{"name":"s","prompt_template":"/say x"}""")).IsProblem(507, code);
        Assert.Equal("ok", (await http.Get($"/runs/{turn["run_id"]}")).Is(200)["reply"]);
        var shown = (await http.Get("/metrics")).Is(200).Json.GetProperty("quotas").GetProperty(figure);
        Assert.True(shown.GetProperty("used").GetInt64() >= shown.GetProperty("limit").GetInt64());
        (await http.Delete($"/sessions/{session}")).Is(204);
    }

    [Fact]
    public async Task Streams_are_bounded_for_each_tenant_and_each_token()
    {
        var (http, _) = await Clients("few-streams");
        var session = await http.NewSession();
        var stream = await EventReader.Open(http, $"/sessions/{session}/events/stream");
        var refused = (await http.Get($"/sessions/{session}/events/stream")).IsProblem(429, "tenant_streams_full");
        Assert.NotNull(refused.Headers.RetryAfter);
        Assert.Equal("1", (await http.Get("/metrics")).Is(200).Json.GetProperty("quotas").GetProperty("streams").GetProperty("used").ToString());
        await stream.DisposeAsync();
        await http.Until("/metrics", got => got.Json.GetProperty("quotas").GetProperty("streams").GetProperty("used").GetInt64() == 0);
        await using var again = await EventReader.Open(http, $"/sessions/{session}/events/stream");

        var (many, _) = await Clients("others");
        var theirs = await many.NewSession();
        await using var one = await EventReader.Open(many, $"/sessions/{theirs}/events/stream");
        await using var two = await EventReader.Open(many, $"/sessions/{theirs}/events/stream");
        (await many.Get($"/sessions/{theirs}/events/stream")).IsProblem(429, "token_streams_full");
        var (second, _) = await Clients("others");
        await using var three = await EventReader.Open(second, $"/sessions/{theirs}/events/stream");
        using var admin = hosts.One.Client(hosts.One.AdminToken);
        var open = (await admin.Get("/metrics")).Is(200).Json.GetProperty("host").GetProperty("streams");
        Assert.InRange(open.GetProperty("open").GetInt64(), 4, open.GetProperty("max").GetInt64());
        Assert.True(open.GetProperty("refused").GetInt64() >= 2);
        var text = (await admin.Get("/metrics", ("Accept", "text/plain"))).Is(200).Text;
        foreach (var line in (string[])["cowork_quota_limit{quota=\"requests_per_second\"} 5000\n", "cowork_open_max{what=\"connections\"}", "cowork_open{what=\"streams\"}"])
        {
            Assert.Contains(line, text);
        }
    }

    [Fact]
    public async Task Streams_of_responses_are_counted_as_streams_and_a_response_that_cannot_be_streamed_is_not_begun()
    {
        var (http, _) = await Clients("few-responses");
        var conversation = (await http.NewSession()).Replace("sess_", "conv_", StringComparison.Ordinal);
        string Body(string input, bool stream = true) => JsonSerializer.Serialize(new { conversation_id = conversation, input, stream });
        var first = await EventReader.Open(http, "/api/v1/responses", json: Body("/sleep 600000"));
        var run = (await first.Through(1))[0].Data.GetProperty("response_id").GetString();
        Assert.Equal("1", (await http.Get("/metrics")).Is(200).Json.GetProperty("quotas").GetProperty("streams").GetProperty("used").ToString());
        (await http.Post("/api/v1/responses", Body("/say never"))).IsProblem(429, "tenant_streams_full");
        foreach (var path in (string[])[$"{run}?stream=true", $"{run}/events", $"tail?conversation_id={conversation}"])
        {
            Assert.NotNull((await http.Get($"/api/v1/responses/{path}")).IsProblem(429, "tenant_streams_full").Headers.RetryAfter);
        }
        (await http.Get($"/sessions/{conversation}/events/stream")).IsProblem(429, "tenant_streams_full");
        Assert.Single((await http.Get($"/sessions/{conversation}/runs")).Is(200).Json.GetProperty("runs").EnumerateArray());
        // What streams nothing is done, and the place is free again when the client goes.
        (await http.Get($"/api/v1/responses/{run}")).Is(200);
        await first.DisposeAsync();
        await http.Until("/metrics", got => got.Json.GetProperty("quotas").GetProperty("streams").GetProperty("used").GetInt64() == 0);
        await using var again = await EventReader.Open(http, $"/api/v1/responses/{run}/events");
        (await http.Post("/api/v1/responses/cancel", JsonSerializer.Serialize(new { conversation_id = conversation }))).Is(200);
        await again.ToEnd();
        await http.Until("/metrics", got => got.Json.GetProperty("quotas").GetProperty("streams").GetProperty("used").GetInt64() == 0);
    }

    [Fact]
    public async Task A_tenant_gets_no_more_by_a_clock_that_was_set_back_and_waits_no_longer()
    {
        var (http, _) = await Clients("clocks");
        var session = await http.NewSession();
        var clock = new TestClock();
        var queries = hosts.One.Services.GetRequiredService<Application.IRunQueries>();
        var usage = new Application.TenantUsage(queries, new(new() { Sessions = 1 }, new Dictionary<string, Application.TenantQuota>()), new(), clock);
        using var timeout = new CancellationTokenSource(Patience.Limit);
        while ((await usage.SessionRefusal("clocks", timeout.Token))?.Code != "tenant_sessions_full")
        {
            clock.Advance(TimeSpan.FromSeconds(2));
        }
        (await http.Delete($"/sessions/{session}")).Is(204);
        await http.Until("/metrics", got => Sessions(got) == 0);
        clock.Set(TimeSpan.FromHours(-2));
        clock.Advance(TimeSpan.FromSeconds(2));
        Assert.Null(await usage.SessionRefusal("clocks", TestContext.Current.CancellationToken));

        static long Sessions(Got got) => got.Json.GetProperty("quotas").GetProperty("sessions").GetProperty("used").GetInt64();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(9)]
    [InlineData(19)]
    [InlineData(5_001)]
    public void A_tenant_gets_all_the_requests_of_its_rate(int rate)
    {
        var bucket = RequestRates.Bucket(new() { RequestsPerSecond = rate });
        Assert.Equal(rate, bucket.TokensPerPeriod / bucket.ReplenishmentPeriod.TotalSeconds, 0.001 * rate);
        Assert.Equal(2 * rate, bucket.TokenLimit);
    }

    [Fact]
    public async Task A_repeat_of_a_turn_is_answered_also_when_the_tenants_queue_is_full()
    {
        var (http, _) = await Clients("no-queue");
        var session = await http.NewSession();
        var asleep = JsonSerializer.Serialize(new { message = "/sleep 600000", wait_for_completion = false, idempotency_key = "k" });
        var first = (await http.Post($"/sessions/{session}/turn", asleep)).Is(202);
        await http.Turn(session, "/say waits", wait: false);
        Assert.Equal("tenant_queue_full", (await Patience.Until(() => http.Turn(session, "/say too many", wait: false), got => (int)got.Status == 429, got => got.Text)).Code);
        Assert.Equal(first["run_id"], (await http.Post($"/sessions/{session}/turn", asleep)).Is(202)["run_id"]);
        (await http.Delete($"/sessions/{session}")).Is(204);
    }

    async Task<(HttpClient Here, HttpClient There)> Clients(string org)
    {
        var token = await hosts.One.Token(org, "member");
        return (hosts.One.Client(token), hosts.Other.Client(token));
    }
}
