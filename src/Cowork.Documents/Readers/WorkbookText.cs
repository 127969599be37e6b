using System.Buffers;
using System.Globalization;
using System.Text;
using System.Xml;

using DocumentFormat.OpenXml.Packaging;

namespace Cowork.Documents;

/// <summary>Workbooks: each sheet begins with its name; its rows are lines, and its cells are separated by tabs. Dates are written as ISO 8601 has them.</summary>
static class WorkbookText
{
    /// <summary>Empty cells between two others that are written as tabs.</summary>
    const int GapMax = 256;

    /// <returns>True: there is more than is read of a document.</returns>
    public static bool Write(FileStream file, TextSink sink, ReadingTime time)
    {
        using var archive = OfficePackage.Open(file);
        using var document = SpreadsheetDocument.Open(archive);
        var package = new OfficePackage();
        if (document.WorkbookPart is not { } workbook)
        {
            throw new InvalidDataException("The package has no main part.");
        }
        var strings = new SharedStrings();
        if (workbook.SharedStringTablePart is { } table)
        {
            strings.Read(package, table, time);
        }
        var (sheets, from1904) = Sheets(package, workbook);
        var dates = workbook.WorkbookStylesPart is { } styles ? DateStyles(package, styles) : [];
        foreach (var (name, relationship) in sheets)
        {
            if (OfficePackage.Part<WorksheetPart>(workbook, relationship) is not { } sheet)
            {
                continue;
            }
            sink.Write(name);
            sink.EndLine();
            if (WriteSheet(package, sheet, new(strings, dates, from1904), sink, time))
            {
                return true;
            }
            sink.EndPage();
        }
        return strings.IsCut;
    }

    sealed record CellForm(SharedStrings Strings, HashSet<int> Dates, bool From1904);

    static (List<(string Name, string? Relationship)> Sheets, bool From1904) Sheets(OfficePackage package, WorkbookPart workbook)
    {
        var sheets = new List<(string, string?)>();
        var from1904 = false;
        using var xml = package.Read(workbook);
        while (xml.Read())
        {
            if (xml.NodeType == XmlNodeType.Element)
            {
                from1904 |= xml.LocalName == "workbookPr" && xml.GetAttribute("date1904") is "1" or "true";
                if (xml.LocalName == "sheet")
                {
                    sheets.Add((xml.GetAttribute("name") ?? "", xml.GetAttribute("id", SlideText.Relationships)));
                }
            }
        }
        return (sheets, from1904);
    }

    /// <summary>The cell styles whose numbers are dates.</summary>
    static HashSet<int> DateStyles(OfficePackage package, WorkbookStylesPart styles)
    {
        var formats = new HashSet<int>([.. Enumerable.Range(14, 9), .. Enumerable.Range(27, 10), .. Enumerable.Range(45, 3), .. Enumerable.Range(50, 9)]);
        var dates = new HashSet<int>();
        var (isCellStyle, style) = (false, 0);
        using var xml = package.Read(styles);
        while (xml.Read())
        {
            if (xml.NodeType == XmlNodeType.Element)
            {
                switch (xml.LocalName)
                {
                    case "numFmt" when int.TryParse(xml.GetAttribute("numFmtId"), out var id):
                        if (IsDate(xml.GetAttribute("formatCode") ?? ""))
                        {
                            formats.Add(id);
                        }
                        break;
                    case "cellXfs":
                        isCellStyle = !xml.IsEmptyElement;
                        break;
                    case "xf" when isCellStyle:
                        if (int.TryParse(xml.GetAttribute("numFmtId"), out var format) && formats.Contains(format))
                        {
                            dates.Add(style);
                        }
                        style++;
                        break;
                }
            }
            else if (xml.NodeType == XmlNodeType.EndElement && xml.LocalName == "cellXfs")
            {
                isCellStyle = false;
            }
        }
        return dates;
    }

    /// <summary>A format of dates has a year or a day outside of quotes and brackets, or hours.</summary>
    static bool IsDate(string format)
    {
        var (inQuotes, inBrackets) = (false, false);
        foreach (var c in format)
        {
            inQuotes ^= c == '"';
            inBrackets = c == '[' || (inBrackets && c != ']');
            if (!inQuotes && !inBrackets && char.ToLowerInvariant(c) is 'y' or 'd' or 'h')
            {
                return true;
            }
        }
        return false;
    }

    static bool WriteSheet(OfficePackage package, WorksheetPart sheet, CellForm form, TextSink sink, ReadingTime time)
    {
        using var xml = package.Read(sheet);
        var (column, cell) = (0, new Cell());
        for (var nodes = 0L; xml.Read(); nodes++)
        {
            if (nodes % 4096 == 0 && time.IsOver)
            {
                return true;
            }
            switch (xml.NodeType)
            {
                case XmlNodeType.Element when xml.LocalName == "row":
                    column = 0;
                    break;
                case XmlNodeType.Element when xml.LocalName == "c":
                    var place = Column(xml.GetAttribute("r"));
                    var next = place ?? column + 1;
                    for (var gap = Math.Min(next - Math.Max(column, 1), GapMax); gap > 0; gap--)
                    {
                        sink.Write('\t');
                    }
                    column = Math.Max(next, column);
                    cell = new() { Type = xml.GetAttribute("t"), Style = int.TryParse(xml.GetAttribute("s"), out var style) ? style : -1 };
                    break;
                case XmlNodeType.Element when xml.LocalName is "v" or "t":
                    cell.IsValue = !xml.IsEmptyElement;
                    break;
                case XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.SignificantWhitespace or XmlNodeType.Whitespace when cell.IsValue:
                    WriteValue(cell, xml.Value, form, sink);
                    break;
                case XmlNodeType.EndElement:
                    cell.IsValue = false;
                    if (xml.LocalName == "row")
                    {
                        sink.EndLine();
                    }
                    break;
            }
        }
        return false;
    }

    struct Cell
    {
        public string? Type;
        public int Style;
        public bool IsValue;
    }

    static void WriteValue(Cell cell, string value, CellForm form, TextSink sink)
    {
        switch (cell.Type)
        {
            case "s":
                if (int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var index))
                {
                    form.Strings.Write(index, sink);
                }
                break;
            case "b":
                sink.Write(value == "1" ? "TRUE" : "FALSE");
                break;
            case null or "n" when form.Dates.Contains(cell.Style) && double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out var days):
                sink.Write(Date(days, form.From1904) ?? value);
                break;
            default:
                sink.Write(OneLine(value));
                break;
        }
    }

    /// <summary>A line break within a cell would look like a row.</summary>
    static string OneLine(string value) => value.AsSpan().IndexOfAny('\n', '\r', '\t') < 0
        ? value
        : value.Replace("\r\n", " ").Replace('\n', ' ').Replace('\r', ' ').Replace('\t', ' ');

    static string? Date(double days, bool from1904)
    {
        days += from1904 ? 1462 : 0;
        if (days is not (>= 0 and < 2_958_466))
        {
            return null;
        }
        var time = DateTime.FromOADate(Math.Round(days * 86_400) / 86_400);
        return days < 1 ? time.ToString("HH:mm:ss") : time.ToString(time.TimeOfDay == TimeSpan.Zero ? "yyyy-MM-dd" : "yyyy-MM-dd HH:mm:ss");
    }

    /// <summary>The number of a cell's column, from 1; null: it has no place of its own.</summary>
    static int? Column(string? reference)
    {
        var column = 0;
        foreach (var c in reference ?? "")
        {
            if (c is < 'A' or > 'Z' || column > 16_384)
            {
                break;
            }
            column = (column * 26) + (c - 'A' + 1);
        }
        return column is > 0 and <= 16_384 ? column : null;
    }

    /// <summary>The texts that cells name by number, in one buffer.</summary>
    sealed class SharedStrings
    {
        /// <summary>What a text of the greatest length could be made of.</summary>
        const int BytesMax = 24 * 1024 * 1024;
        const int CountMax = 4_000_000;

        readonly ArrayBufferWriter<byte> bytes = new();
        readonly List<int> ends = [];

        /// <summary>True: later texts were not read.</summary>
        public bool IsCut { get; private set; }

        public void Read(OfficePackage package, OpenXmlPart part, ReadingTime time)
        {
            using var xml = package.Read(part);
            var (isText, inReading) = (false, false);
            while (xml.Read())
            {
                switch (xml.NodeType)
                {
                    case XmlNodeType.Element:
                        isText = xml.LocalName == "t" && !xml.IsEmptyElement;
                        // How a text is read aloud, in Japanese.
                        inReading |= xml.LocalName == "rPh" && !xml.IsEmptyElement;
                        if (xml.LocalName == "si" && xml.IsEmptyElement)
                        {
                            ends.Add(bytes.WrittenCount);
                        }
                        break;
                    case XmlNodeType.EndElement:
                        isText = false;
                        inReading &= xml.LocalName != "rPh";
                        if (xml.LocalName == "si")
                        {
                            ends.Add(bytes.WrittenCount);
                        }
                        break;
                    case XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.SignificantWhitespace or XmlNodeType.Whitespace when isText && !inReading:
                        Encoding.UTF8.GetBytes(OneLine(xml.Value), bytes);
                        break;
                }
                if (bytes.WrittenCount > BytesMax || ends.Count > CountMax || (ends.Count % 4096 == 1 && time.IsOver))
                {
                    IsCut = true;
                    return;
                }
            }
        }

        public void Write(int index, TextSink sink)
        {
            if (index < ends.Count)
            {
                var start = index == 0 ? 0 : ends[index - 1];
                sink.Write(Encoding.UTF8.GetString(bytes.WrittenSpan[start..ends[index]]));
            }
        }
    }
}
