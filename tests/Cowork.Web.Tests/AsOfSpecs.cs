using System.Globalization;
using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;

using Cowork.Application.Storage;
using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary><c>as_of</c>: what a host would have shown that had stopped at an earlier moment.</summary>
public sealed partial class AsOfSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Approver = "/tool write_file {\"path\":\"notes.md\",\"content\":\"x\"}";

    readonly HttpClient http = tenant.Http;

    IPositions Positions => tenant.Host.Services.GetRequiredService<IPositions>();

    [Fact]
    public async Task At_every_moment_of_a_session_it_is_what_was_shown_then_also_of_what_is_deleted()
    {
        foreach (var seed in Seeds.Many(ordinary: 1, chaos: 20))
        {
            var traffic = new Traffic(http, new(seed));
            var shown = new List<(long Position, IReadOnlyDictionary<string, Shown> Answers)>();
            while (await traffic.Step())
            {
                shown.Add(await Now(traffic.Paths));
            }
            foreach (var (position, answers) in shown)
            {
                // What came later was not there yet, in lists or by itself.
                var paths = traffic.Paths;
                var then = await Ask(paths.Select(path => $"{path}{(path.Contains('?') ? '&' : '?')}as_of={position}"));
                foreach (var (path, was) in paths.Zip(then.Values))
                {
                    var expected = answers.GetValueOrDefault(path) ?? new Shown(HttpStatusCode.NotFound, "not_found");
                    Assert.True(expected == was, $"seed {seed}, {path} at {position} ({traffic.Log})\nwas {expected}\nis  {was}");
                }
            }
        }
    }

    [Fact]
    public async Task What_was_deleted_is_shown_to_auditors_and_to_whom_it_belonged()
    {
        using var ann = await tenant.Client("member");
        var session = await ann.NewSession();
        var run = (await ann.Turn(session, "/say Hello.")).Is(200)["run_id"];
        var skill = (await http.Post("/skills", """{"name":"mine-alone","prompt_template":"x"}""")).Is(201)["skill_id"];
        var then = await Positions.Head(default);
        (await ann.Delete($"/sessions/{session}")).Is(204);
        (await http.Delete($"/skills/{skill}")).Is(204);
        foreach (var path in (string[])[$"/sessions/{session}", $"/runs/{run}", $"/sessions/{session}/runs"])
        {
            (await ann.Get($"{path}?as_of={then}")).Is(200);
            (await http.Get($"{path}?as_of={then}")).Is(200);
        }
        (await http.Get($"/skills/{skill}?as_of={then}")).Is(200);
        // The skill was another one's: to her it is as if it had never been.
        (await ann.Get($"/skills/{skill}?as_of={then}")).IsProblem(404, "not_found");
        Assert.DoesNotContain(skill, (await ann.Get($"/skills?as_of={then}")).Is(200).Text, StringComparison.Ordinal);
        Assert.Contains(skill, (await http.Get($"/skills?as_of={then}")).Is(200).Text, StringComparison.Ordinal);
        Assert.Equal((await http.Get($"/api/v1/skills?as_of={then}")).Is(200).Json.GetProperty("total").GetInt32() - 1, (await ann.Get($"/api/v1/skills?as_of={then}")).Is(200).Json.GetProperty("total").GetInt32());
        (await http.Get($"/sessions/{session}?as_of={await Positions.Head(default)}")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task A_moment_is_a_position_an_event_or_a_time()
    {
        var begun = tenant.Host.Services.GetRequiredService<TimeProvider>().GetUtcNow();
        var session = await http.NewSession();
        (await http.Turn(session, "/say One.")).Is(200);
        var events = JsonSerializer.Deserialize<JsonElement>((await http.Get($"/runs/{(await http.Turn(session, "/say Two.")).Is(200)["run_id"]}/trace")).Is(200).Text)
            .GetProperty("events").EnumerateArray().ToList();
        foreach (var e in events)
        {
            var (gid, id, at) = (e.GetProperty("gid").GetInt64(), e.GetProperty("id").GetString()!, e.GetProperty("ts").GetString()!);
            var byGid = (await http.Get($"/sessions/{session}?as_of={gid}")).Is(200).Text;
            Assert.Equal(byGid, (await http.Get($"/sessions/{session}?as_of={id}")).Is(200).Text);
            Assert.Equal(byGid, (await http.Get($"/sessions/{session}?as_of={id.ToUpperInvariant()}")).Is(200).Text);
            // Of several events of one time the last one counts.
            var last = events.Where(other => other.GetProperty("ts").GetString() == at).Max(other => other.GetProperty("gid").GetInt64());
            Assert.Equal((await http.Get($"/sessions/{session}?as_of={last}")).Is(200).Text, (await http.Get($"/sessions/{session}?as_of={Uri.EscapeDataString(at)}")).Is(200).Text);
        }
        foreach (var early in (string[])["0", Uri.EscapeDataString(begun.AddMinutes(-1).ToString("O", CultureInfo.InvariantCulture)), "2001-01-01"])
        {
            (await http.Get($"/sessions/{session}?as_of={early}")).IsProblem(404, "not_found");
            Assert.DoesNotContain(session, (await http.Get($"/sessions?as_of={early}")).Is(200).Text, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("", "invalid_request")]
    [InlineData("x", "invalid_request")]
    [InlineData("-1", "invalid_request")]
    [InlineData("1.5", "invalid_request")]
    [InlineData("1&as_of=1", "invalid_request")]
    [InlineData("%00", "invalid_request")]
    [InlineData("2026-13-01T00:00:00Z", "invalid_request")]
    [InlineData("99999999999999999999", "invalid_request")]
    [InlineData("9223372036854775807", "as_of_ahead")]
    [InlineData("9999-12-31T23:59:59Z", "as_of_ahead")]
    [InlineData("00000000-0000-0000-0000-000000000000", "unknown_event")]
    [InlineData("ffffffff-ffff-7fff-bfff-ffffffffffff", "unknown_event")]
    [InlineData("019af0c4-6f3a-7e21-9d55-0c6a3c7b1f42", "unknown_event")]
    [InlineData("019af0c4-6f3a-4e21-9d55-0c6a3c7b1f42", "unknown_event")]
    public async Task Another_moment_is_refused(string moment, string code)
    {
        var refused = (await http.Get($"/sessions?as_of={moment}")).IsProblem(422, code);
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty("as_of", out _), refused.Text);
    }

    [Fact]
    public async Task An_event_of_another_tenant_is_no_moment_here()
    {
        using var theirs = await tenant.Stranger("member", "auditor");
        var session = await theirs.NewSession();
        var run = (await theirs.Turn(session, "/say One.")).Is(200)["run_id"];
        var theirEvent = (await theirs.Get($"/runs/{run}/trace")).Is(200).Json.GetProperty("events")[0].GetProperty("id").GetString();
        (await theirs.Get($"/sessions?as_of={theirEvent}")).Is(200);
        var refused = (await http.Get($"/sessions?as_of={theirEvent}")).IsProblem(422, "unknown_event");
        Assert.Equal(
            refused.Json.GetProperty("detail").GetString(),
            (await http.Get("/sessions?as_of=019af0c4-6f3a-7e21-9d55-0c6a3c7b1f42")).IsProblem(422, "unknown_event").Json.GetProperty("detail").GetString());
    }

    [Fact]
    public async Task Every_address_takes_a_moment_or_refuses_it()
    {
        var paths = JsonElement.Parse((await http.Get("/openapi.json")).Is(200).Text).GetProperty("paths");
        var (taking, refusing) = (0, 0);
        foreach (var path in paths.EnumerateObject().Where(path => path.Value.TryGetProperty("get", out _)))
        {
            var takes = path.Value.GetProperty("get").TryGetProperty("parameters", out var parameters) && parameters.EnumerateArray().Any(p => p.GetProperty("name").GetString() == "as_of");
            var address = PathParameter().Replace(path.Name, "1");
            var got = await http.Get($"{address}?as_of=1");
            // Some are for operators alone, who are told so first.
            Assert.True(takes == (got.Code is not ("as_of_unsupported" or "operator_only")), $"{path.Name}: {got.Status} {got.Text}");
            Assert.False(takes && (int)got.Status is not (200 or 404 or 422), $"{path.Name}: {got.Status} {got.Text}");
            (taking, refusing) = (taking + (takes ? 1 : 0), refusing + (takes ? 0 : 1));
        }
        Assert.True(taking >= 34 && refusing >= 30, $"{taking} take it, {refusing} refuse it");
        (await http.Get("/api/v1/responses/run_01m80bw0ypq47sgbgw2mmtjfwf?stream=true&as_of=1")).IsProblem(422, "as_of_unsupported");
        (await http.Post("/sessions?as_of=1")).IsProblem(422, "as_of_unsupported");
    }

    [GeneratedRegex("\\{[^}]*\\}")]
    private static partial Regex PathParameter();

    [Fact]
    public async Task A_cursor_of_works_keeps_the_moment()
    {
        using var ann = await tenant.Client("member");
        var works = new List<string>();
        foreach (var i in Enumerable.Range(0, 7))
        {
            works.Add((await ann.Post("/myworks", $$"""{"bucket":"brand","label":"Work {{i}}","payload":{} }""")).Is(201).Json.GetProperty("data").GetProperty("work").GetProperty("work_id").GetString()!);
        }
        var then = await Positions.Head(default);
        (await ann.Send(HttpMethod.Patch, $"/myworks/{works[2]}", """{"label":"Changed"}""")).Is(200);
        (await ann.Delete($"/myworks/{works[5]}")).Is(200);
        var (seen, cursor) = (new List<string>(), "");
        while (cursor is not null)
        {
            var page = (await ann.Get(cursor == "" ? $"/myworks?limit=2&as_of={then}" : $"/myworks?limit=2&cursor={cursor}")).Is(200).Json.GetProperty("data");
            seen.AddRange(page.GetProperty("list").EnumerateArray().Select(work => work.GetProperty("label").GetString()!));
            cursor = page.TryGetProperty("next_cursor", out var next) ? next.GetString() : null;
            // Other changes between the pages change nothing.
            (await ann.Send(HttpMethod.Patch, $"/myworks/{works[seen.Count % 5]}", """{"label":"Later"}""")).Is(200);
        }
        Assert.Equal(Enumerable.Range(0, 7).Reverse().Select(i => $"Work {i}"), seen);
        var plain = (await ann.Get("/myworks?limit=1")).Is(200).Json.GetProperty("data").GetProperty("next_cursor").GetString();
        Assert.Equal("unknown_cursor", (await ann.Get($"/myworks?limit=1&cursor={plain}&as_of={then}")).Code);
    }

    /// <summary>What all addresses show while nothing happens in the tenant, with the position of that moment.</summary>
    async Task<(long Position, IReadOnlyDictionary<string, Shown> Answers)> Now(IReadOnlyList<string> paths)
    {
        var now = default((long, IReadOnlyDictionary<string, Shown>));
        await Patience.Until(
            async () =>
            {
                var before = await Positions.Head(default);
                now = (before, await Ask(paths));
                var since = (await http.Get(string.Create(CultureInfo.InvariantCulture, $"/events?since_id={before}"))).Is(200);
                return since.Json.GetProperty("events").GetArrayLength() == 0;
            },
            "the tenant rests");
        return now;
    }

    async Task<IReadOnlyDictionary<string, Shown>> Ask(IEnumerable<string> paths)
    {
        var answers = new Dictionary<string, Shown>();
        foreach (var some in paths.Chunk(8))
        {
            foreach (var (path, got) in some.Zip(await Task.WhenAll(some.Select(path => http.Get(path)))))
            {
                answers.Add(path, Shown.Of(got));
            }
        }
        return answers;
    }

    /// <summary>A cursor is sealed anew each time, and a kernel is shown as it is today.</summary>
    [GeneratedRegex("\"next_cursor\":\"[^\"]+\"|\"kernel\":\\{[^}]*\\}")]
    private static partial Regex Changing();

    /// <summary>An answer without its sealed cursor and its kernel; of a refusal its code, because the rest names the request.</summary>
    sealed record Shown(HttpStatusCode Status, string Text)
    {
        public static Shown Of(Got got) => new(got.Status, got.Status == HttpStatusCode.OK ? Changing().Replace(got.Text, "") : got.Code ?? "");
    }

    /// <summary>Random requests of one tenant, a few of each kind of thing, so that most are changed and deleted.</summary>
    sealed class Traffic(HttpClient http, Random random)
    {
        const int StepsMax = 32;

        readonly List<string> sessions = [], runs = [], approvals = [], skills = [], schedules = [], pads = [], cells = [], works = [];
        readonly List<string> log = [];
        int skillsMade;

        /// <summary>Sessions whose first run waits for a decision, so that no other one gets its turn.</summary>
        readonly Dictionary<string, string> waiting = [];
        readonly List<Func<Task<string?>>> left = [];

        public string Log => string.Join(", ", log);

        public IReadOnlyList<string> Paths =>
        [
            "/sessions", "/sessions?limit=1", "/api/v1/conversations", "/api/v1/conversations?status=archived&limit=1", "/api/v1/conversations?limit=1&offset=1",
            "/api/cowork/sessions", "/approvals?status=all", "/approvals", "/skills", "/api/v1/skills?limit=1&offset=1", "/scheduled-runs", "/scheduled-runs?status=paused",
            "/api/v1/schedules", "/api/v1/schedules?status=active&project_id=proj_00000000000000000000000000", "/myworks", "/myworks?q=wor&limit=1",
            .. sessions.SelectMany(id => (string[])[
                $"/sessions/{id}", $"/sessions/{id}/runs", $"/api/v1/conversations/{id}/items?limit=3", $"/api/cowork/sessions/{id}",
                $"/api/cowork/sessions/{id}/tasks?status=awaiting_confirmation,completed&limit=2", $"/api/v1/scratchpads?conversation_id={id}", $"/approvals?session_id={id}&status=approved",
            ]),
            .. runs.SelectMany(id => (string[])[$"/runs/{id}", $"/api/v1/responses/{id}", $"/api/cowork/tasks/{id}", $"/runs/{id}/artifacts"]),
            .. approvals.Select(id => $"/approvals/{id}"),
            .. skills.SelectMany(id => (string[])[$"/skills/{id}", $"/skills/{id}/versions", $"/skills/{id}/versions/2"]),
            .. schedules.SelectMany(id => (string[])[$"/scheduled-runs/{id}", $"/scheduled-runs/{id}/runs", $"/api/v1/schedules/{id}", $"/api/v1/schedules/{id}/runs"]),
            .. pads.Select(id => $"/api/v1/scratchpads/{id}"),
            .. cells.Select(cell => $"/api/v1/scratchpads/{cell}"),
            .. works.Select(id => $"/myworks/{id}"),
        ];

        /// <summary>Does one more thing; false: it was enough.</summary>
        public async Task<bool> Step()
        {
            if (log.Count == StepsMax)
            {
                return false;
            }
            string? done = null;
            while (done is null)
            {
                if (left.Count == 0)
                {
                    left.AddRange(Things());
                }
                var next = random.Next(left.Count);
                (var thing, left[next]) = (left[next], left[^1]);
                left.RemoveAt(left.Count - 1);
                done = await thing();
            }
            log.Add(done);
            return true;
        }

        IEnumerable<Func<Task<string?>>> Things() =>
        [
            async () => Made(sessions, (await http.Post("/sessions", $$"""{"metadata":{"n":{{random.Next(9)}} } }""")).Is(201)["session_id"]),
            async () => await Talk("/say Hello."),
            async () => await Talk("/say Another."),
            async () => await Talk(Approver),
            async () => await Talk("/tool write_file {\"path\":\".anton/output/a.md\",\"content\":\"x\"}"),
            async () => await Fork("runs", runs, "{}"),
            async () => await Fork("sessions", sessions, """{"message":"/say another way"}"""),
            async () => waiting.Count == 0 ? null : await Code("decision", http.Post($"/approvals/{Decided()}/decision", $$"""{"approved":{{(random.Next(2) == 0 ? "true" : "false")}} }""")),
            async () => await Change(sessions, id => http.Send(HttpMethod.Patch, $"/api/v1/conversations/{id}", """{"status":"archived","title":"A title"}""")),
            async () => random.Next(3) > 0 ? null : await Change(sessions, id => http.Delete($"/sessions/{id}")),
            async () => Made(skills, (await http.Post("/skills", $$"""{"name":"skill-{{skillsMade++}}","prompt_template":"/say {x}"}""")).Is(201)["skill_id"]),
            async () => await Change(skills, id => http.Post($"/skills/{id}/versions", """{"prompt_template":"/say {x} {y}"}""")),
            async () => random.Next(2) > 0 ? null : await Change(skills, id => http.Delete($"/skills/{id}")),
            async () => skills.Count == 0 || sessions.Count == 0 ? null
                : (await http.Post("/scheduled-runs", $$"""{"session_id":"{{One(sessions)}}","skill_id":"{{One(skills)}}","interval_seconds":86400,"params":{"x":"1"} }""")) is { Status: HttpStatusCode.Created } made
                    ? Made(schedules, made["schedule_id"]) : "no schedule",
            async () => Made(schedules, (await http.Post("/api/v1/schedules", """{"project_id":"proj_00000000000000000000000000","cron":"0 0 1 1 *","prompt":"/say Planned."}""")).Is(201)["id"]),
            async () => await Change(schedules, id => http.Post($"/scheduled-runs/{id}/pause")),
            async () => await Change(schedules, id => http.Post($"/scheduled-runs/{id}/trigger", """{"wait_for_completion":false}""")),
            async () => await Change(schedules, id => http.Send(HttpMethod.Patch, $"/api/v1/schedules/{id}", """{"status":"paused","cron":"5 0 1 1 *"}""")),
            async () => random.Next(2) > 0 ? null : await Change(schedules, id => http.Delete($"/scheduled-runs/{id}")),
            async () =>
            {
                if (sessions.Count == 0
                    || await http.Post("/api/v1/scratchpads", $$"""{"conversation_id":"{{One(sessions)}}","cells":[{"type":"code","content":"1"}]}""") is not { Status: HttpStatusCode.Created } pad)
                {
                    return null;
                }
                cells.Add($"{pad["id"]}/cells/{pad.Json.GetProperty("cells")[0].GetProperty("id").GetString()}");
                return Made(pads, pad["id"]);
            },
            async () => await Change(pads, id => http.Send(HttpMethod.Patch, $"/api/v1/scratchpads/{id}", """{"title":"Renamed"}""")),
            async () => await Change(pads, id => http.Post($"/api/v1/scratchpads/{id}/cells", """{"type":"markdown","content":"# One more","index":0}""")),
            async () => await Change(cells, id => http.Send(HttpMethod.Patch, $"/api/v1/scratchpads/{id}", """{"content":"print(2)"}""")),
            async () => random.Next(3) > 0 ? null : await Change(cells, id => http.Post($"/api/v1/scratchpads/{id}/run", """{"stream":false}""")),
            async () => random.Next(2) > 0 ? null : await Change(cells, id => http.Delete($"/api/v1/scratchpads/{id}")),
            async () => random.Next(2) > 0 ? null : await Change(pads, id => http.Delete($"/api/v1/scratchpads/{id}")),
            async () => Made(works, Work(await http.Post("/myworks", $$"""{"bucket":"brand","label":"Work {{random.Next(9)}}","payload":{"a":{{random.Next(9)}} } }"""))),
            async () => Made(works, Work(await http.Post("/myworks", """{"bucket":"listing","label":"Other","payload":{"b":1}}"""))),
            async () => await Change(works, id => http.Send(HttpMethod.Patch, $"/myworks/{id}", $$"""{"label":"Changed {{random.Next(99)}}"}""")),
            async () => random.Next(2) > 0 ? null : await Change(works, id => http.Delete($"/myworks/{id}")),
        ];

        async Task<string?> Talk(string message)
        {
            if (sessions.Except(waiting.Keys).ToList() is not { Count: > 0 } free)
            {
                return null;
            }
            var session = One(free);
            var turn = await http.Turn(session, message);
            if (turn.Status is not (HttpStatusCode.OK or HttpStatusCode.Accepted))
            {
                return "no turn";
            }
            foreach (var approval in turn.Json.GetProperty("pending_approval_ids").EnumerateArray().Select(id => id.GetString()!))
            {
                approvals.Add(approval);
                waiting[session] = approval;
            }
            return Made(runs, turn["run_id"]);
        }

        async Task<string?> Fork(string what, List<string> of, string body)
        {
            if (of.Count == 0 || await http.Post($"/{what}/{One(of)}/fork", body) is not { Status: HttpStatusCode.Created } fork)
            {
                return null;
            }
            if (fork.Json.TryGetProperty("run_id", out var run) && run.GetString() is { } id)
            {
                Made(runs, id);
            }
            return Made(sessions, fork["session_id"]);
        }

        string Decided()
        {
            var (session, approval) = waiting.First();
            waiting.Remove(session);
            return approval;
        }

        static string Work(Got made) => made.Is(201).Json.GetProperty("data").GetProperty("work").GetProperty("work_id").GetString()!;

        string One(List<string> of) => of[random.Next(of.Count)];

        static string Made(List<string> into, string id)
        {
            if (into.Count < 3)
            {
                into.Add(id);
            }
            return id;
        }

        async Task<string?> Change(List<string> of, Func<string, Task<Got>> change) => of.Count == 0 ? null : One(of) is var one ? await Code(one, change(one)) : null;

        static async Task<string> Code(string what, Task<Got> done) => $"{what} {(int)(await done).Status}";
    }

}
