using System.IO.Compression;
using System.Text;

using Cowork.Domain;

namespace Cowork.Documents;

/// <summary>What a document is by its content.</summary>
/// <param name="MediaType">Without parameters.</param>
/// <param name="Form">How its text is read; null: it has none.</param>
/// <param name="Name">For people: "a PDF document".</param>
sealed record DocumentKind(string MediaType, DocumentForm? Form, string Name)
{
    public const string Docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    public const string Xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    public const string Pptx = "application/vnd.openxmlformats-officedocument.presentationml.presentation";

    /// <summary>Number of bytes that decide.</summary>
    public const int ProbeBytes = 64 * 1024;

    /// <summary>A PDF may have other bytes before its header (ISO 32000-1, annex H, note 13).</summary>
    const int PdfHeaderBytes = 1024;

    static readonly DocumentKind Pdf = new("application/pdf", DocumentForm.Pdf, "a PDF document");
    static readonly DocumentKind Unknown = new("application/octet-stream", null, "a binary file");

    /// <summary>First bytes of kinds that have no text.</summary>
    static readonly (string Start, DocumentKind Kind)[] Signatures =
    [
        ("\x89PNG\r\n\x1a\n", new("image/png", null, "a picture")),
        ("\xff\xd8\xff", new("image/jpeg", null, "a picture")),
        ("GIF87a", new("image/gif", null, "a picture")),
        ("GIF89a", new("image/gif", null, "a picture")),
        ("II*\0", new("image/tiff", null, "a picture")),
        ("MM\0*", new("image/tiff", null, "a picture")),
        ("MZ", new("application/vnd.microsoft.portable-executable", null, "a program")),
        ("\x7f" + "ELF", new("application/x-elf", null, "a program")),
        ("\xca\xfe\xba\xbe", new("application/java-vm", null, "a program")),
        ("\0asm", new("application/wasm", null, "a program")),
        ("\x1f\x8b", new("application/gzip", null, "an archive")),
        ("7z\xbc\xaf\x27\x1c", new("application/x-7z-compressed", null, "an archive")),
        ("Rar!\x1a\x07", new("application/vnd.rar", null, "an archive")),
        ("\xfd" + "7zXZ\0", new("application/x-xz", null, "an archive")),
        ("BZh", new("application/x-bzip2", null, "an archive")),
        ("\x28\xb5\x2f\xfd", new("application/zstd", null, "an archive")),
        ("SQLite format 3\0", new("application/vnd.sqlite3", null, "a database")),
        ("OggS", new("application/ogg", null, "a recording")),
        ("ID3", new("audio/mpeg", null, "a recording")),
        ("fLaC", new("audio/flac", null, "a recording")),
    ];

    /// <summary>Endings of names and media types that promise a kind with a signature.</summary>
    static readonly Dictionary<string, string> Promised = new(StringComparer.OrdinalIgnoreCase)
    {
        [".pdf"] = "application/pdf",
        [".docx"] = Docx,
        [".xlsx"] = Xlsx,
        [".pptx"] = Pptx,
        [".png"] = "image/png",
        [".jpg"] = "image/jpeg",
        [".jpeg"] = "image/jpeg",
        [".gif"] = "image/gif",
        ["application/pdf"] = "application/pdf",
        [Docx] = Docx,
        [Xlsx] = Xlsx,
        [Pptx] = Pptx,
        ["image/png"] = "image/png",
        ["image/jpeg"] = "image/jpeg",
        ["image/gif"] = "image/gif",
    };

    /// <summary>Media types of text by the ending of its name.</summary>
    static readonly Dictionary<string, string> TextTypes = new(StringComparer.OrdinalIgnoreCase)
    {
        [".csv"] = "text/csv",
        [".tsv"] = "text/tab-separated-values",
        [".tab"] = "text/tab-separated-values",
        [".md"] = "text/markdown",
        [".markdown"] = "text/markdown",
        [".json"] = "application/json",
        [".ipynb"] = "application/json",
        [".geojson"] = "application/geo+json",
        [".jsonl"] = "application/jsonl",
        [".ndjson"] = "application/jsonl",
        [".xml"] = "application/xml",
        [".svg"] = "image/svg+xml",
        [".css"] = "text/css",
        [".js"] = "text/javascript",
        [".mjs"] = "text/javascript",
        [".html"] = "text/html",
        [".htm"] = "text/html",
        [".xhtml"] = "text/html",
        [".rtf"] = "application/rtf",
    };

    /// <summary>Finds out what a document is, and whether its name or declared type lies about it.</summary>
    /// <param name="ending">Of the name, with its dot; may be empty.</param>
    /// <param name="declared">Media type without parameters; may be empty.</param>
    public static DocumentKind Of(FileStream file, string ending, string declared)
    {
        var start = new byte[ProbeBytes];
        var length = file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
        file.Position = 0;
        var kind = OfContent(file, start.AsSpan(0, length), ending, declared);
        file.Position = 0;
        var promised = new[] { ending, declared }.Where(Promised.ContainsKey).Select(p => Promised[p]).ToList();
        return promised.Count > 0 && !promised.Contains(kind.MediaType)
            ? throw new KindException(kind, new(DocumentFaults.WrongType, $"The file is {kind.Name}, and not what its name or its declared type says."))
            : kind;
    }

    static DocumentKind OfContent(FileStream file, ReadOnlySpan<byte> start, string ending, string declared)
    {
        if (start[..Math.Min(start.Length, PdfHeaderBytes)].IndexOf("%PDF-"u8) >= 0)
        {
            return Pdf;
        }
        if (start.StartsWith("PK\x03\x04"u8) || start.StartsWith("PK\x05\x06"u8))
        {
            return OfPackage(file);
        }
        if (start.StartsWith((ReadOnlySpan<byte>)[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]))
        {
            return OfCompoundFile(file, ending, declared);
        }
        foreach (var (signature, kind) in Signatures)
        {
            // MZ and BZh also begin words.
            if (start.StartsWith(Encoding.Latin1.GetBytes(signature)) && (signature.Length > 3 || EncodedText.Detect(start, isWhole: false) is null))
            {
                return kind;
            }
        }
        if (start.Length > 12 && start.StartsWith("RIFF"u8))
        {
            return start[8..].StartsWith("WEBP"u8) ? new("image/webp", null, "a picture") : new("application/octet-stream", null, "a recording");
        }
        if (start.Length > 12 && start[4..].StartsWith("ftyp"u8))
        {
            return new("video/mp4", null, "a recording");
        }
        if (EncodedText.Detect(start, isWhole: start.Length < ProbeBytes) is not { } encoding)
        {
            return Unknown;
        }
        return OfText(encoding.GetString(start[..Math.Min(start.Length, 1024)]), ending, declared);
    }

    static DocumentKind OfText(string start, string ending, string declared)
    {
        if (TextTypes.TryGetValue(ending, out var type))
        {
            return new(type, type == "text/html" ? DocumentForm.Html : DocumentForm.Text, type == "text/html" ? "a web page" : "a text");
        }
        start = start.TrimStart('\ufeff', ' ', '\t', '\r', '\n');
        if (declared is "text/html" or "application/xhtml+xml"
            || ((ending.Length == 0 || Promised.ContainsKey(ending))
                && (start.StartsWith("<!doctype html", StringComparison.OrdinalIgnoreCase) || start.StartsWith("<html", StringComparison.OrdinalIgnoreCase))))
        {
            return new("text/html", DocumentForm.Html, "a web page");
        }
        return new(TextTypes.ContainsValue(declared) ? declared : "text/plain", DocumentForm.Text, "a text");
    }

    /// <summary>An Office document is a ZIP archive with a part that lists the types of its parts.</summary>
    static DocumentKind OfPackage(FileStream file)
    {
        var archive = new DocumentKind("application/zip", null, "an archive");
        try
        {
            using var zip = new ZipArchive(file, ZipArchiveMode.Read, leaveOpen: true);
            if (zip.Entries.Count > OfficePackage.PartsMax)
            {
                throw new KindException(archive, new(DocumentFaults.CompressionBomb, "The archive has far more parts than a document."));
            }
            if (zip.Entries.Any(OfficePackage.IsBomb))
            {
                throw new KindException(archive, new(DocumentFaults.CompressionBomb, "The archive unpacks to far more than a document of its size should."));
            }
            if (zip.GetEntry("[Content_Types].xml") is null)
            {
                return archive;
            }
            var names = zip.Entries.Select(e => e.FullName).ToHashSet(StringComparer.OrdinalIgnoreCase);
            return names.Contains("word/document.xml") || names.Any(n => n.StartsWith("word/", StringComparison.OrdinalIgnoreCase))
                ? new(Docx, DocumentForm.Word, "a Word document")
                : names.Any(n => n.StartsWith("xl/", StringComparison.OrdinalIgnoreCase))
                    ? new(Xlsx, DocumentForm.Workbook, "a workbook")
                    : names.Any(n => n.StartsWith("ppt/", StringComparison.OrdinalIgnoreCase)) ? new(Pptx, DocumentForm.Slides, "a presentation") : archive;
        }
        catch (InvalidDataException)
        {
            // Cut off, or damaged: its name is all that says which kind it was.
            throw new KindException(archive, new(DocumentFaults.BrokenDocument, "The archive is damaged or incomplete."));
        }
    }

    /// <summary>Office writes an encrypted document, and one of its older formats, as a compound file (MS-CFB).</summary>
    static DocumentKind OfCompoundFile(FileStream file, string ending, string declared)
    {
        var bytes = new byte[Math.Min(file.Length, 1 << 20)];
        file.ReadExactly(bytes);
        var promised = Promised.GetValueOrDefault(ending) ?? Promised.GetValueOrDefault(declared);
        if (bytes.AsSpan().IndexOf(Encoding.Unicode.GetBytes("EncryptedPackage")) >= 0)
        {
            throw new KindException(
                new(promised ?? "application/x-ole-storage", null, "an encrypted document"),
                new(DocumentFaults.EncryptedDocument, "The document opens only with a password."));
        }
        throw new KindException(
            new("application/x-ole-storage", null, "a document of an older format"),
            new(DocumentFaults.NoText, "The document has one of Office's older formats. Save it as DOCX, XLSX or PPTX."));
    }
}

/// <summary>How the text of a document is read.</summary>
enum DocumentForm
{
    Pdf,
    Word,
    Workbook,
    Slides,
    Html,
    Text,
}

/// <summary>The document has no text that can be extracted, and its kind is known.</summary>
sealed class KindException(DocumentKind kind, DocumentException why) : Exception(why.Message)
{
    public DocumentKind Kind => kind;

    public DocumentException Why => why;
}
