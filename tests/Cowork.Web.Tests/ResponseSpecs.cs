using System.Net;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>Contract B's responses over HTTP.</summary>
public sealed class ResponseSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Path = "/api/v1/responses";

    const string WriteFile = "/tool write_file {\"path\":\"r.md\",\"content\":\"x\"}\n/say written";

    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_response_is_streamed_with_the_events_that_clients_of_OpenAI_read_and_ends()
    {
        var conversation = await Conversation();
        var events = await Stream(conversation, "/say hello there");
        Assert.Equal(
            ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added", "response.output_text.delta", "response.output_text.done",
                "response.content_part.done", "response.output_item.done", "response.completed"],
            events.Select(e => e.Type).Distinct());
        Assert.Equal(Enumerable.Range(0, events.Count).Select(i => (long)i), events.Select(e => e.Id));
        var id = events[0].Data.GetProperty("response").GetProperty("id").GetString()!;
        Assert.StartsWith("resp_", id, StringComparison.Ordinal);
        Assert.All(events, e => Assert.Equal((e.Type, e.Id, id), (Text(e.Data, "type"), e.Data.GetProperty("sequence_number").GetInt64(), Text(e.Data, "response_id"))));
        var deltas = events.Where(e => e.Type == "response.output_text.delta").ToList();
        Assert.Equal("hello there", string.Concat(deltas.Select(e => Text(e.Data, "delta"))));
        var item = events.Single(e => e.Type == "response.output_item.added").Data;
        Assert.All(deltas, e => Assert.Equal(
            (Text(item.GetProperty("item"), "id"), 1, 0), (Text(e.Data, "item_id"), e.Data.GetProperty("output_index").GetInt32(), e.Data.GetProperty("content_index").GetInt32())));
        AssertWhole(events[^1].Data.GetProperty("response"), id, conversation, "completed", "hello there");
        // The object that is asked for is the one that the stream has ended with, and contract A shows the same run.
        Assert.Equal(events[^1].Data.GetProperty("response").ToString(), (await http.Get($"{Path}/{id}")).Is(200).Json.ToString());
        var run = (await http.Get($"/runs/{id}")).Is(200);
        Assert.Equal(("completed", "hello there", "/say hello there"), (run["status"], run["reply"], run["message"]));
    }

    [Fact]
    public async Task A_stream_resumes_after_any_of_its_events()
    {
        var events = await Stream(await Conversation(), "/tool list_files {}\n/say all seen");
        var id = Text(events[0].Data, "response_id");
        for (var cut = -1; cut < events.Count; cut++)
        {
            if (cut < events.Count - 1)
            {
                await using var byHeader = await EventReader.Open(http, $"{Path}/{id}/events", cut < 0 ? null : cut);
                Assert.Equal(Lines(events.Skip(cut + 1)), Lines(await byHeader.ToEnd()));
            }
            await using var byQuery = await EventReader.Open(http, $"{Path}/{id}?stream=true{(cut < 0 ? "" : $"&starting_after={cut}")}");
            Assert.Equal(Lines(events.Skip(cut + 1)), Lines(await byQuery.ToEnd()));
        }
        (await http.Get($"{Path}/{id}/events", ("Last-Event-ID", $"{events.Count}"))).IsProblem(422, "cursor_ahead");
        // An EventSource reconnects to every stream that ends, and stops at 204.
        var tail = $"{Path}/tail?conversation_id={Text(events[0].Data.GetProperty("response"), "conversation_id")}";
        foreach (var path in (string[])[$"{Path}/{id}/events", tail])
        {
            Assert.Equal("", (await http.Get(path, ("Last-Event-ID", $"{events.Count - 1}"))).Is(204).Text);
        }
        await using var again = await EventReader.Open(http, tail, events.Count - 2);
        Assert.Equal(Lines(events), Lines(await again.ToEnd()));
        (await http.Get($"{Path}/{id}/events?starting_after=x")).IsProblem(422);
    }

    [Fact]
    public async Task Without_a_stream_the_answer_is_one_object_when_the_run_has_ended()
    {
        var conversation = await Conversation();
        var got = (await http.Post(Path, Body(conversation, "/say one", stream: false))).Is(200);
        AssertWhole(got.Json, got["id"], conversation, "completed", "one");
        Assert.Equal($"{Path}/{got["id"]}", got.Headers.Location!.ToString());
    }

    [Theory]
    [InlineData("""{"conversation":"ID","input":"/say x","stream":false}""")]
    [InlineData("""{"conversation":{"id":"ID"},"input":"/say x","stream":false}""")]
    [InlineData("""{"conversation_id":"ID","input":[{"role":"user","content":"/say x"}],"stream":false}""")]
    [InlineData("""{"conversation_id":"ID","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"/say x"}]}],"stream":false}""")]
    public async Task What_clients_of_OpenAI_send_is_understood(string body)
    {
        var got = (await http.Post(Path, body.Replace("ID", await Conversation(), StringComparison.Ordinal))).Is(200);
        Assert.Equal(("completed", "/say x"), (got["status"], got["input"]));
    }

    [Theory]
    [InlineData("""{"input":"x"}""", "$.conversation_id")]
    [InlineData("""{"conversation_id":"","input":"x"}""", "$.conversation_id")]
    [InlineData("""{"conversation_id":"ID"}""", "$.input")]
    [InlineData("""{"conversation_id":"ID","input":" "}""", "$.input")]
    [InlineData("""{"conversation_id":"ID","input":7}""", "$.input")]
    [InlineData("""{"conversation_id":"ID","input":[]}""", "$.input")]
    [InlineData("""{"conversation_id":"ID","input":[{"role":"assistant","content":"x"}]}""", "$.input")]
    [InlineData("""{"conversation_id":"ID","input":"x","stream":"yes"}""", "$.stream")]
    [InlineData("""{"conversation_id":"ID","input":"x","model":"none"}""", "$.model")]
    public async Task What_is_wrong_with_a_request_is_told(string body, string place)
    {
        var refused = (await http.Post(Path, body.Replace("ID", await Conversation(), StringComparison.Ordinal))).IsProblem(422);
        Assert.Contains(place, refused.Json.GetProperty("errors").EnumerateObject().Select(e => e.Name));
    }

    [Fact]
    public async Task What_is_not_there_is_404()
    {
        (await http.Post(Path, Body("conv_nowhere", "x"))).IsProblem(404);
        foreach (var path in (string[])["/resp_01hzzzzzzzzzzzzzzzzzzzzzzz", "/in-flight?conversation_id=conv_nowhere", "/tail?conversation_id=conv_nowhere", "/in-flight-list?conversation_id=conv_nowhere"])
        {
            (await http.Get(Path + path)).IsProblem(404);
        }
        (await http.Get($"{Path}/in-flight")).IsProblem(422);
        (await http.Post($"{Path}/cancel", """{"conversation_id":"conv_nowhere"}""")).IsProblem(404);
        var idle = await Conversation();
        (await http.Get($"{Path}/in-flight?conversation_id={idle}")).IsProblem(404);
        (await http.Get($"{Path}/tail?conversation_id={idle}")).IsProblem(404);
    }

    [Fact]
    public async Task Tool_calls_and_approvals_are_told_and_what_is_said_before_a_call_is_not_the_reply()
    {
        var conversation = await Conversation();
        var asked = (await http.Post(Path, Body(conversation, WriteFile, stream: false))).Is(200);
        Assert.Equal("in_progress", asked["status"]);
        var approval = asked.Json.GetProperty("pending_approval_ids")[0].GetString()!;

        await using var reader = await EventReader.Open(http, $"{Path}/tail?conversation_id={conversation}&from_seq=0");
        using var timeout = new CancellationTokenSource(Patience.Limit);
        var events = new List<(long Id, string Type, JsonElement Data)>();
        while (events.Count == 0 || events[^1].Type != "response.approval_required")
        {
            events.Add((await reader.Next(timeout.Token))!.Value);
        }
        var told = events[^1].Data.GetProperty("approval");
        Assert.Equal((approval, "write_file", "r.md"), (Text(told, "approval_id"), Text(told, "tool_name"), Text(told.GetProperty("tool_input"), "path")));
        var flying = (await http.Get($"{Path}/in-flight?conversation_id={conversation}")).Is(200);
        Assert.Equal((asked["id"], "True", $"{events.Count - 1}"), (flying["response_id"], flying["in_flight"], flying["latest_seq"]));

        (await http.Post($"/approvals/{approval}/decision", """{"approved":true}""")).Is(200);
        events.AddRange(await reader.ToEnd());
        Assert.Equal(
            ["response.created", "response.in_progress", "response.tool_call", "response.approval_required", "response.tool_result"],
            events.Select(e => e.Type).Where(type => !type.Contains("output", StringComparison.Ordinal) && !type.Contains("content", StringComparison.Ordinal)).SkipLast(1));
        Assert.Equal(Enumerable.Range(0, events.Count).Select(i => (long)i), events.Select(e => e.Id));
        AssertWhole(events[^1].Data.GetProperty("response"), asked["id"], conversation, "completed", "written");
        (await http.Get($"{Path}/in-flight?conversation_id={conversation}")).IsProblem(404);
    }

    [Fact]
    public async Task A_response_that_fails_or_is_cancelled_ends_its_stream_with_that()
    {
        var failed = await Stream(await Conversation(), "/fail no more");
        Assert.Equal("response.failed", failed[^1].Type);
        Assert.NotEmpty(Text(failed[^1].Data.GetProperty("response").GetProperty("error"), "message"));

        var conversation = await Conversation();
        await using var reader = await EventReader.Open(http, Path, json: Body(conversation, "/sleep 60000\n/say never"));
        var id = Text((await reader.Through(1))[0].Data, "response_id");
        (await http.Post($"{Path}/cancel", $$"""{"conversation_id":"{{conversation}}"}""")).Is(200);
        Assert.Equal("response.cancelled", (await reader.ToEnd())[^1].Type);
        Assert.Equal("cancelled", (await http.Get($"{Path}/{id}")).Is(200)["status"]);
        // An ended one stays as it is.
        Assert.Equal("cancelled", (await http.Post($"{Path}/{id}/cancel")).Is(200)["status"]);
    }

    [Fact]
    public async Task Responses_in_flight_are_listed_newest_first_with_their_number()
    {
        using var other = await tenant.Stranger("member");
        var conversations = new List<string>();
        for (var i = 0; i < 3; i++)
        {
            var id = (await other.Post("/sessions", "{}")).Is(201)["session_id"].Replace("sess_", "conv_", StringComparison.Ordinal);
            conversations.Add(id);
            await using var started = await EventReader.Open(other, Path, json: Body(id, "/sleep 60000"));
            await started.Through(1);
        }
        // The client that has gone stops nothing.
        var list = (await other.Get($"{Path}/in-flight-list?limit=2")).Is(200);
        Assert.Equal(("list", "3", "2", "0", "True"), (list["object"], list["total"], list["limit"], list["offset"], list["has_more"]));
        Assert.Equal(conversations.AsEnumerable().Reverse().Take(2), list.Json.GetProperty("data").EnumerateArray().Select(e => Text(e, "conversation_id")));
        var rest = (await other.Get($"{Path}/in-flight-list?limit=2&offset=2")).Is(200);
        Assert.Equal((conversations[0], "False"), (Text(rest.Json.GetProperty("data")[0], "conversation_id"), rest["has_more"]));
        Assert.Equal("1", (await other.Get($"{Path}/in-flight-list?conversation_id={conversations[1]}")).Is(200)["total"]);
        Assert.Equal("0", (await http.Get($"{Path}/in-flight-list?limit=1&offset=1000")).Is(200)["total"]);
        foreach (var conversation in conversations)
        {
            (await other.Post($"{Path}/cancel", $$"""{"conversation_id":"{{conversation}}"}""")).Is(200);
        }
    }

    [Fact]
    public async Task What_agents_of_groups_work_on_is_neither_listed_as_in_flight_nor_counted()
    {
        using var other = await tenant.Stranger("member");
        var session = await other.NewSession();
        var runs = new List<string>();
        for (var i = 0; i < 2; i++)
        {
            runs.Add((await other.Post($"/sessions/{session}/turn", """{"message":"/sleep 600000","wait_for_completion":false}""")).Is(202)["run_id"]);
        }
        // Newer ones of the same statuses.
        var group = (await other.Post("/groups", """{"title":"Sales"}""")).Is(201);
        for (var i = 0; i < 2; i++)
        {
            (await other.Post($"/groups/{group["group_id"]}/messages", """{"text":"/sleep 600000"}""")).Is(202);
        }
        var inGroup = (await other.Get($"/sessions/{group["session_id"]}/runs")).Is(200).Json.GetProperty("runs").EnumerateArray().Select(run => Text(run, "run_id")).ToList();
        Assert.Equal(2, inGroup.Count);
        await other.Until($"/runs/{runs[0]}", run => run["status"] == "running");
        await other.Until($"/runs/{inGroup[^1]}", run => run["status"] == "running");
        foreach (var (offset, run) in ((int, string)[])[(0, runs[1]), (1, runs[0])])
        {
            var list = (await other.Get($"{Path}/in-flight-list?limit=1&offset={offset}")).Is(200);
            Assert.Equal(("2", $"{offset == 0}"), (list["total"], list["has_more"]));
            Assert.Equal(run.Replace("run_", "resp_", StringComparison.Ordinal), Text(Assert.Single(list.Json.GetProperty("data").EnumerateArray()), "response_id"));
        }
        foreach (var run in runs.Concat(inGroup))
        {
            Assert.True((await other.Post($"/runs/{run}/cancel")).Status is HttpStatusCode.OK or HttpStatusCode.Accepted);
        }
    }

    [Fact]
    public async Task The_response_that_is_worked_on_is_found_behind_any_number_of_long_ones_that_wait()
    {
        var conversation = await Conversation();
        await using var reader = await EventReader.Open(http, Path, json: Body(conversation, "/sleep 600000\n/say never"));
        var first = Text((await reader.Through(1))[0].Data, "response_id");
        // More than a page of a list has.
        var message = new string('x', 60_000);
        var waiting = (int)(PageBytes.Max / message.Length) + 10;
        for (var i = 0; i < waiting; i++)
        {
            (await http.Post($"/sessions/{conversation}/turn", JsonSerializer.Serialize(new { message, wait_for_completion = false }))).Is(202);
        }
        Assert.Equal(first, (await http.Get($"{Path}/in-flight?conversation_id={conversation}")).Is(200)["response_id"]);
        var newest = (await http.Get($"/sessions/{conversation}/runs?limit=1")).Is(200).Json.GetProperty("runs")[0].GetProperty("run_id").GetString()!;
        foreach (var list in (string[])["in-flight-list?limit=1000", $"in-flight-list?limit=1000&conversation_id={conversation}"])
        {
            var listed = (await http.Get($"{Path}/{list}")).Is(200);
            var ids = listed.Json.GetProperty("data").EnumerateArray().Where(e => Text(e, "conversation_id") == conversation).Select(e => Text(e, "response_id")).ToList();
            Assert.Equal((waiting + 1, newest.Replace("run_", "resp_", StringComparison.Ordinal), first), (ids.Count, ids[0], ids[^1]));
            Assert.Equal($"{listed.Json.GetProperty("data").GetArrayLength()}", listed["total"]);
        }
        (await http.Post($"{Path}/cancel", $$"""{"conversation_id":"{{conversation}}"}""")).Is(200);
        Assert.Equal("response.cancelled", (await reader.ToEnd())[^1].Type);
        (await http.Delete($"/sessions/{conversation}")).Is(204);
    }

    [Fact]
    public async Task A_repeat_under_a_key_answers_with_the_same_response()
    {
        var conversation = await Conversation();
        var first = (await http.Post(Path, Body(conversation, "/say once", stream: false), ("Idempotency-Key", "k1"))).Is(200);
        var again = (await http.Post(Path, Body(conversation, "/say once", stream: false), ("Idempotency-Key", "k1"))).Is(200);
        Assert.Equal(first["id"], again["id"]);
        Assert.Equal("true", again.Headers.GetValues("Idempotency-Replayed").Single());
        (await http.Post(Path, Body(conversation, "/say twice", stream: false), ("Idempotency-Key", "k1"))).IsProblem(422, "idempotency_key_reused");
        Assert.Single((await http.Get($"/sessions/{conversation}/runs")).Is(200).Json.GetProperty("runs").EnumerateArray());
    }

    static void AssertWhole(JsonElement response, string id, string conversation, string status, string text)
    {
        Assert.Equal(
            ["id", "object", "conversation_id", "input", "output", "status", "model", "usage", "created_at", "error", "pending_approval_ids", "skills", "schedule_id"],
            response.EnumerateObject().Select(member => member.Name));
        Assert.Equal(
            (id, "response", conversation, status, "offline"),
            (Text(response, "id"), Text(response, "object"), Text(response, "conversation_id"), Text(response, "status"), Text(response, "model")));
        Assert.Equal(("text", text), (Text(response.GetProperty("output")[0], "type"), Text(response.GetProperty("output")[0], "text")));
        var message = response.GetProperty("output")[1];
        Assert.Equal(("message", "assistant", "completed"), (Text(message, "type"), Text(message, "role"), Text(message, "status")));
        Assert.Equal(("output_text", text), (Text(message.GetProperty("content")[0], "type"), Text(message.GetProperty("content")[0], "text")));
        Assert.True(response.GetProperty("usage").GetProperty("output_tokens").GetInt64() > 0);
    }

    static string Text(JsonElement of, string member) => of.GetProperty(member).ToString();

    static string Body(string conversation, string input, bool stream = true) => JsonSerializer.Serialize(new { conversation_id = conversation, input, stream });

    static IEnumerable<string> Lines(IEnumerable<(long Id, string Type, JsonElement Data)> events) => events.Select(e => $"{e.Id} {e.Type} {e.Data}");

    async Task<string> Conversation() => (await http.NewSession()).Replace("sess_", "conv_", StringComparison.Ordinal);

    async Task<List<(long Id, string Type, JsonElement Data)>> Stream(string conversation, string input)
    {
        await using var reader = await EventReader.Open(http, Path, json: Body(conversation, input));
        return await reader.ToEnd();
    }
}
