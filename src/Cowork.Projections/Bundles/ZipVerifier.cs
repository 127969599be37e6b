using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>
/// Checks a bundle with contents. It reads the one form of archive that <see cref="ZipBundle"/> writes and refuses every other: an archive that tells two readers two things, or
/// unpacks to more than it is long, has another form. It unpacks nothing to the disk, and keeps nothing but the bundle in memory.
/// </summary>
static class ZipVerifier
{
    const string Archive = "archive";

    /// <summary>Longest name of an entry: a content's.</summary>
    const int NameBytesMax = 8 + 64;

    const int PieceBytes = 64 * 1024;

    /// <param name="file">It has a length and seeks.</param>
    /// <param name="anchors">As in <see cref="TraceVerifier.Verify"/>.</param>
    public static async Task<TraceReport> Check(Stream file, string? format, TrustAnchors? anchors, CancellationToken ct)
    {
        var (bundle, entries) = await Bundle(file, ct);
        var (report, fault) = TraceVerifier.Verify(bundle, format, anchors, ct);
        if (fault is not null)
        {
            throw Fault($"{ZipBundle.BundleName}: {fault.Location}", fault.Message);
        }
        var next = 1;
        foreach (var (sha256, bytes, mustBe) in ZipBundle.Contents(JsonElement.Parse(bundle, new() { MaxDepth = TraceVerifier.DepthMax })))
        {
            if (next == entries.Count || entries[next].Name != ZipBundle.ContentFolder + sha256)
            {
                Require(!mustBe, ZipBundle.ContentFolder + Quoted(sha256), "The content is missing, and the bundle has its bytes.");
                continue;
            }
            var entry = entries[next++];
            Require(entry.Bytes == bytes, entry.Name, $"The bundle gives {bytes} bytes.");
            Require(await Read(file, entry, ct) == sha256, entry.Name, "The bytes do not have the digest in their name.");
        }
        Require(next == entries.Count, next < entries.Count ? entries[next].Name : Archive, "The bundle names no such content, or it stands in another place.");
        // What the bundle leaves out may be here, and what it has is here.
        var artifacts = JsonElement.Parse(bundle).TryGetProperty("artifact_bytes", out var given) ? given : default;
        var there = entries.Select(entry => entry.Name).ToHashSet(StringComparer.Ordinal);
        var contents = artifacts.ValueKind == JsonValueKind.Array
            ? artifacts.EnumerateArray().Count(content => there.Contains(ZipBundle.ContentFolder + content.GetProperty("sha256").GetString()))
            : 0;
        return report! with { Artifacts = contents, LeftOut = report.Artifacts + report.LeftOut - contents };
    }

    /// <summary>The bundle as it lies in the archive, and all entries.</summary>
    /// <param name="file">It has a length and seeks.</param>
    public static async Task<(byte[] Bundle, List<ZipEntry> Entries)> Bundle(Stream file, CancellationToken ct)
    {
        var (directory, begin, count) = await Directory(file, ct);
        var entries = Entries(directory, begin, count);
        Require(entries is [{ Name: ZipBundle.BundleName }, ..], Archive, $"The first entry is not {ZipBundle.BundleName}.");
        Require(entries[0].Bytes <= TraceVerifier.BundleBytesMax, ZipBundle.BundleName, $"It has more than {TraceVerifier.BundleBytesMax} bytes.");
        var bundle = new byte[entries[0].Bytes];
        await Read(file, entries[0], ct, bundle);
        return (bundle, entries);
    }

    /// <summary>The directory of the archive, its place, and how many entries it says it has.</summary>
    static async Task<(byte[] Bytes, long Begin, int Count)> Directory(Stream file, CancellationToken ct)
    {
        Require(file.Length >= StoredZip.EndBytes, Archive, "It is cut.");
        Require(file.Length < uint.MaxValue, Archive, "It is a ZIP64 archive, or as long as one.");
        var tail = new byte[Math.Min(StoredZip.EndBytes + StoredZip.Zip64LocatorBytes, file.Length)];
        file.Position = file.Length - tail.Length;
        await file.ReadExactlyAsync(tail, ct);
        var end = tail.AsMemory(tail.Length - StoredZip.EndBytes);
        Require(U32(end, 0) == StoredZip.EndSignature && U16(end, 20) == 0, Archive, "It does not end with its directory: it is cut, something follows it, or it has a comment.");
        var isZip64 = U16(end, 10) == ushort.MaxValue || U32(end, 12) == uint.MaxValue || U32(end, 16) == uint.MaxValue
            || (tail.Length > StoredZip.EndBytes && U32(tail.AsMemory(), tail.Length - StoredZip.EndBytes - StoredZip.Zip64LocatorBytes) == StoredZip.Zip64LocatorSignature);
        Require(!isZip64, Archive, "It is a ZIP64 archive.");
        Require(U16(end, 4) == 0 && U16(end, 6) == 0 && U16(end, 8) == U16(end, 10), Archive, "It has several parts.");
        var (count, size, begin) = ((int)U16(end, 10), U32(end, 12), U32(end, 16));
        Require(begin + (long)size + StoredZip.EndBytes == file.Length, Archive, "Its directory does not end where the archive does.");
        Require(size <= (long)count * (StoredZip.CentralBytes + NameBytesMax), Archive, "Its directory is longer than that of any bundle.");
        var directory = new byte[size];
        file.Position = begin;
        await file.ReadExactlyAsync(directory, ct);
        return (directory, begin, count);
    }

    /// <summary>The entries of a directory: each begins where the one before it ends, and the last ends where the directory begins.</summary>
    static List<ZipEntry> Entries(byte[] directory, long begin, int count)
    {
        var entries = new List<ZipEntry>(count);
        var names = new HashSet<string>(StringComparer.Ordinal);
        var (at, offset) = (0, 0L);
        for (var i = 0; i < count; i++)
        {
            var place = $"entry {i + 1}";
            Require(directory.Length - at >= StoredZip.CentralBytes && U32(directory, at) == StoredZip.CentralSignature, place, "The directory has no such entry.");
            var header = directory.AsMemory(at, StoredZip.CentralBytes);
            var length = U16(header, 28);
            Require(length <= NameBytesMax && directory.Length - at - StoredZip.CentralBytes >= length, place, "Its name is longer than any of a bundle.");
            var name = Encoding.Latin1.GetString(directory, at + StoredZip.CentralBytes, length);
            CheckName(name, place);
            Require(names.Add(name), place, $"{Quoted(name)} stands twice.");
            CheckHeader(header[6..], place);
            Require(U16(header, 30) == 0 && U16(header, 32) == 0, place, "It has an extra field (ZIP64 or another one) or a comment.");
            Require(U16(header, 34) == 0 && U16(header, 36) == 0 && U32(header, 38) == 0 && U16(header, 4) == StoredZip.Version, place,
                "It has attributes: it is a symbolic link, a device, or not of ours.");
            Require(U32(header, 42) == offset, place, "It does not begin where the entry before it ends.");
            var entry = new ZipEntry(name, U32(header, 16), U32(header, 24), offset);
            Require(U32(header, 20) == entry.Bytes, place, "It is packed: it would unpack to more or less than it is long.");
            entries.Add(entry);
            offset = entry.ContentOffset + entry.Bytes;
            at += StoredZip.CentralBytes + length;
        }
        Require(at == directory.Length, Archive, "Its directory has more than its entries.");
        Require(offset == begin, Archive, "Something lies between the last entry and the directory.");
        return entries;
    }

    static void CheckName(string name, string place)
    {
        Require(!name.StartsWith('/') && name.AsSpan().IndexOfAny('\\', ':') < 0, place, $"{Quoted(name)} is an absolute name.");
        Require(!name.Split('/').Any(part => part is ".." or "."), place, $"{Quoted(name)} leads out of its folder.");
        Require(
            name == ZipBundle.BundleName
            || (name.StartsWith(ZipBundle.ContentFolder, StringComparison.Ordinal) && name.Length == NameBytesMax && name.AsSpan(8).IndexOfAnyExcept(Hex) < 0),
            place, $"A bundle has no {Quoted(name)}.");
    }

    static readonly System.Buffers.SearchValues<char> Hex = System.Buffers.SearchValues.Create("0123456789abcdef");

    /// <summary>What both headers of an entry have, from the version that is needed on.</summary>
    static void CheckHeader(ReadOnlyMemory<byte> header, string place)
    {
        var flags = U16(header, 2);
        Require((flags & 1) == 0, place, "It is encrypted.");
        Require(flags == 0, place, "It has a data descriptor or other flags that no entry of a bundle has.");
        Require(U16(header, 4) == 0, place, "It is compressed: an entry of a bundle is stored.");
        Require(
            U16(header, 0) == StoredZip.Version && U16(header, 6) == 0 && U16(header, 8) == StoredZip.FirstDay, place,
            "Its version or time is not that of any entry of a bundle.");
    }

    /// <summary>Reads an entry, and answers the digest of its content.</summary>
    /// <param name="into">As long as the content; null: it is not kept.</param>
    static async Task<string> Read(Stream file, ZipEntry entry, CancellationToken ct, byte[]? into = null)
    {
        var header = new byte[StoredZip.LocalBytes + entry.Name.Length];
        file.Position = entry.Offset;
        await file.ReadExactlyAsync(header, ct);
        Require(U32(header, 0) == StoredZip.LocalSignature, entry.Name, "The entry does not begin where the directory says.");
        CheckHeader(header.AsMemory(4), entry.Name);
        Require(
            U32(header, 14) == entry.Crc && U32(header, 18) == entry.Bytes && U32(header, 22) == entry.Bytes && U16(header, 26) == entry.Name.Length && U16(header, 28) == 0
            && Encoding.Latin1.GetString(header, StoredZip.LocalBytes, entry.Name.Length) == entry.Name,
            entry.Name, "The entry says something else of itself than the directory.");
        using var digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var crc = 0u;
        var piece = into is null ? new byte[PieceBytes] : [];
        for (var done = 0L; done < entry.Bytes;)
        {
            var room = into?.AsMemory((int)done) ?? piece.AsMemory(0, (int)Math.Min(piece.Length, entry.Bytes - done));
            var read = await file.ReadAsync(room, ct);
            Require(read > 0, entry.Name, "It is cut.");
            digest.AppendData(room.Span[..read]);
            crc = StoredZip.Crc(crc, room.Span[..read]);
            done += read;
        }
        Require(crc == entry.Crc, entry.Name, "Its CRC-32 is another one.");
        return Convert.ToHexStringLower(digest.GetCurrentHash());
    }

    static ushort U16(ReadOnlyMemory<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.Span[at..]);

    static uint U32(ReadOnlyMemory<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.Span[at..]);

    /// <param name="Offset">Of its header.</param>
    internal readonly record struct ZipEntry(string Name, uint Crc, uint Bytes, long Offset)
    {
        public long ContentOffset => Offset + StoredZip.LocalBytes + Name.Length;
    }
}
