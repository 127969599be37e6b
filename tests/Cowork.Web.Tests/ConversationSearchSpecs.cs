using System.Text.Json;

using Cowork.Application;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>Conversations are found by the words of their titles and messages.</summary>
public sealed class ConversationSearchSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Conversations = "/api/v1/conversations";

    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task Conversations_are_found_by_title_message_and_reply_in_any_project_or_one()
    {
        var project = (await http.Post("/api/v1/projects", """{"name":"Zeppelins"}""")).Is(201)["id"];
        var titled = await New($$"""{"title":"The zeppelin ledger","project_id":"{{project}}"}""");
        var asked = await New("{}");
        await Respond(asked, "Where do zeppelins land?\n/say In Barrow, where the ravens are.");
        await Respond(await New("{}"), "/say Nothing about airships here.");

        Assert.Equal([asked, titled], (await Found("zeppelins")).Select(c => c.Id));
        Assert.Equal([titled], (await Found("zeppelin", $"&project_id={project}")).Select(c => c.Id));
        var (_, byReply) = Assert.Single(await Found("ravens"));
        var match = byReply.Single(m => m.GetProperty("role").GetString() == "assistant");
        Assert.Equal("In Barrow, where the ravens are.", match.GetProperty("snippet").GetString());
        var items = (await http.Get($"{Conversations}/{asked}/items")).Is(200).Json.GetProperty("data");
        Assert.Equal(items[1].GetProperty("id").GetString(), match.GetProperty("item_id").GetString());
        Assert.Empty(await Found("unheard"));
        Assert.Equal([asked], (await Found("zeppelin", "&project_id=proj_00000000000000000000000000&limit=1")).Select(c => c.Id));

        // A changed title is found by its new words, and nothing of a deleted conversation is found.
        (await http.Send(HttpMethod.Patch, $"{Conversations}/{titled}", """{"title":"Balloons"}""")).Is(200);
        Assert.Equal([asked], (await Found("zeppelin")).Select(c => c.Id));
        (await http.Delete($"{Conversations}/{asked}")).Is(204);
        Assert.Empty(await Found("ravens"));

        await using var other = await tenant.Another();
        Assert.Empty((await other.Http.Get($"{Conversations}/search?q=balloons")).Is(200).Json.GetProperty("data").EnumerateArray());
    }

    [Theory]
    [InlineData("", "q")]
    [InlineData("q=", "q")]
    [InlineData("q=a&q=b", "q")]
    [InlineData("q=a&limit=0", "limit")]
    [InlineData("q=a&limit=201", "limit")]
    public async Task Nonsense_is_refused(string query, string at)
    {
        var refused = (await http.Get($"{Conversations}/search?{query}")).IsProblem(422);
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty(at, out _), refused.Text);
    }

    [Fact]
    public async Task An_unknown_project_is_not_found() =>
        (await http.Get($"{Conversations}/search?q=a&project_id=proj_01k9golden0000000000000000")).IsProblem(404, "not_found");

    async Task Respond(string conversation, string input) =>
        (await http.Post("/api/v1/responses", JsonSerializer.Serialize(new { conversation_id = conversation, input, stream = false }))).Is(200);

    async Task<string> New(string body) => (await http.Post(Conversations, body)).Is(201)["id"];

    async Task<List<(string Id, JsonElement[] Matches)>> Found(string words, string more = "")
    {
        await tenant.Host.Services.GetRequiredService<Projector>().CatchUp(CancellationToken.None);
        var data = (await http.Get($"{Conversations}/search?q={words}{more}")).Is(200).Json.GetProperty("data");
        return [.. data.EnumerateArray().Select(found => (
            found.GetProperty("conversation").GetProperty("id").GetString()!, found.GetProperty("matches").EnumerateArray().ToArray()))];
    }
}
