using Cowork.Application;
using Cowork.Testing;

namespace Cowork.Kernels.Tests;

/// <summary>What a cell of a session with granted folders sees and writes: each folder at its own path, and nothing beside.</summary>
public sealed class GrantSpecs : IDisposable
{
    const string Marked = "marked-secret-4711";

    readonly string top = Directory.CreateTempSubdirectory("cowork-grants-").FullName;
    readonly string docs, inner, other, beside;

    public GrantSpecs()
    {
        string Made(string path) => Directory.CreateDirectory(Path.Combine(top, path)).FullName;
        (docs, inner, other, beside) = (Made("docs"), Made("docs/inner"), Made("other"), Made("beside"));
        File.WriteAllText(Path.Combine(docs, "a.txt"), "apples");
        File.WriteAllText(Path.Combine(inner, "b.txt"), "bananas");
        File.WriteAllText(Path.Combine(other, "c.txt"), "cherries");
        File.WriteAllText(Path.Combine(beside, "secret.txt"), Marked);
    }

    public void Dispose() => Directory.Delete(top, recursive: true);

    /// <summary>Output roots in the first; the folder in it is read only, and lies in an output root; another one is whole an output root.</summary>
    Grants All => Grants.Of(
    [
        Grant.Of(docs).With(new(docs, AllowWrite: true, AllowCreate: true, AllowDelete: false, ["reports", "deep/er"])),
        Grant.Of(inner).With(new(inner, AllowWrite: false, AllowCreate: false, AllowDelete: false, ["out"])),
        Grant.Of(other).With(new(other, AllowWrite: true, AllowCreate: true, AllowDelete: true, ["."])),
    ]);

    static async Task<CellRun> Run(IKernel kernel, string code) => new(await kernel.Execute(code, CancellationToken.None).ToListAsync());

    static Task<IKernel> Start(Grants grants) => RealKernel.Kernels.Start(new(grants, KernelLimits.Default), CancellationToken.None).AsTask();

    [Fact]
    public async Task Each_grant_is_seen_at_its_own_path_and_written_to_where_the_agent_may_write_unasked()
    {
        await using var kernel = await Start(All);
        Assert.Equal(
            $"{docs} apples apples bananas cherries\n",
            (await Run(kernel, $"import os\nprint(os.getcwd(), open('a.txt').read(), open('{docs}/a.txt').read(), open('inner/b.txt').read(), open('{other}/c.txt').read())")).Succeeded().Output);
        var run = await Run(
            kernel,
            $$"""
            wrote = []
            for path in ("a.txt", "new.txt", "inner/b.txt", "inner/new.txt", "inner/out/x", "reports/r.txt", "deep/er/d.txt", "deep/new.txt", "{{other}}/c.txt", "{{other}}/new.txt"):
                try:
                    open(path, "w").write("by a cell")
                    wrote.append(path)
                except OSError:
                    pass
            print(wrote)
            """);
        Assert.Equal($"['reports/r.txt', 'deep/er/d.txt', '{other}/c.txt', '{other}/new.txt']\n", run.Succeeded().Output);
        Assert.Equal(("apples", "bananas", "by a cell"), (Text(docs, "a.txt"), Text(inner, "b.txt"), Text(docs, "reports/r.txt")));
        // The host's tools see, and find, what the cell wrote.
        var kept = CellFiles.Look(All, null, default).Keys.Order(StringComparer.Ordinal);
        Assert.Equal([$"{other}/c.txt", $"{other}/new.txt", "deep/er/d.txt", "reports/r.txt"], kept);
    }

    [Fact]
    public async Task Nothing_outside_the_grants_can_be_seen_or_named()
    {
        File.CreateSymbolicLink(Path.Combine(docs, "link"), beside);
        File.CreateSymbolicLink(Path.Combine(other, "file"), Path.Combine(beside, "secret.txt"));
        await using var kernel = await Start(All);
        var run = await Run(
            kernel,
            $$"""
            import os
            seen = []
            for path in ("link", "link/secret.txt", "{{other}}/file", "{{beside}}", "{{beside}}/secret.txt", "../beside/secret.txt", "/workspace", "/mnt", "/etc/shadow", "/proc/1/root{{beside}}"):
                try:
                    seen.append((path, os.listdir(path) if os.path.isdir(path) else open(path).read()))
                except OSError:
                    pass
            for name in ("hard", "{{other}}/hard"):
                try:
                    os.link("{{other}}/file", name)
                    seen.append(open(name).read())
                except OSError:
                    pass
            print(seen, sorted(os.listdir("{{top}}")))
            """);
        Assert.Equal("[] ['docs', 'other']\n", run.Succeeded().Output);
    }

    [Fact]
    public async Task A_grant_that_may_only_be_read_stays_whose_it_is_and_as_it_is()
    {
        var only = Grants.Of([Grant.Of(inner).With(new(inner, AllowWrite: false, AllowCreate: false, AllowDelete: false, ["out"]))]);
        var before = Owner(inner);
        await using var kernel = await Start(only);
        Assert.Equal("'bananas'", (await Run(kernel, "open('b.txt').read()")).Succeeded().Result);
        Assert.Contains("Read-only file system", (await Run(kernel, "open('new.txt', 'w')")).Error.Value, StringComparison.Ordinal);
        Assert.Equal((before, false), (Owner(inner), Directory.Exists(Path.Combine(inner, "out"))));

        static string Owner(string path)
        {
            using var stat = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("stat", ["-c", "%u:%g %a", path]) { RedirectStandardOutput = true })!;
            return stat.StandardOutput.ReadToEnd();
        }
    }

    [Fact]
    public async Task A_folder_that_a_link_has_taken_the_place_of_starts_no_kernel()
    {
        Directory.Move(other, other + "-moved");
        File.CreateSymbolicLink(other, beside);
        var grants = Grants.Of([.. All.Take(2), new Grant("/", other)]);
        var refused = await Assert.ThrowsAsync<KernelUnavailableException>(() => Start(grants));
        Assert.Contains(other, refused.Message, StringComparison.Ordinal);
    }

    /// <summary>Threads of the host swap folders by links to what lies outside, while kernels start and cells read and write through them.</summary>
    [Fact]
    public async Task Folders_that_threads_swap_by_links_lead_no_cell_outside()
    {
        var seed = Seeds.One(11);
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        var random = new Random(seed);
        Directory.CreateDirectory(Path.Combine(docs, "reports"));
        Directory.CreateDirectory(Path.Combine(docs, "flip"));
        using var stop = new CancellationTokenSource();
        var pauses = Enumerable.Range(0, 64).Select(_ => random.Next(200)).ToArray();
        var swapping = ((string[])["reports", "flip"]).Select(name => Task.Run(() =>
        {
            var (place, aside) = (Path.Combine(docs, name), Path.Combine(docs, $"{name}-aside"));
            for (var i = 0; !stop.IsCancellationRequested; i++)
            {
                Directory.Move(place, aside);
                // The start of a kernel may have made the missing output root.
                while (Symlink(beside, place) != 0)
                {
                    Directory.Delete(place, recursive: true);
                }
                Thread.SpinWait(pauses[i % pauses.Length]);
                File.Delete(place);
                while (Rename(aside, place) != 0)
                {
                    Directory.Delete(place, recursive: true);
                }
                Thread.SpinWait(pauses[(i + 7) % pauses.Length]);
            }
        })).ToList();
        var (cells, starts) = (0, 0);
        try
        {
            // Most starts are refused, at once.
            for (var i = 0; i < 100 && starts < 2; i++)
            {
                IKernel kernel;
                try
                {
                    kernel = await Start(All);
                }
                catch (KernelUnavailableException)
                {
                    continue; // the folder was away in that moment
                }
                starts++;
                await using (kernel)
                {
                    var run = await Run(
                        kernel,
                        """
                        seen = set()
                        for _ in range(500):
                            for path in ("flip/secret.txt", "reports/secret.txt", "reports-aside/secret.txt"):
                                try:
                                    seen.add(open(path).read())
                                except OSError:
                                    pass
                            for path in ("flip/made.txt", "reports/made.txt"):
                                try:
                                    open(path, "w").write("made")
                                except OSError:
                                    pass
                        sorted(seen)
                        """);
                    Assert.Equal("[]", run.Succeeded().Result);
                    cells++;
                }
            }
        }
        finally
        {
            await stop.CancelAsync();
            await Task.WhenAll(swapping);
        }
        Assert.True(cells == starts && starts > 0, $"seed {seed}: {starts} kernels, {cells} cells");
        Assert.Equal(["secret.txt"], Directory.EnumerateFileSystemEntries(beside).Select(Path.GetFileName));
    }

    [System.Runtime.InteropServices.DllImport("libc", EntryPoint = "symlink", CharSet = System.Runtime.InteropServices.CharSet.Ansi)]
    static extern int Symlink(string target, string path);

    [System.Runtime.InteropServices.DllImport("libc", EntryPoint = "rename", CharSet = System.Runtime.InteropServices.CharSet.Ansi)]
    static extern int Rename(string from, string to);

    static string Text(string folder, string name) => File.ReadAllText(Path.Combine(folder, name));
}
