using System.Xml;

using DocumentFormat.OpenXml.Packaging;

namespace Cowork.Documents;

/// <summary>Presentations: each slide in the order of the show, with the notes of its speaker.</summary>
static class SlideText
{
    /// <summary>Relationships of a presentation and of a workbook.</summary>
    public const string Relationships = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

    /// <returns>True: there is more than is read of a document.</returns>
    public static bool Write(FileStream file, TextSink sink, ReadingTime time)
    {
        using var archive = OfficePackage.Open(file);
        using var document = PresentationDocument.Open(archive);
        var package = new OfficePackage();
        if (document.PresentationPart is not { } presentation)
        {
            throw new InvalidDataException("The package has no main part.");
        }
        foreach (var id in SlideIds(package, presentation))
        {
            if (time.IsOver)
            {
                return true;
            }
            if (OfficePackage.Part<SlidePart>(presentation, id) is { } slide)
            {
                Write(package, slide, sink);
                if (slide.NotesSlidePart is { } notes)
                {
                    Write(package, notes, sink);
                }
                sink.EndPage();
            }
        }
        return false;
    }

    static List<string> SlideIds(OfficePackage package, PresentationPart presentation)
    {
        var ids = new List<string>();
        using var xml = package.Read(presentation);
        while (xml.Read())
        {
            if (xml.NodeType == XmlNodeType.Element && xml.LocalName == "sldId" && xml.GetAttribute("id", Relationships) is { } id)
            {
                ids.Add(id);
            }
        }
        return ids;
    }

    static void Write(OfficePackage package, OpenXmlPart part, TextSink sink)
    {
        using var xml = package.Read(part);
        var isText = false;
        while (xml.Read())
        {
            switch (xml.NodeType)
            {
                case XmlNodeType.Element:
                    isText = xml.LocalName == "t" && !xml.IsEmptyElement;
                    if (xml.LocalName == "br")
                    {
                        sink.Write('\n');
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
    }
}
