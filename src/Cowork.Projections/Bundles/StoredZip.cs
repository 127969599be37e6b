using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Text;

namespace Cowork.Projections;

/// <summary>
/// The form of ZIP archive that bundles have: entries that are stored and not compressed, one behind the other from the first byte on, without extra fields, comments, times
/// or attributes. So the same contents are the same bytes, whatever library reads or wrote them, and an archive is never smaller than what it unpacks to.
/// </summary>
public static class StoredZip
{
    internal const uint LocalSignature = 0x04034b50;
    internal const uint CentralSignature = 0x02014b50;
    internal const uint EndSignature = 0x06054b50;
    internal const uint Zip64LocatorSignature = 0x07064b50;

    internal const int LocalBytes = 30;
    internal const int CentralBytes = 46;
    internal const int EndBytes = 22;
    internal const int Zip64LocatorBytes = 20;

    /// <summary>2.0: what a reader must know to unpack a stored entry with a folder in its name.</summary>
    internal const ushort Version = 20;

    /// <summary>1980-01-01, the first day that the format has.</summary>
    internal const ushort FirstDay = 0x0021;

    /// <summary>Goes on with a CRC-32 as ZIP has it (ISO-HDLC, 0xEDB88320).</summary>
    /// <param name="crc">0 at the beginning.</param>
    public static uint Crc(uint crc, ReadOnlySpan<byte> bytes)
    {
        crc = ~crc;
        foreach (var b in bytes)
        {
            crc = Table[(crc ^ b) & 0xff] ^ (crc >> 8);
        }
        return ~crc;
    }

    static readonly uint[] Table = [.. Enumerable.Range(0, 256).Select(static i =>
    {
        var value = (uint)i;
        for (var bit = 0; bit < 8; bit++)
        {
            value = (value & 1) == 1 ? 0xEDB88320 ^ (value >> 1) : value >> 1;
        }
        return value;
    })];
}

/// <summary>Writes such an archive from its begin to its end.</summary>
public sealed class StoredZipWriter(PipeWriter output)
{
    const int PieceBytes = 64 * 1024;

    readonly List<(byte[] Name, uint Crc, uint Bytes, uint Offset)> entries = [];
    uint offset;

    /// <summary>Writes an entry whose bytes are there.</summary>
    /// <param name="name">ASCII.</param>
    /// <param name="content">Gone through twice.</param>
    public async Task Add(string name, IEnumerable<ReadOnlyMemory<byte>> content, CancellationToken ct)
    {
        var (crc, bytes) = content.Aggregate((Crc: 0u, Bytes: 0L), static (sum, piece) => (StoredZip.Crc(sum.Crc, piece.Span), sum.Bytes + piece.Length));
        Begin(name, crc, bytes);
        foreach (var piece in content)
        {
            await output.WriteAsync(piece, ct);
        }
    }

    /// <summary>Writes an entry.</summary>
    /// <param name="name">ASCII.</param>
    /// <param name="crc">Of all bytes.</param>
    /// <param name="bytes">Exactly so many are read.</param>
    public async Task Add(string name, uint crc, long bytes, Stream content, CancellationToken ct)
    {
        Begin(name, crc, bytes);
        for (var left = bytes; left > 0;)
        {
            var piece = output.GetMemory(PieceBytes);
            var read = await content.ReadAsync(piece[..(int)Math.Min(piece.Length, left)], ct);
            if (read == 0)
            {
                throw new InvalidDataException($"The content of {name} is shorter than it was.");
            }
            output.Advance(read);
            left -= read;
            await output.FlushAsync(ct);
        }
    }

    void Begin(string name, uint crc, long bytes)
    {
        var entry = (Name: Encoding.ASCII.GetBytes(name), crc, checked((uint)bytes), offset);
        entries.Add(entry);
        WriteLocal(entry);
        offset = checked(offset + (uint)(StoredZip.LocalBytes + entry.Name.Length) + (uint)bytes);
    }

    /// <summary>Writes the directory.</summary>
    public async Task End(CancellationToken ct)
    {
        var begin = offset;
        foreach (var entry in entries)
        {
            WriteCentral(entry);
            offset += (uint)(StoredZip.CentralBytes + entry.Name.Length);
        }
        WriteEnd(begin);
        await output.FlushAsync(ct);
    }

    void WriteLocal((byte[] Name, uint Crc, uint Bytes, uint Offset) entry)
    {
        var header = output.GetSpan(StoredZip.LocalBytes)[..StoredZip.LocalBytes];
        header.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(header, StoredZip.LocalSignature);
        Common(header[4..], entry);
        output.Advance(StoredZip.LocalBytes);
        output.Write(entry.Name);
    }

    void WriteCentral((byte[] Name, uint Crc, uint Bytes, uint Offset) entry)
    {
        var header = output.GetSpan(StoredZip.CentralBytes)[..StoredZip.CentralBytes];
        header.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(header, StoredZip.CentralSignature);
        BinaryPrimitives.WriteUInt16LittleEndian(header[4..], StoredZip.Version);
        Common(header[6..], entry);
        BinaryPrimitives.WriteUInt32LittleEndian(header[42..], entry.Offset);
        output.Advance(StoredZip.CentralBytes);
        output.Write(entry.Name);
    }

    void WriteEnd(uint begin)
    {
        var end = output.GetSpan(StoredZip.EndBytes)[..StoredZip.EndBytes];
        end.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(end, StoredZip.EndSignature);
        BinaryPrimitives.WriteUInt16LittleEndian(end[8..], (ushort)entries.Count);
        BinaryPrimitives.WriteUInt16LittleEndian(end[10..], (ushort)entries.Count);
        BinaryPrimitives.WriteUInt32LittleEndian(end[12..], offset - begin);
        BinaryPrimitives.WriteUInt32LittleEndian(end[16..], begin);
        output.Advance(StoredZip.EndBytes);
    }

    /// <summary>What both headers of an entry have, from the version that is needed on.</summary>
    static void Common(Span<byte> header, (byte[] Name, uint Crc, uint Bytes, uint Offset) entry)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(header, StoredZip.Version);
        BinaryPrimitives.WriteUInt16LittleEndian(header[8..], StoredZip.FirstDay);
        BinaryPrimitives.WriteUInt32LittleEndian(header[10..], entry.Crc);
        BinaryPrimitives.WriteUInt32LittleEndian(header[14..], entry.Bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(header[18..], entry.Bytes);
        BinaryPrimitives.WriteUInt16LittleEndian(header[22..], (ushort)entry.Name.Length);
    }
}
