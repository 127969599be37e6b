using System.Text;
using System.Text.Json;

using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>write_file, delete_file and move_file change what lies inside the grant, and nothing else, however a path is spelt or turned.</summary>
public sealed class ChangingToolSpecs : IDisposable
{
    readonly Workspace work = new();
    readonly InMemoryBlobs blobs = new();
    readonly Toolbox toolbox;

    public ChangingToolSpecs()
    {
        toolbox = new([new WriteFile(Policy.BuiltIn, blobs, Workspace.NoUploads), new DeleteFile(Policy.BuiltIn), new MoveFile(Policy.BuiltIn, blobs, Workspace.NoUploads)]);
        work.Write("a.txt", "a");
        work.Write("data/b.txt", "b");
        work.Link("link.txt", "a.txt");
        work.Link("folder", "data");
        work.Link("out.txt", "../beside/outside.txt");
        work.Link("out", work.Beside);
        work.Link("dangling.txt", "../beside/new.txt");
        work.Link("loop", "loop");
        work.Link("proc", "/proc/self/root");
        work.Command("mkfifo", "fifo");
        work.Command("ln", "../beside/outside.txt", "hard.txt");
    }

    public void Dispose() => work.Dispose();

    public static TheoryData<string, string, string> Subjects => Cases(
        """
        write_file  | a.txt                 | overwrite a.txt
        write_file  | new.txt               | create new.txt
        write_file  | deep/er/new.txt       | create deep/er/new.txt
        write_file  | folder/new.txt        | create data/new.txt
        write_file  | folder/b.txt          | overwrite data/b.txt
        write_file  | data/../new.txt       | create new.txt
        write_file  | {root}/new.txt        | create new.txt
        write_file  | A.txt                 | create A.txt
        write_file  | ..%2fbeside%2fx       | create ..%2fbeside%2fx
        write_file  | data                  | invalid data is a folder.
        write_file  | .                     | invalid ".": It is the session's folder itself.
        write_file  | link.txt              | invalid link.txt is a link; name what it leads to.
        write_file  | fifo                  | invalid fifo: It is no file but a FIFO.
        write_file  | hard.txt              | invalid hard.txt: It has 2 hard links
        write_file  | a.txt/x               | invalid "a.txt/x": a.txt is not a folder.
        write_file  | ..                    | outside
        write_file  | ../beside/outside.txt | outside
        write_file  | ../beside/new.txt     | outside
        write_file  | /nowhere/new.txt      | outside
        write_file  | out.txt               | outside
        write_file  | out/outside.txt       | outside
        write_file  | out/new.txt           | outside
        write_file  | dangling.txt          | outside
        write_file  | loop                  | outside
        write_file  | proc/nowhere/x        | outside
        delete_file | a.txt                 | delete a.txt
        delete_file | folder/b.txt          | delete data/b.txt
        delete_file | none.txt              | invalid There is no file none.txt.
        delete_file | data                  | invalid data is a folder.
        delete_file | link.txt              | invalid link.txt is a link; name what it leads to.
        delete_file | hard.txt              | invalid hard.txt: It has 2 hard links
        delete_file | out.txt               | outside
        delete_file | out/outside.txt       | outside
        delete_file | ../beside/outside.txt | outside
        """);

    [Theory]
    [MemberData(nameof(Subjects))]
    public async Task What_a_change_would_touch_is_known_before_and_held_to(string tool, string path, string expected)
    {
        var input = JsonSerializer.Serialize(new { path = path.Replace("{root}", work.Root, StringComparison.Ordinal), content = "new" });
        var subject = await toolbox.Subject(work.Context, tool, input, default);
        var word = subject.Invalid is not null ? $"invalid {subject.Invalid}" : !subject.InsideGrants ? "outside" : $"{subject.Kind} {subject.Path}";
        Assert.StartsWith(expected, word, StringComparison.Ordinal);
        // Made all the same, and approved by whatever rule, it does what was said or nothing.
        var before = Everything();
        var outcome = await toolbox.Run(work.Context with { Granted = new(new("x"), Policy.BuiltIn.Evaluate(tool, subject).Rule, "") }, tool, input, default);
        var isChange = subject.Invalid is null && subject.InsideGrants;
        Assert.Equal(isChange, !outcome.IsError);
        Assert.Equal(isChange, before != Everything());
        Assert.Equal(Workspace.OutsideText, await File.ReadAllTextAsync(Path.Combine(work.Beside, "outside.txt")));
        Assert.Equal(["outside.txt"], Directory.EnumerateFileSystemEntries(work.Beside).Select(Path.GetFileName));
    }

    [Fact]
    public async Task What_was_neither_allowed_nor_approved_is_not_made()
    {
        var before = Everything();
        foreach (var (tool, input) in ((string, object)[])
            [("write_file", new { path = "a.txt", content = "x" }), ("delete_file", new { path = "a.txt" }), ("move_file", new { from = "a.txt", to = "c.txt" })])
        {
            Assert.StartsWith("Refused: what the call would touch has changed", (await Make(tool, input, rule: null)).Text, StringComparison.Ordinal);
        }
        Assert.Equal(before, Everything());
    }

    [Fact]
    public async Task A_file_is_replaced_whole_and_keeps_its_permissions()
    {
        File.SetUnixFileMode(Path.Combine(work.Root, "a.txt"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        using var reader = new StreamReader(Path.Combine(work.Root, "a.txt"));
        Assert.Equal("Wrote a.txt (4 bytes).", (await Make("write_file", new { path = "a.txt", content = "äb\n" }, "overwrite_inside")).Text);
        Assert.Equal("a", await reader.ReadToEndAsync());
        Assert.Equal("äb\n", await File.ReadAllTextAsync(Path.Combine(work.Root, "a.txt")));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.Combine(work.Root, "a.txt")));
        Assert.False((await Make("write_file", new { path = "empty.txt", content = "" }, "create_inside")).IsError);
        Assert.Equal(0, new FileInfo(Path.Combine(work.Root, "empty.txt")).Length);
        Assert.Empty(Directory.EnumerateFiles(work.Root, "*.writing", new EnumerationOptions { AttributesToSkip = 0 }));
    }

    [Fact]
    public async Task A_move_never_replaces_a_file()
    {
        Assert.Equal("data/b.txt is there already.", (await Subject("move_file", new { from = "a.txt", to = "folder/b.txt" })).Invalid);
        Assert.True((await Make("move_file", new { from = "a.txt", to = "data/b.txt" }, "move_inside")).IsError);
        var subject = await Subject("move_file", new { from = "a.txt", to = "deep/er/c.txt" });
        Assert.Equal(("a.txt", "deep/er/c.txt"), (subject.Path, subject.Target));
        Assert.Equal("Moved a.txt to deep/er/c.txt.", (await Make("move_file", new { from = "a.txt", to = "deep/er/c.txt" }, "move_inside")).Text);
        Assert.Equal("a", await File.ReadAllTextAsync(Path.Combine(work.Root, "deep/er/c.txt")));
        Assert.False((await Subject("move_file", new { from = "data/b.txt", to = "out/b.txt" })).InsideGrants);
        Assert.False((await Subject("move_file", new { from = "out.txt", to = "b.txt" })).InsideGrants);
        Assert.True((await Make("move_file", new { from = "hard.txt", to = "soft.txt" }, "move_inside")).IsError);
        Assert.True((await Make("move_file", new { from = "data", to = "data2" }, "move_inside")).IsError);
    }

    [Theory]
    [InlineData("write_file", """{"path":"new/report.md","content":"hello"}""", "create_inside", "Wrote new/report.md (5 bytes).")]
    [InlineData("write_file", """{"path":"a.txt","content":"hello"}""", "overwrite_inside", "Wrote a.txt (5 bytes).")]
    [InlineData("delete_file", """{"path":"a.txt"}""", "delete_inside", "Deleted a.txt.")]
    [InlineData("move_file", """{"from":"a.txt","to":"new/c.txt"}""", "move_inside", "Moved a.txt to new/c.txt.")]
    public async Task A_repeated_attempt_whose_effect_is_there_answers_as_done(string tool, string input, string rule, string expected)
    {
        var context = work.Context with { Granted = new(new("x"), rule, "") };
        Assert.Equal((expected, false), Told(await toolbox.Run(context, tool, input, default)));
        var after = Everything();
        Assert.Equal((expected, false), Told(await toolbox.Run(context with { Attempt = 2 }, tool, input, default)));
        Assert.Equal(after, Everything());
        // The same call at its first attempt is another matter.
        Assert.NotEqual((expected, false), Told(await toolbox.Run(context with { Granted = new(new("x"), rule == "overwrite_inside" ? "create_inside" : rule, "") }, tool, input, default)));
    }

    [Fact]
    public async Task What_is_written_below_the_output_root_is_told_with_its_bytes_kept()
    {
        var wrote = Assert.Single((await Make("write_file", new { path = ".anton/output/r.md", content = "hello" }, null)).WrittenFiles);
        Assert.Equal((".anton/output/r.md", 5L), (wrote.Path, wrote.Bytes));
        Assert.Equal("hello", Encoding.UTF8.GetString((await blobs.Get(wrote.Sha256, default))!));
        var moved = Assert.Single((await Make("move_file", new { from = "a.txt", to = ".anton/output/a.txt" }, "move_inside")).WrittenFiles);
        Assert.Equal("a", Encoding.UTF8.GetString((await blobs.Get(moved.Sha256, default))!));
        Assert.Empty((await Make("write_file", new { path = "b.txt", content = "hello" }, "create_inside")).WrittenFiles);
    }

    [Theory]
    [InlineData("changed")]
    [InlineData("replaced")]
    [InlineData("linked")]
    [InlineData("gone")]
    public void A_file_that_changes_before_it_is_moved_is_not_moved(string how)
    {
        var (source, _) = GrantedEntry.Open(Grants.Of(Grant.Of(work.Root)), "a.txt", makeFolders: false);
        var (target, _) = GrantedEntry.Open(Grants.Of(Grant.Of(work.Root)), "c.txt", makeFolders: false);
        using (source)
        using (target)
        {
            if (how == "changed")
            {
                work.Write("a.txt", "other");
            }
            else
            {
                File.Delete(Path.Combine(work.Root, "a.txt"));
            }
            if (how == "replaced")
            {
                work.Command("cp", "data/b.txt", "a.txt");
            }
            else if (how == "linked")
            {
                work.Link("a.txt", "../beside/outside.txt");
            }
            Assert.Equal("It has changed just now.", source!.MoveTo(target!));
            Assert.False(File.Exists(Path.Combine(work.Root, "c.txt")));
        }
    }

    [Fact]
    public async Task What_cannot_be_kept_as_an_artifact_is_not_written()
    {
        var full = new FullBlobs();
        var before = Everything();
        foreach (var (tool, input) in ((ITool, object)[])
            [(new WriteFile(Policy.BuiltIn, full, Workspace.NoUploads), new { path = ".anton/output/r.md", content = "x" }), (new MoveFile(Policy.BuiltIn, full, Workspace.NoUploads), new { from = "a.txt", to = ".anton/output/a.txt" })])
        {
            var context = work.Context with { Granted = new(new("x"), "move_inside", "") };
            await Assert.ThrowsAsync<IOException>(() => tool.Run(context, JsonSerializer.SerializeToElement(input), default));
        }
        // But for the folder on the way.
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(work.Root, ".anton/output")));
        Directory.Delete(Path.Combine(work.Root, ".anton"), recursive: true);
        Assert.Equal(before, Everything());
    }

    [Fact]
    public async Task A_folder_that_is_turned_all_the_time_never_lets_a_change_out()
    {
        Directory.CreateDirectory(Path.Combine(work.Root, "in"));
        var (done, refused) = (0, 0);
        await using (new TurningLink(Path.Combine(work.Root, "flip"), "in", work.Beside))
        {
            // Both sides must have come up, or the race was never run.
            for (var i = 0; i < 100 || ((done == 0 || refused == 0) && i < 5_000); i++)
            {
                var outcome = await Make("write_file", new { path = $"flip/sub{i % 7}/x.txt", content = $"{i}" }, i < 7 ? "create_inside" : "overwrite_inside");
                (done, refused) = outcome.IsError ? (done, refused + 1) : (done + 1, refused);
                _ = await Make("delete_file", new { path = "flip/outside.txt" }, "delete_inside");
                _ = await Make("move_file", new { from = "flip/outside.txt", to = $"got{i}" }, "move_inside");
                _ = await Make("write_file", new { path = "flip/outside.txt", content = "x" }, "create_inside");
                _ = await Make("write_file", new { path = $"flip/sub{i % 7}/x.txt", content = "" }, "create_inside");
            }
        }
        Assert.Equal(["outside.txt"], Directory.EnumerateFileSystemEntries(work.Beside).Select(Path.GetFileName));
        Assert.Equal(Workspace.OutsideText, await File.ReadAllTextAsync(Path.Combine(work.Beside, "outside.txt")));
        Assert.True(done > 0 && refused > 0, $"{done} done, {refused} refused");
    }

    [Fact]
    public async Task A_file_that_another_session_makes_meanwhile_is_overwritten_where_that_is_allowed()
    {
        var meanwhile = new Meanwhile(() => work.Write(".anton/output/r.md", "of another"));
        var outcome = await new Toolbox([new WriteFile(Policy.BuiltIn, meanwhile, Workspace.NoUploads)]).Run(
            work.Context, "write_file", JsonSerializer.Serialize(new { path = ".anton/output/r.md", content = "of ours" }), default);
        Assert.Equal(("Wrote .anton/output/r.md (7 bytes).", false), Told(outcome));
        Assert.Equal("of ours", await File.ReadAllTextAsync(Path.Combine(work.Root, ".anton/output/r.md")));
        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData("of ours"u8)), Assert.Single(outcome.WrittenFiles).Sha256);
    }

    [Fact]
    public async Task A_file_that_another_session_makes_meanwhile_is_left_alone_where_overwriting_is_not_allowed()
    {
        var creating = new Policy([new("create", Cowork.Domain.PolicyOutcome.Allow, "New files.") { Kinds = ["create"] }]);
        var meanwhile = new Meanwhile(() => work.Write(".anton/output/r.md", "of another"));
        var outcome = await new Toolbox([new WriteFile(creating, meanwhile, Workspace.NoUploads)]).Run(
            work.Context, "write_file", JsonSerializer.Serialize(new { path = ".anton/output/r.md", content = "of ours" }), default);
        Assert.True(outcome.IsError);
        Assert.Contains("Refused by policy (no_rule)", outcome.Text, StringComparison.Ordinal);
        Assert.Equal("of another", await File.ReadAllTextAsync(Path.Combine(work.Root, ".anton/output/r.md")));
        Assert.Empty(outcome.WrittenFiles);
    }

    ValueTask<CallSubject> Subject(string tool, object input) => toolbox.Subject(work.Context, tool, JsonSerializer.Serialize(input), default);

    Task<ToolOutcome> Make(string tool, object input, string? rule) =>
        toolbox.Run(work.Context with { Granted = rule is null ? null : new(new("x"), rule, "") }, tool, JsonSerializer.Serialize(input), default);

    static (string, bool) Told(ToolOutcome outcome) => (outcome.Text, outcome.IsError);

    /// <summary>All that lies in the session's folder, with its content. Links are named and never followed: one of them leads to the whole machine.</summary>
    string Everything()
    {
        var all = new List<string>();
        Look(new DirectoryInfo(work.Root));
        return string.Join('\n', all.Order(StringComparer.Ordinal));

        void Look(DirectoryInfo folder)
        {
            foreach (var entry in folder.EnumerateFileSystemInfos("*", new EnumerationOptions { AttributesToSkip = 0 }))
            {
                var isLink = entry.Attributes.HasFlag(FileAttributes.ReparsePoint) || entry.LinkTarget is not null;
                all.Add(isLink || entry is DirectoryInfo || entry.Name == "fifo" ? entry.FullName : $"{entry.FullName} {File.ReadAllText(entry.FullName)}");
                if (!isLink && entry is DirectoryInfo below)
                {
                    Look(below);
                }
            }
        }
    }

    /// <summary>A blob store during whose first writing something else happens.</summary>
    sealed class Meanwhile(Action happens) : IBlobs
    {
        public bool HasRoom() => true;

        readonly InMemoryBlobs blobs = new();
        int puts;

        public ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct)
        {
            if (puts++ == 0)
            {
                happens();
            }
            return blobs.Put(bytes, ct);
        }

        public ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct) => blobs.Put(bytes, ct);

        public ValueTask Keep(IReadOnlyCollection<string> digests, CancellationToken ct) => blobs.Keep(digests, ct);

        public ValueTask<byte[]?> Get(string sha256, CancellationToken ct) => blobs.Get(sha256, ct);

        public ValueTask<Stream?> Open(string sha256, CancellationToken ct) => blobs.Open(sha256, ct);
    }

    /// <summary>A blob store whose disk is full.</summary>
    sealed class FullBlobs : IBlobs
    {
        public bool HasRoom() => true;

        public ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct) => throw new IOException("No space left on device");

        public ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct) => throw new IOException("No space left on device");

        public ValueTask Keep(IReadOnlyCollection<string> digests, CancellationToken ct) => default;

        public ValueTask<byte[]?> Get(string sha256, CancellationToken ct) => default;

        public ValueTask<Stream?> Open(string sha256, CancellationToken ct) => default;
    }

    static TheoryData<string, string, string> Cases(string rows)
    {
        var cases = new TheoryData<string, string, string>();
        foreach (var row in rows.Split('\n'))
        {
            var columns = row.Split('|', StringSplitOptions.TrimEntries);
            cases.Add(columns[0], columns[1], columns[2]);
        }
        return cases;
    }
}
