using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

using DocumentFormat.OpenXml;
using DocumentFormat.OpenXml.Packaging;

using UglyToad.PdfPig.Content;
using UglyToad.PdfPig.Core;
using UglyToad.PdfPig.Fonts.Standard14Fonts;
using UglyToad.PdfPig.Writer;

using Draw = DocumentFormat.OpenXml.Drawing;
using Sheet = DocumentFormat.OpenXml.Spreadsheet;
using Slide = DocumentFormat.OpenXml.Presentation;
using Word = DocumentFormat.OpenXml.Wordprocessing;

namespace Cowork.Documents.Tests;

/// <summary>Documents made by the libraries that also read them, and hostile ones made by hand.</summary>
static class Sample
{
    public static byte[] Pdf(params IReadOnlyList<string> pages)
    {
        using var builder = new PdfDocumentBuilder();
        var font = builder.AddStandard14Font(Standard14Font.Helvetica);
        foreach (var text in pages)
        {
            var page = builder.AddPage(PageSize.A4);
            if (text.Length > 0)
            {
                page.AddText(text, 12, new PdfPoint(50, 700), font);
            }
        }
        return builder.Build();
    }

    /// <summary>A PDF of objects written by hand; the first one is its catalogue. A reader that is lenient finds them without a table.</summary>
    public static byte[] RawPdf(IEnumerable<string> objects, string trailer = "")
    {
        var bytes = new MemoryStream();
        var places = new List<long>();
        Write("%PDF-1.7\n");
        foreach (var (i, content) in objects.Index())
        {
            places.Add(bytes.Position);
            Write($"{i + 1} 0 obj\n{content}\nendobj\n");
        }
        var table = bytes.Position;
        Write($"xref\n0 {places.Count + 1}\n0000000000 65535 f \n");
        foreach (var place in places)
        {
            Write($"{place:0000000000} 00000 n \n");
        }
        Write($"trailer\n<< /Size {places.Count + 1} /Root 1 0 R {trailer} >>\nstartxref\n{table}\n%%EOF\n");
        return bytes.ToArray();

        void Write(string text) => bytes.Write(Encoding.Latin1.GetBytes(text));
    }

    /// <summary>Its user's password is not the empty one.</summary>
    public static byte[] EncryptedPdf() => RawPdf(
        [
            "<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>", "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] >>",
            $"<< /Filter /Standard /V 2 /R 3 /Length 128 /P -44 /O <{new string('1', 64)}> /U <{new string('2', 64)}> >>",
        ],
        $"/Encrypt 4 0 R /ID [<{new string('3', 32)}> <{new string('3', 32)}>]");

    public static byte[] Docx(params IReadOnlyList<string> paragraphs) => Package(stream =>
    {
        using var document = WordprocessingDocument.Create(stream, WordprocessingDocumentType.Document);
        var main = document.AddMainDocumentPart();
        main.Document = new(new Word.Body(paragraphs.Select(p => new Word.Paragraph(new Word.Run(new Word.Text(p) { Space = SpaceProcessingModeValues.Preserve })))));
        var header = main.AddNewPart<HeaderPart>();
        header.Header = new(new Word.Paragraph(new Word.Run(new Word.Text("Kopfzeile"))));
    });

    /// <summary>A workbook of one sheet "Zahlen" with a shared text, an inline text, numbers, a date and a truth.</summary>
    public static byte[] Xlsx() => Package(stream =>
    {
        using var document = SpreadsheetDocument.Create(stream, SpreadsheetDocumentType.Workbook);
        var book = document.AddWorkbookPart();
        book.AddNewPart<SharedStringTablePart>().SharedStringTable = new(new Sheet.SharedStringItem(new Sheet.Text("Umsatz")));
        book.AddNewPart<WorkbookStylesPart>().Stylesheet = new(
            new Sheet.Fonts(new Sheet.Font()), new Sheet.Fills(new Sheet.Fill()), new Sheet.Borders(new Sheet.Border()),
            new Sheet.CellFormats(new Sheet.CellFormat(), new Sheet.CellFormat { NumberFormatId = 14 }));
        var sheet = book.AddNewPart<WorksheetPart>();
        sheet.Worksheet = new(new Sheet.SheetData(
            new Sheet.Row(
                new Sheet.Cell { CellReference = "A1", DataType = Sheet.CellValues.SharedString, CellValue = new("0") },
                new Sheet.Cell { CellReference = "C1", DataType = Sheet.CellValues.InlineString, InlineString = new(new Sheet.Text("Zeile\nzwei")) }),
            new Sheet.Row(
                new Sheet.Cell { CellReference = "A2", CellValue = new("12.5") },
                new Sheet.Cell { CellReference = "B2", StyleIndex = 1, CellValue = new("46023") },
                new Sheet.Cell { CellReference = "C2", DataType = Sheet.CellValues.Boolean, CellValue = new("1") })));
        book.Workbook = new(new Sheet.Sheets(new Sheet.Sheet { Name = "Zahlen", SheetId = 1, Id = book.GetIdOfPart(sheet) }));
    });

    public static byte[] Pptx(params IReadOnlyList<string> slides) => Package(stream =>
    {
        using var document = PresentationDocument.Create(stream, PresentationDocumentType.Presentation);
        var presentation = document.AddPresentationPart();
        var ids = new Slide.SlideIdList();
        foreach (var (i, text) in slides.Index())
        {
            var slide = presentation.AddNewPart<SlidePart>();
            slide.Slide = new(new Slide.CommonSlideData(new Slide.ShapeTree(new Slide.Shape(new Slide.TextBody(
                new Draw.BodyProperties(), new Draw.Paragraph(new Draw.Run(new Draw.Text(text))))))));
            ids.Append(new Slide.SlideId { Id = (uint)(256 + i), RelationshipId = presentation.GetIdOfPart(slide) });
        }
        presentation.Presentation = new(ids);
    });

    static byte[] Package(Action<Stream> write)
    {
        using var bytes = new MemoryStream();
        write(bytes);
        return bytes.ToArray();
    }

    /// <summary>The same document with another body, as a part of the archive.</summary>
    public static byte[] DocxWith(string documentXml) => Replace(Docx("x"), "word/document.xml", Encoding.UTF8.GetBytes(documentXml));

    public static byte[] Replace(byte[] package, string part, byte[] content)
    {
        using var bytes = new MemoryStream();
        bytes.Write(package);
        using (var zip = new ZipArchive(bytes, ZipArchiveMode.Update, leaveOpen: true))
        {
            zip.GetEntry(part)!.Delete();
            using var entry = zip.CreateEntry(part).Open();
            entry.Write(content);
        }
        return bytes.ToArray();
    }

    public static byte[] Zip(params IReadOnlyList<(string Name, byte[] Content)> entries)
    {
        using var bytes = new MemoryStream();
        using (var zip = new ZipArchive(bytes, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var (name, content) in entries)
            {
                using var entry = zip.CreateEntry(name).Open();
                entry.Write(content);
            }
        }
        return bytes.ToArray();
    }

    /// <summary>Bytes that unpack to a piece of text many times over. They cost nothing to make: packed pieces follow one another.</summary>
    public static byte[] Deflated(string before, string piece, int times, string after)
    {
        using var bytes = new MemoryStream();
        Add(before);
        var one = Packed(piece);
        for (var i = 0; i < times; i++)
        {
            bytes.Write(one);
        }
        Add(after);
        bytes.Write([0x03, 0x00]); // the last block, empty
        return bytes.ToArray();

        void Add(string text) => bytes.Write(Packed(text));

        static byte[] Packed(string text)
        {
            using var packed = new MemoryStream();
            using var deflate = new DeflateStream(packed, CompressionLevel.Optimal, leaveOpen: true);
            deflate.Write(Encoding.UTF8.GetBytes(text));
            deflate.Flush();
            return packed.ToArray();
        }
    }

    /// <summary>A package with one part that is packed already.</summary>
    public static byte[] PackageWith(byte[] package, string part, byte[] deflated, uint length)
    {
        var rest = new List<(string Name, byte[] Content)>();
        using (var zip = new ZipArchive(new MemoryStream(package)))
        {
            foreach (var entry in zip.Entries.Where(e => e.FullName != part))
            {
                using var content = new MemoryStream();
                using var open = entry.Open();
                open.CopyTo(content);
                rest.Add((entry.FullName, content.ToArray()));
            }
        }
        using var bytes = new MemoryStream();
        var directory = new MemoryStream();
        foreach (var (name, packed, unpacked, method) in rest.Select(r => (r.Name, r.Content, (uint)r.Content.Length, (ushort)0)).Append((part, deflated, length, (ushort)8)))
        {
            var fields = new byte[26];
            BinaryPrimitives.WriteUInt16LittleEndian(fields, 20);
            BinaryPrimitives.WriteUInt16LittleEndian(fields.AsSpan(4), method);
            BinaryPrimitives.WriteUInt32LittleEndian(fields.AsSpan(10), 0);
            BinaryPrimitives.WriteUInt32LittleEndian(fields.AsSpan(14), (uint)packed.Length);
            BinaryPrimitives.WriteUInt32LittleEndian(fields.AsSpan(18), unpacked);
            BinaryPrimitives.WriteUInt16LittleEndian(fields.AsSpan(22), (ushort)name.Length);
            var place = (uint)bytes.Position;
            bytes.Write("PK\x03\x04"u8);
            bytes.Write(fields);
            bytes.Write(Encoding.ASCII.GetBytes(name));
            bytes.Write(packed);
            directory.Write("PK\x01\x02"u8);
            directory.Write([20, 0]);
            directory.Write(fields);
            directory.Write(new byte[10]);
            var at = new byte[4];
            BinaryPrimitives.WriteUInt32LittleEndian(at, place);
            directory.Write(at);
            directory.Write(Encoding.ASCII.GetBytes(name));
        }
        var end = new byte[18];
        BinaryPrimitives.WriteUInt16LittleEndian(end.AsSpan(4), (ushort)(rest.Count + 1));
        BinaryPrimitives.WriteUInt16LittleEndian(end.AsSpan(6), (ushort)(rest.Count + 1));
        BinaryPrimitives.WriteUInt32LittleEndian(end.AsSpan(8), (uint)directory.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(end.AsSpan(12), (uint)bytes.Position);
        directory.Position = 0;
        directory.CopyTo(bytes);
        bytes.Write("PK\x05\x06"u8);
        bytes.Write(end);
        return bytes.ToArray();
    }
}
