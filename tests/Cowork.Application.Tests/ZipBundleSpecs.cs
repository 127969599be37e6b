using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using System.Text.Json.Nodes;

using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A bundle with contents is one archive of one form, which every ZIP reader opens; the verifier refuses every other form, with its place.</summary>
public sealed class ZipBundleSpecs : IDisposable
{
    const string Small = "hello";

    static readonly string Large = new('l', 70_000);

    readonly Workspace work = new();
    readonly InMemoryBlobs blobs = new();

    public void Dispose() => work.Dispose();

    [Fact]
    public async Task An_archive_has_the_bundle_and_the_bytes_of_artifacts_and_blobs_and_is_the_same_every_time()
    {
        var (zip, built) = await Archive();
        var bundle = built.ToArray();
        var (report, fault) = await BundleLinesSpecs.Verify(zip);
        Assert.Null(fault);
        Assert.Equal((TraceBundle.Format, 2, 0), (report!.Format, report.Artifacts, report.LeftOut));
        Assert.Equal(TraceVerifier.Verify(bundle).Report!.Digest, report.Digest);
        // Every library reads it.
        using var archive = new ZipArchive(new MemoryStream(zip), ZipArchiveMode.Read);
        Assert.Equal("bundle.json", archive.Entries[0].FullName);
        string Text(ZipArchiveEntry entry) => new StreamReader(entry.Open(), Encoding.UTF8).ReadToEnd();
        Assert.Equal(bundle, Encoding.UTF8.GetBytes(Text(archive.Entries[0])));
        Assert.Equal([Small, Large], archive.Entries.Skip(1).Take(2).Select(Text));
        Assert.Equal(JsonNode.Parse(bundle)!["blobs"]!.AsArray().Count, archive.Entries.Count - 3);
    }

    [Fact]
    public async Task What_the_blob_store_has_lost_is_left_out()
    {
        var (_, bundle) = await Archive();
        var zip = await BundleLinesSpecs.Written(output => ZipBundle.Write(bundle, new Losing(blobs, Large), output, default));
        var (report, fault) = await BundleLinesSpecs.Verify(zip);
        Assert.Null(fault);
        Assert.Equal((1, 1), (report!.Artifacts, report.LeftOut));
        // What the bundle itself has cannot be lost.
        zip = await BundleLinesSpecs.Written(output => ZipBundle.Write(bundle, new Losing(blobs, Small), output, default));
        Assert.StartsWith("content/", (await BundleLinesSpecs.Verify(zip)).Fault!.Location, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Any_changed_byte_of_an_archive_is_found()
    {
        var (zip, _) = await Archive();
        var contents = zip.AsSpan().IndexOf(Encoding.ASCII.GetBytes("content/"));
        // The bundle's own bytes are tried elsewhere; here a sample, and each byte around the entries.
        foreach (var at in Enumerable.Range(0, 64).Concat(Enumerable.Range(contents - 64, 400)).Concat(Enumerable.Range(zip.Length - 500, 500)))
        {
            zip[at] ^= 0x10;
            Assert.True((await BundleLinesSpecs.Verify(zip)).Fault is not null, $"byte {at}");
            zip[at] ^= 0x10;
        }
        foreach (var length in (int[])[0, 1, 21, 100, zip.Length / 2, zip.Length - 1])
        {
            Assert.NotNull((await BundleLinesSpecs.Verify(zip[..length])).Fault);
        }
        Assert.NotNull((await BundleLinesSpecs.Verify([.. zip, 0])).Fault);
        Assert.NotNull((await BundleLinesSpecs.Verify([.. zip, .. zip])).Fault);
        Assert.Null((await BundleLinesSpecs.Verify(zip)).Fault);
    }

    public static TheoryData<string, string> Entries => new()
    {
        { "compressed", "compressed" },
        { "encrypted", "encrypted" },
        { "descriptor", "data descriptor" },
        { "twice", "stands twice" },
        { "../content", "leads out" },
        { "/etc/passwd", "absolute" },
        { "C:\\x", "absolute" },
        { "readme.txt", "A bundle has no" },
        { "symlink", "attributes" },
        { "comment", "comment" },
        { "extra", "extra field" },
        { "zip64", "ZIP64" },
        { "locator", "ZIP64" },
        { "crc", "CRC-32" },
        { "size", "packed" },
        { "gap", "between the last entry" },
        { "local", "something else of itself" },
        { "overlap", "does not begin where" },
        { "archive comment", "cut, something follows" },
        { "unnamed content", "names no such content" },
        { "other digest", "digest in their name" },
    };

    [Theory]
    [MemberData(nameof(Entries))]
    public async Task An_archive_of_another_form_is_refused_with_the_reason(string edit, string reason)
    {
        var (zip, built) = await Archive();
        var bundle = built.ToArray();
        var central = (int)BinaryPrimitives.ReadUInt32LittleEndian(zip.AsSpan(zip.Length - 6));
        var second = central + 46 + "bundle.json".Length;
        var name = Encoding.ASCII.GetString(zip, second + 46, 72);
        void Both(int local, int inCentral, ushort value)
        {
            var offset = (int)BinaryPrimitives.ReadUInt32LittleEndian(zip.AsSpan(second + 42));
            BinaryPrimitives.WriteUInt16LittleEndian(zip.AsSpan(offset + local), value);
            BinaryPrimitives.WriteUInt16LittleEndian(zip.AsSpan(second + inCentral), value);
        }
        switch (edit)
        {
            case "compressed":
                Both(8, 10, 8);
                break;
            case "encrypted":
                Both(6, 8, 1);
                break;
            case "descriptor":
                Both(6, 8, 8);
                break;
            case "twice":
                zip = await Made(bundle, (name, Small), (name, Small));
                break;
            case "../content" or "/etc/passwd" or "C:\\x" or "readme.txt":
                zip = await Made(bundle, (edit, Small));
                break;
            case "symlink":
                BinaryPrimitives.WriteUInt32LittleEndian(zip.AsSpan(second + 38), 0xA1FF0000);
                break;
            case "comment":
                BinaryPrimitives.WriteUInt16LittleEndian(zip.AsSpan(second + 32), 1);
                break;
            case "extra":
                BinaryPrimitives.WriteUInt16LittleEndian(zip.AsSpan(second + 30), 4);
                break;
            case "zip64":
                BinaryPrimitives.WriteUInt32LittleEndian(zip.AsSpan(zip.Length - 6), uint.MaxValue);
                break;
            case "locator":
                zip = [.. zip[..^22], 0x50, 0x4b, 0x06, 0x07, .. new byte[16], .. zip[^22..]];
                break;
            case "crc":
                var crc = BinaryPrimitives.ReadUInt32LittleEndian(zip.AsSpan(second + 16)) ^ 1;
                var offset = (int)BinaryPrimitives.ReadUInt32LittleEndian(zip.AsSpan(second + 42));
                BinaryPrimitives.WriteUInt32LittleEndian(zip.AsSpan(second + 16), crc);
                BinaryPrimitives.WriteUInt32LittleEndian(zip.AsSpan(offset + 14), crc);
                break;
            case "size":
                BinaryPrimitives.WriteUInt32LittleEndian(zip.AsSpan(second + 24), 1_000_000_000);
                break;
            case "gap":
                zip = [.. zip[..central], 0, .. zip[central..]];
                BinaryPrimitives.WriteUInt32LittleEndian(zip.AsSpan(zip.Length - 6), (uint)central + 1);
                break;
            case "local":
                zip[(int)BinaryPrimitives.ReadUInt32LittleEndian(zip.AsSpan(second + 42)) + 30] = (byte)'C';
                break;
            case "overlap":
                BinaryPrimitives.WriteUInt32LittleEndian(zip.AsSpan(second + 42), 0);
                break;
            case "archive comment":
                BinaryPrimitives.WriteUInt16LittleEndian(zip.AsSpan(zip.Length - 2), 1);
                zip = [.. zip, (byte)'x'];
                break;
            case "unnamed content":
                using (var archive = new ZipArchive(new MemoryStream(zip), ZipArchiveMode.Read))
                {
                    var all = archive.Entries.Skip(1).Select(entry => (entry.FullName, new StreamReader(entry.Open(), Encoding.UTF8).ReadToEnd())).ToArray();
                    zip = await Made(bundle, [.. all, ($"content/{new string('a', 64)}", Small)]);
                }
                break;
            default:
                zip = await Made(bundle, (name, "jello"));
                break;
        }
        var (report, fault) = await BundleLinesSpecs.Verify(zip);
        Assert.Null(report);
        Assert.Contains(reason, fault!.Message, StringComparison.Ordinal);
    }

    /// <summary>An archive in the right form with these entries behind the bundle.</summary>
    static async Task<byte[]> Made(byte[] bundle, params (string Name, string Text)[] entries) => await BundleLinesSpecs.Written(async output =>
    {
        var zip = new StoredZipWriter(output);
        foreach (var (name, bytes) in entries.Select(entry => (entry.Name, Encoding.UTF8.GetBytes(entry.Text))).Prepend(("bundle.json", bundle)))
        {
            await zip.Add(name, StoredZip.Crc(0, bytes), bytes.Length, new MemoryStream(bytes), default);
        }
        await zip.End(default);
    });

    async Task<(byte[] Zip, RunBundle Bundle)> Archive()
    {
        var bench = new RunHarness { Blobs = blobs, Workspace = work.Root, Tools = [new WriteFile(Policy.BuiltIn, blobs, Workspace.NoUploads)] };
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        var run = await host.Send("s", string.Join('\n', ["go", Call("a.txt", Small), Call("b.txt", Large)]));
        await host.Drive();
        var bundle = (await TraceBundle.Assemble(bench.Engine, blobs, RunHarness.Org, new("s"), run, default))!;
        var zip = await BundleLinesSpecs.Written(output => ZipBundle.Write(bundle, blobs, output, default));
        Assert.Equal(zip, await BundleLinesSpecs.Written(output => ZipBundle.Write(bundle, blobs, output, default)));
        return (zip, bundle);

        static string Call(string name, string content) =>
            $"write_file {System.Text.Json.JsonSerializer.Serialize(new { path = $".anton/output/{name}", content })}";
    }

    /// <summary>A blob store that has lost one text.</summary>
    sealed class Losing(IBlobs inner, string lost) : IBlobs
    {
        readonly string lost = NamedText.Digest(Content.Of(lost));

        public bool HasRoom() => inner.HasRoom();

        public ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct) => inner.Put(bytes, ct);

        public ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct) => inner.Put(bytes, ct);

        public ValueTask Keep(IReadOnlyCollection<string> digests, CancellationToken ct) => inner.Keep(digests, ct);

        public ValueTask<byte[]?> Get(string sha256, CancellationToken ct) => sha256 == lost ? new((byte[]?)null) : inner.Get(sha256, ct);

        public ValueTask<Stream?> Open(string sha256, CancellationToken ct) => sha256 == lost ? new((Stream?)null) : inner.Open(sha256, ct);
    }
}
