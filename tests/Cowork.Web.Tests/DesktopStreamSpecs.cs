using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application;
using Cowork.Testing;
using Cowork.Web.Http;

using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Cowork.Web.Tests;

/// <summary>Contract C's stream: a snapshot that the events join, exact replay, heartbeats, and tokens for clients that send no headers.</summary>
public sealed class DesktopStreamSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    /// <summary>Readers come while tasks are given, steered, stopped and worked on. What each of them folds is what GET shows in the end.</summary>
    [Fact]
    public async Task A_snapshot_taken_at_any_moment_and_the_events_after_it_make_what_is_there()
    {
        var session = await http.NewSession();
        var readers = new List<Task<Folded>>();
        using var over = new CancellationTokenSource(Patience.Limit);
        var ended = new TaskCompletionSource<long>();
        var working = Task.WhenAll(Enumerable.Range(0, 4).Select(async client =>
        {
            for (var i = 0; i < 6; i++)
            {
                var prompt = i % 3 == 0 ? "/tool write_file {\\\"path\\\":\\\".anton/output/r" + client + ".md\\\",\\\"content\\\":\\\"" + i + "\\\"}\\n/say wrote" : i % 3 == 1 ? "/say some words that are said in pieces" : "/fail no";
                var task = (await http.Post($"/api/cowork/sessions/{session}/tasks", $$"""{"prompt":"{{prompt}}"}""")).Is(201)["taskId"];
                await http.Post($"/api/cowork/tasks/{task}/feedback", """{"feedback":"/say steered"}""");
                if (i == 4)
                {
                    await http.Post($"/api/cowork/tasks/{task}/stop");
                }
            }
        }));
        while (!working.IsCompleted)
        {
            readers.Add(Fold(session, ended.Task, over.Token));
            await Task.WhenAny(working, readers[^1].ContinueWith(_ => { }, TaskScheduler.Default), Task.Delay(20, over.Token));
        }
        await working;
        await http.Until($"/api/cowork/sessions/{session}/tasks?status=queued,ready,planning,running", got => got.Text == "[]");
        var feed = await http.Events(session);
        ended.SetResult(feed.Where(e => e.GetProperty("type").GetString() is "run_completed" or "run_failed" or "run_cancelled" or "artifact_discovered").Max(e => e.GetProperty("id").GetInt64()));
        var tasks = (await http.Get($"/api/cowork/sessions/{session}/tasks?limit=1000")).Is(200).Json.EnumerateArray().ToDictionary(t => t.GetProperty("taskId").GetString()!, t => t.GetRawText());
        foreach (var reader in readers)
        {
            var folded = await reader;
            Assert.Equal(tasks.Count, folded.Tasks.Count);
            Assert.All(folded.Tasks, t => Assert.True(JsonNode.DeepEquals(JsonNode.Parse(tasks[t.Key]), t.Value), $"joined at {folded.From}:\n{tasks[t.Key]}\n{t.Value.ToJsonString()}"));
            Assert.Equal(4, folded.Artifacts.Count);
        }
        Assert.True(readers.Count > 3);
    }

    /// <summary>What a client has that applies <c>patch</c> and <c>append</c> of each event.</summary>
    sealed record Folded(long From, Dictionary<string, JsonObject> Tasks, Dictionary<string, JsonNode> Artifacts);

    async Task<Folded> Fold(string session, Task<long> ended, CancellationToken ct)
    {
        await using var stream = await EventReader.Open(http, $"/api/cowork/sessions/{session}/events");
        var (from, name, snapshot) = (await stream.Next(ct))!.Value;
        Assert.Equal(("session.snapshot", from), (name, snapshot.GetProperty("lastEventId").GetInt64()));
        Assert.Equal(session, snapshot.GetProperty("session").GetProperty("sessionId").GetString());
        var folded = new Folded(
            from, snapshot.GetProperty("tasks").EnumerateArray().ToDictionary(t => t.GetProperty("taskId").GetString()!, t => JsonNode.Parse(t.GetRawText())!.AsObject()),
            snapshot.GetProperty("artifacts").EnumerateArray().ToDictionary(a => a.GetProperty("artifactId").GetString()!, a => JsonNode.Parse(a.GetRawText())!));
        for (var last = from; !(ended.IsCompleted && last >= await ended);)
        {
            using var look = CancellationTokenSource.CreateLinkedTokenSource(ct);
            var next = stream.Next(ct);
            await Task.WhenAny(next, ended);
            if (!next.IsCompleted && ended.IsCompleted && last >= await ended)
            {
                break;
            }
            var (id, type, json) = (await next)!.Value;
            if (type == "system.heartbeat")
            {
                continue;
            }
            Assert.True(id > last, $"{id} after {last}");
            last = id;
            var data = JsonNode.Parse(json.GetRawText())!.AsObject();
            if (data["artifact"] is { } artifact)
            {
                folded.Artifacts[(string)artifact["artifactId"]!] = artifact.DeepClone();
            }
            var task = (string?)data["taskId"];
            if (data["task"] is JsonObject created)
            {
                folded.Tasks.Add(task!, created.DeepClone().AsObject());
            }
            foreach (var (member, value) in data["patch"]?.AsObject() ?? [])
            {
                folded.Tasks[task!][member] = value?.DeepClone();
            }
            foreach (var (member, value) in data["append"]?.AsObject() ?? [])
            {
                folded.Tasks[task!][member] = (string?)folded.Tasks[task!][member] + (string)value!;
            }
        }
        return folded;
    }

    [Fact]
    public async Task A_stream_that_is_read_again_from_any_event_has_the_same_bytes()
    {
        var session = await http.NewSession();
        var task = (await http.Post($"/api/cowork/sessions/{session}/tasks", """{"prompt":"/tool write_file {\"path\":\"r.md\",\"content\":\"x\"}\n/say ok"}""")).Is(201)["taskId"];
        var asked = await http.Until($"/api/cowork/tasks/{task}", got => got["status"] == "awaiting_confirmation");
        var approval = asked.Json.GetProperty("pendingApprovalIds").EnumerateArray().Single().GetString()!;
        Assert.Equal("pending", (await http.Get($"/approvals/{approval}")).Is(200)["status"]);
        Assert.Equal("[]", (await http.Post($"/api/cowork/tasks/{task}/stop")).Is(200)["pendingApprovalIds"]);
        await using var whole = await EventReader.Open(http, $"/api/cowork/sessions/{session}/events?lastEventId=0");
        var events = new List<(long Id, string Type, JsonElement Data)>();
        using var timeout = new CancellationTokenSource(Patience.Limit);
        do
        {
            events.Add((await whole.Next(timeout.Token))!.Value);
        }
        while (events[^1].Type != "task.cancelled");
        Assert.Equal("task.created", events[0].Type);
        Assert.Contains(events, e => e.Type == "approval.required" && e.Data.GetProperty("patch").GetProperty("status").GetString() == "awaiting_confirmation");
        Assert.Contains(events, e => e.Type == "approval.resolved" && e.Data.GetProperty("outcome").GetString() == "rejected");
        Assert.Equal(
            [$"[\"{approval}\"]", "[]"],
            events.Where(e => e.Type.StartsWith("approval.", StringComparison.Ordinal)).Select(e => e.Data.GetProperty("patch").GetProperty("pendingApprovalIds").GetRawText()));
        for (var i = 0; i < events.Count; i++)
        {
            var since = i == 0 ? 0 : events[i - 1].Id;
            await using var byHeader = await EventReader.Open(http, $"/api/cowork/sessions/{session}/events?since_id=0", since);
            await using var byQuery = await EventReader.Open(http, $"/api/cowork/sessions/{session}/events?since_id={since}");
            foreach (var reader in (EventReader[])[byHeader, byQuery])
            {
                var again = await reader.Through(events[^1].Id);
                Assert.Equal(events.Skip(i).Select(e => (e.Id, e.Type, e.Data.GetRawText())), again.Select(e => (e.Id, e.Type, e.Data.GetRawText())));
            }
        }
        var head = (await http.Events(session)).Count;
        // A cursor that is ahead is named as it came, in every contract.
        var key = task["task_".Length..];
        await Ahead($"/api/cowork/sessions/{session}/events?lastEventId={head + 1}", "lastEventId");
        await Ahead($"/api/cowork/sessions/{session}/events?since_id={head + 1}", "since_id");
        await Ahead($"/api/cowork/sessions/{session}/events?since_id=0", "Last-Event-ID", ("Last-Event-ID", $"{head + 1}"));
        await Ahead($"/sessions/{session}/events/stream?since_id=0", "Last-Event-ID", ("Last-Event-ID", $"{head + 1}"));
        await Ahead($"/sessions/{session}/events/stream?since_id={head + 1}", "since_id");
        await Ahead($"/api/v1/responses/resp_{key}/events?starting_after=1", "Last-Event-ID", ("Last-Event-ID", "1000"));
        await Ahead($"/api/v1/responses/resp_{key}/events?starting_after=1000", "starting_after");
        await Ahead($"/api/v1/responses/tail?conversation_id={session}&from_seq=1000", "from_seq");
        (await http.Get($"/api/cowork/sessions/{session}/events", ("Last-Event-ID", "x"))).IsProblem(422);
        (await http.Get("/api/cowork/sessions/nobodys/events")).IsProblem(404);
    }

    async Task Ahead(string path, string place, params (string, string)[] headers)
    {
        var refused = (await http.Get(path, headers)).IsProblem(422, "cursor_ahead");
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty(place, out _), refused.Text);
    }

    [Fact]
    public async Task A_stream_token_opens_the_stream_of_its_session_for_a_minute_and_nothing_else_and_no_log_has_it()
    {
        var log = new LogCollector();
        await using var host = await LiveHost.Start(
            s => s with { KeepAlive = TimeSpan.FromMilliseconds(200) },
            all => all.SetMinimumLevel(LogLevel.Trace).AddFilter("Microsoft", LogLevel.Trace).Services.AddSingleton<ILoggerFactory>(
                services => new LoggerFactory([new Collected(log)], services.GetRequiredService<IOptionsMonitor<LoggerFilterOptions>>())));
        using var admin = host.Client(host.AdminToken);
        using var nobody = host.Client();
        await admin.NewSession("one");
        await admin.NewSession("two");
        var issued = (await admin.Post("/api/cowork/stream-token", """{"sessionId":"one"}""")).Is(201);
        var token = issued["token"];
        Assert.InRange(issued.Json.GetProperty("expiresAt").GetDateTimeOffset() - TimeProvider.System.GetUtcNow(), TimeSpan.FromSeconds(30), TimeSpan.FromSeconds(61));
        (await nobody.Post("/api/cowork/stream-token")).IsProblem(401, "unauthorized");
        (await admin.Post("/api/cowork/stream-token", """{"sessionId":"three"}""")).IsProblem(404);

        // Again and again until its time is over: an EventSource reconnects with the address that it has.
        for (var i = 0; i < 2; i++)
        {
            await using var stream = await EventReader.Open(nobody, $"/api/cowork/sessions/one/events?access_token={token}");
            using var timeout = new CancellationTokenSource(Patience.Limit);
            Assert.Equal("session.snapshot", (await stream.Next(timeout.Token))!.Value.Type);
            var beat = (await stream.Next(timeout.Token))!.Value;
            Assert.Equal((0, "system.heartbeat"), (beat.Id, beat.Type));
        }
        (await nobody.Get($"/api/cowork/sessions/two/events?access_token={token}")).IsProblem(401, "unauthorized");
        (await nobody.Get($"/api/cowork/sessions/one?access_token={token}")).IsProblem(401, "unauthorized");
        (await nobody.Get($"/api/cowork/sessions/one/tasks?access_token={token}")).IsProblem(401, "unauthorized");
        (await nobody.Get($"/sessions/one/events/stream?access_token={token}&since_id=99")).IsProblem(422);
        using (var asBearer = host.Client(token))
        {
            (await asBearer.Get("/api/cowork/sessions/one")).IsProblem(401, "unauthorized");
        }
        var changed = token[..^4] + (token[^4] == 'A' ? 'B' : 'A') + token[^3..];
        (await nobody.Get($"/api/cowork/sessions/one/events?access_token={changed}")).IsProblem(401, "unauthorized");
        (await nobody.Get("/api/cowork/sessions/one/events?access_token=")).IsProblem(401, "unauthorized");

        // A minute ago, as this host or another one of the database made it.
        var clock = new TestClock();
        clock.Advance(TimeProvider.System.GetUtcNow() - StreamTokens.Life - TimeSpan.FromSeconds(1) - clock.GetUtcNow());
        var old = new StreamTokens(host.Services.GetRequiredService<MasterKeyring>(), clock).Issue(host.AdminToken, null).Token;
        (await nobody.Get($"/api/cowork/sessions/one/events?access_token={old}")).IsProblem(401, "token_expired");

        // Another tenant's opens that tenant's sessions alone, and none once the token behind it is revoked.
        var theirs = await host.Token("acme", "member", "admin");
        using var acme = host.Client(theirs);
        await acme.NewSession("theirs");
        var any = (await acme.Post("/api/cowork/stream-token")).Is(201)["token"];
        (await nobody.Get($"/api/cowork/sessions/one/events?access_token={any}")).IsProblem(404);
        await using var open = await EventReader.Open(nobody, $"/api/cowork/sessions/theirs/events?access_token={any}");
        var id = (await acme.Get("/tokens")).Is(200).Json.GetProperty("tokens")[0].GetProperty("token_id").GetString();
        Assert.Equal(HttpStatusCode.NoContent, (await acme.Delete($"/tokens/{id}")).Status);
        await open.ToEnd();
        (await nobody.Get($"/api/cowork/sessions/theirs/events?access_token={any}")).IsProblem(401);

        Assert.True(log.Has("Cowork listens on"));
        foreach (var secret in (string[])[token, any, old, changed])
        {
            Assert.DoesNotContain(secret[4..], log.Text);
        }
    }

    /// <summary>Has the filters of the host judge what is kept.</summary>
    sealed class Collected(LogCollector log) : ILoggerProvider
    {
        public ILogger CreateLogger(string categoryName) => log;

        public void Dispose()
        {
        }
    }
}
