using System.Xml;

using Cowork.Domain;

namespace Cowork.Documents;

/// <summary>The last line of an extraction.</summary>
/// <param name="Code">One of <see cref="DocumentFaults"/>; empty: the text is whole, or cut.</param>
sealed record ReadingEnd(string MediaType, string Code, string Detail, bool IsCut);

/// <summary>Reads a document and writes its text. Whatever the document holds, it answers how that ended.</summary>
static class DocumentReader
{
    /// <param name="ending">Of the document's name, with its dot; may be empty.</param>
    /// <param name="declared">Media type that the client gave, without parameters; may be empty.</param>
    public static ReadingEnd Read(FileStream file, string ending, string declared, TextSink sink, ReadingTime time)
    {
        if (file.Length == 0)
        {
            return new("application/octet-stream", DocumentFaults.EmptyFile, "The file is empty.", IsCut: false);
        }
        // Parsers catch whatever happens to them, and go on with less.
        var isOutOfMemory = false;
        AppDomain.CurrentDomain.FirstChanceException += (_, e) => isOutOfMemory |= e.Exception is OutOfMemoryException;
        var kind = new DocumentKind("application/octet-stream", null, "a file");
        try
        {
            kind = DocumentKind.Of(file, ending, declared);
            var isCut = Write(kind, file, sink, time);
            sink.Flush();
            return sink.HasText
                ? new(kind.MediaType, "", "", isCut)
                : isOutOfMemory
                ? TookMemory(kind)
                : time.IsOver
                ? new(kind.MediaType, DocumentFaults.ExtractionTimeout, "The extraction took longer than it may.", IsCut: false)
                : new(kind.MediaType, DocumentFaults.NoText, $"The file is {kind.Name} without text.", IsCut: false);
        }
        catch (TextFullException)
        {
            sink.Flush();
            return new(kind.MediaType, "", "", IsCut: true);
        }
        catch (KindException e)
        {
            return new(e.Kind.MediaType, e.Why.Code, e.Why.Message, IsCut: false);
        }
        catch (DocumentException e)
        {
            return new(kind.MediaType, e.Code, e.Message, IsCut: false);
        }
        catch (Exception) when (isOutOfMemory)
        {
            return TookMemory(kind);
        }
        catch (XmlException e) when (e.Message.Contains("DTD", StringComparison.Ordinal))
        {
            return new(kind.MediaType, DocumentFaults.BrokenDocument, "A part of the document defines a document type or entities, which Office documents may not.", IsCut: false);
        }
#pragma warning disable CA1031 // The parsers throw whatever a damaged document leads them to, and the process has no other purpose.
        catch (Exception)
#pragma warning restore CA1031
        {
            return Broken(kind);
        }
    }

    static ReadingEnd TookMemory(DocumentKind kind) =>
        new(kind.MediaType, DocumentFaults.ExtractionMemory, "The document takes more memory than an extraction may have.", IsCut: false);

    static ReadingEnd Broken(DocumentKind kind) =>
        new(kind.MediaType, DocumentFaults.BrokenDocument, $"The file is {kind.Name}, and damaged or built in a way that its format does not allow.", IsCut: false);

    static bool Write(DocumentKind kind, FileStream file, TextSink sink, ReadingTime time) => kind.Form switch
    {
        DocumentForm.Pdf => PdfText.Write(file, sink, time),
        DocumentForm.Word => WordText.Write(file, sink, time),
        DocumentForm.Workbook => WorkbookText.Write(file, sink, time),
        DocumentForm.Slides => SlideText.Write(file, sink, time),
        DocumentForm.Html => HtmlText.Write(file, sink),
        DocumentForm.Text => EncodedText.Write(file, sink),
        _ => false,
    };
}
