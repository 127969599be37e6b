using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Cowork.Testing.Hosts;

/// <summary>
/// A tenant's day: stories of people and programs that use every writing route of every API, many at a time, over hosts that may be killed meanwhile. What a story does and in
/// which order is drawn from a seed; how stories meet is not.
/// </summary>
public sealed partial class Traffic : IDisposable
{
    const int AtATime = 6;
    const int StoriesMax = 20;
    const int NumbersMax = 1_000;

    readonly RoamingHandler roaming;
    readonly RecordingHandler recording;
    readonly HttpClient http;

    /// <summary>Calls one host alone: a signed request names it, and a secret is shown once.</summary>
    readonly HttpClient direct;

    readonly HttpClient operators;
    readonly string org;
    readonly int seed;
    readonly ConcurrentQueue<string> failures = [];
    int told;

    /// <param name="hosts">Addresses of the hosts that are there now.</param>
    /// <param name="first">Address of the host that stays.</param>
    /// <param name="token">Of the tenant <paramref name="org"/>, with every role.</param>
    /// <param name="operatorToken">The operator's token.</param>
    public Traffic(Func<IReadOnlyList<string>> hosts, string first, string org, string token, string operatorToken, int seed)
    {
        (this.org, this.seed) = (org, seed);
        roaming = new(hosts);
        recording = new(roaming);
        http = Client(recording, first, token);
        direct = Client(new RecordingHandler(new RoamingHandler(() => [first]) { Succeeded = roaming.Succeeded }), first, token);
        operators = Client(new RoamingHandler(() => [first]) { Succeeded = roaming.Succeeded }, first, operatorToken);
    }

    /// <summary>Ids that answers had, by their prefixes (<c>run_</c>, <c>sess_</c>).</summary>
    public ILookup<string, string> Ids => recording.Ids.Keys.Order(StringComparer.Ordinal).ToLookup(id => id[..(id.IndexOf('_', StringComparison.Ordinal) + 1)]);

    /// <summary>Methods and paths that were answered with a success.</summary>
    public IEnumerable<(string Method, string Path)> Succeeded => roaming.Succeeded.Keys;

    /// <summary>Calls any host.</summary>
    public HttpClient Http => http;

    /// <summary>Lets all stories happen, some at a time.</summary>
    /// <param name="rounds">How often each is told.</param>
    public async Task Run(int rounds, CancellationToken ct)
    {
        Func<Story, Task>[] all = [Talk, Talk, Approve, Skill, Plan, Project, Converse, Respond, Remember, Upload, Connect, Desk, Meet, Sign, Work, Administer, Suppose, Forget];
        var stories = Enumerable.Range(0, rounds).SelectMany(round => all.Index().Select(story => (Told: story.Item, Number: (round * StoriesMax) + story.Index)));
        var options = new ParallelOptions { MaxDegreeOfParallelism = AtATime, CancellationToken = ct };
        // A kernel takes seconds to start, so that its story begins first.
        await Parallel.ForEachAsync(stories.Prepend((Compute, NumbersMax - 1)), options, async (story, _) => await Tell(story.Told, story.Number));
        if (!failures.IsEmpty)
        {
            throw new InvalidOperationException(string.Join('\n', failures));
        }
    }

    /// <summary>How many stories are at their end.</summary>
    public int Told => Volatile.Read(ref told);

    public void Dispose()
    {
        http.Dispose();
        direct.Dispose();
        operators.Dispose();
    }

    async Task Tell(Func<Story, Task> story, int number)
    {
        try
        {
            await story(new(number, number / StoriesMax % 2 == 0, new(unchecked((seed * NumbersMax) + number))));
            Interlocked.Increment(ref told);
        }
        catch (Exception e)
        {
            failures.Enqueue($"{story.Method.Name} {number}: {e.Message}");
        }
    }

    static HttpClient Client(HttpMessageHandler handler, string address, string token)
    {
        var client = new HttpClient(handler) { BaseAddress = new(address), Timeout = TimeSpan.FromMinutes(3) };
        client.DefaultRequestHeaders.Authorization = new("Bearer", token);
        return client;
    }

    /// <summary>Contract A: what is said, done, remembered, cancelled, replayed, forked and deleted.</summary>
    async Task Talk(Story story)
    {
        var session = (await Post("/sessions", new { metadata = new { team = story.Word(), n = story.Next(9) } })).Is(201)["session_id"];
        string[] messages =
        [
            $"/say {story.Word()}", "Which word was it?", "/tool remember {\"content\":\"the word is " + story.Word() + "\"}",
            "/tool write_file {\"path\":\".anton/output/r" + story.Next(3) + ".md\",\"content\":\"# " + story.Word() + "\"}\n/say written", "/tool list_files {}\n/say listed",
            "/fail too bad", "/tool read_file {\"path\":\"nowhere\"}",
        ];
        string run = "";
        foreach (var _ in Enumerable.Range(0, 2 + story.Next(4)))
        {
            run = (await http.Turn(session, story.One(messages)))["run_id"];
            await Ended(run);
        }
        (await Post($"/runs/{run}/replay", null)).Is(200);
        if (story.Flips())
        {
            var asleep = (await http.Turn(session, "/sleep 60000", wait: false)).Is(202)["run_id"];
            var queued = (await http.Turn(session, "/say next", wait: false)).Is(202)["run_id"];
            (await Post($"/runs/{asleep}/cancel", null)).IsOneOf(200, 202);
            await Ended(asleep, queued);
        }
        var fork = (await Post($"/runs/{run}/fork", story.Flips() ? new { message = "/say another way" } : new { })).Is(201);
        (await Post($"/sessions/{fork["session_id"]}/fork", new { message = $"/say {story.Word()}" })).Is(201);
        if (story.Deletes)
        {
            (await http.Delete($"/sessions/{session}")).IsOneOf(204);
        }
        await SessionEnded(fork["session_id"]);
    }

    /// <summary>Calls that wait for a person, who allows, denies or forgets them.</summary>
    async Task Approve(Story story)
    {
        var session = (await Post("/sessions", new { })).Is(201)["session_id"];
        var run = (await http.Turn(session, $"/tool write_file {{\"path\":\"n.md\",\"content\":\"{story.Word()}\"}}\n/say done")).IsOneOf(200, 202)["run_id"];
        var asked = await http.Until($"/approvals?session_id={session}", got => got.Json.GetProperty("approvals").GetArrayLength() == 1);
        var approval = asked.Json.GetProperty("approvals")[0].GetProperty("approval_id").GetString();
        if (story.Next(4) > 0)
        {
            (await Post($"/approvals/{approval}/decision", new { approved = story.Flips(), note = story.Word() })).Is(200);
            await Ended(run);
        }
        else
        {
            (await http.Delete($"/sessions/{session}")).IsOneOf(204);
        }
    }

    async Task Skill(Story story)
    {
        var name = story.Name("skill");
        var skill = (await Post("/skills", new { name, prompt_template = "/say {x}", description = story.Word() })).Is(201)["skill_id"];
        (await Post($"/skills/{skill}/versions", new { prompt_template = "/say {x} {y}" })).Is(201);
        var session = (await Post("/sessions", new { })).Is(201)["session_id"];
        var asked = new { session_id = session, version = 1 + story.Next(2), @params = new { x = story.Word(), y = 1 } };
        await Ended((await Post($"/skills/{skill}/run", asked)).IsOneOf(200, 202)["run_id"]);
        var registered = new { name = story.Name("reg"), description = story.Word(), instructions = "Be short.", tools = new[] { "list_files" } };
        var other = (await Post("/api/v1/skills", registered)).Is(201)["id"];
        (await Patch($"/api/v1/skills/{other}", new { description = story.Word(), instructions = (string?)null })).Is(200);
        if (story.Deletes)
        {
            (await http.Delete($"/skills/{skill}")).IsOneOf(204);
        }
        (await http.Delete($"/api/v1/skills/{other}")).IsOneOf(200, 204);
    }

    /// <summary>Schedules of both APIs. What still fires at the end is paused by <see cref="Rest"/>.</summary>
    async Task Plan(Story story)
    {
        var skill = (await Post("/skills", new { name = story.Name("plan"), prompt_template = "/say {x}" })).Is(201)["skill_id"];
        var session = (await Post("/sessions", new { })).Is(201)["session_id"];
        var body = new
        {
            name = story.Word(),
            session_id = session,
            skill_id = skill,
            interval_seconds = 1 + story.Next(3),
            @params = new { x = 1 },
            misfire = story.One("one", "none", "all"),
            overlap = story.One("skip", "queue", "parallel"),
        };
        var schedule = (await Post("/scheduled-runs", body)).Is(201)["schedule_id"];
        (await Post($"/scheduled-runs/{schedule}/trigger", new { wait_for_completion = false })).IsOneOf(200, 202);
        (await Post($"/scheduled-runs/{schedule}/pause", null)).Is(200);
        (await Post($"/scheduled-runs/{schedule}/resume", null)).Is(200);
        await http.Until($"/scheduled-runs/{schedule}/runs", got => got.Json.GetProperty("runs").GetArrayLength() >= 2);
        if (story.Deletes)
        {
            (await http.Delete($"/scheduled-runs/{schedule}")).IsOneOf(204);
        }
        var project = (await Post("/api/v1/projects", new { name = story.Word() })).Is(201)["id"];
        var planned = (await Post("/api/v1/schedules", new { project_id = project, cron = "* * * * *", prompt = "/say planned" })).Is(201)["id"];
        (await Patch($"/api/v1/schedules/{planned}", new { cron = "*/2 * * * *", timezone = "Etc/GMT+3", prompt = $"/say {story.Word()}" })).Is(200);
        (await Post($"/api/v1/schedules/{planned}/run", null)).IsOneOf(200, 202);
        if (story.Deletes)
        {
            (await http.Delete($"/api/v1/schedules/{planned}")).IsOneOf(200, 204);
        }
        else if (story.Flips())
        {
            (await http.Delete($"/api/v1/projects/{project}")).IsOneOf(200, 204);
        }
    }

    async Task Project(Story story)
    {
        var project = (await Post("/api/v1/projects", new { name = story.Word(), description = "x" })).Is(201)["id"];
        (await Patch($"/api/v1/projects/{project}", new { name = story.Word(), description = (string?)null })).Is(200);
        var conversation = (await Post("/api/v1/conversations", new { project_id = project, title = story.Word() })).Is(201)["id"];
        await Ended(Run(await Post("/api/v1/responses", new { conversation_id = conversation, input = Artifact(story), stream = false })));
        (await Post("/api/v1/memories", new { content = story.Word(), project_id = project })).Is(201);
        if (story.Deletes)
        {
            (await http.Delete($"/api/v1/projects/{project}")).IsOneOf(200, 204);
        }
    }

    async Task Converse(Story story)
    {
        var conversation = (await Post("/api/v1/conversations", new { title = story.Word(), goal = "to know" })).Is(201)["id"];
        await Ended(Run(await Post("/api/v1/responses", new { conversation_id = conversation, input = story.One($"/say {story.Word()}", "Why?"), stream = false })));
        (await Patch($"/api/v1/conversations/{conversation}", new { title = (string?)null, goal = story.Word(), status = story.One("active", "archived") })).Is(200);
        if (story.Deletes)
        {
            (await http.Delete($"/api/v1/conversations/{conversation}")).IsOneOf(200, 204);
        }
    }

    async Task Respond(Story story)
    {
        var conversation = (await Post("/api/v1/conversations", new { })).Is(201)["id"];
        var session = $"sess_{conversation["conv_".Length..]}";
        var asleep = (await http.Turn(session, "/sleep 60000", wait: false)).Is(202)["run_id"];
        (await Post($"/api/v1/responses/{asleep}/cancel", null)).IsOneOf(200, 202);
        await Ended(asleep);
        var another = (await http.Turn(session, "/sleep 60000", wait: false)).Is(202)["run_id"];
        (await Post("/api/v1/responses/cancel", new { conversation_id = conversation })).IsOneOf(200, 202);
        await Ended(another);
        var written = Run(await Post("/api/v1/responses", new { conversation_id = conversation, input = Artifact(story), stream = false }));
        await Ended(written);
        var artifact = (await http.Get($"/runs/{written}/artifacts")).Is(200).Json.GetProperty("artifacts")[0].GetProperty("artifact_id").GetString();
        (await Post("/api/v1/artifacts/open", new { artifact_id = artifact })).Is(202);
    }

    async Task Remember(Story story)
    {
        var memory = (await Post("/api/v1/memories", new { content = $"{story.Word()} {story.Word()}" })).Is(201)["id"];
        (await Patch($"/api/v1/memories/{memory}", new { content = story.Word() })).Is(200);
        if (story.Deletes)
        {
            (await http.Delete($"/api/v1/memories/{memory}")).IsOneOf(200, 204);
        }
    }

    async Task Upload(Story story)
    {
        var file = await Upload(story.Name("notes") + story.One(".txt", ".csv", ".png"), string.Concat(Enumerable.Repeat($"{story.Word()},{story.Word()}\n", 1 + story.Next(50))));
        await http.Until($"/api/v1/files/{file}", got => got["status"] != "processing");
        if (story.Deletes)
        {
            (await http.Delete($"/api/v1/files/{file}")).IsOneOf(200, 204);
        }
    }

    async Task Connect(Story story)
    {
        var credentials = new { host = "127.0.0.1", port = 1, database = story.Word(), user = "x", password = story.Word() };
        var connection = (await Post("/api/v1/connectors/connections", new { spec_id = "postgres", name = story.Word(), credentials })).Is(201)["id"];
        (await Patch($"/api/v1/connectors/connections/{connection}", new { name = story.Word() })).Is(200);
        (await Post($"/api/v1/connectors/connections/{connection}/test", null)).Is(200);
        if (story.Deletes)
        {
            (await http.Delete($"/api/v1/connectors/connections/{connection}")).IsOneOf(200, 204);
        }
    }

    /// <summary>Contract C.</summary>
    async Task Desk(Story story)
    {
        var session = (await Post("/api/cowork/sessions", new { })).Is(201)["sessionId"];
        (await Post("/api/cowork/stream-token", new { sessionId = session })).IsOneOf(200, 201);
        var task = (await Post($"/api/cowork/sessions/{session}/tasks", new { prompt = "/sleep 800\n/say slept" })).IsOneOf(201, 202)["taskId"];
        // Feedback may come too late.
        (await Post($"/api/cowork/tasks/{task}/feedback", new { feedback = $"more {story.Word()}" })).IsOneOf(200, 201, 202, 409);
        await Ended(task.Replace("task_", "run_", StringComparison.Ordinal));
        var long_ = (await Post($"/api/cowork/sessions/{session}/tasks", new { prompt = "/sleep 60000" })).IsOneOf(201, 202)["taskId"];
        (await Post($"/api/cowork/tasks/{long_}/feedback", new { feedback = story.Word() })).IsOneOf(200, 201, 202, 204);
        (await Post($"/api/cowork/tasks/{long_}/stop", null)).IsOneOf(200, 202);
        await Ended(long_.Replace("task_", "run_", StringComparison.Ordinal));
        (await Put("/api/cowork/config/budget", new { dailyLimitUSD = 1 + story.Next(100) })).Is(200);
        (await Post("/api/cowork/context/sync", new { files = Array.Empty<string>() })).IsOneOf(200, 202);
        (await Post("/api/cowork/context/query", new { query = story.Word() })).Is(200);
        if (story.Deletes)
        {
            (await http.Delete($"/api/cowork/sessions/{session}")).IsOneOf(200, 204);
        }
    }

    /// <summary>Contract D: a group, its members, what they and the agents say, and its archive.</summary>
    async Task Meet(Story story)
    {
        var group = (await Post("/groups", new { title = story.Word(), is_private = story.Flips() })).Is(201)["group_id"];
        (await Post($"/groups/{group}/members", new { user_id = "bob", role = story.One("member", "admin") })).IsOneOf(200, 201);
        var said = (await Post($"/groups/{group}/messages", new { text = $"/tool list_files {{}}\n/say {story.Word()}", message_id = story.Name("m") })).Is(202);
        await Ended(said.Json.GetProperty("runs")[0].GetProperty("run_id").GetString()!);
        (await direct.Post($"/groups/{group}/token")).IsOneOf(200, 201);
        (await http.Delete($"/groups/{group}/members/bob")).IsOneOf(200, 204);
        // Some are archived in the middle of an answer.
        if (story.Flips())
        {
            (await Post($"/groups/{group}/messages", new { text = "/sleep 3000\n/say late" })).Is(202);
        }
        (await Post($"/groups/{group}/archive", new { reason = story.Word() })).IsOneOf(200, 202);
        await http.Until($"/groups/{group}", got => got["status"] == "archived");
    }

    /// <summary>The chain of trust: keys of apps, sessions of controllers, their agents' runs, tokens for members, rotated signing keys.</summary>
    async Task Sign(Story story)
    {
        using var app = await RequestSigner.App(direct, story.Name("app"));
        var group = (await Post("/groups", new { title = story.Word() })).Is(201)["group_id"];
        var user = (await direct.Get($"/groups/{group}")).Is(200).Json.GetProperty("members")[0].GetProperty("user_id").GetString()!;
        using var controller = RequestSigner.Controller(
            (await app.Send(direct, "/infra/groups", Body(new { group_id = group, org_id = org, user_id = user }))).Is(201), "agents");
        (await app.Send(direct, "/infra/routing-token", Body(new { group_id = group, user_id = user }))).IsOneOf(200, 201);
        var asked = Body(new { agent_id = "assistant", messages = new[] { new { role = "user", content = $"/say {story.Word()}" } } });
        (await controller.Send(direct, "/agents/run", asked)).Is(200);
        (await controller.Send(direct, "/agents/run-stream", asked)).Is(200);
        (await controller.Send(direct, "/infra/cleanup", Body(new { group_id = group }), change: signed => signed.Claims["aud"] = "orchestrator")).Is(200);
        (await direct.Delete($"/infra/app-keys/{app.Kid}")).IsOneOf(200, 204);
        (await operators.Post("/infra/signing-keys", Body(new { purpose = story.One("orchestrator", "heads") }))).Is(201);
        (await Post($"/groups/{group}/archive", null)).IsOneOf(200, 202);
    }

    /// <summary>Contract E.</summary>
    async Task Work(Story story)
    {
        static string Id(Got got) => got.Json.GetProperty("data").GetProperty("work").GetProperty("work_id").GetString()!;
        var body = new { bucket = story.One("brand", "listing"), label = story.Word(), payload = new { a = story.Next(9) }, tags = new[] { story.Word() } };
        var work = Id((await Post("/myworks", body)).Is(201));
        (await Patch($"/myworks/{work}", new { label = $"{story.Word()} {story.Word()}", preview = "x" })).Is(200);
        var copy = Id((await Post($"/myworks/{work}/duplicate", new { })).IsOneOf(200, 201));
        (await Patch($"/myworks/{copy}", new { payload = new { b = story.Word() } })).Is(200);
        (await http.Delete($"/myworks/{story.One(work, copy)}")).IsOneOf(200, 204);
    }

    async Task Administer(Story story)
    {
        var token = (await direct.Post("/tokens", Body(new { name = story.Word(), user = story.One("ann", "bob"), roles = new[] { "member" } }))).Is(201)["token_id"];
        (await direct.Post($"/tokens/{token}/rotate", Body(new { overlap_seconds = story.Next(9) }))).IsOneOf(200, 201);
        (await Patch($"/tokens/{token}", new { roles = new[] { "member", "auditor" } })).Is(200);
        if (story.Deletes)
        {
            (await http.Delete($"/tokens/{token}")).IsOneOf(200, 204);
        }
        var session = (await Post("/sessions", new { })).Is(201)["session_id"];
        (await Post("/policy/check", new { tool = "write_file", session_id = session, input = new { path = "a.md", content = story.Word() } })).Is(200);
        (await Post("/policy/simulate", new { rules = new[] { new { name = "none", outcome = "deny", reason = "No.", tools = new[] { "write_file" } } } })).Is(200);
        (await http.Send(HttpMethod.Put, "/retention", Body(new { sessions_days = 90 + story.Next(9), reason = story.Word() }))).Is(200);
        (await Post($"/sessions/{session}/hold", new { reason = story.Word() })).Is(204);
        (await http.Delete($"/sessions/{session}/hold")).Is(204);
        (await operators.Post("/engine/blobs/sweep")).Is(200);
    }

    /// <summary>What a run would have done with another policy or message.</summary>
    async Task Suppose(Story story)
    {
        var session = (await Post("/sessions", new { })).Is(201)["session_id"];
        var run = (await http.Turn(session, Artifact(story)))["run_id"];
        await Ended(run);
        var feed = (await http.Get($"/sessions/{session}/events?since_id=0")).Is(200).Json.GetProperty("events").EnumerateArray();
        var from = feed.First(e => e.GetProperty("type").GetString() == "llm_response").GetProperty("id").GetInt64();
        object[] asked =
        [
            new { from_event = from },
            new { from_event = from, message = $"/say {story.Word()}" },
            new { from_event = from, rules = new[] { new { name = "none", outcome = "deny", reason = "No.", tools = new[] { "write_file" } } } },
            new { from_event = from, message = "/tool list_files {}", allow = new[] { "list_files" } },
        ];
        await Ended((await Post($"/runs/{run}/counterfactual", story.One(asked))).IsOneOf(200, 202)["run_id"]);
        if (story.Deletes)
        {
            (await http.Delete($"/sessions/{session}")).IsOneOf(204);
        }
    }

    /// <summary>Somebody's texts, and the end of their key.</summary>
    async Task Forget(Story story)
    {
        var subject = story.Name("person");
        var session = (await Post("/sessions", new { subject, metadata = new { of = story.Word() } })).Is(201)["session_id"];
        await Ended((await http.Turn(session, story.One($"/say {story.Word()}", Artifact(story))))["run_id"]);
        (await Post("/api/v1/memories", new { subject, content = $"{story.Word()} {story.Word()}" })).Is(201);
        (await http.Delete($"/subjects/{subject}")).IsOneOf(202);
        await http.Until($"/subjects/{subject}", got => got["state"] == "erased");
    }

    /// <summary>A notebook with cells that run, fail, are interrupted and are run again from the top.</summary>
    async Task Compute(Story story)
    {
        const string Pads = "/api/v1/scratchpads";
        var conversation = (await Post("/api/v1/conversations", new { })).Is(201)["id"];
        var code = new[] { "x = 6 * 7\nprint(x)", "1 / 0", "import time\ntime.sleep(60)", "open('a.txt', 'w').write('a')" };
        var made = (await Post(Pads, new { conversation_id = conversation, title = story.Word(), cells = code.Select(content => new { type = "code", content }) })).Is(201);
        var pad = made["id"];
        var cells = made.Json.GetProperty("cells").EnumerateArray().Select(cell => $"{Pads}/{pad}/cells/{cell.GetProperty("id").GetString()}").ToList();
        foreach (var cell in cells.Take(2))
        {
            (await Post($"{cell}/run", new { stream = false })).Is(200);
        }
        var asleep = Post($"{cells[2]}/run", new { stream = false });
        await http.Until(cells[2], got => got["status"] == "running");
        (await Post($"{cells[2]}/interrupt", null)).IsOneOf(200, 202);
        (await asleep).Is(200);
        (await Patch(cells[2], new { content = "x + 1" })).Is(200);
        var appended = (await Post($"{Pads}/{pad}/cells", new { type = "markdown", content = $"# {story.Word()}", index = 0 })).Is(201)["id"];
        (await http.Delete($"{Pads}/{pad}/cells/{appended}")).IsOneOf(200, 204);
        (await Patch($"{Pads}/{pad}", new { title = story.Word() })).Is(200);
        (await Post($"{Pads}/{pad}/restart", null)).IsOneOf(200, 202);
        var replay = (await Post($"{Pads}/{pad}/replay", new { wait_for_completion = true })).IsOneOf(200, 201, 202)["id"];
        await http.Until($"{Pads}/{replay}/replay", got => got["status"] != "running");
        var imports = new[] { new { cell_type = "code", source = "2 + 2", metadata = new { }, outputs = Array.Empty<int>() } };
        var notebook = new { nbformat = 4, nbformat_minor = 5, metadata = new { }, cells = imports };
        var imported = (await Post($"{Pads}/import", new { conversation_id = conversation, notebook })).Is(201)["id"];
        (await http.Delete($"{Pads}/{imported}")).IsOneOf(200, 204);
        await Ended(Run(await Post("/api/v1/responses", new { conversation_id = conversation, input = "```python\nprint(1 + 1)\n```\n/say computed", stream = false })));
    }

    /// <summary>Pauses every schedule, and waits until nothing is under way in the tenant any more.</summary>
    public async Task Rest()
    {
        foreach (var schedule in (await http.Get("/scheduled-runs?limit=1000")).Is(200).Json.GetProperty("scheduled_runs").EnumerateArray())
        {
            (await Post($"/scheduled-runs/{schedule.GetProperty("schedule_id").GetString()}/pause", null)).IsOneOf(200, 404);
        }
        // The same call waits for what waits for persons, and ends it.
        foreach (var asked in (await http.Get("/approvals?limit=1000")).Is(200).Json.GetProperty("approvals").EnumerateArray())
        {
            (await Post($"/approvals/{asked.GetProperty("approval_id").GetString()}/decision", new { approved = false })).IsOneOf(200, 404, 409);
        }
        foreach (var run in Ids["run_"])
        {
            await Ended(run);
        }
    }

    /// <summary>Waits for the ends of runs. One that was deleted with its session is 404.</summary>
    async Task Ended(params string[] runs)
    {
        foreach (var run in runs)
        {
            await http.Until($"/runs/{run}", got => got.Status == HttpStatusCode.NotFound || got["status"] is "completed" or "failed" or "cancelled");
        }
    }

    async Task SessionEnded(string session)
    {
        foreach (var run in (await http.Get($"/sessions/{session}/runs")).Is(200).Json.GetProperty("runs").EnumerateArray())
        {
            await Ended(run.GetProperty("run_id").GetString()!);
        }
    }

    static string Artifact(Story story) => $"/tool write_file {{\"path\":\".anton/output/a{story.Next(3)}.md\",\"content\":\"# {story.Word()}\"}}\n/say written";

    static string Run(Got response) => response.IsOneOf(200, 201, 202)["id"].Replace("resp_", "run_", StringComparison.Ordinal);

    async Task<string> Upload(string name, string content)
    {
        using var form = new MultipartFormDataContent { { new ByteArrayContent(Encoding.UTF8.GetBytes(content)), "file", name } };
        using var request = new HttpRequestMessage(HttpMethod.Post, "/api/v1/files") { Content = form };
        using var response = await http.SendAsync(request);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        return JsonElement.Parse(text).GetProperty("id").GetString()!;
    }

    static string Body(object body) => JsonSerializer.Serialize(body);

    Task<Got> Post(string path, object? body) => http.Post(path, body is null ? null : Body(body));

    Task<Got> Patch(string path, object body) => http.Send(HttpMethod.Patch, path, Body(body));

    Task<Got> Put(string path, object body) => http.Send(HttpMethod.Put, path, Body(body));

    /// <summary>One story, with what it draws.</summary>
    sealed class Story(int number, bool isEven, Random random)
    {
        static readonly string[] Words =
            ["anchor", "barrow", "copper", "delta", "ember", "fjord", "garnet", "harbor", "ibis", "juniper", "käse", "雪", "\u202eright", "it's \\\"so\\\""];

        /// <summary>Every other time what a story has made is deleted at its end.</summary>
        public bool Deletes => isEven;

        public int Next(int max) => random.Next(max);

        public bool Flips() => random.Next(2) == 0;

        public string Word() => One(Words);

        /// <summary>A name that no other story has.</summary>
        public string Name(string kind) => string.Create(CultureInfo.InvariantCulture, $"{kind}-{number}");

        public T One<T>(params T[] of) => of[random.Next(of.Length)];
    }

    /// <summary>Collects the ids that answers have.</summary>
    sealed partial class RecordingHandler(HttpMessageHandler inner) : DelegatingHandler(inner)
    {
        public ConcurrentDictionary<string, bool> Ids { get; } = [];

        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            var response = await base.SendAsync(request, cancellationToken);
            if (response.IsSuccessStatusCode)
            {
                foreach (Match id in AnyId().Matches(await response.Content.ReadAsStringAsync(cancellationToken)))
                {
                    Ids[id.Value] = true;
                }
            }
            return response;
        }

        [GeneratedRegex("\\b[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26}\\b")]
        private static partial Regex AnyId();
    }
}
