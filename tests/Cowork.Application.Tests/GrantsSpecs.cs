using System.Collections.Immutable;
using System.Text.Json;

using Cowork.Domain;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Several granted folders: what each allows holds for every tool, however a path is spelt, linked or turned.</summary>
public sealed class GrantsSpecs : IDisposable
{
    readonly Workspace work = new();
    readonly InMemoryBlobs blobs = new();
    readonly Toolbox toolbox;
    readonly string docs, inner, other;

    public GrantsSpecs()
    {
        docs = work.Root;
        inner = Directory.CreateDirectory(Path.Combine(docs, "inner")).FullName;
        other = Directory.CreateDirectory(Path.Combine(work.Top, "other")).FullName;
        work.Write("a.txt", "apples");
        work.Write("inner/b.txt", "bananas");
        File.WriteAllText(Path.Combine(other, "c.txt"), "cherries");
        work.Link("to-other", other);
        work.Link("to-inner", "inner");
        work.Link("out", work.Beside);
        toolbox = new(
        [
            new ListFiles(Policy.BuiltIn, Workspace.NoUploads), new ReadFile(Policy.BuiltIn, Workspace.NoUploads, blobs), new WriteFile(Policy.BuiltIn, blobs, Workspace.NoUploads),
            new DeleteFile(Policy.BuiltIn), new MoveFile(Policy.BuiltIn, blobs, Workspace.NoUploads), new SearchFiles(Workspace.Files()),
        ]);
    }

    public void Dispose() => work.Dispose();

    /// <summary>The first may be written and created in, the folder in it is only read, another one may be changed in every way and is whole an output root.</summary>
    ToolContext Context => work.Context with
    {
        Grants = Grants.Of(
        [
            Grant.Of(docs).With(new(docs, AllowWrite: true, AllowCreate: true, AllowDelete: false, ["reports"])),
            Grant.Of(inner).With(new(inner, AllowWrite: false, AllowCreate: false, AllowDelete: false, [])),
            Grant.Of(other).With(new(other, AllowWrite: true, AllowCreate: true, AllowDelete: true, [other])),
        ]),
    };

    public static TheoryData<string, string> Paths => Table.Pairs(
        """
        a.txt                 | docs a.txt a.txt
        {docs}/a.txt          | docs a.txt a.txt
        inner/b.txt           | inner b.txt inner/b.txt       | the deeper grant decides
        to-inner/b.txt        | inner b.txt inner/b.txt
        {docs}/inner/b.txt    | inner b.txt inner/b.txt
        inner                 | inner . inner
        inner/../a.txt        | docs a.txt a.txt
        inner/none.txt        | inner none.txt inner/none.txt
        to-inner/none.txt     | inner none.txt inner/none.txt
        {other}/c.txt         | other c.txt {other}/c.txt
        ../other/c.txt        | other c.txt {other}/c.txt
        to-other/c.txt        | other c.txt {other}/c.txt     | a link from one grant into another one
        to-other/none.txt     | other none.txt {other}/none.txt
        {other}               | other . {other}
        {other}/none.txt      | other none.txt {other}/none.txt
        out/outside.txt       | outside
        {other}/../beside     | outside
        {other}x              | outside
        {docs}/../other/../beside/outside.txt | outside
        C.TXT                 | docs C.TXT C.TXT
        """);

    [Theory]
    [MemberData(nameof(Paths))]
    public void A_path_belongs_to_the_deepest_grant_and_has_one_name(string path, string expected)
    {
        var grants = Context.Grants;
        var (grant, relative, name) = Open(Placed(path));
        var word = grant is null ? "outside" : $"{(grant == grants[0] ? "docs" : grant == grants[1] ? "inner" : "other")} {relative} {name}";
        Assert.Equal(Placed(expected), word);
        if (name is not null)
        {
            // The name leads to the same place.
            Assert.Equal((grant, relative, name), Open(name));
        }

        (Grant?, string?, string?) Open(string at)
        {
            using var opened = GrantedPath.Open(grants, at);
            return opened switch
            {
                GrantedPath.Found found => (found.Grant, found.Relative, found.Name),
                GrantedPath.Missing missing => (missing.Grant, missing.Relative, missing.Name),
                _ => (null, null, null),
            };
        }
    }

    public static TheoryData<string, string> Changes => Table.Pairs(
        """
        write_file new.txt              | confirm create_inside
        write_file a.txt                | confirm overwrite_inside
        write_file reports/r.md         | allow write_output
        write_file reports/deep/r.md    | allow write_output
        write_file reports              | confirm create_inside
        write_file .anton/output/r.md   | confirm create_inside   | not an output root of this session
        write_file inner/b.txt          | deny not_granted
        write_file inner/new.txt        | deny not_granted
        write_file to-inner/new.txt     | deny not_granted
        write_file inner/deep/new.txt   | deny not_granted
        write_file {other}/c.txt        | allow write_output
        write_file to-other/new.txt     | allow write_output
        write_file {other}/.env         | deny secret_path
        write_file out/new.txt          | deny outside_grants
        delete_file a.txt               | deny not_granted
        delete_file inner/b.txt         | deny not_granted
        delete_file {other}/c.txt       | confirm delete_inside
        delete_file to-other/c.txt      | confirm delete_inside
        move_file a.txt                 | deny not_granted
        move_file {other}/c.txt         | confirm move_inside
        """);

    [Theory]
    [MemberData(nameof(Changes))]
    public async Task What_a_grant_does_not_allow_is_denied_also_after_an_approval(string call, string expected)
    {
        var (tool, path) = (call.Split(' ')[0], call.Split(' ')[1]);
        var input = JsonSerializer.Serialize(new { path = Placed(path), content = "new", from = Placed(path), to = Placed("{other}/moved.txt") });
        var subject = await toolbox.Subject(Context, tool, input, default);
        var verdict = Policy.BuiltIn.Evaluate(tool, subject);
        Assert.Equal(expected, $"{verdict.Outcome.ToString().ToLowerInvariant()} {verdict.Rule}");
        // Made all the same, as if a person had approved it.
        var before = Everything();
        var outcome = await toolbox.Run(Context with { Granted = new(new("x"), verdict.Rule, "") }, tool, input, default);
        var mayBe = verdict.Outcome != PolicyOutcome.Deny;
        Assert.Equal((mayBe, mayBe), (!outcome.IsError, before != Everything()));
        Assert.Equal(expected.StartsWith("allow", StringComparison.Ordinal), outcome.WrittenFiles.Count == 1 && tool == "write_file" && !path.Contains(".anton", StringComparison.Ordinal));
        Assert.Equal(["outside.txt"], Directory.EnumerateFileSystemEntries(work.Beside).Select(Path.GetFileName));
    }

    [Fact]
    public async Task A_file_moves_out_of_no_grant_that_does_not_allow_it_and_into_none_that_does_not()
    {
        Assert.Equal("deny not_granted", await Verdict("{other}/c.txt", "inner/c.txt"));
        Assert.Equal("deny not_granted", await Verdict("a.txt", "{other}/a.txt"));
        Assert.Equal("confirm move_inside", await Verdict("{other}/c.txt", "reports/c.txt"));
        var moved = await toolbox.Run(Context with { Granted = new(new("x"), "move_inside", "") }, "move_file", Input("{other}/c.txt", "reports/c.txt"), default);
        Assert.Equal(($"Moved {other}/c.txt to reports/c.txt.", "reports/c.txt"), (moved.Text, moved.WrittenFiles.Single().Path));

        string Input(string from, string to) => JsonSerializer.Serialize(new { from = Placed(from), to = Placed(to) });
        async Task<string> Verdict(string from, string to)
        {
            var verdict = Policy.BuiltIn.Evaluate("move_file", await toolbox.Subject(Context, "move_file", Input(from, to), default));
            return $"{verdict.Outcome.ToString().ToLowerInvariant()} {verdict.Rule}";
        }
    }

    [Fact]
    public async Task A_file_policy_without_the_rule_is_held_by_the_grants_all_the_same()
    {
        var anything = PolicyFile.Parse("""{"rules":[{"name":"anything","outcome":"allow","reason":"All."}]}"""u8);
        var write = new WriteFile(anything, blobs, Workspace.NoUploads);
        var input = JsonSerializer.SerializeToElement(new { path = "inner/b.txt", content = "new" });
        Assert.Equal("not_granted", anything.Evaluate("write_file", await write.Subject(Context, input, default)).Rule);
        Assert.Contains("does not allow to change files", (await write.Run(Context, input, default)).Text, StringComparison.Ordinal);
        Assert.Equal("bananas", await File.ReadAllTextAsync(Path.Combine(inner, "b.txt")));
    }

    [Fact]
    public async Task A_search_covers_all_grants_and_finds_a_file_that_lies_in_two_once()
    {
        var found = await toolbox.Run(Context, "search_files", """{"query":"apples bananas cherries"}""", default);
        Assert.Equal(
            ["a.txt:1: apples", "inner/b.txt:1: bananas", $"{other}/c.txt:1: cherries"], found.Text.Split('\n').Where(line => line[0] != '[').Order(StringComparer.Ordinal).OrderBy(line => line.StartsWith('/')));
        Assert.Equal("cherries", (await toolbox.Run(Context, "read_file", JsonSerializer.Serialize(new { path = $"{other}/c.txt" }), default)).Text);
        var listed = await toolbox.Run(Context, "list_files", "{}", default);
        Assert.Contains("inner/b.txt (7 bytes)", listed.Text, StringComparison.Ordinal);
        Assert.EndsWith(
            $"[Granted: {docs}: read, create, change; no approval below reports.]\n[Granted: {inner}: read.]\n[Granted: {other}: read, create, change, delete; no approval below ..]",
            listed.Text.ReplaceLineEndings("\n"), StringComparison.Ordinal);
        Assert.Contains($"{other}/c.txt (8 bytes)", (await toolbox.Run(Context, "list_files", JsonSerializer.Serialize(new { path = other }), default)).Text, StringComparison.Ordinal);
    }

    [Fact]
    public void A_granted_folder_that_is_gone_gives_its_place_to_no_other_grant()
    {
        Directory.Delete(inner, recursive: true);
        foreach (var path in (string[])["inner/new.txt", "to-inner/new.txt", $"{inner}/new.txt"])
        {
            var (entry, _) = GrantedEntry.Open(Context.Grants, path, makeFolders: true);
            Assert.Null(entry);
        }
        Assert.False(Directory.Exists(inner));
    }

    [Fact]
    public async Task The_model_is_told_its_folders_and_the_run_records_what_it_was_told()
    {
        var bench = new RunHarness();
        var host = bench.AddHost("n");
        ImmutableList<FolderGrant> granted = [new(docs, true, true, false, ["reports"]), new(inner, false, false, false, [])];
        Assert.Null((await host.Commands.Execute(RunHarness.Org, new("user:ann"), new OpenSession(new("s"), docs, "{}", null, Grants: granted), default)).Refused);
        var run = await host.Send("s", "go");
        IEnumerable<string> told = [];
        bench.Model.Before = async ct =>
        {
            var state = (Run.Active)await host.Commands.LatestState(RunHarness.Org, Run.Aggregate, run, ct);
            told = (await Prompt.Build(RunHarness.Org, state, [], host.Queries, bench.Blobs, ct)).Messages.Select(message => message.Text);
        };
        await host.Drive();
        var created = (await bench.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, 1, default)).Events[0];
        Assert.Equivalent(granted, ((RunEvent.RunCreated)created.Event).Folders);
        Assert.Contains(
            $"The folders that you may use; relative paths count from the first:\n- {docs}: read, create, change; no approval below reports\n- {inner}: read",
            told);
    }

    /// <summary>Threads swap a folder of one grant by links to what lies outside and in the grant that is only read, while tools read and write through it.</summary>
    [Fact]
    public async Task Folders_that_threads_swap_by_links_lead_no_tool_to_where_it_may_not()
    {
        var seed = Seeds.One(47);
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        var random = new Random(seed);
        work.Write("in/outside.txt", "what lies inside");
        work.Write("in/b.txt", "what lies inside");
        await using var outwards = new TurningLink(Path.Combine(docs, "flip"), "in", work.Beside);
        await using var inwards = new TurningLink(Path.Combine(docs, "turn"), "in", "inner");
        await using var across = new TurningLink(Path.Combine(other, "flip"), Path.Combine(docs, "in"), work.Beside);
        var (done, refused) = (0, 0);
        for (var i = 0; i < 1_500 || ((done == 0 || refused == 0) && i < 50_000); i++)
        {
            var (tool, input) = random.Next(6) switch
            {
                0 => ("read_file", (object)new { path = "flip/outside.txt" }),
                1 => ("read_file", new { path = $"{other}/flip/outside.txt" }),
                2 => ("write_file", new { path = "flip/new.txt", content = "new" }),
                3 => ("write_file", new { path = "turn/b.txt", content = "what lies inside" }),
                4 => ("write_file", new { path = $"{other}/flip/new.txt", content = "new" }),
                _ => ("list_files", new { path = "flip" }),
            };
            var subject = await toolbox.Subject(Context, tool, JsonSerializer.Serialize(input), default);
            var rule = Policy.BuiltIn.Evaluate(tool, subject).Rule;
            var outcome = await toolbox.Run(Context with { Granted = new(new("x"), rule, "") }, tool, JsonSerializer.Serialize(input), default);
            if (outcome.IsError)
            {
                refused++;
                continue;
            }
            done++;
            Assert.True(tool != "read_file" || outcome.Text == "what lies inside", $"seed {seed}: {outcome.Text}");
        }
        Assert.True(done > 0 && refused > 0, $"seed {seed}: {done} done, {refused} refused");
        Assert.Equal(["outside.txt"], Directory.EnumerateFileSystemEntries(work.Beside).Select(Path.GetFileName));
        Assert.Equal(Workspace.OutsideText, await File.ReadAllTextAsync(Path.Combine(work.Beside, "outside.txt")));
        Assert.Equal(["b.txt"], Directory.EnumerateFileSystemEntries(inner).Select(Path.GetFileName));
        Assert.Equal("bananas", await File.ReadAllTextAsync(Path.Combine(inner, "b.txt")));
    }

    string Placed(string text) => text.Replace("{docs}", docs, StringComparison.Ordinal).Replace("{other}", other, StringComparison.Ordinal);

    /// <summary>Every file of the grants, with its content.</summary>
    string Everything() => string.Join('\n', ((string[])[docs, other]).SelectMany(folder => Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories))
        .Order(StringComparer.Ordinal).Select(file => $"{file}: {File.ReadAllText(file)}"));
}
