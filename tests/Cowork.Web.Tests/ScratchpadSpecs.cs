using System.Diagnostics;
using System.Net;
using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>Scratchpads over HTTP, with real kernels.</summary>
public sealed class ScratchpadSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Pads = "/api/v1/scratchpads";

    static readonly JsonSerializerOptions Relaxed = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    readonly HttpClient http = tenant.Http;

    async Task<string> NewConversation(string? project = null) =>
        (await http.Post("/api/v1/conversations", project is null ? "{}" : $$"""{"project_id":"{{project}}"}""")).Is(201)["id"];

    static string Body(object body) => JsonSerializer.Serialize(body);

    static object Code(string content) => new { type = "code", content };

    /// <summary>A scratchpad with these code cells: its id, and theirs.</summary>
    async Task<(string Pad, string[] Cells)> NewPad(string conversation, params string[] code)
    {
        var made = (await http.Post(Pads, Body(new { conversation_id = conversation, title = "Draft", cells = code.Select(Code) }))).Is(201);
        return (made["id"], [.. Cells(made).Select(cell => cell.GetProperty("id").GetString()!)]);
    }

    static List<JsonElement> Cells(Got pad) => [.. pad.Json.GetProperty("cells").EnumerateArray()];

    static string Text(JsonElement cell) => string.Concat(cell.GetProperty("outputs").EnumerateArray().Select(o => o.GetProperty("data").GetString()));

    Task<Got> Run(string pad, string cell) => http.Post($"{Pads}/{pad}/cells/{cell}/run", """{"stream":false}""");

    Task<EventReader> Stream(string pad, string cell) => EventReader.Open(http, $"{Pads}/{pad}/cells/{cell}/run", json: "{}");

    static List<JsonElement> Data(Got list) => [.. list.Is(200).Json.GetProperty("data").EnumerateArray()];

    [Fact]
    public async Task Scratchpads_of_all_conversations_are_one_list_and_say_who_executed_their_cells_and_for_which_run()
    {
        var here = await tenant.Another();
        var conversation = (await here.Http.Post("/api/v1/conversations")).Is(201)["id"];
        var made = (await here.Http.Post(Pads, Body(new { conversation_id = conversation, title = "Draft", cells = new[] { Code("1 + 1"), Code("1 / 0") } }))).Is(201);
        var cells = Cells(made).Select(cell => cell.GetProperty("id").GetString()!).ToArray();
        foreach (var cell in cells)
        {
            (await here.Http.Post($"{Pads}/{made["id"]}/cells/{cell}/run", """{"stream":false}""")).Is(200);
        }
        var session = await here.Http.NewSession();
        var run = (await here.Http.Turn(session, "```python\nprint(7)\n```")).Is(200)["run_id"];
        var list = (await here.Http.Get("/scratchpads")).Is(200).Json.GetProperty("scratchpads").EnumerateArray().ToList();
        Assert.Equal([session, "sess_" + conversation["conv_".Length..]], list.Select(pad => pad.GetProperty("session_id").GetString()));
        Assert.Equal(("Draft", "user:local"), (list[1].GetProperty("title").GetString(), list[1].GetProperty("created_by").GetString()));
        Assert.Equal(list[0].GetRawText(), Assert.Single((await here.Http.Get($"/scratchpads?session_id={session}")).Is(200).Json.GetProperty("scratchpads").EnumerateArray()).GetRawText());
        var executed = (await here.Http.Get($"/scratchpads/{made["id"]}/executions")).Is(200).Json.GetProperty("executions").EnumerateArray().ToList();
        Assert.Equal(
            [(2, cells[1], "error", "exception", null), (1, cells[0], "success", null, null)],
            executed.Select(e => (
                e.GetProperty("execution").GetInt32(), e.GetProperty("cell_id").GetString()!, e.GetProperty("status").GetString(), e.GetProperty("error_code").GetString(),
                e.GetProperty("run_id").GetString())));
        var byRun = (await here.Http.Get($"/scratchpads/{list[0].GetProperty("scratchpad_id").GetString()}/executions")).Is(200).Json.GetProperty("executions")[0];
        Assert.Equal((run, "success", "python3"), (byRun.GetProperty("run_id").GetString(), byRun.GetProperty("status").GetString(), byRun.GetProperty("kernel").GetString()));
        (await http.Get($"/scratchpads/{made["id"]}/executions")).IsProblem(404, "not_found");
        (await here.Http.Delete($"/api/v1/conversations/{conversation}")).Is(204);
        Assert.Equal(session, Assert.Single((await here.Http.Get("/scratchpads")).Is(200).Json.GetProperty("scratchpads").EnumerateArray()).GetProperty("session_id").GetString());
    }

    [Fact]
    public async Task A_scratchpad_is_created_listed_changed_and_deleted()
    {
        var conversation = await NewConversation();
        var made = (await http.Post(Pads, Body(new
        {
            conversation_id = conversation,
            title = "Sales analysis draft",
            cells = new object[] { new { type = "markdown", content = "# Sales" }, new { type = "code", content = "df.head()", language = "Python" } },
        }))).Is(201);
        Assert.Equal($"{Pads}/{made["id"]}", made.Headers.Location!.ToString());
        Assert.Equal(
            ["id", "conversation_id", "title", "cells", "saved", "artifact_ids", "kernel", "replay_of", "created_at", "updated_at"],
            made.Json.EnumerateObject().Select(m => m.Name));
        Assert.Equal((conversation, "Sales analysis draft", "False"), (made["conversation_id"], made["title"], made["saved"]));
        Assert.Equal(
            [("markdown", "# Sales", null, null, 0), ("code", "df.head()", "python", "pending", 1)],
            Cells(made).Select(c => (
                c.GetProperty("type").GetString(), c.GetProperty("content").GetString(), c.GetProperty("language").GetString(), c.GetProperty("status").GetString(),
                c.GetProperty("index").GetInt32())));
        Assert.Equal(made.Text, (await http.Get($"{Pads}/{made["id"]}")).Is(200).Text);
        var other = (await http.Post(Pads, Body(new { conversation_id = conversation }))).Is(201);
        Assert.Equal("Scratchpad", other["title"]);
        Assert.Equal([other["id"], made["id"]], Data(await http.Get($"{Pads}?conversation_id={conversation}")).Select(p => p.GetProperty("id").GetString()));
        var page = (await http.Get($"{Pads}?conversation_id={conversation}&limit=1&offset=1")).Is(200);
        Assert.Equal(("2", "1", "1", "False"), (page["total"], page["limit"], page["offset"], page["has_more"]));

        var changed = (await http.Send(HttpMethod.Patch, $"{Pads}/{made["id"]}", """{"title":"Final analysis"}""")).Is(200);
        Assert.Equal("Final analysis", changed["title"]);
        Assert.True(changed.Json.GetProperty("updated_at").GetDateTimeOffset() > changed.Json.GetProperty("created_at").GetDateTimeOffset());
        (await http.Delete($"{Pads}/{other["id"]}")).Is(204);
        (await http.Delete($"{Pads}/{other["id"]}")).IsProblem(404, "not_found");
        (await http.Get($"{Pads}/{other["id"]}")).IsProblem(404, "not_found");
        (await http.Delete($"/api/v1/conversations/{conversation}")).Is(204);
        (await http.Get($"{Pads}/{made["id"]}")).IsProblem(404, "not_found");
        (await http.Get($"{Pads}?conversation_id={conversation}")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task Cells_are_appended_edited_moved_and_deleted()
    {
        var (pad, cells) = await NewPad(await NewConversation(), "a", "b");
        var appended = (await http.Post($"{Pads}/{pad}/cells", Body(new { type = "code", content = "c", index = 0 }))).Is(201);
        Assert.Equal(($"{Pads}/{pad}/cells/{appended["id"]}", "0", "pending"), (appended.Headers.Location!.ToString(), appended["index"], appended["status"]));
        async Task<string> Order() => string.Join("", Cells((await http.Get($"{Pads}/{pad}")).Is(200)).Select(c => c.GetProperty("content").GetString()));
        Assert.Equal("cab", await Order());
        var moved = (await http.Send(HttpMethod.Patch, $"{Pads}/{pad}/cells/{appended["id"]}", """{"content":"C","index":99}""")).Is(200);
        Assert.Equal(("C", "2"), (moved["content"], moved["index"]));
        Assert.Equal("abC", await Order());
        Assert.Equal("b", (await http.Get($"{Pads}/{pad}/cells/{cells[1]}")).Is(200)["content"]);
        (await http.Delete($"{Pads}/{pad}/cells/{cells[0]}")).Is(204);
        Assert.Equal("bC", await Order());
        (await http.Delete($"{Pads}/{pad}/cells/{cells[0]}")).IsProblem(404, "not_found");
        (await http.Get($"{Pads}/{pad}/cells/{cells[0]}")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task What_is_wrong_with_a_body_is_said_with_its_place()
    {
        var conversation = await NewConversation();
        var (pad, cells) = await NewPad(conversation, "1");
        (string Path, string Body, string Place)[] wrong =
        [
            ("", """{"title":"x"}""", "$.conversation_id"),
            ("", $$"""{"conversation_id":"{{conversation}}","title":" "}""", "$.title"),
            ("", $$"""{"conversation_id":"{{conversation}}","cells":[{"type":"output"}]}""", "$.cells[0].type"),
            ("", $$"""{"conversation_id":"{{conversation}}","cells":[null]}""", "$.cells[0]"),
            ($"/{pad}/cells", "{}", "$.type"),
            ($"/{pad}/cells", """{"type":"code","language":"b r"}""", "$.language"),
            ($"/{pad}/cells", """{"type":"code","index":-1}""", "$.index"),
            ($"/{pad}/cells", $$"""{"type":"code","content":"{{new string('x', 262_145)}}"}""", "$.content"),
            ("/import", $$"""{"conversation_id":"{{conversation}}"}""", "$.notebook"),
            ("/import", Body(new { conversation_id = conversation, notebook = new { nbformat = 3 } }), "$.notebook.nbformat"),
            (
                "/import", Body(new { conversation_id = conversation, notebook = new { nbformat = 4, cells = new object[] { new { cell_type = "code", source = 7 }, new { cell_type = "evil" } } } }),
                "$.notebook.cells[0].source"),
        ];
        foreach (var (path, body, place) in wrong)
        {
            Assert.True((await http.Post(Pads + path, body)).IsProblem(422).Json.GetProperty("errors").TryGetProperty(place, out _), $"{path} {place}");
        }
        (await http.Send(HttpMethod.Patch, $"{Pads}/{pad}/cells/{cells[0]}", """{"content":null}""")).IsProblem(422, "invalid_request");
        (await http.Post(Pads, """{"conversation_id":"conv_01kdvkjr00000000000000000z"}""")).IsProblem(404, "not_found");
        (await http.Get(Pads)).IsProblem(422);
        var text = (await http.Post($"{Pads}/{pad}/cells", Body(new { type = "markdown", content = "x" }))).Is(201)["id"];
        (await Run(pad, text)).IsProblem(422, "cell_not_code");
        var julia = (await http.Post($"{Pads}/{pad}/cells", Body(new { type = "code", content = "x", language = "julia" }))).Is(201)["id"];
        (await Run(pad, julia)).IsProblem(422, "unknown_language");
        (await http.Get($"{Pads}/{pad}/cells/{cells[0]}/events")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task A_cell_runs_and_its_events_make_its_outputs()
    {
        var conversation = await NewConversation();
        var (pad, cells) = await NewPad(conversation, "x = 20\nprint('a')\nimport sys; print('b', file=sys.stderr)\nx + 22", "1/0");
        await using var reader = await Stream(pad, cells[0]);
        var events = await reader.ToEnd();
        Assert.Equal("cell.queued cell.started", string.Join(' ', events.Take(2).Select(e => e.Type)));
        Assert.Equal(Enumerable.Range(0, events.Count), events.Select(e => e.Data.GetProperty("sequence_number").GetInt32()));
        var end = events[^1];
        Assert.Equal(("cell.completed", "success"), (end.Type, end.Data.GetProperty("status").GetString()));
        Assert.Equal(1, events.Count(e => e.Type == "cell.completed"));
        Assert.Equal(Fold(events), end.Data.GetProperty("outputs").GetRawText());
        Assert.Contains("42", end.Data.GetProperty("outputs").GetRawText());

        var failed = (await Run(pad, cells[1])).Is(200);
        Assert.Equal(("error", "ZeroDivisionError: division by zero", "exception"), (failed["status"], failed["error"], failed["error_code"]));
        var shown = (await http.Get($"{Pads}/{pad}")).Is(200);
        Assert.Equal(["code", "output", "code", "output"], Cells(shown).Select(c => c.GetProperty("type").GetString()));
        Assert.Equal(Cells(shown)[0].GetProperty("outputs").GetRawText(), end.Data.GetProperty("outputs").GetRawText());
        Assert.Equal("idle", shown.Json.GetProperty("kernel").GetProperty("status").GetString());

        // The conversation's feed tells the same.
        var session = "sess_" + conversation["conv_".Length..];
        var types = (await http.Events(session)).Select(e => e.GetProperty("type").GetString()).ToList();
        foreach (var type in (string[])["scratchpad_created", "cell_queued", "kernel_started", "cell_started", "cell_output", "cell_completed"])
        {
            Assert.Contains(type, types);
        }

        // An edit clears the outputs.
        (await http.Send(HttpMethod.Patch, $"{Pads}/{pad}/cells/{cells[0]}", """{"content":"x"}""")).Is(200);
        var edited = Cells((await http.Get($"{Pads}/{pad}")).Is(200))[0];
        Assert.Equal(("pending", 0), (edited.GetProperty("status").GetString(), edited.GetProperty("outputs").GetArrayLength()));
        Assert.Equal("20", Text((await Run(pad, cells[0])).Is(200).Json));
    }

    /// <summary>What a reader of <c>cell.output</c> has at the end.</summary>
    static string Fold(IEnumerable<(long Id, string Type, JsonElement Data)> events)
    {
        var entries = new List<JsonElement>();
        foreach (var e in events.Where(e => e.Type == "cell.output"))
        {
            var output = e.Data.TryGetProperty("output", out var entry) ? entry : default;
            int At() => entries.FindIndex(o => o.GetProperty("group").GetInt32() == output.GetProperty("group").GetInt32() && o.GetProperty("mime").GetString() == output.GetProperty("mime").GetString());
            JsonElement With(string data) => JsonSerializer.SerializeToElement(new
            {
                mime = output.GetProperty("mime").GetString(),
                data,
                group = output.GetProperty("group").GetInt32(),
                name = output.GetProperty("name").GetString(),
            });
            switch (e.Data.GetProperty("action").GetString())
            {
                case "add":
                    entries.Insert(entries.FindLastIndex(o => o.GetProperty("group").GetInt32() <= output.GetProperty("group").GetInt32()) + 1, output);
                    break;
                case "append":
                    entries[^1] = With(entries[^1].GetProperty("data").GetString() + output.GetProperty("data").GetString());
                    break;
                case "replace_line":
                    var before = entries[^1].GetProperty("data").GetString()!;
                    entries[^1] = With(before[..(before.LastIndexOf('\n') + 1)] + output.GetProperty("data").GetString());
                    break;
                case "replace":
                    entries[At()] = output;
                    break;
                case "remove":
                    entries.RemoveAt(At());
                    break;
                case "clear":
                    entries.Clear();
                    break;
            }
        }
        return JsonElement.Parse(JsonSerializer.Serialize(entries, Relaxed)).GetRawText();
    }

    [Fact]
    public async Task Progress_bars_displays_and_clearing_come_as_Jupyter_shows_them()
    {
        var (pad, cells) = await NewPad(await NewConversation(), """
            import time
            from IPython.display import display, clear_output, HTML, SVG
            print('gone')
            clear_output(wait=True)
            print('head')
            for i in range(5):
                print(f'\r{i * 25}%', end='', flush=True)
                time.sleep(0.15)
            print()
            h = display('first', display_id=True)
            display(HTML('<b>x</b>'))
            h.update('second')
            display({'application/json': {'a': [1]}, 'text/plain': 'j'}, raw=True)
            display(SVG('<svg xmlns="http://www.w3.org/2000/svg"/>'))
            """);
        await using var reader = await Stream(pad, cells[0]);
        var events = await reader.ToEnd();
        var outputs = events[^1].Data.GetProperty("outputs");
        Assert.Equal(Fold(events), outputs.GetRawText());
        Assert.Contains(events, e => e.Type == "cell.output" && e.Data.GetProperty("action").GetString() == "replace_line");
        var data = outputs.EnumerateArray().Select(o => (o.GetProperty("mime").GetString(), o.GetProperty("data").GetString())).ToList();
        Assert.Equal(("text/plain", "head\n100%\n"), data[0]);
        Assert.Equal(("text/plain", "'second'"), data[1]);
        Assert.Contains(("text/html", "<b>x</b>"), data);
        Assert.Contains(data, d => d.Item1 == "application/json" && d.Item2!.Contains("[1]", StringComparison.Ordinal));
        Assert.Contains(data, d => d.Item1 == "image/svg+xml" && d.Item2!.StartsWith("data:image/svg+xml;base64,", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_reader_that_is_cut_at_any_event_resumes_and_one_that_goes_away_changes_nothing()
    {
        var (pad, cells) = await NewPad(await NewConversation(), "import time\nfor i in range(4):\n    print(i)\n    time.sleep(0.15)");
        await using (var gone = await Stream(pad, cells[0]))
        {
            await gone.Next(TestContext.Current.CancellationToken);
        }
        await using var whole = await EventReader.Open(http, $"{Pads}/{pad}/cells/{cells[0]}/events");
        var events = await whole.ToEnd();
        Assert.Equal("0\n1\n2\n3\n", events[^1].Data.GetProperty("outputs")[0].GetProperty("data").GetString());
        for (var seen = 0; seen < events.Count - 1; seen++)
        {
            await using var resumed = await EventReader.Open(http, $"{Pads}/{pad}/cells/{cells[0]}/events", events[seen].Id);
            Assert.Equal(events.Skip(seen + 1).Select(e => (e.Id, e.Data.GetRawText())), (await resumed.ToEnd()).Select(e => (e.Id, e.Data.GetRawText())));
        }
        var path = $"{Pads}/{pad}/cells/{cells[0]}/events";
        (await http.Get(path, ("Last-Event-ID", $"{events[^1].Id}"))).Is(204);
        (await http.Get(path, ("Last-Event-ID", $"{events[^1].Id + 1}"))).IsProblem(422, "cursor_ahead");
        (await http.Get(path, ("Last-Event-ID", "1000000"))).IsProblem(422, "cursor_ahead");
        // Whoever has begun with an execution goes on with it, whatever came after.
        (await Run(pad, cells[0])).Is(200);
        await using var old = await EventReader.Open(http, path, events[1].Id);
        Assert.Equal(events.Skip(2).Select(e => e.Id), (await old.ToEnd()).Select(e => e.Id));
    }

    [Fact]
    public async Task A_cell_is_interrupted_a_kernel_restarted_and_the_rest_goes_on()
    {
        var (pad, cells) = await NewPad(await NewConversation(), "x = 1", "print('on', flush=True)\nimport time\ntime.sleep(100)", "x");
        (await Run(pad, cells[0])).Is(200);
        await using var running = await Stream(pad, cells[1]);
        await using var waiting = await Stream(pad, cells[2]);
        while ((await running.Next(new CancellationTokenSource(Patience.Limit).Token))?.Type != "cell.output")
        {
        }
        Assert.Equal("busy", (await http.Get($"{Pads}/{pad}")).Is(200).Json.GetProperty("kernel").GetProperty("status").GetString());
        (await http.Send(HttpMethod.Patch, $"{Pads}/{pad}/cells/{cells[1]}", """{"content":"x"}""")).IsProblem(409, "cell_running");
        Assert.Equal("True", (await http.Post($"{Pads}/{pad}/cells/{cells[1]}/interrupt")).Is(202)["interrupt_requested"]);
        Assert.Equal("interrupted", (await running.ToEnd())[^1].Data.GetProperty("error_code").GetString());
        Assert.Equal("1", (await waiting.ToEnd())[^1].Data.GetProperty("outputs")[0].GetProperty("data").GetString());
        Assert.Equal("False", (await http.Post($"{Pads}/{pad}/cells/{cells[1]}/interrupt")).Is(200)["interrupt_requested"]);
        (await http.Post($"{Pads}/{pad}/restart")).Is(202);
        Assert.Equal("NameError: name 'x' is not defined", (await Run(pad, cells[2])).Is(200)["error"]);
    }

    [Fact]
    public async Task An_awaited_answer_has_the_results_of_its_own_execution_also_when_that_was_withdrawn()
    {
        var (pad, cells) = await NewPad(await NewConversation(), "n = globals().get('n', 0) + 1\nprint(n)", "print('on', flush=True)\nimport time\ntime.sleep(100)");
        var answers = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => Run(pad, cells[0])));
        Assert.All(answers, answer => Assert.Equal("success", answer.Is(200)["status"]));
        Assert.Equal(["1\n", "2\n", "3\n"], answers.Select(answer => Text(answer.Json)).Order(StringComparer.Ordinal));

        await using var running = await Stream(pad, cells[1]);
        while ((await running.Next(new CancellationTokenSource(Patience.Limit).Token))?.Type != "cell.output")
        {
        }
        var withdrawn = await Waiting(pad, cells[0]);
        (await http.Post($"{Pads}/{pad}/cells/{cells[0]}/interrupt")).Is(202);
        Assert.Equal(("error", "interrupted", ""), ((await withdrawn).Is(200)["status"], (await withdrawn)["error_code"], Text((await withdrawn).Json)));
        var deleted = await Waiting(pad, cells[0]);
        (await http.Delete($"{Pads}/{pad}/cells/{cells[0]}")).Is(204);
        Assert.Equal(("error", "cell_deleted", "0"), ((await deleted).Is(200)["status"], (await deleted)["error_code"], (await deleted)["queued"]));
        (await http.Post($"{Pads}/{pad}/cells/{cells[1]}/interrupt")).Is(202);
        Assert.Equal("interrupted", (await running.ToEnd())[^1].Data.GetProperty("error_code").GetString());
    }

    /// <summary>The answer to a run that waits by now.</summary>
    async Task<Task<Got>> Waiting(string pad, string cell)
    {
        var answer = Run(pad, cell);
        await http.Until($"{Pads}/{pad}/cells/{cell}", got => got.Is(200)["queued"] == "1");
        return answer;
    }

    [Fact]
    public async Task A_repeated_request_answers_the_same_and_executes_nothing_again()
    {
        var conversation = await NewConversation();
        var body = Body(new { conversation_id = conversation, cells = new[] { Code("n = globals().get('n', 0) + 1\nn") } });
        var first = (await http.Post(Pads, body, ("Idempotency-Key", "pad"))).Is(201);
        Assert.Equal(first.Text, (await http.Post(Pads, body, ("Idempotency-Key", "pad"))).Is(201).Text);
        var (pad, cell) = (first["id"], Cells(first).Single().GetProperty("id").GetString()!);
        var appended = (await http.Post($"{Pads}/{pad}/cells", Body(Code("2")), ("Idempotency-Key", "cell"))).Is(201);
        await http.Post($"{Pads}/{pad}/cells", Body(Code("3")));
        Assert.Equal(appended.Text, (await http.Post($"{Pads}/{pad}/cells", Body(Code("2")), ("Idempotency-Key", "cell"))).Is(201).Text);
        Assert.Equal("1", Text((await http.Post($"{Pads}/{pad}/cells/{cell}/run", """{"stream":false}""", ("Idempotency-Key", "run"))).Is(200).Json));
        Assert.Equal("1", Text((await http.Post($"{Pads}/{pad}/cells/{cell}/run", """{"stream":false}""", ("Idempotency-Key", "run"))).Is(200).Json));
        using var request = new HttpRequestMessage(HttpMethod.Post, $"{Pads}/{pad}/cells/{cell}/run") { Content = new StringContent("{}", null, "application/json") };
        request.Headers.Add("Idempotency-Key", "run");
        using var streamed = await http.SendAsync(request);
        Assert.Equal((HttpStatusCode.OK, "true"), (streamed.StatusCode, streamed.Headers.GetValues("Idempotency-Replayed").Single()));
        Assert.Contains("event: cell.completed", await streamed.Content.ReadAsStringAsync());
        Assert.Equal("2", Text((await Run(pad, cell)).Is(200).Json));
    }

    [Fact]
    public async Task Saving_makes_a_notebook_that_nbformat_validates_and_a_page_that_runs_nothing()
    {
        var project = (await http.Post("/api/v1/projects", """{"name":"Sales"}""")).Is(201)["id"];
        var conversation = await NewConversation(project);
        var (pad, cells) = await NewPad(
            conversation, "from IPython.display import HTML, display\nprint('<script>alert(1)</script>')\ndisplay({'application/json':{'a':1},'text/plain':'j'}, raw=True)\nHTML('<script>alert(2)</script>')",
            "raise ValueError('<b>')");
        await http.Post($"{Pads}/{pad}/cells", Body(new { type = "markdown", content = "# <i>Title</i>" }));
        (await Run(pad, cells[0])).Is(200);
        (await Run(pad, cells[1])).Is(200);
        var saved = (await http.Send(HttpMethod.Patch, $"{Pads}/{pad}", """{"title":"Final analysis","saved":true}""")).Is(200);
        Assert.Equal(("True", 2), (saved["saved"], saved.Json.GetProperty("artifact_ids").GetArrayLength()));
        var artifacts = Data(await http.Get($"/api/v1/artifacts?project_id={project}")).ToDictionary(a => a.GetProperty("path").GetString()!);
        Assert.Equal([$"scratchpads/{pad}.html", $"scratchpads/{pad}.ipynb"], artifacts.Keys.Order(StringComparer.Ordinal));
        Assert.All(artifacts.Values, a => Assert.Equal("Final analysis", a.GetProperty("title").GetString()));
        var notebook = await http.GetStringAsync($"/api/v1/artifacts/serve/{project}/scratchpads/{pad}.ipynb");
        Assert.Equal("", await Nbformat(notebook));
        Assert.Equal(notebook, await http.GetStringAsync($"{Pads}/{pad}/ipynb"));
        var page = await http.GetStringAsync($"/api/v1/artifacts/serve/{project}/scratchpads/{pad}.html");
        Assert.DoesNotContain("<script", page, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("<b>", page, StringComparison.Ordinal);
        Assert.Contains("<iframe sandbox=\"\"", page, StringComparison.Ordinal);
        Assert.Contains("&lt;script&gt;alert(2)", page, StringComparison.Ordinal);

        var let = (await http.Send(HttpMethod.Patch, $"{Pads}/{pad}", """{"saved":false}""")).Is(200);
        Assert.Equal(("False", 0), (let["saved"], let.Json.GetProperty("artifact_ids").GetArrayLength()));

        // What was exported comes back as it was.
        var imported = (await http.Post($"{Pads}/import", $$$"""{"conversation_id":"{{{conversation}}}","notebook":{{{notebook}}}}""")).Is(201);
        Assert.Equal("Final analysis", imported["title"]);
        static IEnumerable<string> Shown(Got got) => Cells(got).Select(c => $"{c.GetProperty("type")} {c.GetProperty("content")} {c.GetProperty("status")} {c.GetProperty("outputs")}");
        Assert.Equal(Shown((await http.Get($"{Pads}/{pad}")).Is(200)), Shown(imported));
        (await http.Send(HttpMethod.Patch, $"{Pads}/{imported["id"]}", """{"saved":true}""")).Is(200);
    }

    /// <summary>What Python's nbformat says against a notebook; empty: nothing.</summary>
    static async Task<string> Nbformat(string notebook)
    {
        using var python = Process.Start(new ProcessStartInfo("/usr/bin/python3", ["-c", "import sys, nbformat; nbformat.validate(nbformat.reads(sys.stdin.read(), as_version=nbformat.NO_CONVERT))"])
        {
            RedirectStandardInput = true,
            RedirectStandardError = true,
            Environment = { ["PYTHONWARNINGS"] = "error" },
        })!;
        await python.StandardInput.WriteAsync(notebook);
        python.StandardInput.Close();
        var said = await python.StandardError.ReadToEndAsync();
        await python.WaitForExitAsync();
        return python.ExitCode == 0 ? "" : said;
    }

    [Fact]
    public async Task A_replay_tells_what_is_equal_different_and_failed()
    {
        var (pad, cells) = await NewPad(
            await NewConversation(), "import os, pathlib\np = pathlib.Path('once')\np.exists()", "1 + 1", "p.touch()", "assert not globals().get('again')\nagain = True", "missing = 'x'\nmissing");
        foreach (var cell in cells)
        {
            (await Run(pad, cell)).Is(200);
        }
        (await http.Send(HttpMethod.Patch, $"{Pads}/{pad}/cells/{cells[4]}", """{"content":"open('gone').read()"}""")).Is(200);
        var file = (await http.Post($"{Pads}/{pad}/cells", Body(new { type = "code", content = "open('gone', 'w').close()" }))).Is(201)["id"];
        (await Run(pad, file)).Is(200);
        Assert.Equal("success", (await Run(pad, cells[4])).Is(200)["status"]);
        var clean = (await http.Post($"{Pads}/{pad}/cells", Body(new { type = "code", content = "os.remove('gone')" }))).Is(201)["id"];
        (await Run(pad, clean)).Is(200);
        var replay = (await http.Post($"{Pads}/{pad}/replay", """{"wait_for_completion":true}""")).Is(200);
        Assert.Equal("completed", replay["status"]);
        var results = replay.Json.GetProperty("cells").EnumerateArray().Select(c => c.GetProperty("result").GetString()).ToList();
        Assert.Equal(["different", "equal", "equal", "equal", "failed", "equal", "equal"], results);
        Assert.Equal(("5", "1", "1", "0"), (replay["equal"], replay["different"], replay["failed"], replay["pending"]));
        var different = replay.Json.GetProperty("cells")[0];
        Assert.Equal(("False", "True"), (Text(different.GetProperty("before")), Text(different.GetProperty("after"))));
        Assert.Equal(JsonValueKind.Null, replay.Json.GetProperty("cells")[1].GetProperty("before").ValueKind);
        Assert.Contains("FileNotFoundError", replay.Json.GetProperty("cells")[4].GetProperty("after").GetProperty("error").GetString());
        Assert.Equal(replay.Text, (await http.Get($"{Pads}/{replay["id"]}/replay")).Is(200).Text);
        Assert.Equal([replay["id"]], Data(await http.Get($"{Pads}/{pad}/replays")).Select(r => r.GetProperty("id").GetString()));
        (await http.Get($"{Pads}/{pad}/replay")).IsProblem(404, "not_found");
        (await http.Delete($"{Pads}/{pad}")).Is(204);
        (await http.Get($"{Pads}/{replay["id"]}/replay")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task An_agents_cell_makes_a_chart_that_is_its_artifact()
    {
        var session = await http.NewSession();
        var turn = (await http.Turn(session, """
            ```python
            import os
            os.makedirs('.anton/output', exist_ok=True)
            import matplotlib
            matplotlib.use('Agg')
            import matplotlib.pyplot as plt
            import pandas as pd
            totals = pd.DataFrame({'region': ['N', 'S', 'N'], 'n': [1, 2, 3]}).groupby('region').n.sum()
            totals.plot.bar()
            plt.savefig('.anton/output/chart.png')
            print(totals.to_dict())
            ```
            """)).Is(200);
        Assert.Equal("completed", turn["status"]);
        Assert.Contains("{'N': 4, 'S': 2}", turn["reply"]);
        var artifacts = (await http.Get($"/runs/{turn["run_id"]}/artifacts")).Is(200).Json.GetProperty("artifacts");
        Assert.Equal(".anton/output/chart.png", artifacts[0].GetProperty("path").GetString());
        (await http.Get($"/runs/{turn["run_id"]}/trace")).Is(200);
    }
}
