using DocumentFormat.OpenXml.Packaging;

namespace Cowork.Documents;

/// <summary>Word documents: the body, then headers, footers, notes and comments. Deleted text that is still recorded is left out.</summary>
static class WordText
{
    /// <returns>True: there is more than is read of a document.</returns>
    public static bool Write(FileStream file, TextSink sink, ReadingTime time)
    {
        using var archive = OfficePackage.Open(file);
        using var document = WordprocessingDocument.Open(archive);
        var package = new OfficePackage();
        if (document.MainDocumentPart is not { } main)
        {
            throw new InvalidDataException("The package has no main part.");
        }
        IEnumerable<OpenXmlPart?> parts =
            [main, .. main.HeaderParts, .. main.FooterParts, main.FootnotesPart, main.EndnotesPart, main.WordprocessingCommentsPart];
        foreach (var part in parts.OfType<OpenXmlPart>())
        {
            if (package.WriteText(part, sink, MarkOf, time))
            {
                return true;
            }
            sink.EndLine();
        }
        return false;
    }

    /// <summary>What an element stands for in the text; null: nothing.</summary>
    static char? MarkOf(string element) => element switch
    {
        "tab" => '\t',
        "br" or "cr" => '\n',
        "noBreakHyphen" => '-',
        _ => null,
    };
}
