using Cowork.Application;

namespace Cowork.Web.Http;

/// <summary>
/// An artifact's bytes as a download. Headers keep a browser from showing them as a page of this host. The digest is the entity tag and is in
/// <c>Repr-Digest</c> (RFC 9530), so a client can check what it received.
/// </summary>
/// <param name="Name">The file name for the download.</param>
public sealed record BlobResult(IBlobs Blobs, string Sha256, long Bytes, string MediaType, string Name) : IResult
{
    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var response = httpContext.Response;
        await using var bytes = await Blobs.Open(Sha256, httpContext.RequestAborted) ?? throw new InvalidDataException($"The blob {Sha256} is missing.");
        if (bytes.Length != Bytes)
        {
            throw new InvalidDataException($"The blob {Sha256} was changed.");
        }
        response.Headers.ContentSecurityPolicy = "sandbox; default-src 'none'";
        response.Headers["Cross-Origin-Resource-Policy"] = "same-origin";
        // The bytes never change, but the right to read them can.
        response.Headers.CacheControl = "private, no-cache";
        response.Headers["Repr-Digest"] = $"sha-256=:{Convert.ToBase64String(Convert.FromHexString(Sha256))}:";
        await TypedResults.Stream(bytes, MediaType, Name, entityTag: new($"\"{Sha256}\""), enableRangeProcessing: true).ExecuteAsync(httpContext);
        if (response is { StatusCode: >= 400, HasStarted: false })
        {
            // ErrorBoundary writes the error of a bare status.
            response.ContentType = null;
            response.ContentLength = null;
        }
    }
}
