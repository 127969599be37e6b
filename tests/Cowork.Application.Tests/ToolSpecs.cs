using System.Text;
using System.Text.Json;

using Cowork.Domain;
using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

namespace Cowork.Application.Tests;

public sealed class ToolSpecs : IDisposable
{
    readonly Workspace work = new();
    readonly MemoriesInMemory memories = new();
    readonly Toolbox toolbox;

    public ToolSpecs()
    {
        var policy = Policy.BuiltIn;
        toolbox = new([new ListFiles(policy, Workspace.NoUploads), new ReadFile(policy, Workspace.NoUploads, new InMemoryBlobs()), new SearchFiles(Workspace.Files()), new Remember(memories), new Recall(memories)]);
    }

    public void Dispose() => work.Dispose();

    [Fact]
    public void Every_tool_is_declared_with_its_schema_and_cannot_be_invoked()
    {
        Assert.Equal(["list_files", "read_file", "recall", "remember", "search_files"], toolbox.Declarations.Select(d => d.Name));
        foreach (var declaration in toolbox.Declarations)
        {
            Assert.False(declaration is AIFunction);
            Assert.Equal("object", ((AIFunctionDeclaration)declaration).JsonSchema.GetProperty("type").GetString());
            Assert.NotEmpty(declaration.Description);
        }
    }

    [Theory]
    [InlineData("read_file", "{\"path\":\"a.txt\"}", null)]
    [InlineData("read_file", "{\"path\":\"a.txt\",\"other\":1}", null)]     // unknown arguments are ignored
    [InlineData("list_files", "", null)]
    [InlineData("list_files", "{\"path\":null}", null)]
    [InlineData("search_files", "{\"query\":\"x\",\"limit\":5.0}", null)]
    [InlineData("read_file", "{broken", "The input is not JSON")]
    [InlineData("read_file", "[]", "The input must be a JSON object.")]
    [InlineData("read_file", "null", "The input must be a JSON object.")]
    [InlineData("read_file", "{\"path\":\"a\",\"path\":\"b\"}", "The input is not JSON")]
    [InlineData("read_file", "{}", "The argument \"path\" is missing.")]
    [InlineData("read_file", "{\"path\":5}", "The argument \"path\" must be a string.")]
    [InlineData("read_file", "{\"path\":\" \"}", "The argument \"path\" is empty.")]
    [InlineData("read_file", "{\"path\":\"a\\u0000b\"}", "The input holds a NUL")]
    [InlineData("read_file", "{\"path\":\"\\ud800\"}", "The input holds a NUL or a broken character.")]
    [InlineData("read_file", "{\"\\ud800\":1,\"path\":\"a\"}", "The input holds a NUL or a broken character.")]
    [InlineData("read_file", "{\"path\":\"a\",\"offset\":0}", "The argument \"offset\" must be a whole number from 1")]
    [InlineData("read_file", "{\"path\":\"a\",\"limit\":\"5\"}", "The argument \"limit\" must be a whole number")]
    [InlineData("read_file", "{\"path\":\"a\",\"limit\":1e400}", "The argument \"limit\" must be a whole number")]
    [InlineData("search_files", "{\"query\":\"x\",\"limit\":51}", "The argument \"limit\" must be a whole number from 1 to 50.")]
    [InlineData("remember", "{\"content\":\"\"}", "The argument \"content\" is empty.")]
    [InlineData("no_tool", "{\"path\":\"a\"}", "There is no tool named \"no_tool\".")]
    [InlineData("", "{}", "There is no tool named \"\".")]
    public async Task Input_is_checked_before_the_call(string tool, string input, string? wrong)
    {
        work.Write("a.txt", "a");
        var subject = await toolbox.Subject(work.Context, tool, input, default);
        if (wrong is null)
        {
            Assert.Null(subject.Invalid);
            return;
        }
        Assert.StartsWith(wrong, subject.Invalid, StringComparison.Ordinal);
        // Making the call all the same is an answer too.
        var outcome = await toolbox.Run(work.Context, tool, input, default);
        Assert.Equal((true, subject.Invalid), (outcome.IsError, outcome.Text));
    }

    [Fact]
    public async Task Input_nested_without_end_is_checked_too()
    {
        var subject = await toolbox.Subject(work.Context, "read_file", "{\"path\":" + new string('[', 100_000), default);
        Assert.StartsWith("The input is not JSON", subject.Invalid, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_is_read_whole_and_unchanged()
    {
        work.Write("a.txt", "one\r\ntwo\n\nlast");
        Assert.Equal("one\r\ntwo\n\nlast", await Ok("read_file", new { path = "a.txt" }));
    }

    [Theory]
    [InlineData(2, 1, "two\n[Lines 2 to 2 of 4.]")]
    [InlineData(3, 9, "three\nfour\n[Lines 3 to 4 of 4.]")]
    [InlineData(1, 4, "one\ntwo\nthree\nfour\n")]
    public async Task A_file_is_read_by_lines(int offset, int limit, string expected)
    {
        work.Write("a.txt", "one\ntwo\nthree\nfour\n");
        Assert.Equal(expected, await Ok("read_file", new { path = "a.txt", offset, limit }));
    }

    [Fact]
    public async Task A_long_file_is_cut_and_read_on_to_its_end()
    {
        var lines = Enumerable.Range(1, 20_000).Select(i => $"line {i} 😀").ToList();
        work.Write("long.txt", string.Join('\n', lines));
        var seen = new HashSet<string>();
        for (var offset = 1; offset < 20_000;)
        {
            var text = await Ok("read_file", new { path = "long.txt", offset });
            Assert.InRange(text.Length, 100, ReadFile.CharsMax + 200);
            seen.UnionWith(text.Split('\n'));
            var more = text.LastIndexOf("read on with offset ", StringComparison.Ordinal);
            offset = more < 0 ? int.MaxValue : int.Parse(text[(more + 20)..^2]);
        }
        Assert.Empty(lines.Except(seen));
    }

    [Fact]
    public async Task A_line_that_is_longer_than_an_answer_is_cut_and_passed_over()
    {
        work.Write("long.txt", new string('x', ReadFile.CharsMax + 1) + "\nlast");
        Assert.EndsWith(
            "x\n[Lines 1 to 1 of 2. Line 1 is longer than the 32768 characters that are shown; search_files finds places in it, offset 2 reads on behind it.]",
            await Ok("read_file", new { path = "long.txt" }), StringComparison.Ordinal);
        Assert.Equal("last\n[Lines 2 to 2 of 2.]", await Ok("read_file", new { path = "long.txt", offset = 2 }));
    }

    [Fact]
    public async Task A_line_past_the_end_is_an_error()
    {
        work.Write("a.txt", "one\n");
        Assert.Equal("a.txt has 1 lines; there is no line 2.", await Error("read_file", new { path = "a.txt", offset = 2 }));
        work.Write("empty.txt", "");
        Assert.Equal("", await Ok("read_file", new { path = "empty.txt" }));
    }

    [Fact]
    public async Task What_is_no_text_is_said_to_be_none()
    {
        File.WriteAllBytes(Path.Combine(work.Root, "b.png"), [0x89, 0x50, 0, 0]);
        work.Command("mkfifo", "fifo");
        Directory.CreateDirectory(Path.Combine(work.Root, "folder"));
        Assert.Equal("b.png is a binary file of 4 bytes; it cannot be shown as text.", await Error("read_file", new { path = "b.png" }));
        Assert.Equal("fifo is not read. It is no file but a FIFO.", await Error("read_file", new { path = "fifo" }));
        Assert.Equal("folder is a folder; list_files shows what is in it.", await Error("read_file", new { path = "folder" }));
        Assert.Equal("\"gone\": There is no such file or folder.", await Error("read_file", new { path = "gone" }));
    }

    [Fact]
    public async Task Other_encodings_are_understood()
    {
        File.WriteAllBytes(Path.Combine(work.Root, "latin.txt"), Encoding.Latin1.GetBytes("Zürich"));
        File.WriteAllText(Path.Combine(work.Root, "utf16.txt"), "Zürich", Encoding.Unicode);
        File.WriteAllText(Path.Combine(work.Root, "bom.txt"), "Zürich", new UTF8Encoding(encoderShouldEmitUTF8Identifier: true));
        foreach (var file in (string[])["latin.txt", "utf16.txt", "bom.txt"])
        {
            Assert.Equal("Zürich", await Ok("read_file", new { path = file }));
        }
    }

    [Theory]
    [InlineData("read_file", ".env", "deny secret_path")]
    [InlineData("read_file", "innocent.txt", "deny secret_path")]     // a link to .env
    [InlineData("read_file", "secrets/gone.txt", "deny secret_path")]     // told apart from a file that is there by nobody
    [InlineData("list_files", "secrets", "deny secret_path")]
    [InlineData("read_file", "../beside/outside.txt", "deny outside_grants")]
    [InlineData("read_file", "out/outside.txt", "deny outside_grants")]
    [InlineData("list_files", "out", "deny outside_grants")]
    [InlineData("list_files", "/", "deny outside_grants")]
    [InlineData("read_file", "gone.txt", "allow read_inside")]    // the tool says that there is none
    public async Task What_policy_denies_the_tool_does_not_do_either(string tool, string path, string expected)
    {
        work.Write(".env", "PASSWORD=hunter2");
        work.Write("secrets/a.txt", "hunter3");
        work.Link("innocent.txt", ".env");
        work.Link("out", work.Beside);
        var input = JsonSerializer.Serialize(new { path });
        var verdict = Policy.BuiltIn.Evaluate(tool, await toolbox.Subject(work.Context, tool, input, default));
        Assert.Equal(expected, $"{(verdict.Outcome == PolicyOutcome.Allow ? "allow" : "deny")} {verdict.Rule}");
        var outcome = await toolbox.Run(work.Context, tool, input, default);
        Assert.True(outcome.IsError);
        Assert.Equal(verdict.Outcome == PolicyOutcome.Deny, outcome.Text.StartsWith($"Refused by policy ({verdict.Rule})", StringComparison.Ordinal));
        Assert.DoesNotContain("hunter", outcome.Text, StringComparison.Ordinal);
        Assert.DoesNotContain(Workspace.OutsideText, outcome.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Listing_and_searching_show_only_what_may_be_read()
    {
        work.Write("data/airports.csv", Airports.Csv);
        work.Write(".env", "PASSWORD=hunter2");
        work.Write("secrets/airports.txt", "Barrow is secret");
        work.Write(".git/config", "Barrow");
        work.Link("link.txt", ".env");
        work.Link("out", work.Beside);
        work.Command("ln", "../beside/outside.txt", "hard.txt");
        Assert.Equal(
            """
            .git/ (not opened; list it by its path)
            data/
            data/airports.csv (733 bytes)
            hard.txt (17 bytes)
            link.txt (link)
            out (link)
            [2 entries are kept back by policy.]
            """,
            await Ok("list_files", new { }));
        Assert.Equal(".git/config (6 bytes)", await Ok("list_files", new { path = ".git" }));
        Assert.Equal(
            """
            data/airports.csv:5: iata=BRW, name=Wiley Post Will Rogers Memorial, city=Barrow, state=AK, country=USA, latitude=71.2854475, longitude=-156.7660019
            [Left out as not readable: hard.txt.]
            """,
            await Ok("search_files", new { query = "Barrow", limit = 1 }));
        Assert.StartsWith("Nothing found in 1 text files.", await Ok("search_files", new { query = "hunter2 outside secret" }), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_long_listing_is_cut_and_says_so()
    {
        for (var i = 0; i < 510; i++)
        {
            work.Write($"{i}.txt", "");
        }
        var lines = (await Ok("list_files", new { })).Split('\n');
        Assert.Equal((501, "[Cut at 500 entries: list a folder below to see more.]"), (lines.Length, lines[^1]));
    }

    [Fact]
    public async Task Searching_says_what_it_left_out()
    {
        work.Write("a.txt", "needle");
        work.Write("b.txt", "needle");
        work.Write("large.txt", "needle " + new string('x', 1_000));
        var few = new SearchFiles(Workspace.Files(new FileBounds(Files: 1, FileBytes: 500, TotalBytes: 32 << 20)));
        var outcome = await few.Run(work.Context, ToolInput.Schema("{\"query\":\"needle\"}"), default);
        Assert.Equal("a.txt:1: needle\n[The folder holds more than is searched (1 files, 32 MiB): the rest was left out.]", outcome.Text);
        var small = new SearchFiles(Workspace.Files(new FileBounds(FileBytes: 500)));
        outcome = await small.Run(work.Context, ToolInput.Schema("{\"query\":\"needle\"}"), default);
        Assert.EndsWith("[Left out as too large to search: large.txt.]", outcome.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Which airport is in Barrow, Alaska?")]
    [InlineData("county airports of Chicago and nowhere")]
    [InlineData("iata")]
    [InlineData("the of and")]
    public async Task What_is_read_directly_is_found_as_by_the_index(string query)
    {
        work.Write("airports.csv", Airports.Csv);
        work.Write("notes.md", string.Concat(Enumerable.Range(0, 500).Select(i => $"Note {i} about Barrow, Alaska and other airports.\n\n")));
        work.Write("data.json", """[{"city":"Barrow","kind":"airport"},{"city":"Chicago","county":"Cook"}]""");
        var indexed = await Workspace.Files().Search(work.Folder, query, 50, default);
        var direct = await Workspace.Files(new FileBounds(AtOnceFiles: 2)).Search(work.Folder, query, 50, default);
        Assert.Equal(indexed.Result.Hits.Select(hit => hit with { Owner = "" }), direct.Result.Hits);
        Assert.Equal(indexed.Result.UnknownTerms, direct.Result.UnknownTerms);
        Assert.Equal(indexed.Files, direct.Files);
        Assert.Empty(indexed.Notes);
        Assert.Equal(["The index of the folder is being made: 3 files were read directly."], direct.Notes);
    }

    [Fact]
    public async Task A_search_indexes_what_has_changed_and_nothing_else()
    {
        var index = new TextsInMemory();
        var files = Workspace.Files(index: index);
        work.Write("a.md", "needle");
        work.Write("b.md", "needle");
        File.WriteAllBytes(work.Write("c.bin", ""), [0, 1, 2]);
        await AssertFound(["a.md", "b.md"], puts: 3);
        await AssertFound(["a.md", "b.md"], puts: 3);
        File.SetLastWriteTimeUtc(Path.Combine(work.Root, "a.md"), DateTime.UnixEpoch);
        await AssertFound(["a.md", "b.md"], puts: 3);
        work.Write("b.md", "thread");
        await AssertFound(["a.md"], puts: 4);
        File.Delete(Path.Combine(work.Root, "a.md"));
        await AssertFound([], puts: 4);
        Assert.Equal(["b.md", "c.bin"], (await index.Of("default", TextKey.OfSession(new("s")), default)).Select(entry => entry.Name).Order());

        async Task AssertFound(string[] names, int puts)
        {
            var found = await files.Search(work.Folder, "needle", 10, default);
            Assert.Equal(names, found.Result.Hits.Select(hit => hit.Passage.Source));
            Assert.Equal(puts, index.Puts);
            Assert.Equal(["Left out as not text: c.bin."], found.Notes);
        }
    }

    [Fact]
    public async Task What_a_search_leaves_to_the_background_is_indexed_there_until_its_session_is_deleted()
    {
        var index = new TextsInMemory();
        using var files = Workspace.Files(new FileBounds(AtOnceFiles: 1), index);
        using var stop = new CancellationTokenSource();
        var background = files.Run(stop.Token);
        work.Write("a.md", "needle");
        work.Write("b.md", "needle");
        Assert.Single((await files.Search(work.Folder, "needle", 10, default)).Notes);
        // No search meanwhile: it would index what it finds missing, too.
        await Patience.Until(async () => (await index.Of("default", TextKey.OfSession(new("s")), default)).Count == 2);
        var found = await files.Search(work.Folder, "needle", 10, default);
        Assert.Empty(found.Notes);
        Assert.Equal((2, 2), (found.Result.Hits.Count, index.Puts));
        var deleted = new SessionEvent.SessionDeleted(DateTimeOffset.UnixEpoch);
        files.Committed([new(1, 1, "default", new("s"), null, default, EventTypes.NameOf(deleted), deleted.At, "session-s", 2, "", "user:ann", default)]);
        await Patience.Until(async () => (await index.Of("default", TextKey.OfSession(new("s")), default)).Count == 0);
        await stop.CancelAsync();
        await background;
    }

    [Fact]
    public async Task A_tenant_searches_once_at_a_time_and_leaves_a_place_to_others()
    {
        using var files = Workspace.Files(new FileBounds(Parallel: 2));
        var first = await files.Enter("acme", default);
        var second = files.Enter("acme", default).AsTask();
        var other = await files.Enter("globex", default);
        var third = files.Enter("initech", default).AsTask();
        Assert.Equal((false, false), (second.IsCompleted, third.IsCompleted));
        other.Dispose();
        (await third).Dispose();
        Assert.False(second.IsCompleted);
        first.Dispose();
        (await second).Dispose();
        using var cancel = new CancellationTokenSource();
        using var again = await files.Enter("acme", default);
        var waiting = files.Enter("acme", cancel.Token).AsTask();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
    }

    [Fact]
    public async Task A_search_that_is_cancelled_ends()
    {
        work.Write("large.txt", string.Concat(Enumerable.Repeat("needle in a haystack\n", 100_000)));
        var search = new SearchFiles(Workspace.Files());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => search.Run(work.Context, ToolInput.Schema("{\"query\":\"needle\"}"), new(canceled: true)));
    }

    [Fact]
    public async Task What_is_remembered_is_recalled_and_kept_once()
    {
        Assert.Equal("Remembered as mem_1.", await Ok("remember", new { content = "Ann likes tea." }));
        Assert.Equal("Remembered as mem_1.", await Ok("remember", new { content = "Ann likes tea." }));
        Assert.Equal("mem_1 (memory): Ann likes tea.", await Ok("recall", new { query = "tea" }));
        Assert.Equal("Nothing is remembered about this.", await Ok("recall", new { query = "coffee" }));
        Assert.Equal("The argument \"content\" is longer than 4000 characters.", await Error("remember", new { content = new string('x', 4_001) }));
    }

    async Task<string> Ok(string tool, object input)
    {
        var outcome = await toolbox.Run(work.Context, tool, JsonSerializer.Serialize(input), default);
        Assert.False(outcome.IsError, outcome.Text);
        return outcome.Text;
    }

    async Task<string> Error(string tool, object input)
    {
        var outcome = await toolbox.Run(work.Context, tool, JsonSerializer.Serialize(input), default);
        Assert.True(outcome.IsError, outcome.Text);
        return outcome.Text;
    }

    sealed class MemoriesInMemory : IMemories
    {
        readonly Dictionary<string, (MemoryKey Id, string Text)> byToken = [];

        public ValueTask<MemoryKey?> Remember(ToolContext context, string content, CancellationToken ct)
        {
            byToken.TryAdd(context.IdempotencyToken, (new($"{byToken.Count + 1}"), content));
            return new(byToken[context.IdempotencyToken].Id);
        }

        public ValueTask<IReadOnlyList<(Provenance From, string Text)>> Recall(ToolContext context, string query, int limit, CancellationToken ct) =>
            new([.. byToken.Values.Where(m => m.Text.Contains(query, StringComparison.Ordinal)).Take(limit).Select(m => (new Provenance("memory", m.Id), m.Text))]);
    }
}
