using System.Net;
using System.Text;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What an artifact's content says of it. It is looked at once, when the artifact is discovered, and is part of that event.</summary>
/// <param name="Type">One of <see cref="ArtifactTypes"/>.</param>
/// <param name="Title">Title of a web page, or first heading of a page or of Markdown, on one line of at most <see cref="Limits.TitleCharsMax"/> characters; null: none.</param>
public sealed record ArtifactFacts(string Type, string? Title)
{
    /// <summary>A title and the first script lie at the beginning.</summary>
    const int LookedAtBytes = 256 * 1024;

    /// <summary>A Vega or Vega-Lite specification names its schema by this address.</summary>
    const string VegaSchema = "vega.github.io/schema/vega";

    /// <param name="sha256">Hex SHA-256 of the content in the blob store.</param>
    public static async ValueTask<ArtifactFacts> Of(IBlobs blobs, string path, string sha256, CancellationToken ct)
    {
        var media = OutputRoot.MediaType(path);
        if (media is not ("text/html" or "text/markdown" or "application/json"))
        {
            return new(ArtifactTypes.Doc, null);
        }
        await using var content = await blobs.Open(sha256, ct) ?? throw new InvalidDataException($"The blob {sha256} is missing.");
        var bytes = new byte[(int)Math.Min(content.Length, LookedAtBytes)];
        var length = await content.ReadAtLeastAsync(bytes, bytes.Length, throwOnEndOfStream: false, ct);
        return Of(path, media, bytes.AsSpan(0, length));
    }

    /// <param name="content">All of it.</param>
    public static ArtifactFacts Of(string path, ReadOnlySpan<byte> content)
    {
        var media = OutputRoot.MediaType(path);
        return media is "text/html" or "text/markdown" or "application/json"
            ? Of(path, media, content.Length > LookedAtBytes ? content[..LookedAtBytes] : content)
            : new(ArtifactTypes.Doc, null);
    }

    static ArtifactFacts Of(string path, string media, ReadOnlySpan<byte> start) =>
        Of(path, media, (FileText.DetectEncoding(start, isWhole: false) ?? Encoding.UTF8).GetString(start));

    static ArtifactFacts Of(string path, string media, string start) => media switch
    {
        "text/html" => new(
            ArtifactTypes.IsIndex(path) && start.Contains("<script", StringComparison.OrdinalIgnoreCase) ? ArtifactTypes.App : ArtifactTypes.Report,
            Clean(Element(start, "title") ?? Element(start, "h1"))),
        "text/markdown" => new(ArtifactTypes.Doc, Clean(Heading(start))),
        _ => new(
            ArtifactTypes.OfPath(path) == ArtifactTypes.Dashboard || start.Contains(VegaSchema, StringComparison.Ordinal) ? ArtifactTypes.Dashboard : ArtifactTypes.Doc, null),
    };

    /// <summary>The text of the first element with the name, without the tags in it; null: there is none.</summary>
    static string? Element(string html, string name)
    {
        for (var at = 0; (at = html.IndexOf($"<{name}", at, StringComparison.OrdinalIgnoreCase)) >= 0;)
        {
            at += name.Length + 1;
            if (at >= html.Length || char.IsAsciiLetterOrDigit(html[at]) || html[at] == '-')
            {
                continue; // the beginning of another name
            }
            var start = html.IndexOf('>', at) + 1;
            var end = start == 0 ? -1 : html.IndexOf($"</{name}", start, StringComparison.OrdinalIgnoreCase);
            return end < 0 ? null : WebUtility.HtmlDecode(WithoutTags(html.AsSpan(start, end - start)));
        }
        return null;
    }

    static string WithoutTags(ReadOnlySpan<char> html)
    {
        var text = new StringBuilder();
        while (html.IndexOf('<') is >= 0 and var tag)
        {
            text.Append(html[..tag]);
            html = html[tag..];
            html = html.IndexOf('>') is >= 0 and var end ? html[(end + 1)..] : [];
        }
        return text.Append(html).ToString();
    }

    static string? Heading(string markdown)
    {
        foreach (var line in markdown.AsSpan().EnumerateLines())
        {
            if (line.StartsWith("# "))
            {
                return line[2..].TrimEnd('#').ToString();
            }
        }
        return null;
    }

    static string? Clean(string? title)
    {
        var line = FileText.OneLine(string.Concat((title ?? "").Select(c => char.IsControl(c) ? ' ' : c)));
        return line.Length == 0 ? null : StorableText.Escape(FileText.Truncate(line, Limits.TitleCharsMax));
    }
}
