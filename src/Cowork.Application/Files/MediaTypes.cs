namespace Cowork.Application;

/// <summary>What a file is, as far as its first bytes and its name tell. The extraction of its text looks at all of it.</summary>
public static class MediaTypes
{
    const string Unknown = "application/octet-stream";

    /// <summary>Types whose content is a ZIP archive.</summary>
    const string OfOffice = "application/vnd.openxmlformats-officedocument.";

    /// <summary>The media type of a file, without parameters.</summary>
    /// <param name="start">Its first bytes.</param>
    /// <param name="isWhole">There are no more.</param>
    public static string Detect(string name, ReadOnlySpan<byte> start, bool isWhole)
    {
        var byName = OutputRoot.MediaType(name);
        if (Signature(start) is { } signature)
        {
            return signature == "application/zip" && byName.StartsWith(OfOffice, StringComparison.Ordinal) ? byName : signature;
        }
        // A name that promises more than text does not make text a picture.
        return FileText.DetectEncoding(start, isWhole) is null ? Unknown : IsText(byName) ? byName : "text/plain";
    }

    static bool IsText(string type) =>
        type.StartsWith("text/", StringComparison.Ordinal)
        || type is "application/json" or "application/x-ipynb+json" or "application/xml" or "application/yaml" or "image/svg+xml";

    static string? Signature(ReadOnlySpan<byte> start) =>
        start.StartsWith("%PDF-"u8) ? "application/pdf"
        : start.StartsWith((ReadOnlySpan<byte>)[0x89, (byte)'P', (byte)'N', (byte)'G']) ? "image/png"
        : start.StartsWith((ReadOnlySpan<byte>)[0xff, 0xd8, 0xff]) ? "image/jpeg"
        : start.StartsWith("GIF8"u8) ? "image/gif"
        : start.StartsWith("RIFF"u8) && start.Length >= 12 && start[8..12].SequenceEqual("WEBP"u8) ? "image/webp"
        : start.StartsWith((ReadOnlySpan<byte>)[(byte)'P', (byte)'K', 3, 4]) || start.StartsWith((ReadOnlySpan<byte>)[(byte)'P', (byte)'K', 5, 6]) ? "application/zip"
        : null;
}
