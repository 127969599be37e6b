using System.Xml;

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
            if (Write(package, part, sink, time))
            {
                return true;
            }
            sink.EndLine();
        }
        return false;
    }

    static bool Write(OfficePackage package, OpenXmlPart part, TextSink sink, ReadingTime time)
    {
        using var xml = package.Read(part);
        var isText = false;
        for (var nodes = 0L; xml.Read(); nodes++)
        {
            if (nodes % 4096 == 0 && time.IsOver)
            {
                return true;
            }
            switch (xml.NodeType)
            {
                case XmlNodeType.Element:
                    isText = xml.LocalName == "t" && !xml.IsEmptyElement;
                    switch (xml.LocalName)
                    {
                        case "tab":
                            sink.Write('\t');
                            break;
                        case "br" or "cr":
                            sink.Write('\n');
                            break;
                        case "noBreakHyphen":
                            sink.Write('-');
                            break;
                    }
                    break;
                case XmlNodeType.EndElement:
                    isText = false;
                    switch (xml.LocalName)
                    {
                        case "p" or "tr":
                            sink.EndLine();
                            break;
                        case "tc":
                            sink.Write('\t');
                            break;
                    }
                    break;
                case XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.SignificantWhitespace or XmlNodeType.Whitespace when isText:
                    sink.Write(xml.Value);
                    break;
            }
        }
        return false;
    }
}
