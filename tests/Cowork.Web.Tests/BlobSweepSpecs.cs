using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>A sweep removes what no commit has named in time, and nothing that one has named.</summary>
public sealed class BlobSweepSpecs : IDisposable
{
    static readonly TimeSpan Day = TimeSpan.FromDays(1);

    readonly string directory = Directory.CreateTempSubdirectory("cowork-sweep-").FullName;
    readonly FileBlobs blobs;

    public BlobSweepSpecs() => blobs = new(directory);

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public async Task What_is_old_and_unnamed_is_removed_and_all_else_stays()
    {
        var (named, old, young) = (await Put("named"), await Put("old"), await Put("young"));
        await blobs.Keep([named], default);
        Age(Path.Combine(directory, named[..2], named));
        Age(Pending(old));
        Assert.Equal(new(1, 3, 1), await Sweep(dryRun: true));
        Assert.NotNull(await blobs.Get(old, default));
        Assert.Equal(new(1, 3, 1), await Sweep());
        Assert.Null(await blobs.Get(old, default));
        Assert.Equal("named", Text(await blobs.Get(named, default)));
        Assert.Equal("young", Text(await blobs.Get(young, default)));
        Assert.Equal(new(0, 0, 1), await Sweep());
    }

    [Fact]
    public async Task What_cut_uploads_left_is_removed_when_it_is_old()
    {
        Directory.CreateDirectory(Path.Combine(directory, "pending"));
        string[] cut = [Path.Combine(directory, ".of-a-release-before"), Path.Combine(directory, "pending", ".abc"), Path.Combine(directory, "pending", ".young")];
        foreach (var path in cut)
        {
            await File.WriteAllTextAsync(path, "12345");
        }
        Age(cut[0]);
        Age(cut[1]);
        Assert.Equal(new(2, 10, 1), await Sweep());
        Assert.Equal([false, false, true], cut.Select(File.Exists));
    }

    [Fact]
    public async Task What_a_release_before_stored_is_never_looked_at()
    {
        var sha256 = Convert.ToHexStringLower(SHA256.HashData("before"u8));
        var path = Path.Combine(Directory.CreateDirectory(Path.Combine(directory, sha256[..2])).FullName, sha256);
        await File.WriteAllTextAsync(path, "before");
        Age(path);
        Assert.Equal(new(0, 0, 0), await Sweep());
        await blobs.Keep([sha256], default);
        Assert.Equal("before", Text(await blobs.Get(sha256, default)));
    }

    [Fact]
    public async Task A_clock_of_a_host_that_is_wrong_by_years_changes_nothing()
    {
        var young = await Put("young");
        var clock = new TestClock();
        clock.Advance(TimeSpan.FromDays(10_000));
        Assert.Equal(new(0, 0, 1), await blobs.Sweep(Day, dryRun: false, clock, default));
        Assert.NotNull(await blobs.Get(young, default));
    }

    [Fact]
    public async Task What_was_removed_cannot_be_named()
    {
        var old = await Put("old");
        Age(Pending(old));
        await Sweep();
        await Assert.ThrowsAsync<InvalidDataException>(async () => await blobs.Keep([old], default));
        Assert.Equal(old, await Put("old"));
        await blobs.Keep([old], default);
        Assert.Equal("old", Text(await blobs.Get(old, default)));
    }

    [Fact]
    public async Task What_is_taken_back_is_young_and_found_until_it_is_swept_or_named_again()
    {
        var (gone, named) = (await Put("gone"), await Put("named"));
        await blobs.Keep([gone, named], default);
        foreach (var sha256 in (string[])[gone, named])
        {
            Age(Path.Combine(directory, sha256[..2], sha256));
            await blobs.Withdraw(sha256, default);
            await blobs.Withdraw(sha256, default);
            Assert.NotNull(await blobs.Get(sha256, default));
        }
        Assert.Equal(new(0, 0, 2), await Sweep());
        await blobs.Keep([named], default);
        Age(Pending(gone));
        Assert.Equal(new(1, 4, 0), await Sweep());
        Assert.Null(await blobs.Get(gone, default));
        Assert.Equal("named", Text(await blobs.Get(named, default)));
        foreach (var nothing in (string[])[gone, "", "../../../etc/passwd"])
        {
            await blobs.Withdraw(nothing, default);
        }
    }

    [Theory]
    [InlineData("../../../etc/passwd")]
    [InlineData("")]
    public async Task Nothing_else_can_be_named(string digest) =>
        await Assert.ThrowsAsync<InvalidDataException>(async () => await blobs.Keep([digest], default));

    [Fact]
    public async Task Putting_something_again_makes_it_young()
    {
        var sha256 = await Put("again");
        Age(Pending(sha256));
        await Put("again");
        Assert.Equal(new(0, 0, 1), await Sweep());
        Assert.NotNull(await blobs.Get(sha256, default));
    }

    [Fact]
    public async Task One_host_sweeps_at_a_time()
    {
        await Put("one");
        using (new FileStream(Path.Combine(directory, ".sweep"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None))
        {
            Assert.Null(await Sweep());
        }
        Assert.NotNull(await Sweep());
    }

    /// <summary>
    /// Two hosts store, name and repeat few contents, and age what is pending, while two sweep. The files are the model: whatever was kept is there, with its bytes, and
    /// naming fails only for what was old.
    /// </summary>
    [Fact]
    public async Task Nothing_that_was_named_is_ever_removed_whoever_sweeps_at_the_same_time()
    {
        foreach (var seed in Seeds.Many(4, 2_000))
        {
            var here = Directory.CreateDirectory(Path.Combine(directory, seed.ToString(CultureInfo.InvariantCulture))).FullName;
            var named = new ConcurrentDictionary<string, byte[]>();
            using var stop = new CancellationTokenSource();
            var sweepers = Enumerable.Range(0, 2).Select(_ => Task.Run(async () =>
            {
                var mine = new FileBlobs(here);
                while (!stop.IsCancellationRequested)
                {
                    await mine.Sweep(Day, dryRun: false, TimeProvider.System, default);
                }
            })).ToArray();
            await Task.WhenAll(Enumerable.Range(0, 2).Select(host => Task.Run(async () =>
            {
                var (mine, random) = (new FileBlobs(here), new Random((seed * 2) + host));
                for (var i = 0; i < 60; i++)
                {
                    var bytes = Encoding.UTF8.GetBytes($"content {random.Next(8)} of {seed}");
                    var sha256 = await mine.Put(bytes, default);
                    var isAged = random.Next(3) == 0 && Age(Path.Combine(here, "pending", sha256));
                    if (random.Next(2) == 0)
                    {
                        try
                        {
                            await mine.Keep([sha256], default);
                            named[sha256] = bytes;
                        }
                        catch (InvalidDataException)
                        {
                            // It was aged by this host or by the other, and swept.
                        }
                    }
                    foreach (var (digest, content) in named)
                    {
                        Assert.Equal(content, await mine.Get(digest, default));
                    }
                }
            })));
            await stop.CancelAsync();
            await Task.WhenAll(sweepers);
            foreach (var (digest, content) in named)
            {
                Assert.Equal(content, await new FileBlobs(here).Get(digest, default));
            }
        }
    }

    /// <summary>A host that dies in the middle of a sweep leaves what the next one removes, and what was named stays.</summary>
    [Fact]
    public async Task A_sweep_that_died_is_finished_by_the_next()
    {
        var old = await Put("old");
        Age(Pending(old));
        File.Move(Pending(old), Path.Combine(directory, "pending", ".taken"));
        await Assert.ThrowsAsync<InvalidDataException>(async () => await blobs.Keep([old], default));
        Assert.Equal(new(1, 3, 0), await Sweep());
    }

    ValueTask<string> Put(string text) => blobs.Put(Encoding.UTF8.GetBytes(text), default);

    ValueTask<SweepResult?> Sweep(bool dryRun = false) => blobs.Sweep(Day, dryRun, TimeProvider.System, default);

    string Pending(string sha256) => Path.Combine(directory, "pending", sha256);

    static string? Text(byte[]? bytes) => bytes is null ? null : Encoding.UTF8.GetString(bytes);

    /// <summary>Two days old. False: it is not there any more.</summary>
    static bool Age(string path)
    {
        try
        {
            File.SetLastWriteTimeUtc(path, File.GetLastWriteTimeUtc(path).AddDays(-2));
            return true;
        }
        catch (Exception e) when (e is FileNotFoundException or ArgumentOutOfRangeException)
        {
            return false;
        }
    }
}
