using Microsoft.Net.Http.Headers;

namespace Cowork.Web.Http;

/// <summary>Checks what a request says of its body: its media type and its coding.</summary>
static class RequestContent
{
    /// <summary>Names of UTF-8 and of its subset.</summary>
    static readonly HashSet<string> Utf8Names = new(["utf-8", "utf8", "us-ascii", "ascii"], StringComparer.OrdinalIgnoreCase);

    /// <exception cref="UnreadableRequestException">The body is not JSON in UTF-8, or it is compressed.</exception>
    public static void RequireJson(HttpRequest request)
    {
        if (!MediaTypeHeaderValue.TryParse(request.ContentType, out var type)
            || !(type.MediaType.Equals("application/json", StringComparison.OrdinalIgnoreCase) || type.Suffix.Equals("json", StringComparison.OrdinalIgnoreCase))
            || (type.Charset.HasValue && !Utf8Names.Contains(HeaderUtilities.RemoveQuotes(type.Charset).Value!)))
        {
            throw new UnreadableRequestException(ErrorResult.OfStatus(415));
        }
        RequireUncompressed(request);
    }

    /// <exception cref="UnreadableRequestException">The header <c>Content-Encoding</c> names a coding. <c>identity</c> is none (RFC 9110, section 8.4.1).</exception>
    public static void RequireUncompressed(HttpRequest request)
    {
        if (request.Headers.ContentEncoding.Any(coding => !string.Equals(coding?.Trim(), "identity", StringComparison.OrdinalIgnoreCase)))
        {
            throw new UnreadableRequestException(new ErrorResult(415, "unsupported_media_type", "The body is compressed. Send it without Content-Encoding."));
        }
    }
}
