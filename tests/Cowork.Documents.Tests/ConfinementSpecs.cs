using System.Diagnostics;
using System.Globalization;
using System.Text;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Testing;

using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Documents.Tests;

/// <summary>The process that reads a document, and the host's side of it.</summary>
public sealed class ConfinementSpecs : IDisposable
{
    const int MiB = 1 << 20;

    static readonly string Program = Path.Combine(AppContext.BaseDirectory, "Cowork.Documents.dll");

    readonly string folder = Directory.CreateTempSubdirectory("cowork-documents-").FullName;
    readonly ConfinedDocumentText documents;

    public ConfinementSpecs() => documents = With(ExtractionLimits.Default);

    public void Dispose()
    {
        documents.Dispose();
        Directory.Delete(folder, recursive: true);
    }

    ConfinedDocumentText With(ExtractionLimits limits) => new(limits, folder, TimeProvider.System, NullLogger<ConfinedDocumentText>.Instance);

    Task<DocumentText> Extract(byte[] document, string name, CancellationToken ct = default) => documents.Extract(new MemoryStream(document), name, null, ct);

    static DocumentText.Extracted Extracted(DocumentText text) => text as DocumentText.Extracted ?? throw new Xunit.Sdk.XunitException($"{text}");

    static string Code(DocumentText text) => text is DocumentText.Failed failed ? failed.Code : $"{text}";

    [Fact]
    public async Task A_documents_text_comes_back_from_its_process()
    {
        var text = Extracted(await Extract(Sample.Pdf("Hello, world"), "Bericht 😀.PDF"));
        Assert.Equal(("application/pdf", "Hello, world\n\f", false), (text.MediaType, Encoding.UTF8.GetString(text.Utf8.Span), text.IsCut));
        Assert.Empty(Directory.GetFiles(folder));
    }

    public static TheoryData<string, byte[], string> Kinds => new()
    {
        { "a.docx", Sample.Docx("Über uns"), "Über uns\nKopfzeile\n" },
        { "a.xlsx", Sample.Xlsx(), "Zahlen\nUmsatz\t\tZeile zwei\n12.5\t2026-01-01\tTRUE\n\f" },
        { "a.pptx", Sample.Pptx("Eins"), "Eins\n\f" },
        { "a.html", "<title>T</title><p>Eins"u8.ToArray(), "T\nEins\n" },
        { "a.csv", [0xff, 0xfe, .. Encoding.Unicode.GetBytes("a;b\r\n")], "a;b\n" },
        { "a.md", "# Größe\n"u8.ToArray(), "# Größe\n" },
    };

    [Theory]
    [MemberData(nameof(Kinds), DisableDiscoveryEnumeration = true)]
    public async Task Every_kind_of_document_is_read_within_the_limits(string name, byte[] document, string text) =>
        Assert.Equal(text, Encoding.UTF8.GetString(Extracted(await Extract(document, name)).Utf8.Span));

    [Fact]
    public async Task A_file_is_read_where_it_lies()
    {
        var path = Path.Combine(folder, "notes");
        await File.WriteAllTextAsync(path, "from a file");
        await using var file = File.OpenRead(path);
        var text = Extracted(await documents.Extract(file, "notes.txt", "text/plain; charset=utf-8", default));
        Assert.Equal("from a file", Encoding.UTF8.GetString(text.Utf8.Span));
    }

    [Fact]
    public async Task A_text_is_cut_at_its_limit()
    {
        var line = Encoding.UTF8.GetBytes("Eine Zeile, die sich wiederholt.\n");
        var text = Extracted(await Extract([.. Enumerable.Repeat(line, 600_000).SelectMany(l => l)], "long.txt"));
        Assert.True(text.IsCut);
        Assert.InRange(text.Utf8.Length, DocumentText.BytesMax - 8, DocumentText.BytesMax);
    }

    /// <summary>The cells are no bomb: each row has its own numbers.</summary>
    [Fact]
    public async Task A_workbook_of_sixteen_million_cells_is_cut()
    {
        var random = new Random(Seeds.One(1));
        var rows = new StringBuilder();
        for (var row = 0; row < 100; row++)
        {
            rows.Append("<row>");
            for (var cell = 0; cell < 100; cell++)
            {
                rows.Append(CultureInfo.InvariantCulture, $"<c><v>{random.Next(100, 999)}</v></c>");
            }
            rows.Append("</row>");
        }
        const int times = 1_600;
        const string before = "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><sheetData>";
        const string after = "</sheetData></worksheet>";
        var document = Sample.PackageWith(
            Sample.Xlsx(), "xl/worksheets/sheet1.xml", Sample.Deflated(before, rows.ToString(), times, after), (uint)(before.Length + (rows.Length * times) + after.Length));
        var text = Extracted(await Extract(document, "cells.xlsx"));
        Assert.True(text.IsCut);
    }

    /// <summary>A document of 100 000 pages takes more memory as a tree of pages than there is.</summary>
    [Theory]
    [InlineData(12_000)]
    [InlineData(100_000)]
    public async Task A_pdf_of_too_many_pages_is_cut_or_refused(int count)
    {
        var pages = string.Join(' ', Enumerable.Range(0, count).Select(i => $"{i + 5} 0 R"));
        var document = Sample.RawPdf(
        [
            "<< /Type /Catalog /Pages 2 0 R >>", $"<< /Type /Pages /Count {count} /Kids [{pages}] >>", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            "<< /Length 36 >>\nstream\nBT /F 12 Tf 10 50 Td (Seite) Tj ET   \nendstream",
            .. Enumerable.Repeat("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R /Resources << /Font << /F 3 0 R >> >> >>", count),
        ]);
        switch (await Extract(document, "pages.pdf"))
        {
            case DocumentText.Extracted text:
                Assert.True(text.IsCut);
                Assert.StartsWith("Seite\n\fSeite\n\f", Encoding.UTF8.GetString(text.Utf8.Span[..100]), StringComparison.Ordinal);
                break;
            case DocumentText.Failed failed:
                Assert.Equal((100_000, DocumentFaults.ExtractionMemory), (count, failed.Code));
                break;
        }
    }

    public static TheoryData<string, byte[]> Hostile => new()
    {
        { "pages.pdf", Sample.RawPdf(["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [2 0 R] /Count 1 >>"]) },
        {
            "form.pdf",
            Sample.RawPdf(
            [
                "<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R /Resources << /XObject << /X 5 0 R >> >> >>", "<< /Length 5 >>\nstream\n/X Do\nendstream",
                "<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 5 0 R >> >> /Length 5 >>\nstream\n/X Do\nendstream",
            ])
        },
        { "length.pdf", Sample.RawPdf(["<< /Type /Catalog /Pages 2 0 R >>", "<< /Length 2 0 R >>\nstream\nx\nendstream"]) },
        { "reference.pdf", Sample.RawPdf(["2 0 R", "3 0 R", "2 0 R"]) },
        { "tables.pdf", Encoding.ASCII.GetBytes("%PDF-1.7\nxref\n0 1\n0000000000 65535 f \ntrailer\n<< /Size 1 /Root 1 0 R /Prev 9 >>\nstartxref\n9\n%%EOF\n") },
        { "arrays.pdf", Sample.RawPdf(["<< /Type /Catalog /Pages 2 0 R >>", new string('[', 300_000) + new string(']', 300_000)]) },
        { "deep.html", Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("<div>", 50_000)) + "end") },
        { "deep.docx", Sample.DocxWith(
            "<w:document xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"><w:body>" + string.Concat(Enumerable.Repeat("<w:p>", 200_000)) + "end") },
        { "deep.json", Encoding.ASCII.GetBytes(new string('[', 1_000_000)) },
    };

    /// <summary>Circles and depths: whatever the reader makes of them, it ends soon and answers.</summary>
    [Theory]
    [MemberData(nameof(Hostile), DisableDiscoveryEnumeration = true)]
    public async Task A_hostile_document_is_contained(string name, byte[] document)
    {
        using var quick = With(new(TimeSpan.FromSeconds(3), 256L * MiB, 1));
        var text = await quick.Extract(new MemoryStream(document), name, null, default);
        Assert.True(text is DocumentText.Extracted or DocumentText.Failed { Code: not DocumentFaults.ExtractionFailed }, $"{text}");
    }

    /// <summary>A page that takes more than 256 MiB as a tree, and a stream of a PDF that unpacks to 400 MiB.</summary>
    [Theory]
    [InlineData("tree.html")]
    [InlineData("stream.pdf")]
    public async Task A_document_that_takes_more_memory_than_it_may_is_refused(string name)
    {
        var document = name == "tree.html" ? Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("<b>x</b>", 400_000))) : PdfBomb();
        using var stop = new CancellationTokenSource();
        var peak = Peak(stop.Token);
        Assert.Equal(DocumentFaults.ExtractionMemory, Code(await Extract(document, name)));
        await stop.CancelAsync();
        Assert.InRange(await peak, 32L * MiB, 256L * MiB);
    }

    static byte[] PdfBomb()
    {
        var packed = Sample.Deflated("", new string(' ', MiB), 400, "");
        return Encoding.Latin1.GetBytes("%PDF-1.7\n").Concat(Encoding.Latin1.GetBytes(
            "1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n"
            + "3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R >>\nendobj\n"
            + $"4 0 obj\n<< /Filter /FlateDecode /Length {packed.Length + 6} >>\nstream\n\x78\x9c")).Concat(packed).Concat(new byte[4])
            .Concat(Encoding.Latin1.GetBytes("\nendstream\nendobj\ntrailer\n<< /Size 5 /Root 1 0 R >>\n%%EOF\n")).ToArray();
    }

    /// <summary>The most resident memory of any process that reads a document for this one.</summary>
    static async Task<long> Peak(CancellationToken ct)
    {
        var peak = 0L;
        while (!ct.IsCancellationRequested)
        {
            foreach (var reader in Readers())
            {
                peak = Math.Max(peak, Status(reader, "VmHWM:"));
            }
            await Task.Delay(1, CancellationToken.None);
        }
        return peak;
    }

    [Fact]
    public async Task A_document_that_takes_longer_than_it_may_is_refused()
    {
        using var quick = With(new(TimeSpan.FromSeconds(1), 256L * MiB, 1));
        Assert.Equal(DocumentFaults.ExtractionTimeout, Code(await quick.Extract(new MemoryStream(Slow), "slow.html", null, default)));
        Assert.Empty(Readers());
    }

    /// <summary>Tags that are closed in another order make a parser of web pages look through all that are open.</summary>
    static readonly byte[] Slow = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("<div>", 20_000)) + string.Concat(Enumerable.Repeat("<a><b></a>", 60_000)));

    [Fact]
    public async Task A_cancelled_extraction_leaves_no_process()
    {
        using var cancelled = new CancellationTokenSource();
        var extraction = Extract(Slow, "slow.html", cancelled.Token);
        await Patience.Until(() => Readers().Count > 0);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => extraction);
        Assert.Empty(Readers());
    }

    [Fact]
    public async Task A_process_that_is_killed_is_tried_again_once()
    {
        var extraction = Extract(Slow, "slow.html");
        var killed = new HashSet<int>();
        await Patience.Until(() =>
        {
            foreach (var reader in Readers().Where(killed.Add))
            {
                using var process = Process.GetProcessById(reader);
                process.Kill();
            }
            return extraction.IsCompleted;
        });
        Assert.Equal((DocumentFaults.ExtractionFailed, 2), (Code(await extraction), killed.Count));
    }

    [Fact]
    public async Task The_process_knows_nothing_of_the_hosts_environment()
    {
        Environment.SetEnvironmentVariable("COWORK_MASTER_KEY", "of the host");
        using var cancelled = new CancellationTokenSource();
        var extraction = Extract(Slow, "slow.html", cancelled.Token);
        await Patience.Until(() => Readers().Any(IsConfined));
        var reader = Readers().First(IsConfined);
        Assert.DoesNotContain("of the host", File.ReadAllText($"/proc/{reader}/environ"), StringComparison.Ordinal);
        Assert.DoesNotContain("slow", File.ReadAllText($"/proc/{reader}/cmdline"), StringComparison.Ordinal);
        Assert.Equal(0, Status(reader, "CapEff:"));
        Assert.Equal(1024, Status(reader, "NoNewPrivs:"));
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => extraction);
    }

    [Fact]
    public async Task A_confined_process_reaches_nothing_outside()
    {
        var secret = Path.Combine(folder, "admin-token");
        await File.WriteAllTextAsync(secret, "secret");
        var said = await Run(Program, "check", secret, Environment.ProcessId, secret, "/etc/passwd", Path.Combine(AppContext.BaseDirectory, "Cowork.Documents.Tests.runtimeconfig.json"));
        Assert.Equal("landlock\nseccomp", said);
        Assert.Equal("secret", await File.ReadAllTextAsync(secret));
    }

    /// <summary>As <c>dotnet publish</c> leaves it beside the host: without its list of files.</summary>
    [Fact]
    public async Task A_published_program_finds_its_parsers()
    {
        var published = Directory.CreateDirectory(Path.Combine(folder, "published")).FullName;
        foreach (var file in Directory.GetFiles(AppContext.BaseDirectory, "*.dll").Append(Path.ChangeExtension(Program, ".runtimeconfig.json")))
        {
            File.Copy(file, Path.Combine(published, Path.GetFileName(file)));
        }
        await File.WriteAllTextAsync(Path.Combine(published, "appsettings.json"), "secret");
        foreach (var (name, document) in ((string, byte[])[])[("a.pdf", Sample.Pdf("Hello")), ("a.docx", Sample.Docx("Hello")), ("a.html", "<p>Hello"u8.ToArray())])
        {
            var path = Path.Combine(folder, name);
            await File.WriteAllBytesAsync(path, document);
            Assert.Contains("Hello", await Run(Path.Combine(published, "Cowork.Documents.dll"), "read", path, Environment.ProcessId, Path.GetExtension(name)), StringComparison.Ordinal);
        }
        Assert.Equal(
            "landlock\nseccomp",
            await Run(Path.Combine(published, "Cowork.Documents.dll"), "check", Path.Combine(folder, "a.pdf"), Environment.ProcessId, Path.Combine(published, "appsettings.json")));
    }

    /// <summary>A shell is the host of a reader, and is killed.</summary>
    [Fact]
    public async Task A_reader_ends_with_its_host()
    {
        var document = Path.Combine(folder, "slow.html");
        await File.WriteAllBytesAsync(document, Slow);
        using var host = Process.Start(new ProcessStartInfo(
            "bash", ["-c", $"{Dotnet} exec {Program} read $$ {256 * MiB} 60 1000 {document} .html > >(cat) & wait"])
        { WorkingDirectory = "/", RedirectStandardOutput = true })!;
        await Patience.Until(() => Readers(host.Id).Any(IsConfined));
        host.Kill();
        await Patience.Until(() => Readers(host.Id).Count == 0);
    }

    static readonly string Dotnet = Path.GetFullPath(Path.Combine(System.Runtime.InteropServices.RuntimeEnvironment.GetRuntimeDirectory(), "../../../dotnet"));

    static async Task<string> Run(string program, string mode, string document, int host, params IEnumerable<string> about)
    {
        var start = new ProcessStartInfo(Dotnet, ["exec", program, mode, $"{host}", $"{256 * MiB}", "60", "1000", document, .. about]) { RedirectStandardOutput = true };
        using var process = Process.Start(start)!;
        var said = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return said;
    }

    /// <summary>Ids of the processes that read documents for a host.</summary>
    static List<int> Readers(int? host = null)
    {
        var readers = new List<int>();
        foreach (var entry in Directory.GetDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(entry), out var id) && Read($"{entry}/cmdline") is var line
                && line.Contains("Cowork.Documents.dll\0", StringComparison.Ordinal) && line.Contains($"read\0{host ?? Environment.ProcessId}\0", StringComparison.Ordinal))
            {
                readers.Add(id);
            }
        }
        return readers;
    }

    static bool IsConfined(int reader) => Read($"/proc/{reader}/cmdline").Contains("confined-read", StringComparison.Ordinal) && Status(reader, "Seccomp:") == 2048;

    /// <summary>A number of a process's status, times 1024.</summary>
    static long Status(int process, string name) =>
        Read($"/proc/{process}/status").Split('\n').FirstOrDefault(l => l.StartsWith(name, StringComparison.Ordinal)) is { } line
            ? long.Parse(line[name.Length..].Replace("kB", "", StringComparison.Ordinal).Trim(), name == "CapEff:" ? NumberStyles.HexNumber : NumberStyles.Integer) * 1024
            : 0;

    static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
