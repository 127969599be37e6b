using System.Security.Cryptography;
using System.Text.Json;

using Cowork.Application.Storage;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>A line of a bundle.</summary>
/// <param name="At">Its number from 1, as a place: <c>line 3</c>.</param>
/// <param name="Kind">Name of its member; of the first line <c>format</c>.</param>
/// <param name="Of">That member's value; of the first line the whole.</param>
/// <param name="Before">Hexadecimal SHA-256 of all bytes before the line. Only the last line's is computed.</param>
readonly record struct BundleLine(string At, string Kind, JsonElement Of, int Bytes, string? Before);

/// <summary>Reads a bundle in lines with as much memory as its longest line takes, and checks the canonical form and the digest at the end.</summary>
sealed class LineReader(Stream file) : IDisposable
{
    /// <summary>Longest line: a blob in base64.</summary>
    public const int LineBytesMax = 192 * 1024 * 1024;

    const int PieceBytes = 256 * 1024;

    readonly IncrementalHash digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    byte[] room = new byte[PieceBytes];
    int begin;
    int end;
    long line;

    public void Dispose() => digest.Dispose();

    /// <summary>The next line; null: the file has ended.</summary>
    /// <exception cref="TraceFaultException">It is no line of a bundle.</exception>
    public async ValueTask<BundleLine?> Next(CancellationToken ct)
    {
        line++;
        var at = $"line {line}";
        var length = await Fill(at, ct);
        if (length < 0)
        {
            return null;
        }
        var (json, whole) = (room.AsMemory(begin, length), room.AsMemory(begin, length + 1));
        begin += length + 1;
        return Parse(at, json, whole, ct);
    }

    BundleLine Parse(string at, ReadOnlyMemory<byte> json, ReadOnlyMemory<byte> whole, CancellationToken ct)
    {
        try
        {
            if (CanonicalJson.FirstDeviation(json.Span, TraceVerifier.DepthMax, ct) is { } wrong)
            {
                throw Fault($"{at}, byte {wrong}", "From here on the line is not in canonical form (RFC 8785).");
            }
            var root = Object(JsonElement.Parse(json.Span, new() { MaxDepth = TraceVerifier.DepthMax }), at);
            if (line == 1)
            {
                digest.AppendData(whole.Span);
                return new(at, "format", root, json.Length, null);
            }
            using var members = root.EnumerateObject();
            Require(members.MoveNext(), at, "The line is empty.");
            var (kind, of) = (members.Current.Name, members.Current.Value);
            Require(!members.MoveNext(), at, "The line has more than one member.");
            var before = kind == "end" ? Convert.ToHexStringLower(digest.GetCurrentHash()) : null;
            digest.AppendData(whole.Span);
            return new(at, kind, Object(of, at), json.Length, before);
        }
        catch (JsonException e)
        {
            throw Fault(at, $"It is no JSON that a bundle may hold: {Quoted(e.Message)}");
        }
    }

    /// <summary>Length of the next line without its end; -1: the file has ended.</summary>
    async ValueTask<int> Fill(string at, CancellationToken ct)
    {
        for (var looked = 0; ;)
        {
            if (room.AsSpan(begin + looked, end - begin - looked).IndexOf((byte)'\n') is >= 0 and var found)
            {
                return looked + found;
            }
            looked = end - begin;
            if (begin > 0)
            {
                Buffer.BlockCopy(room, begin, room, 0, looked);
                (begin, end) = (0, looked);
            }
            if (end == room.Length)
            {
                Require(end < LineBytesMax, at, $"The line has more than {LineBytesMax} bytes.");
                Array.Resize(ref room, Math.Min(room.Length * 2, LineBytesMax));
            }
            var read = await file.ReadAsync(room.AsMemory(end), ct);
            if (read == 0)
            {
                Require(end == begin, at, "The file ends within the line.");
                return -1;
            }
            end += read;
        }
    }
}
