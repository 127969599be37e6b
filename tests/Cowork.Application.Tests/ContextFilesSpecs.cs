using Cowork.Domain;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Files that a user names for a task: their text as it was when the task was accepted, or a clear refusal.</summary>
public sealed class ContextFilesSpecs : IDisposable
{
    static readonly SessionKey Session = new("s");
    readonly Workspace work = new();

    public void Dispose() => work.Dispose();

    [Fact]
    public async Task Texts_are_read_in_their_order_with_their_digests()
    {
        work.Write("a.txt", "apples");
        work.Write("b/ü.md", "\ufeffüber");
        var files = await Read("b/ü.md", $"{work.Root}/a.txt");
        var (first, second) = ((ContextFile.Read)files[0], (ContextFile.Read)files[1]);
        Assert.Equal(("b/ü.md", "b/ü.md", "über", false), (first.Path, first.Name, first.Text, first.IsCut));
        Assert.Equal(($"{work.Root}/a.txt", "a.txt", "apples", 6L), (second.Path, second.Name, second.Text, second.Bytes));
        Assert.Equal("f5903f51e341a783e69ffc2d9b335048716f5f040a782a2764cd4e728b0f74d9", second.Sha256);
    }

    [Fact]
    public async Task What_is_no_text_inside_the_grants_is_refused_with_a_reason()
    {
        work.Write("binary.bin", "a\0b");
        work.Write(".env", "SECRET=1");
        Directory.CreateDirectory(Path.Combine(work.Root, "folder"));
        work.Link("out", work.Beside);
        work.Link("dangling", "nothing");
        work.Command("mkfifo", "fifo");
        work.Command("ln", "../beside/outside.txt", "hard.txt");
        (string Path, string Why)[] expected =
        [
            ("none.txt", "There is no such file"), ("binary.bin", "It is a binary file"), (".env", "The policy does not let it be read"), ("folder", "It is a folder"),
            ("out/outside.txt", "leads out of the folders granted"), ("../beside/outside.txt", "leads out of the folders granted"), ("/etc/passwd", "leads out of the folders granted"),
            ("dangling", "leads out"), ("fifo", "It is no file but a FIFO"), ("hard.txt", "It has 2 hard links"), ("", "The path is empty"), ("a\0", "The path holds a NUL"),
        ];
        var files = await Read([.. expected.Select(e => e.Path)]);
        foreach (var (file, (path, why)) in files.Zip(expected))
        {
            Assert.Equal(path, file.Path);
            Assert.Contains(why, Assert.IsType<ContextFile.Refused>(file).Why, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_file_of_1_gib_is_cut_at_the_limit_without_reading_the_rest_and_within_a_character()
    {
        var large = work.Write("large.txt", new string('ä', Limits.TaskFileBytesMax));
        // A hole costs no disk; the file is as long as it says.
        using (var grown = new FileStream(large, FileMode.Open))
        {
            grown.SetLength(1L << 30);
        }
        work.Write("odd.txt", "x" + new string('ä', Limits.TaskFileBytesMax));
        var files = await Read("large.txt", "odd.txt");
        var (whole, odd) = ((ContextFile.Read)files[0], (ContextFile.Read)files[1]);
        Assert.Equal((true, (long)Limits.TaskFileBytesMax, new string('ä', Limits.TaskFileBytesMax / 2)), (whole.IsCut, whole.Bytes, whole.Text));
        Assert.Equal((true, "x" + new string('ä', (Limits.TaskFileBytesMax / 2) - 1)), (odd.IsCut, odd.Text));
    }

    [Fact]
    public async Task All_files_of_a_task_share_a_room()
    {
        var paths = Enumerable.Range(0, 6).Select(i => work.Write($"{i}.txt", new string((char)('a' + i), Limits.TaskFileBytesMax))).ToArray();
        var files = await Read(paths);
        Assert.Equal(Limits.TaskFilesBytesMax, files.OfType<ContextFile.Read>().Sum(file => file.Bytes));
        Assert.All(files.Skip(Limits.TaskFilesBytesMax / Limits.TaskFileBytesMax), file => Assert.Contains("have the 262144 bytes", ((ContextFile.Refused)file).Why, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_file_that_grows_shrinks_vanishes_or_is_swapped_while_it_is_read_gives_what_was_there_or_a_reason()
    {
        var path = work.Write("log.txt", "line\n");
        using var stop = new CancellationTokenSource();
        var changing = Task.Run(() =>
        {
            for (var i = 0; !stop.IsCancellationRequested; i++)
            {
                switch (i % 4)
                {
                    case 0:
                        File.AppendAllText(path, "line\n");
                        break;
                    case 1:
                        File.WriteAllText(path, "line\n");
                        break;
                    case 2:
                        File.Delete(path);
                        break;
                    default:
                        File.CreateSymbolicLink(path, Path.Combine(work.Beside, "outside.txt"));
                        File.Delete(path);
                        break;
                }
            }
        }, CancellationToken.None);
        var (read, refused) = (0, 0);
        for (var i = 0; i < 1_000 || ((read == 0 || refused == 0) && i < 100_000); i++)
        {
            switch ((await Read("log.txt"))[0])
            {
                case ContextFile.Read file:
                    Assert.Matches("^(line\n)*$", file.Text);
                    read++;
                    break;
                case ContextFile.Refused { Why: var why }:
                    Assert.EndsWith(".", why, StringComparison.Ordinal);
                    refused++;
                    break;
            }
        }
        await stop.CancelAsync();
        await changing;
        Assert.True(read > 0 && refused > 0, $"{read} read, {refused} refused");
    }

    [Fact]
    public async Task Without_its_session_nothing_is_read()
    {
        work.Write("a.txt", "apples");
        var bench = new RunHarness();
        Assert.Null(await new ContextFiles(bench.AddHost("n").Commands, new RunHarness.AnyFolder(), Policy.BuiltIn).Read(RunHarness.Org, new("nobody"), ["a.txt"], default));
    }

    async Task<IReadOnlyList<ContextFile>> Read(params string[] paths)
    {
        opened ??= await Open();
        return (await opened.Read(RunHarness.Org, Session, paths, default))!;
    }

    ContextFiles? opened;

    async Task<ContextFiles> Open()
    {
        var commands = new RunHarness().AddHost("n").Commands;
        Assert.Null((await commands.Execute(RunHarness.Org, new("user:ann"), new OpenSession(Session, work.Root, "{}", null), default)).Refused);
        return new(commands, new RunHarness.AnyFolder(), Policy.BuiltIn);
    }
}
