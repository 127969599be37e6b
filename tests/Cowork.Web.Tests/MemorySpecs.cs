using System.Text.Json;

using Cowork.Application.Models;
using Cowork.Testing;

using Microsoft.Extensions.Configuration;

namespace Cowork.Web.Tests;

/// <summary>What is kept across runs can be looked up by the id that retrieval names, down to the event that it came from.</summary>
public sealed class MemorySpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    static string Text(JsonElement of, string member) => of.GetProperty(member).ToString();

    [Fact]
    public async Task What_a_run_was_reminded_of_leads_to_the_run_and_event_that_it_came_from()
    {
        var first = await http.NewSession();
        var told = (await http.Turn(first, "/tool remember {\"content\":\"The zeppelin leaves at nine.\"}\n/say noted")).Is(200);
        var second = await http.NewSession();
        var asked = (await http.Turn(second, "When does the zeppelin leave?")).Is(200);
        var retrieval = (await http.Events(second)).Single(e => Text(e, "type") == "memory_retrieval").GetProperty("payload");
        var provenance = retrieval.GetProperty("provenance").EnumerateArray().ToList();
        Assert.Equal(retrieval.GetProperty("retrieved_count").GetInt32(), provenance.Count);
        var from = provenance.Single(p => Text(p, "kind") == "memory");
        Assert.Equal(told["run_id"], Text(from, "run_id"));

        var memory = (await http.Get($"/memories/{Text(from, "id")}")).Is(200);
        Assert.Equal(
            (Text(from, "id"), "memory", "The zeppelin leaves at nine.", "1", first, told["run_id"], ""),
            (memory["memory_id"], memory["kind"], memory["content"], memory["version"], memory["session_id"], memory["run_id"], memory["notes"]));
        Assert.Equal(from.GetProperty("event").GetRawText(), memory.Json.GetProperty("event").GetRawText());
        var e = (await http.Events(first)).Single(
            e => Text(e, "stream_id") == Text(from.GetProperty("event"), "stream_id") && Text(e, "version") == Text(from.GetProperty("event"), "version"));
        Assert.Equal((told["run_id"], "policy_decision"), (Text(e, "run_id"), Text(e, "type")));

        var listed = (await http.Get($"/sessions/{first}/memories")).Is(200);
        Assert.Equal(first, listed["session_id"]);
        Assert.Equal(["memory", "session_summary"], listed.Json.GetProperty("memories").EnumerateArray().Select(m => Text(m, "kind")).Order());
        var summary = listed.Json.GetProperty("memories").EnumerateArray().Single(m => Text(m, "kind") == "session_summary");
        Assert.Equal("run_completed", Text((await http.Events(first)).Single(
            e => Text(e, "stream_id") == Text(summary.GetProperty("event"), "stream_id") && Text(e, "version") == Text(summary.GetProperty("event"), "version")), "type"));
        var recalled = (await http.Turn(second, "/tool recall {\"query\":\"zeppelin\"}")).Is(200);
        Assert.Contains($"{Text(from, "id")} (memory; {told["run_id"]}, event {Text(from.GetProperty("event"), "version")}): The zeppelin", recalled["reply"], StringComparison.Ordinal);
        Assert.Equal("completed", asked["status"]);
    }

    [Fact]
    public async Task Memories_are_the_tenants_own()
    {
        var session = await http.NewSession();
        (await http.Turn(session, "/say hello")).Is(200);
        var id = Text((await http.Get($"/sessions/{session}/memories")).Is(200).Json.GetProperty("memories")[0], "memory_id");
        using var other = await tenant.Stranger("member");
        (await other.Get($"/memories/{id}")).IsProblem(404, "not_found");
        (await other.Get($"/sessions/{session}/memories")).IsProblem(404, "not_found");
        (await http.Get("/memories/mem_01k9nobody0000000000000000")).IsProblem(404, "not_found");
        (await http.Get("/memories/art_01k9nobody0000000000000000")).IsProblem(404, "not_found");
        (await http.Get("/memories/%20")).IsProblem(422);
        (await http.Get("/sessions/nobody/memories")).IsProblem(404);
    }

    [Fact]
    public async Task What_a_deleted_session_left_is_neither_shown_nor_recalled()
    {
        var (first, second) = (await http.NewSession(), await http.NewSession());
        (await http.Turn(first, "/tool remember {\"content\":\"The marzipan is in the attic.\"}\n/say noted")).Is(200);
        var listed = (await http.Get($"/sessions/{first}/memories")).Is(200).Json.GetProperty("memories").EnumerateArray().Select(m => Text(m, "memory_id")).ToList();
        Assert.Equal(2, listed.Count);
        Assert.Contains("marzipan", (await http.Turn(second, "/tool recall {\"query\":\"marzipan\"}")).Is(200)["reply"], StringComparison.Ordinal);
        (await http.Delete($"/sessions/{first}")).Is(204);
        foreach (var memory in listed)
        {
            (await http.Get($"/memories/{memory}")).IsProblem(404, "not_found");
        }
        var third = await http.NewSession();
        await http.Turn(third, "Where is the attic's marzipan?");
        var retrieval = (await http.Events(third)).Single(e => Text(e, "type") == "memory_retrieval").GetProperty("payload");
        Assert.Empty(retrieval.GetProperty("provenance").EnumerateArray().Select(p => Text(p, "id")).Intersect(listed));
    }

    [Theory]
    [InlineData(null, true)]
    [InlineData("model", true)]
    [InlineData("extract", false)]
    public void Who_writes_the_notes_is_configured(string? notes, bool byModel) => Assert.Equal(byModel, Read(notes).Memory.NotesByModel);

    [Fact]
    public void Notes_by_nobody_are_told_in_a_sentence() =>
        Assert.Equal("Cowork:Memory:Notes is \"nobody\"; it may be model or extract.", Assert.Throws<ArgumentException>(() => Read("nobody")).Message);

    static HostSettings Read(string? notes) =>
        HostSettings.Read([], new ConfigurationBuilder().AddInMemoryCollection([new("Cowork:Memory:Notes", notes)]).Build());

    [Fact]
    public async Task A_models_notes_are_kept_with_what_they_cost()
    {
        await using var provider = new ModelServer();
        provider
            .ThenStream("""{"model":"m","choices":[{"index":0,"delta":{"content":"At nine."},"finish_reason":"stop"}]}""", "[DONE]")
            .ThenStream(
                """{"model":"m","choices":[{"index":0,"delta":{"content":"{\"summary\":\"Ann asked when the ferry leaves.\",\"learning\":\"The ferry leaves at nine.\"}"},"finish_reason":"stop"}]}""",
                """{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50}}""",
                "[DONE]");
        var model = new ModelSettings { Name = "m", Provider = "openai", Model = "m", BaseUrl = provider.Url, Key = "sk-secret-1", Price = new(2, 8) };
        await using var host = await LiveHost.Start(s => s with { Models = [model], Runs = s.Runs with { DefaultModel = "m" } });
        (await host.Http.Post("/sessions", """{"session_id":"s"}""")).Is(201);
        var turn = (await host.Http.Post("/sessions/s/turn", """{"message":"When does the ferry leave?"}""")).Is(200);
        var listed = await host.Http.Until("/sessions/s/memories", got => got.Is(200).Json.GetProperty("memories").GetArrayLength() == 2);
        var learning = listed.Json.GetProperty("memories").EnumerateArray().Single(m => Text(m, "kind") == "learning");
        Assert.Equal(("The ferry leaves at nine.", turn["run_id"]), (Text(learning, "content"), Text(learning, "run_id")));
        var notes = listed.Json.GetProperty("memories").EnumerateArray().Single(m => Text(m, "kind") == "session_summary").GetProperty("notes");
        Assert.Equal(("m", "100", "50", "0.0006", ""), (Text(notes, "model"), Text(notes, "input_tokens"), Text(notes, "output_tokens"), Text(notes, "cost_usd"), Text(notes, "failure")));
        var feed = (await host.Http.Events("s")).Where(e => Text(e, "type") == "memory_written").Select(e => e.GetProperty("payload").GetProperty("notes")).ToList();
        Assert.Equal(["0.0006", "0"], feed.Select(n => Text(n, "cost_usd")));
        Assert.Equal(turn["total_tokens"], (await host.Http.Get($"/runs/{turn["run_id"]}"))["total_tokens"]);
    }
}
