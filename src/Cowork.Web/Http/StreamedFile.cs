using System.IO.Pipelines;

namespace Cowork.Web.Http;

/// <summary>
/// A file that is written while it is sent, as a download. What fails before its first bytes are sent is a refusal; what fails later closes the connection, so that nobody
/// takes what came for the whole.
/// </summary>
/// <param name="Name">The file name for the download: letters, digits, dots, hyphens and underscores.</param>
/// <param name="Write">Writes the whole file.</param>
public sealed record StreamedFile(string MediaType, string Name, Func<PipeWriter, CancellationToken, Task> Write) : IResult
{
    public const string Lines = "application/x-ndjson";
    public const string Zip = "application/zip";

    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var response = httpContext.Response;
        response.StatusCode = 200;
        response.ContentType = MediaType;
        response.Headers.ContentDisposition = $"attachment; filename=\"{Name}\"";
        response.Headers.CacheControl = "no-store";
        if (!HeadAsGet.IsHead(httpContext))
        {
            await Write(response.BodyWriter, httpContext.RequestAborted);
        }
    }
}
