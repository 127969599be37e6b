using System.Text;

using Cowork.Domain;
using Cowork.Testing;

namespace Cowork.Documents.Tests;

/// <summary>What the text of a document is.</summary>
public sealed class TextSpecs
{
    [Fact]
    public void A_pdf_gives_its_pages() => Assert.Equal("First page\n\fSecond page\n\f", Reading.Text(Sample.Pdf("First page", "Second page"), ".pdf", "application/pdf"));

    [Fact]
    public void A_word_document_gives_its_paragraphs_and_headers() => Assert.Equal("Über uns\nZweiter Absatz\nKopfzeile\n", Reading.Text(Sample.Docx("Über uns", "Zweiter Absatz"), ".docx"));

    [Fact]
    public void A_workbook_gives_its_rows_with_tabs() => Assert.Equal("Zahlen\nUmsatz\t\tZeile zwei\n12.5\t2026-01-01\tTRUE\n\f", Reading.Text(Sample.Xlsx(), ".xlsx"));

    [Fact]
    public void A_presentation_gives_its_slides() => Assert.Equal("Eins\n\fZwei\n\f", Reading.Text(Sample.Pptx("Eins", "Zwei"), ".pptx"));

    [Fact]
    public void Deleted_text_of_a_word_document_is_left_out() => Assert.Equal(
        "stays\tand\nthis\nKopfzeile\n",
        Reading.Text(Sample.DocxWith(
            """
            <w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>stays</w:t><w:tab/><w:t>and</w:t><w:br/></w:r>
            <w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:r><w:instrText>PAGE</w:instrText><w:t>this</w:t></w:r></w:p></w:body></w:document>
            """)));

    [Fact]
    public void A_web_page_gives_its_title_and_what_is_visible() => Assert.Equal(
        "Bericht\nUmsatz 12 %\nEins\nZwei\na\tb\t\n  pre\nEnde\n",
        Reading.Text(Encoding.UTF8.GetBytes(
            """
            <!doctype html><html><head><title>Bericht</title><style>p{}</style><script>alert(1)</script></head><body><h1>Umsatz
            <b>12&nbsp;%</b></h1><ul><li>Eins</li><li>Zwei</li></ul><p hidden>no</p><div style="display: none">no</div><!-- no --><template>no</template>
            <table><tr><td>a</td><td>b</td></tr></table><pre>
              pre</pre><svg><text>no</text></svg>Ende</body></html>
            """), ".html").Replace('\u00a0', ' '));

    [Theory]
    [InlineData(".md", "", "text/markdown")]
    [InlineData(".csv", "", "text/csv")]
    [InlineData(".tsv", "", "text/tab-separated-values")]
    [InlineData(".json", "", "application/json")]
    [InlineData(".cs", "", "text/plain")]
    [InlineData("", "text/csv", "text/csv")]
    [InlineData("", "application/octet-stream", "text/plain")]
    public void Text_is_what_it_is_called(string ending, string declared, string mediaType)
    {
        var (text, end) = Reading.Of("a;b\r\n1;2\rx\0\u0007y\n"u8.ToArray().Where(b => b != 0).ToArray(), ending, declared);
        Assert.Equal(("a;b\n1;2\nxy\n", mediaType), (text, end.MediaType));
    }

    [Theory]
    [InlineData("utf-8", false)]
    [InlineData("utf-8", true)]
    [InlineData("utf-16", true)]
    [InlineData("utf-16", false)]
    [InlineData("utf-16BE", true)]
    [InlineData("utf-16BE", false)]
    [InlineData("iso-8859-1", false)]
    public void Text_of_an_encoding_is_decoded(string name, bool withMark)
    {
        var encoding = Encoding.GetEncoding(name);
        byte[] bytes = [.. withMark ? encoding.GetPreamble() : [], .. encoding.GetBytes("Größe und Länge über alles: ein Café")];
        Assert.Equal("Größe und Länge über alles: ein Café", Reading.Text(bytes, ".txt"));
    }

    [Fact]
    public void Windows_1252_has_the_characters_that_latin_1_has_not() => Assert.Equal("10 € – „gut“", Reading.Text([.. "10 "u8, 0x80, 0x20, 0x96, 0x20, 0x84, .. "gut"u8, 0x93], ".txt"));

    [Fact]
    public void A_web_page_of_another_encoding_is_read_as_it_says() => Assert.Equal(
        "Привет\n", Reading.Text([.. "<html><meta charset=\"windows-1251\"><p>"u8, 0xcf, 0xf0, 0xe8, 0xe2, 0xe5, 0xf2], ".html"));

    [Fact]
    public void A_long_text_is_cut_after_a_whole_character()
    {
        var (text, end) = Reading.Of(Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("ä😀", 100_000))), ".txt", bytesMax: 100_001);
        Assert.True(end.IsCut);
        Assert.InRange(Encoding.UTF8.GetByteCount(text), 99_990, 100_001);
        Assert.DoesNotContain('\ufffd', text);
        Assert.StartsWith("ä😀ä😀", text, StringComparison.Ordinal);
    }

    [Fact]
    public void A_text_as_long_as_it_may_be_is_whole()
    {
        var (text, end) = Reading.Of(Encoding.UTF8.GetBytes(new string('x', 100_000)), ".txt", bytesMax: 100_004);
        Assert.Equal((100_000, false), (text.Length, end.IsCut));
    }

    [Theory]
    [MemberData(nameof(Faults), DisableDiscoveryEnumeration = true)]
    public void A_document_without_text_says_why(string what, byte[] document, string ending, string declared, string code)
    {
        var (text, end) = Reading.Of(document, ending, declared);
        Assert.Equal((what, code), (what, end.Code));
        Assert.EndsWith(".", end.Detail, StringComparison.Ordinal);
        if (end.Code != DocumentFaults.BrokenDocument)
        {
            Assert.True(string.IsNullOrWhiteSpace(text));
        }
    }

    static readonly byte[] Png = [0x89, .. "PNG\r\n\x1a\n"u8, 0, 0, 0, 13, .. "IHDR"u8];
    static readonly byte[] Exe = [.. "MZ"u8, 0x90, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0xff, 0xff, 0, 0];
    static readonly byte[] OldWord = [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1, .. new byte[1024]];

    public static TheoryData<string, byte[], string, string, string> Faults => new()
    {
        { "nothing", [], ".pdf", "application/pdf", "empty_file" },
        { "white space", "  \n\t "u8.ToArray(), ".txt", "", "no_text" },
        { "a picture", Png, ".png", "image/png", "no_text" },
        { "a program", Exe, ".exe", "", "no_text" },
        { "bytes", [1, 2, 3, 0, 0, 9, 8], "", "", "no_text" },
        { "a program called PDF", Exe, ".pdf", "application/pdf", "wrong_type" },
        { "a picture declared as PDF", Png, "", "application/pdf", "wrong_type" },
        { "a web page declared as PDF", "<html><p>Hi"u8.ToArray(), ".html", "application/pdf", "wrong_type" },
        { "a web page called PDF", "<html><p>Hi"u8.ToArray(), ".pdf", "", "wrong_type" },
        { "an archive called DOCX", Sample.Zip(("a.txt", "a"u8.ToArray())), ".docx", "", "wrong_type" },
        { "an archive within an archive called XLSX", Sample.Zip(("a.zip", Sample.Zip(("a.zip", Sample.Zip())))), ".xlsx", "", "wrong_type" },
        { "an archive", Sample.Zip(("a.txt", "a"u8.ToArray())), ".zip", "application/zip", "no_text" },
        { "a workbook called DOCX", Sample.Xlsx(), ".docx", "", "wrong_type" },
        { "a PDF that needs a password", Sample.EncryptedPdf(), ".pdf", "application/pdf", "encrypted_document" },
        { "a Word document that needs a password", [.. OldWord, .. Encoding.Unicode.GetBytes("EncryptedPackage")], ".docx", "", "encrypted_document" },
        { "a Word document of an older format", OldWord, ".doc", "application/msword", "no_text" },
        { "a PDF without letters", Sample.Pdf("", ""), ".pdf", "", "no_text" },
        { "a header of a PDF", "%PDF-1.7\n"u8.ToArray(), ".pdf", "", "broken_document" },
        { "half a workbook", Sample.Xlsx()[..400], ".xlsx", "", "broken_document" },
        {
            "a Word document with entities",
            Sample.DocxWith(
                """
                <!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
                <w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>&c;</w:t></w:r></w:p></w:body></w:document>
                """),
            ".docx", "", "broken_document"
        },
        {
            "a Word document with a file of the host",
            Sample.DocxWith(
                """
                <!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>
                <w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>&a;</w:t></w:r></w:p></w:body></w:document>
                """),
            ".docx", "", "broken_document"
        },
        {
            "a Word document that unpacks to a gigabyte",
            Sample.PackageWith(
                Sample.Docx("x"), "word/document.xml",
                Sample.Deflated("<w:document xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"><w:body>", new string(' ', 1 << 20), 1_000, "</w:body></w:document>"),
                1_000u << 20),
            ".docx", "", "compression_bomb"
        },
    };

    /// <summary>Whatever is changed in a document, its reading ends with a text or with a code.</summary>
    [Fact]
    public void A_damaged_document_is_read_or_refused()
    {
        (byte[] Document, string Ending)[] documents =
            [(Sample.Pdf("Hello", "world"), ".pdf"), (Sample.Docx("Hello"), ".docx"), (Sample.Xlsx(), ".xlsx"), (Sample.Pptx("Hello"), ".pptx"), ("<p>Hi<b>!"u8.ToArray(), ".html")];
        foreach (var seed in Seeds.Many(ordinary: 300, chaos: 20_000))
        {
            var random = new Random(seed);
            var (original, ending) = documents[random.Next(documents.Length)];
            var document = Damage(original, random);
            var (text, end) = Reading.Of(document, ending);
            Assert.True(end.Code.Length > 0 || !string.IsNullOrWhiteSpace(text), $"seed {seed}");
        }
    }

    static byte[] Damage(byte[] original, Random random)
    {
        var bytes = original.ToList();
        for (var i = random.Next(1, 12); i > 0; i--)
        {
            var at = random.Next(bytes.Count);
            switch (random.Next(5))
            {
                case 0:
                    bytes.RemoveRange(at, Math.Min(random.Next(1, 200), bytes.Count - at));
                    break;
                case 1:
                    bytes.InsertRange(at, bytes.GetRange(at, Math.Min(random.Next(1, 200), bytes.Count - at)));
                    break;
                case 2:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
                default:
                    bytes[at] = (byte)random.Next(256);
                    break;
            }
            if (bytes.Count == 0)
            {
                return [];
            }
        }
        return [.. bytes];
    }
}
