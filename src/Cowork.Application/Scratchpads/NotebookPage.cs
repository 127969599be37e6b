using System.Net;
using System.Text;
using System.Text.RegularExpressions;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// A scratchpad as one web page that loads nothing. What code has made is untrusted: text is escaped, images are images, and HTML stands in frames whose sandbox runs no
/// script, submits no form and opens no window.
/// </summary>
public static partial class NotebookPage
{
    const string Style = """
        body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
        pre{font:14px/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;margin:.5rem 0}
        .text{white-space:pre-wrap;margin:1rem 0}.code{background:#f4f4f6;border-left:3px solid #7a7ad6;padding:.5rem .75rem}
        .output{padding-left:.75rem;border-left:3px solid #ddd}.failed,.stderr{color:#a3262a}img{max-width:100%}
        iframe{width:100%;height:22rem;border:1px solid #ddd;resize:vertical;background:#fff}
        @media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#181818}.code{background:#242428}.output{border-color:#444}.failed,.stderr{color:#ff8f8f}}
        """;

    /// <summary>Images that a browser draws without running anything in them.</summary>
    static readonly string[] Images = ["image/png", "image/jpeg", "image/gif", "image/webp"];

    public static byte[] Write(string title, IReadOnlyList<NotebookCell> cells)
    {
        var page = new StringBuilder();
        page.Append("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>").Append(Text(title))
            .Append("</title>\n<style>\n").Append(Style).Append("\n</style>\n</head>\n<body>\n<h1>").Append(Text(title)).Append("</h1>\n");
        foreach (var cell in cells)
        {
            if (!cell.Of.IsCode)
            {
                page.Append("<div class=\"text\">").Append(Text(cell.Content)).Append("</div>\n");
                continue;
            }
            page.Append("<pre class=\"code\"><code>").Append(Text(cell.Content)).Append("</code></pre>\n");
            if (cell.Outputs.IsEmpty && cell.Of.Result?.Error is null)
            {
                continue;
            }
            page.Append("<div class=\"output\">\n");
            foreach (var output in cell.Outputs)
            {
                Append(page, output);
            }
            if (cell.Of.Result?.Error is { } error && !cell.Outputs.OfType<NotebookOutput.Error>().Any())
            {
                page.Append("<pre class=\"failed\">").Append(Text(error.Message)).Append("</pre>\n");
            }
            page.Append("</div>\n");
        }
        return Encoding.UTF8.GetBytes(page.Append("</body>\n</html>\n").ToString());
    }

    static void Append(StringBuilder page, NotebookOutput output)
    {
        switch (output)
        {
            case NotebookOutput.Stream s:
                page.Append("<pre class=\"").Append(s.Name == "stderr" ? "stderr" : "stdout").Append("\">").Append(Text(Colours().Replace(s.Text, ""))).Append("</pre>\n");
                break;
            case NotebookOutput.Error e:
                var trace = e.Traceback.IsEmpty ? $"{e.Name}: {e.Value}" : string.Join('\n', e.Traceback);
                page.Append("<pre class=\"failed\">").Append(Text(Colours().Replace(trace, ""))).Append("</pre>\n");
                break;
            case NotebookOutput.Display d:
                Append(page, d);
                break;
        }
    }

    /// <summary>The form of it that shows most.</summary>
    static void Append(StringBuilder page, NotebookOutput.Display display)
    {
        string? Of(string mime) => display.Data.Find(form => form.Mime == mime && !form.IsJson)?.Data;
        if (Of("text/html") is { } html)
        {
            page.Append("<iframe sandbox=\"\" title=\"output\" srcdoc=\"").Append(Text(html)).Append("\"></iframe>\n");
        }
        else if (Of("image/svg+xml") is { } svg)
        {
            page.Append("<img alt=\"output\" src=\"data:image/svg+xml;base64,").Append(Convert.ToBase64String(Encoding.UTF8.GetBytes(svg))).Append("\">\n");
        }
        else if (Images.FirstOrDefault(mime => Of(mime) is not null) is { } image)
        {
            page.Append("<img alt=\"output\" src=\"data:").Append(image).Append(";base64,").Append(Text(Of(image)!.ReplaceLineEndings(""))).Append("\">\n");
        }
        else if ((Of("text/markdown") ?? Of("text/latex") ?? Of("text/plain") ?? display.Data.Find(form => form.IsJson)?.Data) is { } text)
        {
            page.Append("<pre>").Append(Text(text)).Append("</pre>\n");
        }
    }

    static string Text(string text) => WebUtility.HtmlEncode(text);

    /// <summary>Colours of a terminal.</summary>
    [GeneratedRegex("\u001b\\[[0-9;]*[A-Za-z]")]
    private static partial Regex Colours();
}
