using Cowork.Application;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>
/// Bytes that somebody else made, as a download or as a page in a sandbox. Headers keep a browser from showing them as a page of this host. The digest is the entity tag
/// and is in <c>Repr-Digest</c> (RFC 9530), so a client can check what it received.
/// </summary>
/// <param name="Open">The bytes, which are read from any place; null: they are missing.</param>
/// <param name="Name">The file name for the download.</param>
public sealed record BlobResult(Func<CancellationToken, ValueTask<Stream?>> Open, string Sha256, long Bytes, string MediaType, string Name) : IResult
{
    public BlobResult(IBlobs blobs, string sha256, long bytes, string mediaType, string name)
        : this(ct => blobs.Open(sha256, ct), sha256, bytes, mediaType, name)
    {
    }

    /// <summary>The content was a data subject's.</summary>
    public static ErrorResult Erased => new(404, "erased", "The content was erased with the personal data of its subject.");

    /// <summary>
    /// Of a page in a sandbox. Its origin is none, so that it reads nothing of this host: no API, no storage, no other page. It runs scripts, and loads scripts, styles,
    /// and pictures from this host alone; it sends nothing anywhere, opens no window and submits no form.
    /// </summary>
    const string PagePolicy =
        "sandbox allow-scripts; default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        + "font-src data:; media-src 'self' data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

    /// <summary>True: the bytes are shown and not downloaded.</summary>
    public bool IsPage { get; init; }

    /// <summary>What a page loads comes from an origin that is none, and so from another one than this host's.</summary>
    bool IsPartOfPage => IsPage && (MediaType.StartsWith("text/javascript", StringComparison.Ordinal) || MediaType.StartsWith("text/css", StringComparison.Ordinal)
        || MediaType.StartsWith("image/", StringComparison.Ordinal));

    public async Task ExecuteAsync(HttpContext httpContext)
    {
        if (Sha256 == PersonalAttribute.Digest)
        {
            await Erased.ExecuteAsync(httpContext);
            return;
        }
        var response = httpContext.Response;
        await using var bytes = await Open(httpContext.RequestAborted) ?? throw new InvalidDataException($"The blob {Sha256} is missing.");
        if (bytes.Length != Bytes)
        {
            throw new InvalidDataException($"The blob {Sha256} was changed.");
        }
        response.Headers.ContentSecurityPolicy = IsPage ? PagePolicy : "sandbox; default-src 'none'";
        response.Headers["Cross-Origin-Resource-Policy"] = IsPartOfPage ? "cross-origin" : "same-origin";
        if (IsPage)
        {
            response.Headers["Referrer-Policy"] = "no-referrer";
        }
        // The bytes never change, but the right to read them can.
        response.Headers.CacheControl = "private, no-cache";
        response.Headers["Repr-Digest"] = $"sha-256=:{Convert.ToBase64String(Convert.FromHexString(Sha256))}:";
        var sent = httpContext.Request.Headers;
        if (!HttpMethods.IsGet(httpContext.Request.Method) || !sent.Range.ToString().StartsWith("bytes", StringComparison.OrdinalIgnoreCase)
            || (sent.IfRange.Count > 0 && sent.IfRange.ToString() != $"\"{Sha256}\""))
        {
            // RFC 9110, sections 14.2, 14.1 and 13.1.5: a range is for GET, in a unit that is known, and of the very content that If-Range names.
            sent.Remove("Range");
        }
        await TypedResults.Stream(bytes, MediaType, IsPage ? null : Name, entityTag: new($"\"{Sha256}\""), enableRangeProcessing: true).ExecuteAsync(httpContext);
        if (response is { StatusCode: >= 400, HasStarted: false })
        {
            if (response.StatusCode == StatusCodes.Status416RangeNotSatisfiable)
            {
                response.Headers.ContentRange = $"bytes */{Bytes}";
            }
            // ErrorBoundary writes the error of a bare status.
            response.ContentType = null;
            response.ContentLength = null;
        }
    }
}
