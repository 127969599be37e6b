using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.Json;

using Cowork.Application.Models;
using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>Contract C's tasks: given, listed, steered and stopped, on the runs of the other contracts.</summary>
public sealed class DesktopTaskSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Write = "/tool write_file {\\\"path\\\":\\\"r.md\\\",\\\"content\\\":\\\"x\\\"}";

    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_task_is_the_run_and_the_response_of_the_other_contracts_event_for_event()
    {
        var session = await http.NewSession();
        var made = await Give(session, "/tool list_files {}\\n/say all of it");
        var task = made["taskId"];
        Assert.StartsWith("task_", task);
        Assert.Equal($"/api/cowork/tasks/{task}", made.Headers.Location!.ToString());
        var ended = await Until(task, "completed");
        Assert.Equal(
            ["taskId", "sessionId", "title", "prompt", "status", "model", "contextFiles", "reply", "error", "pendingApprovalIds", "steps", "createdAt", "updatedAt"],
            ended.Json.EnumerateObject().Select(member => member.Name));
        Assert.Equal((session, "all of it", "offline", "[]", "4"), (ended["sessionId"], ended["reply"], ended["model"], ended["contextFiles"], ended["steps"]));
        var key = task["task_".Length..];
        foreach (var id in (string[])[key, $"run_{key}", $"resp_{key}", $"task_{key}"])
        {
            Assert.Equal(ended.Text, (await http.Get($"/api/cowork/tasks/{id}")).Is(200).Text);
            Assert.Equal(ended.Text, (await http.Get($"/api/cowork/sessions/{session}/tasks/{id}")).Is(200).Text);
        }
        var run = (await http.Get($"/runs/{task}")).Is(200);
        Assert.Equal((ended["prompt"], ended["reply"], ended["createdAt"]), (run["message"], run["reply"], run["created_at"]));
        Assert.Equal("completed", (await http.Get($"/api/v1/responses/{task}")).Is(200)["status"]);

        // Each event of the feed is none or one of the stream, under the id that it has in the feed.
        var feed = await http.Events(session);
        await using var stream = await EventReader.Open(http, $"/api/cowork/sessions/{session}/events", 0);
        var shown = await stream.Through(feed.Last(e => Names.ContainsKey(e.GetProperty("type").GetString()!)).GetProperty("id").GetInt64());
        Assert.Equal(shown.Select(e => e.Id).Distinct(), shown.Select(e => e.Id));
        foreach (var (id, name, data) in shown)
        {
            var entry = feed[(int)id - 1];
            Assert.Equal(entry.GetProperty("ts").GetString(), data.GetProperty("ts").GetString());
            Assert.Equal(entry.GetProperty("run_id").GetString(), $"run_{data.GetProperty("taskId").GetString()![5..]}");
            Assert.Equal(Names[entry.GetProperty("type").GetString()!], name);
        }
        Assert.Equal(feed.Count(e => Names.ContainsKey(e.GetProperty("type").GetString()!)), shown.Count);
    }

    static readonly Dictionary<string, string> Names = new()
    {
        ["run_created"] = "task.created",
        ["run_queued"] = "task.updated",
        ["run_started"] = "task.updated",
        ["memory_retrieval"] = "task.updated",
        ["policy_decision"] = "task.updated",
        ["output_delta"] = "task.updated",
        ["assistant_reply"] = "task.updated",
        ["llm_response"] = "token.usage",
        ["tool_call"] = "agent.tool.call",
        ["tool_result"] = "agent.tool.result",
        ["run_completed"] = "task.completed",
    };

    [Fact]
    public async Task Tasks_are_listed_by_each_status_newest_first()
    {
        var session = await http.NewSession();
        var completed = (await Give(session, "/say ok"))["taskId"];
        await Until(completed, "completed");
        var failed = (await Give(session, "/fail no"))["taskId"];
        Assert.Equal("model_failed", (await Until(failed, "failed")).Json.GetProperty("error").GetProperty("code").GetString());
        var waiting = (await Give(session, Write))["taskId"];
        await Until(waiting, "awaiting_confirmation");
        var (queued, later) = ((await Give(session, "/say 1"))["taskId"], (await Give(session, "/say 2"))["taskId"]);
        var cancelled = (await Give(session, "/say 3"))["taskId"];
        Assert.Equal("cancelled", (await http.Post($"/api/cowork/tasks/{cancelled}/stop")).Is(200)["status"]);

        Assert.Equal([cancelled, later, queued, waiting, failed, completed], await Listed(""));
        Assert.Equal([later, queued], await Listed("?status=queued"));
        Assert.Equal([later], await Listed("?status=queued&limit=1"));
        Assert.Equal([waiting], await Listed("?status=awaiting_confirmation"));
        Assert.Equal([cancelled], await Listed("?status=cancelled"));
        Assert.Equal([failed, completed], await Listed("?status=completed,failed"));
        Assert.Equal([failed, completed], await Listed("?status=completed&status=failed"));
        Assert.Empty(await Listed("?status=planning,running,ready"));
        (await http.Get($"/api/cowork/sessions/{session}/tasks?status=approval_required")).IsProblem(422);
        (await http.Get($"/api/cowork/sessions/{session}/tasks?status=")).IsProblem(422);
        (await http.Get("/api/cowork/sessions/nobodys/tasks")).IsProblem(404);
        await http.Post($"/api/cowork/tasks/{waiting}/stop");

        async Task<List<string>> Listed(string query) =>
            [.. (await http.Get($"/api/cowork/sessions/{session}/tasks{query}")).Is(200).Json.EnumerateArray().Select(task => task.GetProperty("taskId").GetString()!)];
    }

    [Fact]
    public async Task A_repeated_request_gives_no_second_task_and_what_is_no_task_is_refused()
    {
        var session = await http.NewSession();
        var path = $"/api/cowork/sessions/{session}/tasks";
        var first = (await http.Post(path, """{"prompt":"/say ok"}""", ("Idempotency-Key", "t1"))).Is(201);
        var again = (await http.Post(path, """{"prompt":"/say ok"}""", ("Idempotency-Key", "t1"))).Is(201);
        Assert.Equal((first["taskId"], "true"), (again["taskId"], again.Headers.GetValues("Idempotency-Replayed").Single()));
        foreach (var bad in (string[])["{}", """{"prompt":" "}""", """{"prompt":"x","model":"nobody"}""", """{"prompt":"x","contextFiles":[""]}""", """{"prompt":"x","contextFiles":["missing.txt"]}"""])
        {
            (await http.Post(path, bad)).IsProblem(422);
        }
        (await http.Post(path, JsonSerializer.Serialize(new { prompt = new string('x', (256 << 10) + 1) }))).IsProblem(422);
        (await http.Post("/api/cowork/sessions/nobodys/tasks", """{"prompt":"x"}""")).IsProblem(404);
        using var nobody = tenant.Host.Client();
        (await nobody.Post(path, """{"prompt":"x"}""")).IsProblem(401, "unauthorized");
    }

    [Fact]
    public async Task Context_files_are_recorded_as_they_were_when_the_task_was_accepted_and_are_shown_by_their_paths()
    {
        var session = await http.NewSession("context-files");
        var notes = Path.Combine(tenant.WorkspaceOf(session), "notes.txt");
        await File.WriteAllTextAsync(notes, "Only the north counts.");
        var path = $"/api/cowork/sessions/{session}/tasks";
        var task = (await http.Post(path, """{"prompt":"/say ok","contextFiles":["notes.txt"]}""", ("Idempotency-Key", "c1"))).Is(201);
        Assert.Equal("""["notes.txt"]""", task["contextFiles"]);
        var created = (await http.Events(session)).Single(e => e.GetProperty("type").GetString() == "run_created").GetProperty("payload").GetProperty("context_files")[0];
        Assert.Equal(
            ("notes.txt", "Only the north counts.", false),
            (created.GetProperty("path").GetString(), created.GetProperty("text").GetString(), created.GetProperty("is_cut").GetBoolean()));
        File.Delete(notes);
        (await http.Post(path, """{"prompt":"/say ok","contextFiles":["notes.txt"]}""")).IsProblem(422);
        (await http.Post(path, """{"prompt":"/say ok","contextFiles":["../../../../etc/passwd"]}""")).IsProblem(422);
        // A repeat is answered like its first request.
        Assert.Equal(task["taskId"], (await http.Post(path, """{"prompt":"/say ok","contextFiles":["notes.txt"]}""", ("Idempotency-Key", "c1"))).Is(201)["taskId"]);
        Assert.Equal("completed", (await Until(task["taskId"], "completed"))["status"]);
    }

    [Theory]
    [InlineData("/sleep 600000", "planning")]
    [InlineData(Write, "awaiting_confirmation")]
    [InlineData("```python\\nimport time\\ntime.sleep(600)\\n```", "running")]
    public async Task A_task_that_is_stopped_ends_within_a_second_and_says_what_it_did(string prompt, string status)
    {
        var session = await http.NewSession();
        var task = (await Give(session, prompt))["taskId"];
        var before = await Until(task, status);
        var behind = (await Give(session, "/say behind"))["taskId"];
        var started = Stopwatch.GetTimestamp();
        var stopped = (await http.Post($"/api/cowork/tasks/{task}/stop")).Is(200);
        Assert.Equal("cancelled", stopped["status"]);
        var feed = await http.Events(session);
        DateTimeOffset At(string type) => feed.First(e => e.GetProperty("type").GetString() == type && e.GetProperty("run_id").GetString() == $"run_{task[5..]}").GetProperty("ts").GetDateTimeOffset();
        Assert.InRange(At("run_cancelled") - At("run_cancel_requested"), TimeSpan.Zero, Patience.Stretched(TimeSpan.FromSeconds(1)));
        Assert.True(Stopwatch.GetElapsedTime(started) < Patience.Stretched(TimeSpan.FromSeconds(2)));
        Assert.True(int.Parse(stopped["steps"]) >= int.Parse(before["steps"]));
        // Again, and of one that has ended: its state.
        Assert.Equal(stopped.Text, (await http.Post($"/api/cowork/tasks/{task}/stop")).Is(200).Text);
        var after = await Until(behind, "completed");
        Assert.Equal(after.Text, (await http.Post($"/api/cowork/tasks/{behind}/stop")).Is(200).Text);
    }

    [Fact]
    public async Task A_task_that_is_stopped_while_its_model_speaks_or_is_waited_for_shows_what_was_said()
    {
        await using var provider = new ModelServer();
        await using var host = await ModelHost(provider);
        using var client = host.Client(host.AdminToken);
        var session = await client.NewSession();
        provider.Then(async e =>
        {
            await e.Head();
            await e.Event(Chunk("""{"content":"Half of "}"""));
            await e.Gone();
        });
        var task = (await client.Post($"/api/cowork/sessions/{session}/tasks", """{"prompt":"x"}""")).Is(201)["taskId"];
        await client.Until($"/api/cowork/tasks/{task}", got => got["reply"] == "Half of ");
        Assert.Equal("running", (await client.Get($"/api/cowork/tasks/{task}"))["status"]);
        var stopped = (await client.Post($"/api/cowork/tasks/{task}/stop")).Is(200);
        Assert.Equal(("cancelled", "Half of ", "1"), (stopped["status"], stopped["reply"], stopped["steps"]));

        provider.ThenStatus(503, """{"error":{"message":"busy"}}""", "Retry-After: 30");
        task = (await client.Post($"/api/cowork/sessions/{session}/tasks", """{"prompt":"x"}""")).Is(201)["taskId"];
        await client.Until($"/sessions/{session}/events?since_id=10", got => got.Text.Contains("model_retried", StringComparison.Ordinal));
        Assert.Equal("cancelled", (await client.Post($"/api/cowork/tasks/{task}/stop")).Is(200)["status"]);
    }

    [Fact]
    public async Task Feedback_steers_a_task_and_a_repeat_of_the_request_says_nothing_twice()
    {
        var session = await http.NewSession();
        var task = (await Give(session, Write))["taskId"];
        await Until(task, "awaiting_confirmation");
        var path = $"/api/cowork/tasks/{task}/feedback";
        Assert.Equal("awaiting_confirmation", (await http.Post(path, """{"feedback":"/say steered"}""", ("Idempotency-Key", "f1"))).Is(202)["status"]);
        Assert.Equal("true", (await http.Post(path, """{"feedback":"/say steered"}""", ("Idempotency-Key", "f1"))).Is(202).Headers.GetValues("Idempotency-Replayed").Single());
        (await http.Post(path, """{"feedback":"/say other"}""", ("Idempotency-Key", "f1"))).IsProblem(422, "idempotency_key_reused");
        foreach (var bad in (string[])["{}", """{"feedback":""}""", """{"feedback":7}""", JsonSerializer.Serialize(new { feedback = new string('x', (256 << 10) + 1) })])
        {
            (await http.Post(path, bad)).IsProblem(422);
        }
        var approval = (await http.Get($"/runs/{task}")).Is(200).Json.GetProperty("pending_approval_ids")[0].GetString();
        (await http.Post($"/approvals/{approval}/decision", """{"approved":false}""")).Is(200);
        Assert.Equal("steered", (await Until(task, "completed"))["reply"]);
        var given = Assert.Single(await http.Events(session), e => e.GetProperty("type").GetString() == "feedback_received").GetProperty("payload");
        Assert.Equal(("/say steered", "user:local"), (given.GetProperty("text").GetString(), given.GetProperty("by").GetString()));
        (await http.Post(path, """{"feedback":"too late"}""")).IsProblem(409, "task_ended");
        // The first answer under a key is repeated, whatever has become of the task.
        (await http.Post(path, """{"feedback":"/say steered"}""", ("Idempotency-Key", "f1"))).Is(202);
        (await http.Post("/api/cowork/tasks/task_01kdvkjr000000000000000002/feedback", """{"feedback":"x"}""")).IsProblem(404);
    }

    [Fact]
    public async Task Long_feedback_and_what_waits_beyond_the_limit()
    {
        var session = await http.NewSession();
        var task = (await Give(session, Write))["taskId"];
        await Until(task, "awaiting_confirmation");
        var text = new string('ä', 100_000);
        (await http.Post($"/api/cowork/tasks/{task}/feedback", JsonSerializer.Serialize(new { feedback = text }))).Is(202);
        for (var i = 1; i < Domain.Limits.FeedbackWaitingMax; i++)
        {
            (await http.Post($"/api/cowork/tasks/{task}/feedback", """{"feedback":"/say more"}""")).Is(202);
        }
        (await http.Post($"/api/cowork/tasks/{task}/feedback", """{"feedback":"one more"}""")).IsProblem(429, "feedback_full");
        await using var stream = await EventReader.Open(http, $"/api/cowork/sessions/{session}/events", 0);
        var shown = await stream.Through((await http.Events(session)).Count);
        Assert.Contains(shown, e => e.Data.TryGetProperty("feedback", out var feedback) && feedback.GetProperty("text").GetString() == text);
        await http.Post($"/api/cowork/tasks/{task}/stop");
    }

    /// <summary>
    /// A real host and a model on the wire: four clients give feedback at random moments while the model answers and its tools are called. Each that was accepted is in every request after
    /// it, once and in one place; one that was not found the task ended.
    /// </summary>
    [Fact]
    public async Task Feedback_at_any_moment_is_seen_once_by_every_later_request_or_finds_the_task_ended()
    {
        await using var provider = new ModelServer();
        await using var host = await ModelHost(provider);
        using var client = host.Client(host.AdminToken);
        foreach (var seed in Seeds.Many(ordinary: 4, chaos: 200))
        {
            var asked = provider.Asked.Count;
            var accepted = new ConcurrentQueue<(string Text, int Before)>();
            for (var i = 0; i < 60; i++)
            {
                provider.Then(Answer);
            }
            var session = await client.NewSession();
            var task = (await client.Post($"/api/cowork/sessions/{session}/tasks", """{"prompt":"go"}""")).Is(201)["taskId"];
            await Task.WhenAll(Enumerable.Range(0, 4).Select(async speaker =>
            {
                var random = new Random((seed * 31) + speaker);
                for (var i = 0; i < 6; i++)
                {
                    // A request of the model is one moment, and so many yields after it another.
                    for (var pause = random.Next(400); pause > 0; pause--)
                    {
                        await Task.Yield();
                    }
                    var text = $"feedback {seed}/{speaker}/{i}.";
                    var got = await client.Post($"/api/cowork/tasks/{task}/feedback", JsonSerializer.Serialize(new { feedback = text }));
                    if ((int)got.Status == 202)
                    {
                        accepted.Enqueue((text, provider.Asked.Count - asked));
                    }
                    else
                    {
                        got.IsProblem(409, "task_ended");
                    }
                }
            }));
            var ended = await client.Until($"/api/cowork/tasks/{task}", got => got["status"] is "completed" or "failed");
            Assert.True(ended["status"] == "completed", $"seed {seed}: {ended.Text}");
            provider.Forget();
            var requests = provider.Asked.Skip(asked).Select(e => e.Body.GetProperty("messages").EnumerateArray().Select(Text).ToList()).ToList();
            foreach (var (text, before) in accepted)
            {
                // One more may have been on its way when the answer came.
                for (var i = before + 1; i < requests.Count; i++)
                {
                    Assert.True(Count(requests[i], text) == 1, $"seed {seed}: request {i} has {text} {Count(requests[i], text)} times");
                }
                Assert.True(Count(requests[^1], text) == 1, $"seed {seed}: the last request has {text} {Count(requests[^1], text)} times");
            }
            for (var i = 1; i < requests.Count; i++)
            {
                var (one, next) = (string.Concat(requests[i - 1]), string.Concat(requests[i]));
                Assert.True(next.StartsWith(one, StringComparison.Ordinal), $"seed {seed}: request {i} does not begin like the one before it");
            }
        }

        static int Count(List<string> messages, string text) => messages.Sum(message => message.Split(text).Length - 1);

        static string Text(JsonElement message) => message.GetProperty("content") is { ValueKind: JsonValueKind.String } content ? content.GetString()! : "";

        static async Task Answer(ModelServer.Exchange e)
        {
            var answered = e.Body.GetProperty("messages").EnumerateArray().Count(m => m.GetProperty("role").GetString() == "tool");
            await e.Head();
            await e.Event(Chunk(answered < 3
                ? $$$"""{"tool_calls":[{"index":0,"id":"c{{{answered}}}","type":"function","function":{"name":"list_files","arguments":"{}"}}]}"""
                : """{"content":"done"}"""));
            await e.Event("""{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}""");
            await e.Event("[DONE]");
            await e.End();
        }
    }

    static Task<LiveHost> ModelHost(ModelServer provider) => LiveHost.Start(s => s with
    {
        Models = [new ModelSettings { Name = "m", Provider = "openai", Model = "m", BaseUrl = provider.Url }],
        Runs = s.Runs with { DefaultModel = "m" },
        Memory = new() { NotesByModel = false },
    });

    static string Chunk(string delta) => $$"""{"choices":[{"index":0,"delta":{{delta}} }]}""";

    async Task<Got> Give(string session, string prompt) => (await http.Post($"/api/cowork/sessions/{session}/tasks", $$"""{"prompt":"{{prompt}}"}""")).Is(201);

    Task<Got> Until(string task, string status) => http.Until($"/api/cowork/tasks/{task}", got => got["status"] == status);
}
