using System.Text.Json;

using Cowork.Application;
using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>The project context of contract C: files are indexed by the chunk, and found in what the caller's sessions are granted.</summary>
public sealed class DesktopContextSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_file_is_found_by_its_words_with_its_lines()
    {
        var folder = await Session(http, "found");
        File.WriteAllText($"{folder}/ferry.md", "# Ferries\n\nThe heron leaves at nine.\n");
        File.WriteAllText($"{folder}/other.md", "Nothing of it.\n");
        var synced = await Sync(http, $"{folder}/ferry.md", $"{folder}/other.md");
        Assert.Equal("""{"accepted":2,"unchanged":0,"removed":0,"pending":0,"leftOut":[]}""", synced.Text);
        var got = await Query(http, "when does the heron leave?", 3);
        Assert.Equal("full-text", got.Headers.GetValues("Cowork-Search").Single());
        var item = Assert.Single(got.Json.EnumerateArray());
        Assert.Equal(["path", "content", "score", "startLine", "endLine", "tokenCount", "updatedAt"], item.EnumerateObject().Select(member => member.Name));
        Assert.Equal(
            ($"{folder}/ferry.md", "# Ferries\n\nThe heron leaves at nine.", 1, 3, 9L),
            (Text(item, "path"), Text(item, "content"), item.GetProperty("startLine").GetInt32(), item.GetProperty("endLine").GetInt32(), item.GetProperty("tokenCount").GetInt64()));
        Assert.True(item.GetProperty("score").GetDouble() > 0);
        Assert.Equal(new DateTimeOffset(File.GetLastWriteTimeUtc($"{folder}/ferry.md")).ToString("yyyy-MM-ddTHH:mm:ss.fffZ", System.Globalization.CultureInfo.InvariantCulture), Text(item, "updatedAt"));
    }

    [Fact]
    public async Task What_has_not_changed_costs_a_look_and_what_has_changed_or_gone_is_brought_up_to_date()
    {
        var folder = await Session(http, "changes");
        Directory.CreateDirectory($"{folder}/deep/er");
        File.WriteAllText($"{folder}/a.txt", "albatross\n");
        File.WriteAllText($"{folder}/deep/er/b.txt", "bittern\n");
        File.WriteAllText($"{folder}/c.txt", "cormorant\n");
        Assert.Equal((3, 0, 0), Counts(await Sync(http, folder)));
        Assert.Equal((0, 3, 0), Counts(await Sync(http, folder)));
        File.WriteAllText($"{folder}/a.txt", "avocet\n");
        File.SetLastWriteTimeUtc($"{folder}/c.txt", new(2026, 1, 1, 9, 0, 0, DateTimeKind.Utc));
        Directory.Delete($"{folder}/deep", recursive: true);
        // The second has another time and the same content; both are told as accepted.
        Assert.Equal((2, 0, 1), Counts(await Sync(http, folder)));
        Assert.Equal((0, 2, 0), Counts(await Sync(http, folder)));
        Assert.Empty((await Query(http, "albatross", 5)).Json.EnumerateArray());
        Assert.Empty((await Query(http, "bittern", 5)).Json.EnumerateArray());
        Assert.Single((await Query(http, "avocet", 5)).Json.EnumerateArray());
        Assert.Single((await Query(http, "cormorant", 5)).Json.EnumerateArray());
        // A file that is gone is not shown, whether or not anybody said so.
        File.Delete($"{folder}/a.txt");
        Assert.Empty((await Query(http, "avocet", 5)).Json.EnumerateArray());
        Assert.Equal((0, 0, 1), Counts(await Sync(http, $"{folder}/a.txt")));
        Assert.Equal((0, 0, 0), Counts(await Sync(http, $"{folder}/never.txt")));
        Assert.Equal((0, 0, 0), Counts(await Sync(http)));
    }

    [Fact]
    public async Task What_is_no_text_too_large_linked_or_outside_is_left_out_with_its_reason()
    {
        var folder = await Session(http, "odd");
        var outside = Path.Combine(Path.GetDirectoryName(folder)!, "outside.txt");
        File.WriteAllText(outside, "pelican outside\n");
        File.WriteAllBytes($"{folder}/binary.bin", [1, 0, 2, 0, 3]);
        File.WriteAllText($"{folder}/huge.txt", new string('x', (512 * 1024) + 1));
        File.WriteAllText($"{folder}/whole.txt", string.Concat(Enumerable.Repeat("pelican 1234567\n", 32 * 1024)));
        File.WriteAllText($"{folder}/.env", "SECRET=pelican\n");
        File.WriteAllText($"{folder}/target.txt", "pelican inside\n");
        File.CreateSymbolicLink($"{folder}/inner", $"{folder}/target.txt");
        File.CreateSymbolicLink($"{folder}/outer", outside);
        File.CreateSymbolicLink($"{folder}/broken", $"{folder}/nothing");
        HardLink(outside, $"{folder}/hard");
        var synced = await Sync(
            http, $"{folder}/binary.bin", $"{folder}/huge.txt", $"{folder}/whole.txt", $"{folder}/.env", $"{folder}/inner", $"{folder}/outer", $"{folder}/hard", outside,
            $"{folder}/../outside.txt", "/etc/passwd", "/dev/zero");
        Assert.Equal(
            new SortedDictionary<string, string?>(StringComparer.Ordinal)
            {
                [$"{folder}/binary.bin"] = ContextIndex.NotText,
                [$"{folder}/huge.txt"] = ContextIndex.TooLarge,
                [$"{folder}/.env"] = ContextIndex.Withheld,
                [$"{folder}/outer"] = ContextIndex.Outside,
                [$"{folder}/hard"] = ContextIndex.NotReadable,
                [outside] = ContextIndex.Outside,
                [$"{folder}/../outside.txt"] = ContextIndex.Outside,
                ["/etc/passwd"] = ContextIndex.Outside,
                ["/dev/zero"] = ContextIndex.Outside,
            },
            new SortedDictionary<string, string?>(
                synced.Json.GetProperty("leftOut").EnumerateArray().ToDictionary(left => Text(left, "path"), left => left.GetProperty("reason").GetString()), StringComparer.Ordinal));
        var found = (await Query(http, "pelican inside", 50)).Json.EnumerateArray().Select(item => Text(item, "path")).Distinct().Order(StringComparer.Ordinal);
        Assert.Equal([$"{folder}/target.txt", $"{folder}/whole.txt"], found);
        // A link in the place of an indexed file is not followed.
        File.Delete($"{folder}/target.txt");
        File.CreateSymbolicLink($"{folder}/target.txt", outside);
        Assert.DoesNotContain((await Query(http, "pelican inside", 50)).Json.EnumerateArray(), item => Text(item, "path") == $"{folder}/target.txt");
    }

    [Fact]
    public async Task Chunks_are_of_about_400_tokens_and_overlap()
    {
        var folder = await Session(http, "chunks");
        File.WriteAllLines($"{folder}/long.txt", Enumerable.Range(1, 200).Select(i => $"spoonbill line {i,4} with some more words"));
        await Sync(http, $"{folder}/long.txt");
        var items = (await Query(http, "spoonbill", 50)).Json.EnumerateArray()
            .Select(item => (Start: item.GetProperty("startLine").GetInt32(), End: item.GetProperty("endLine").GetInt32(), Tokens: item.GetProperty("tokenCount").GetInt64()))
            .Order().ToList();
        Assert.Equal((1, 200), (items[0].Start, items[^1].End));
        Assert.All(items.SkipLast(1), item => Assert.InRange(item.Tokens, 380, 400));
        Assert.All(items.Zip(items.Skip(1)), pair => Assert.Equal(4, pair.First.End - pair.Second.Start + 1));
    }

    [Fact]
    public async Task Nobody_finds_what_lies_in_no_folder_of_their_own_sessions()
    {
        var folder = await Session(http, "private");
        File.WriteAllText($"{folder}/secret.txt", "quetzal\n");
        await Sync(http, folder);
        Assert.Single((await Query(http, "quetzal", 5)).Json.EnumerateArray());
        using var ann = await tenant.Client("member");
        using var stranger = await tenant.Stranger("member");
        foreach (var other in (HttpClient[])[ann, stranger])
        {
            Assert.Empty((await Query(other, "quetzal", 5)).Json.EnumerateArray());
            Assert.Equal(ContextIndex.Outside, Text((await Sync(other, $"{folder}/secret.txt")).Json.GetProperty("leftOut")[0], "reason"));
        }
        // The session is deleted, and with it the grant.
        (await http.Send(HttpMethod.Delete, "/sessions/private", null)).Is(204);
        Assert.Empty((await Query(http, "quetzal", 5)).Json.EnumerateArray());
        Assert.Equal(ContextIndex.Outside, Text((await Sync(http, $"{folder}/secret.txt")).Json.GetProperty("leftOut")[0], "reason"));
        Assert.True(await tenant.Host.Services.GetRequiredService<ITexts>().Sweep(default) >= 1);
    }

    [Fact]
    public async Task Files_of_every_granted_folder_are_found_as_long_as_a_session_is_granted_it()
    {
        await using var host = await LiveHost.Start();
        using var admin = host.Client(host.AdminToken);
        var (one, two) = (Directory.CreateTempSubdirectory("cowork-context-one").FullName, Directory.CreateTempSubdirectory("cowork-context-two").FullName);
        try
        {
            var inner = Directory.CreateDirectory($"{one}/inner").FullName;
            foreach (var folder in (string[])[one, inner, two])
            {
                File.WriteAllText($"{folder}/note.txt", "lapwing\n");
            }
            var both = (await admin.Post("/api/cowork/sessions", JsonSerializer.Serialize(new { grants = (object[])[new { path = one }, new { path = two }] }))).Is(201);
            Assert.Equal((3, 0, 0), Counts(await Sync(admin, one, two)));
            Assert.Equal([$"{one}/inner/note.txt", $"{one}/note.txt", $"{two}/note.txt"], await Found());
            // A grant inside the other holds the file, too: it is there once more, and shown once.
            (await admin.Post("/api/cowork/sessions", JsonSerializer.Serialize(new { grants = (object[])[new { path = inner }] }))).Is(201);
            Assert.Equal((1, 1, 0), Counts(await Sync(admin, $"{inner}/note.txt")));
            Assert.Equal(3, (await Found()).Count);
            (await admin.Send(HttpMethod.Delete, $"/api/cowork/sessions/{both["sessionId"]}", null)).Is(204);
            Assert.Equal([$"{inner}/note.txt"], await Found());
        }
        finally
        {
            Directory.Delete(one, recursive: true);
            Directory.Delete(two, recursive: true);
        }

        async Task<List<string>> Found() =>
            [.. (await Query(admin, "lapwing", 50)).Json.EnumerateArray().Select(item => Text(item, "path")).Order(StringComparer.Ordinal)];
    }

    [Fact]
    public async Task Many_files_are_indexed_after_the_answer()
    {
        var folder = await Session(http, "many");
        for (var i = 0; i < 300; i++)
        {
            File.WriteAllText($"{folder}/{i}.txt", $"turnstone number{i}\n");
        }
        Assert.Equal((300, 0, 0), Counts(await Sync(http, folder)));
        await Patience.Until(async () => (await Sync(http)).Json.GetProperty("pending").GetInt32() == 0);
        Assert.Equal($"{folder}/299.txt", Text((await Query(http, "number299", 1)).Json[0], "path"));
        Assert.Equal((0, 300, 0), Counts(await Sync(http, folder)));
    }

    [Theory]
    [InlineData("sync", "{}", "$.files")]
    [InlineData("sync", """{"files":"x"}""", "$.files")]
    [InlineData("sync", """{"files":["relative"]}""", "$.files[0]")]
    [InlineData("sync", """{"files":["/a",null]}""", "$.files[1]")]
    [InlineData("sync", """{"files":[""]}""", "$.files[0]")]
    [InlineData("query", "{}", "$.query")]
    [InlineData("query", """{"query":" "}""", "$.query")]
    [InlineData("query", """{"query":"x","topK":0}""", "$.topK")]
    [InlineData("query", """{"query":"x","topK":51}""", "$.topK")]
    [InlineData("query", """{"query":"x","topK":1.5}""", "$.topK")]
    public async Task A_bad_body_is_refused_with_its_place(string path, string body, string place) =>
        Assert.True((await http.Post($"/api/cowork/context/{path}", body)).IsProblem(422, "invalid_request").Json.GetProperty("errors").TryGetProperty(place, out _));

    [Fact]
    public async Task A_request_names_no_more_than_ten_thousand_paths()
    {
        var paths = JsonSerializer.Serialize(new { files = Enumerable.Range(0, 10_001).Select(i => $"/x/{i}") });
        (await http.Post("/api/cowork/context/sync", paths)).IsProblem(422, "invalid_request");
        (await tenant.Host.Http.Post("/api/cowork/context/sync", """{"files":[]}""")).IsProblem(401, "unauthorized");
    }

    async Task<string> Session(HttpClient http, string name)
    {
        await http.NewSession(name);
        var folder = tenant.WorkspaceOf(name);
        Directory.CreateDirectory(folder);
        return folder;
    }

    static async Task<Got> Sync(HttpClient http, params string[] files) =>
        (await http.Post("/api/cowork/context/sync", JsonSerializer.Serialize(new { files }))).Is(200);

    static async Task<Got> Query(HttpClient http, string query, int topK) =>
        (await http.Post("/api/cowork/context/query", JsonSerializer.Serialize(new { query, topK }))).Is(200);

    static (int Accepted, int Unchanged, int Removed) Counts(Got got) =>
        (got.Json.GetProperty("accepted").GetInt32(), got.Json.GetProperty("unchanged").GetInt32(), got.Json.GetProperty("removed").GetInt32());

    static string Text(JsonElement json, string member) => json.GetProperty(member).GetString()!;

    static void HardLink(string from, string to)
    {
        using var ln = System.Diagnostics.Process.Start("ln", [from, to]);
        ln.WaitForExit();
        Assert.Equal(0, ln.ExitCode);
    }
}
