using System.Buffers.Binary;
using System.Text;

using Cowork.Domain;

namespace Cowork.Documents.Tests;

/// <summary>Reads documents in this process, for specs that ask what a document's text is.</summary>
static class Reading
{
    /// <summary>The text, or how the reading ended without one.</summary>
    public static (string Text, ReadingEnd End) Of(byte[] document, string ending = "", string declared = "", int bytesMax = 1 << 20)
    {
        var path = Path.Combine(Path.GetTempPath(), $"cowork-{Ids.NewKey(TimeProvider.System.GetUtcNow())}");
        using var file = new FileStream(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.Read, 4096, FileOptions.DeleteOnClose);
        file.Write(document);
        file.Position = 0;
        using var output = new MemoryStream();
        var end = DocumentReader.Read(file, ending, declared, new(output, bytesMax), new(TimeSpan.FromMinutes(1), TimeProvider.System));
        return (Encoding.UTF8.GetString(Frames(output.ToArray())), end);
    }

    public static string Text(byte[] document, string ending = "", string declared = "")
    {
        var (text, end) = Of(document, ending, declared);
        Assert.Equal("", end.Code);
        return text;
    }

    public static string Code(byte[] document, string ending = "", string declared = "")
    {
        var (_, end) = Of(document, ending, declared);
        Assert.EndsWith(".", end.Detail, StringComparison.Ordinal);
        return end.Code;
    }

    static byte[] Frames(ReadOnlySpan<byte> bytes)
    {
        var text = new List<byte>();
        while (bytes.Length > 0)
        {
            var length = BinaryPrimitives.ReadInt32LittleEndian(bytes);
            text.AddRange(bytes.Slice(4, length));
            bytes = bytes[(4 + length)..];
        }
        return [.. text];
    }
}
