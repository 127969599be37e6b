using Cowork.Domain;

using UglyToad.PdfPig;
using UglyToad.PdfPig.Content;
using UglyToad.PdfPig.DocumentLayoutAnalysis.TextExtractor;
using UglyToad.PdfPig.Exceptions;

namespace Cowork.Documents;

/// <summary>PDF documents: the text of each page in the order of its content.</summary>
static class PdfText
{
    /// <summary>More pages than a book has; a document of 100 000 pages is cut there.</summary>
    const int PagesMax = 10_000;

    /// <returns>True: there is more than is read of a document.</returns>
    public static bool Write(FileStream file, TextSink sink, ReadingTime time)
    {
        using var document = Open(file);
        var pages = Math.Min(document.NumberOfPages, PagesMax);
        var unread = 0;
        Exception? last = null;
        for (var number = 1; number <= pages; number++)
        {
            if (time.IsOver)
            {
                return true;
            }
            string text;
            try
            {
                text = Text(document.GetPage(number));
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                // The other pages of a damaged document can be read.
                unread++;
                last = e;
                continue;
            }
            sink.Write(text);
            sink.EndPage();
        }
        return unread == pages && last is not null
            ? throw new DocumentException(DocumentFaults.BrokenDocument, "No page of the PDF can be read.")
            : document.NumberOfPages > pages;
    }

    static PdfDocument Open(FileStream file)
    {
        try
        {
            return PdfDocument.Open(file, new ParsingOptions { UseLenientParsing = true, SkipMissingFonts = true });
        }
        catch (PdfDocumentEncryptedException)
        {
            throw new DocumentException(DocumentFaults.EncryptedDocument, "The PDF opens only with a password.");
        }
    }

    static string Text(Page page)
    {
        try
        {
            return ContentOrderTextExtractor.GetText(page, addDoubleNewline: true);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // The letters are there, and only their order on the page cannot be told.
            return page.Text;
        }
    }
}
