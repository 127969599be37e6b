using System.Text;
using System.Text.Json;

using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Uploaded files: their text, their end, and how runs see them.</summary>
public sealed class UploadedFileSpecs : IDisposable
{
    static readonly ProjectKey Sales = new("01kdvkjr000000000000000007");
    static readonly SessionKey Session = new("s");

    readonly Workspace work = new();
    readonly RunHarness harness;
    int files;

    public UploadedFileSpecs() => harness = new() { Workspace = work.Root };

    public void Dispose() => work.Dispose();

    static async Task<string?> Do(RunHarness.Host host, ICommand command) =>
        (await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, command, default)).Refused?.Code;

    async Task<RunHarness.Host> NewHost(string name = "a")
    {
        var host = harness.AddHost(name);
        Assert.Null(await Do(host, new CreateProject(Sales, new("Sales", null, [], [], null))));
        Assert.Null(await Do(host, new OpenSession(Session, work.Root, "{}", null, Project: Sales)));
        return host;
    }

    FileKey NextKey() => new($"01kdvkjr0000000000000000{++files:00}");

    async Task<FileKey> Upload(RunHarness.Host host, string content, string name = "notes.txt", ProjectKey? project = null, SessionKey? session = null)
    {
        var key = NextKey();
        Assert.Null(await Refused(host, key, content, name, project, session));
        return key;
    }

    async Task<string?> Refused(RunHarness.Host host, FileKey key, string content, string name, ProjectKey? project, SessionKey? session)
    {
        var (sha256, bytes) = await harness.Blobs.Put(new MemoryStream(Encoding.UTF8.GetBytes(content)), default);
        return await Do(host, new UploadFile(key, new(name, null, "text/plain", sha256, bytes, project, session)));
    }

    async Task<FileRow?> Row(FileKey file) =>
        await harness.Engine.Get(RunHarness.Org, Files.Model.Table, file.Value, default) is { } row ? Files.Model.Read(row.Json.Span) : null;

    async Task<int> Found(string words, params string[] scopes) => (await TextSearch.Find(harness.Texts, RunHarness.Org, scopes, words, 10, default)).Hits.Count;

    ToolContext Context => new(RunHarness.Org, Session, new("r"), Grants.Of(Grant.Of(work.Root)), "r:1", 1);

    static Task<ToolOutcome> Call(ITool tool, ToolContext context, object input) => tool.Run(context, JsonSerializer.SerializeToElement(input), default);

    [Fact]
    public async Task A_files_text_is_extracted_kept_indexed_and_recorded()
    {
        var host = await NewHost();
        var (file, empty) = (await Upload(host, "The kraken sleeps.\n", session: Session), await Upload(host, "", "empty.txt", Sales));
        Assert.Equal(Files.Processing, (await Row(file))!.Status);
        await host.Drive();
        var row = (await Row(file))!;
        Assert.Equal((Files.Ready, null, "text/plain"), (row.Status, row.StatusCode, row.MediaType));
        Assert.Equal("The kraken sleeps.\n", Encoding.UTF8.GetString((await harness.Blobs.Get(row.Text!.Sha256, default))!));
        Assert.Equal((Files.Failed, DocumentFaults.EmptyFile), ((await Row(empty))!.Status, (await Row(empty))!.StatusCode));
        Assert.Equal(1, await Found("kraken", TextScope.Conversation(Session)));
        Assert.Equal(1, await Found("kraken", TextScope.Uploads));
        Assert.Equal(0, await Found("kraken", TextScope.Project(Sales)));
        Assert.Equal(["file_uploaded", "file_text_extracted"], await harness.Story($"file-{file.Value}"));
        Assert.Empty(harness.Engine.Jobs);
    }

    [Fact]
    public async Task A_text_that_the_index_has_lost_is_put_back_and_nothing_of_a_deleted_file()
    {
        var host = await NewHost();
        var (file, deleted) = (await Upload(host, "The kraken sleeps.\n", session: Session), await Upload(host, "The kraken wakes.\n"));
        await host.Drive();
        Assert.Null(await Do(host, new DeleteUploadedFile(deleted)));
        await harness.Texts.Remove(RunHarness.Org, TextKey.OfFile(file), null, default);
        await harness.Texts.Remove(RunHarness.Org, TextKey.OfFile(deleted), null, default);
        harness.Texts.Lost.AddRange([new(RunHarness.Org, file), new(RunHarness.Org, deleted)]);
        await host.FileTexts.Restore(default);
        Assert.Equal(1, await Found("kraken", TextScope.Uploads));
        Assert.Equal(1, await Found("kraken", TextScope.Conversation(Session)));
    }

    [Fact]
    public async Task An_extraction_that_dies_anywhere_is_done_by_another_host_and_recorded_once()
    {
        for (var death = 0; death < 4; death++)
        {
            var mine = new UploadedFileSpecs();
            using (mine)
            {
                var host = await mine.NewHost();
                var file = await mine.Upload(host, "The kraken sleeps.", session: Session);
                mine.harness.DieAt([(death / 2, death % 2 == 1)]);
                await mine.harness.Outlive(host, async left =>
                {
                    mine.harness.Clock.Advance(TimeSpan.FromMinutes(1));
                    await left.Drive();
                    return false;
                });
                mine.harness.Engine.FailPoint = null;
                var last = mine.harness.AddHost("last");
                mine.harness.Clock.Advance(TimeSpan.FromMinutes(1));
                await last.Drive();
                Assert.Equal(["file_uploaded", "file_text_extracted"], await mine.harness.Story($"file-{file.Value}"));
                Assert.Equal(1, await mine.Found("kraken", TextScope.Uploads));
                Assert.Empty(mine.harness.Engine.Jobs);
            }
        }
    }

    [Fact]
    public async Task A_file_that_is_deleted_while_its_text_is_extracted_is_not_in_the_index()
    {
        var deleting = new DeletingDocuments();
        var bench = new RunHarness { Workspace = work.Root, Documents = deleting };
        var host = bench.AddHost("a");
        var (sha256, bytes) = await bench.Blobs.Put(new MemoryStream("The kraken sleeps."u8.ToArray()), default);
        var file = NextKey();
        Assert.Null(await Do(host, new UploadFile(file, new("k.txt", null, "text/plain", sha256, bytes, null, null))));
        deleting.Meanwhile = async () => Assert.Null(await Do(host, new DeleteUploadedFile(file)));
        await host.Drive();
        Assert.Equal(["file_uploaded", "file_deleted"], await bench.Story($"file-{file.Value}"));
        Assert.Empty((await TextSearch.Find(bench.Texts, RunHarness.Org, [TextScope.Uploads], "kraken", 10, default)).Hits);
        Assert.Empty(bench.Engine.Jobs);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Files_go_with_their_project_or_conversation_and_so_does_their_text(bool project)
    {
        var host = await NewHost();
        var both = await Upload(host, "kraken", project: Sales, session: Session);
        var gone = await Upload(host, "kraken", project: project ? Sales : null, session: project ? null : Session);
        var stays = await Upload(host, "kraken", "tenant.txt");
        await host.Drive();
        Assert.Equal(3, await Found("kraken", TextScope.Uploads));
        Assert.Null(await Do(host, project ? new DeleteProject(Sales) : new DeleteSession(Session)));
        // The request dies here, and the job does the rest.
        harness.Clock.Advance(ProjectDeletion.TakenOverAfter);
        await host.Drive();
        Assert.Equal([null, null, "tenant.txt"], [(await Row(both))?.Name, (await Row(gone))?.Name, (await Row(stays))?.Name]);
        Assert.Equal(1, await Found("kraken", TextScope.Uploads));
        Assert.Empty(harness.Engine.Jobs);
        Assert.Equal("not_found", await Refused(host, NextKey(), "x", "x.txt", project ? Sales : null, Session));
    }

    [Fact]
    public async Task A_host_that_does_not_know_of_the_deletion_takes_no_file_for_what_is_deleted()
    {
        var (host, other) = (await NewHost(), harness.AddHost("b"));
        await Upload(other, "x", project: Sales, session: Session);
        Assert.Null(await Do(host, new DeleteSession(Session)));
        Assert.Equal("not_found", await Refused(other, NextKey(), "x", "x.txt", null, Session));
        Assert.Null(await Do(host, new DeleteProject(Sales)));
        Assert.Equal("not_found", await Refused(other, NextKey(), "x", "x.txt", Sales, null));
    }

    [Fact]
    public async Task A_run_sees_the_files_of_its_conversation_and_its_project_and_no_others()
    {
        var host = await NewHost();
        Assert.Null(await Do(host, new OpenSession(new("other"), work.Root, "{}", null)));
        var older = await Upload(host, "older", "a.txt", Sales);
        harness.Clock.Advance(TimeSpan.FromSeconds(1));
        await Upload(host, "newer", "a.txt", session: Session);
        await Upload(host, "hidden", "b.txt", session: new("other"));
        await Upload(host, "of the tenant", "c.txt");
        await Upload(host, "secret", ".env", Sales);
        await Upload(host, "", "empty.txt", Sales);
        await host.Drive();
        work.Write("files/real.txt", "of the folder");
        var runFiles = new RunFiles(host.Files);
        ITool list = new ListFiles(Policy.BuiltIn, runFiles), read = new ReadFile(Policy.BuiltIn, runFiles, harness.Blobs);

        var listed = (await Call(list, Context, new { })).Text;
        Assert.Equal(
            $"""
            files/
            files/real.txt (13 bytes)
            files/empty.txt (uploaded, 0 bytes; no text: The file is empty.)
            files/a.txt (uploaded, 5 bytes)
            files/{older.Id}/a.txt (uploaded, 5 bytes)
            [1 uploaded files are kept back by policy.]
            """,
            listed);
        Assert.Equal("newer", (await Call(read, Context, new { path = "files/a.txt" })).Text);
        Assert.Equal("newer", (await Call(read, Context, new { path = Path.Combine(work.Root, "files/./a.txt") })).Text);
        Assert.Equal("older", (await Call(read, Context, new { path = $"files/{older.Id}/a.txt" })).Text);
        Assert.Equal("of the folder", (await Call(read, Context, new { path = "files/real.txt" })).Text);
        foreach (var path in (string[])["files/b.txt", "files/c.txt", "files/.env", "files/empty.txt", "a.txt", $"files/{older.Id}/b.txt", "files/../files"])
        {
            Assert.True((await Call(read, Context, new { path })).IsError, path);
        }
        // What lies in the folder comes first.
        work.Write("files/a.txt", "mine");
        Assert.Equal("mine", (await Call(read, Context, new { path = "files/a.txt" })).Text);
        // Without a project a conversation sees the tenant's.
        Assert.Equal("of the tenant", (await Call(read, Context with { Session = new("other") }, new { path = "files/c.txt" })).Text);
    }

    [Fact]
    public async Task A_run_finds_passages_of_the_files_that_it_sees_and_of_no_others()
    {
        var host = await NewHost();
        Assert.Null(await Do(host, new OpenSession(new("other"), work.Root, "{}", null)));
        await Upload(host, "needle of the project", "a.txt", Sales);
        await Upload(host, "needle of the conversation", "b.txt", session: Session);
        await Upload(host, "needle that is hidden", "c.txt", session: new("other"));
        await Upload(host, "needle that is secret", ".env", Sales);
        await host.Drive();
        await Upload(host, "needle that comes", "late.txt", Sales);
        work.Write("here.md", "needle of the folder");
        var search = new SearchFiles(Workspace.Files(index: harness.Texts, uploads: new(host.Files)));
        Assert.Equal(
            """
            here.md:1: needle of the folder
            files/a.txt:1: needle of the project
            files/b.txt:1: needle of the conversation
            [The text of 1 uploaded files is still being extracted.]
            """.Split('\n').Order(),
            (await Call(search, Context, new { query = "needle" })).Text.Split('\n').Order());
        // The same while the folder is read directly.
        var direct = new SearchFiles(Workspace.Files(new(AtOnceFiles: -1), harness.Texts, uploads: new(host.Files)));
        var found = (await Call(direct, Context, new { query = "needle" })).Text;
        Assert.All((string[])["here.md:1: ", "files/a.txt:1: ", "files/b.txt:1: ", "files were read directly."], part => Assert.Contains(part, found, StringComparison.Ordinal));
        Assert.DoesNotContain("c.txt", found, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_uploaded_file_is_read_in_pages_and_changed_by_no_tool()
    {
        var host = await NewHost();
        await Upload(host, string.Concat(Enumerable.Range(1, 100).Select(i => $"line {i}\n")), "long.txt", Sales);
        await host.Drive();
        var runFiles = new RunFiles(host.Files);
        ITool read = new ReadFile(Policy.BuiltIn, runFiles, harness.Blobs), write = new WriteFile(Policy.BuiltIn, harness.Blobs, runFiles);
        var (move, delete, list) = (new MoveFile(Policy.BuiltIn, harness.Blobs, runFiles), new DeleteFile(Policy.BuiltIn), new ListFiles(Policy.BuiltIn, runFiles));
        Assert.Equal("line 5\nline 6\n[Lines 5 to 6 of 100.]", (await Call(read, Context, new { path = "files/long.txt", offset = 5, limit = 2 })).Text);
        Assert.Equal("files/long.txt (uploaded, 792 bytes)", (await Call(list, Context, new { path = "files" })).Text);
        Assert.Equal("files/long.txt (uploaded, 792 bytes)", (await Call(list, Context, new { path = "files/long.txt" })).Text);
        var written = await Call(write, Context, new { path = "files/long.txt", content = "x" });
        Assert.Equal((true, "files/long.txt is an uploaded file: it is read, and not changed, moved or deleted. Write another file."), (written.IsError, written.Text));
        work.Write("b.txt", "b");
        Assert.Contains("is an uploaded file", (await Call(move, Context, new { from = "b.txt", to = "files/long.txt" })).Text);
        foreach (var subject in (CallSubject[])
        [
            await delete.Subject(Context, JsonSerializer.SerializeToElement(new { path = "files/long.txt" }), default),
            await move.Subject(Context, JsonSerializer.SerializeToElement(new { from = "files/long.txt", to = "c.txt" }), default),
        ])
        {
            Assert.EndsWith("What was uploaded is read, and not changed, moved or deleted.", subject.Invalid);
        }
    }

    /// <summary>Something happens while a document is read.</summary>
    sealed class DeletingDocuments : IDocumentText
    {
        public Func<Task> Meanwhile { get; set; } = () => Task.CompletedTask;

        public async Task<DocumentText> Extract(Stream document, string name, string? declaredMediaType, CancellationToken ct)
        {
            var text = await new PlainDocumentText().Extract(document, name, declaredMediaType, ct);
            await Meanwhile();
            return text;
        }
    }
}
