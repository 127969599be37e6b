using Cowork.Application;

namespace Cowork.Web.Http;

/// <summary>
/// Bytes that an agent made, for saving: no browser takes them for a page of this host, whatever they are. Their digest is their entity tag, and
/// stands in <c>Repr-Digest</c> (RFC 9530), so that a reader can check what it got.
/// </summary>
/// <param name="Name">Of the file, as it is to be saved.</param>
public sealed record BlobAnswer(IBlobs Blobs, string Sha256, long Bytes, string MediaType, string Name) : IResult
{
    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var response = httpContext.Response;
        await using var bytes = Blobs.Open(Sha256) ?? throw new InvalidDataException($"The blob {Sha256} is missing.");
        if (bytes.Length != Bytes)
        {
            throw new InvalidDataException($"The blob {Sha256} was changed.");
        }
        response.Headers.ContentSecurityPolicy = "sandbox; default-src 'none'";
        response.Headers["Cross-Origin-Resource-Policy"] = "same-origin";
        // The bytes never change, and who may read them can.
        response.Headers.CacheControl = "private, no-cache";
        response.Headers["Repr-Digest"] = $"sha-256=:{Convert.ToBase64String(Convert.FromHexString(Sha256))}:";
        await TypedResults.Stream(bytes, MediaType, Name, entityTag: new($"\"{Sha256}\""), enableRangeProcessing: true).ExecuteAsync(httpContext);
        if (response is { StatusCode: >= 400, HasStarted: false })
        {
            // A problem, which the boundary makes of the bare status.
            response.ContentType = null;
            response.ContentLength = null;
        }
    }
}
