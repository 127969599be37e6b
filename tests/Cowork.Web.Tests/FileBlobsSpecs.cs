using System.Security.Cryptography;
using System.Text;

namespace Cowork.Web.Tests;

public sealed class FileBlobsSpecs : IDisposable
{
    readonly string directory = Directory.CreateTempSubdirectory("cowork-blobs-").FullName;
    readonly FileBlobs blobs;

    public FileBlobsSpecs() => blobs = new(directory);

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Theory]
    [InlineData("")]
    [InlineData("some text")]
    public async Task What_is_put_is_there_under_its_digest(string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        var sha256 = await blobs.Put(bytes, default);
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(bytes)), sha256);
        Assert.Equal(bytes, await blobs.Get(sha256, default));
        await blobs.Keep([sha256], default);
        Assert.Equal(bytes, await blobs.Get(sha256, default));
        Assert.Equal(bytes, await File.ReadAllBytesAsync(Path.Combine(directory, sha256[..2], sha256)));
    }

    [Fact]
    public async Task An_archive_lies_under_its_name_is_replaced_whole_and_no_sweep_takes_it()
    {
        const string Name = "groups/grp_1/archives/20260101T090000000Z.json";
        Assert.Null(await blobs.OpenArchive(Name, default));
        foreach (var text in (string[])["first", "second"])
        {
            await blobs.WriteArchive(Name, new MemoryStream(Encoding.UTF8.GetBytes(text)), default);
            Assert.Equal(text, await File.ReadAllTextAsync(Path.Combine(directory, Name)));
            using var opened = new StreamReader((await blobs.OpenArchive(Name, default))!);
            Assert.Equal(text, await opened.ReadToEndAsync());
        }
        using var closed = new MemoryStream();
        closed.Close();
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await blobs.WriteArchive(Name, closed, default));
        await blobs.Sweep(TimeSpan.FromDays(-1), dryRun: false, TimeProvider.System, default);
        Assert.Equal("second", await File.ReadAllTextAsync(Path.Combine(directory, Name)));
        Assert.Equal(Path.Combine(directory, Name), Assert.Single(Directory.GetFiles(directory, "*.json", SearchOption.AllDirectories)));
        Assert.Empty(Directory.GetFiles(Path.Combine(directory, "pending")));
    }

    [Fact]
    public async Task The_same_bytes_from_many_writers_of_two_hosts_are_one_file()
    {
        var bytes = Enumerable.Range(0, 200_000).Select(i => (byte)(i % 251)).ToArray();
        var other = new FileBlobs(directory);
        var digests = await Task.WhenAll(Enumerable.Range(0, 32).Select(i => Task.Run(async () => await (i % 2 == 0 ? blobs : other).Put(bytes, default))));
        await Task.WhenAll(Enumerable.Range(0, 32).Select(i => Task.Run(async () => await (i % 2 == 0 ? blobs : other).Keep(digests, default))));
        var sha256 = Assert.Single(digests.Distinct());
        Assert.Equal(Path.Combine(directory, sha256[..2], sha256), Assert.Single(Directory.GetFiles(directory, "*", SearchOption.AllDirectories)));
        Assert.Equal(bytes, await blobs.Get(sha256, default));
    }

    [Fact]
    public async Task A_file_that_was_cut_short_is_written_anew()
    {
        var bytes = "some text"u8.ToArray();
        var sha256 = await blobs.Put(bytes, default);
        await blobs.Keep([sha256], default);
        await File.WriteAllTextAsync(Path.Combine(directory, sha256[..2], sha256), "some");
        await blobs.Put(bytes, default);
        await blobs.Keep([sha256], default);
        Assert.Equal(bytes, await blobs.Get(sha256, default));
    }

    [Fact]
    public async Task A_cancelled_writer_leaves_nothing_behind()
    {
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await blobs.Put("x"u8.ToArray(), new CancellationToken(canceled: true)));
        Assert.Empty(Directory.GetFiles(directory, "*", SearchOption.AllDirectories));
    }

    [Theory]
    [InlineData("0000000000000000000000000000000000000000000000000000000000000000")]
    [InlineData("")]
    [InlineData("../../etc/passwd")]
    [InlineData("..00000000000000000000000000000000000000000000000000000000000000")]
    [InlineData("E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855")]
    public async Task There_is_nothing_under_any_other_name(string sha256)
    {
        await blobs.Put(Array.Empty<byte>(), default);
        Assert.Null(await blobs.Get(sha256, default));
    }
}
