using System.IO.Compression;

namespace Cowork.Web.Tests;

/// <summary>Documents that were uploaded, as the program beside the host reads them.</summary>
public sealed class DocumentSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    static byte[] Docx(string text)
    {
        using var bytes = new MemoryStream();
        using (var zip = new ZipArchive(bytes, ZipArchiveMode.Create, leaveOpen: true))
        {
            Add("[Content_Types].xml",
                """
                <Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
                <Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>
                """);
            Add("_rels/.rels",
                """
                <Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Target="word/document.xml"
                Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>
                """);
            Add("word/document.xml",
                $"<w:document xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>");

            void Add(string name, string content)
            {
                using var entry = new StreamWriter(zip.CreateEntry(name).Open());
                entry.Write(content);
            }
        }
        return bytes.ToArray();
    }

    /// <summary>Each answer comes from the program: the host has not loaded a parser.</summary>
    [Fact]
    public async Task Documents_are_read_by_a_program_that_the_host_never_loads()
    {
        (string Name, byte[] Content, string Ended)[] documents =
        [
            ("report.docx", Docx("The turnover of quarterly zebras"), "ready  application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            ("page.html", "<title>Zebras</title><script>no</script>"u8.ToArray(), "ready  text/html"),
            ("lie.pdf", [.. "MZ"u8, 0, 1, 2, 3], "failed wrong_type"),
            ("broken.pdf", "%PDF-1.7 and nothing else"u8.ToArray(), "failed broken_document"),
            ("empty.txt", [], "failed empty_file"),
        ];
        foreach (var (name, content, ended) in documents)
        {
            var id = (await http.Upload(content, name)).Is(201)["id"];
            var file = await http.Until($"/api/v1/files/{id}", got => got["status"] != "processing");
            Assert.StartsWith(ended, $"{file["status"]} {file["status_code"]} {file["mime_type"]}", StringComparison.Ordinal);
        }
        Assert.DoesNotContain(
            AppDomain.CurrentDomain.GetAssemblies(),
            assembly => assembly.GetName().Name is { } name && (name.StartsWith("UglyToad", StringComparison.Ordinal) || name.StartsWith("AngleSharp", StringComparison.Ordinal)
                || name.StartsWith("DocumentFormat", StringComparison.Ordinal) || name == "Cowork.Documents"));
    }
}
