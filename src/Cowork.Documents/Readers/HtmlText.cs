using System.Text;
using System.Text.RegularExpressions;

using AngleSharp.Dom;
using AngleSharp.Html.Parser;

namespace Cowork.Documents;

/// <summary>Web pages: the title and the visible text. Nothing is run or loaded.</summary>
static partial class HtmlText
{
    /// <summary>A page's tree takes many times its size; what comes after is cut.</summary>
    const int CharsMax = 4 * 1024 * 1024;

    /// <summary>Where a page names its own encoding (the HTML standard, "determining the character encoding").</summary>
    const int DeclarationBytes = 1024;

    static readonly HashSet<string> Invisible = ["script", "style", "template", "noscript", "iframe", "object", "head", "svg", "math", "select", "audio", "video", "canvas"];

    static readonly HashSet<string> Blocks =
    [
        "address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5",
        "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tr", "ul",
    ];

    /// <returns>True: there is more than is read of a document.</returns>
    public static bool Write(FileStream file, TextSink sink)
    {
        using var reader = new StreamReader(file, Encoding(file), detectEncodingFromByteOrderMarks: true);
        var page = new char[(int)Math.Min(file.Length + 1, CharsMax)];
        var length = reader.ReadBlock(page);
        var isCut = length == CharsMax && reader.Peek() >= 0;
        using var document = new HtmlParser(new HtmlParserOptions { IsScripting = false }).ParseDocument(new string(page, 0, length));
        if (document.Title is { Length: > 0 } title)
        {
            sink.Write(title);
            sink.EndLine();
        }
        if (document.DocumentElement is { } root)
        {
            WriteVisible(root, sink);
        }
        return isCut;
    }

    static Encoding Encoding(FileStream file)
    {
        var start = new byte[DocumentKind.ProbeBytes];
        var length = file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
        file.Position = 0;
        var detected = EncodedText.Detect(start.AsSpan(0, length), isWhole: length < start.Length) ?? EncodedText.Western;
        // Only bytes that are no UTF-8 need to be told by the page itself.
        if (ReferenceEquals(detected, EncodedText.Western)
            && Charset().Match(System.Text.Encoding.Latin1.GetString(start, 0, Math.Min(length, DeclarationBytes))) is { Success: true } declared)
        {
            try
            {
                return System.Text.Encoding.GetEncoding(declared.Groups["name"].Value);
            }
            catch (ArgumentException)
            {
                // The page names an encoding that does not exist.
            }
        }
        return detected;
    }

    /// <summary>Goes through the tree without recursion: its depth is the page's choice.</summary>
    static void WriteVisible(IElement root, TextSink sink)
    {
        var isPreformatted = 0;
        INode node = root;
        var isEntered = false;
        while (true)
        {
            if (!isEntered && Enter(node, sink, ref isPreformatted) && node.FirstChild is { } child)
            {
                node = child;
                continue;
            }
            Leave(node, sink, ref isPreformatted);
            if (node == root)
            {
                return;
            }
            isEntered = node.NextSibling is null;
            node = node.NextSibling ?? node.Parent!;
        }
    }

    /// <returns>False: what is below the node is not visible.</returns>
    static bool Enter(INode node, TextSink sink, ref int preformatted)
    {
        switch (node)
        {
            case IText text:
                if (preformatted > 0)
                {
                    sink.Write(text.Data);
                }
                else
                {
                    WriteCollapsed(text.Data, sink);
                }
                return false;
            case IElement element:
                if (Invisible.Contains(element.LocalName) || element.HasAttribute("hidden") || Hidden().IsMatch(element.GetAttribute("style") ?? ""))
                {
                    return false;
                }
                preformatted += element.LocalName is "pre" or "textarea" ? 1 : 0;
                if (Blocks.Contains(element.LocalName))
                {
                    sink.EndLine();
                }
                else if (element.LocalName == "br")
                {
                    sink.Write('\n');
                }
                else if (element.LocalName == "img" && element.GetAttribute("alt") is { Length: > 0 } alternative)
                {
                    WriteCollapsed(alternative, sink);
                }
                return true;
            default:
                return node is IDocument;
        }
    }

    static void Leave(INode node, TextSink sink, ref int preformatted)
    {
        if (node is IElement element)
        {
            preformatted -= preformatted > 0 && element.LocalName is "pre" or "textarea" ? 1 : 0;
            if (Blocks.Contains(element.LocalName))
            {
                sink.EndLine();
            }
            else if (element.LocalName is "td" or "th")
            {
                sink.Write('\t');
            }
        }
    }

    static void WriteCollapsed(string text, TextSink sink)
    {
        var start = -1;
        for (var i = 0; i <= text.Length; i++)
        {
            if (i < text.Length && text[i] is not (' ' or '\t' or '\n' or '\r' or '\f'))
            {
                start = start < 0 ? i : start;
                continue;
            }
            if (start >= 0)
            {
                sink.Write(text.AsSpan(start, i - start));
                start = -1;
            }
            if (i < text.Length && sink.Last is not (' ' or '\n' or '\t' or '\f'))
            {
                sink.Write(' ');
            }
        }
    }

    [GeneratedRegex("""<meta[^>]{0,200}charset\s*=\s*["']?(?<name>[A-Za-z0-9_:.-]{1,40})""", RegexOptions.IgnoreCase)]
    private static partial Regex Charset();

    [GeneratedRegex(@"display\s*:\s*none|visibility\s*:\s*hidden", RegexOptions.IgnoreCase)]
    private static partial Regex Hidden();
}
