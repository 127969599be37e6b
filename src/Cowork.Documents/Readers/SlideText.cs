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
                if (package.WriteText(slide, sink, MarkOf, time) || (slide.NotesSlidePart is { } notes && package.WriteText(notes, sink, MarkOf, time)))
                {
                    return true;
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

    static char? MarkOf(string element) => element == "br" ? '\n' : null;
}
