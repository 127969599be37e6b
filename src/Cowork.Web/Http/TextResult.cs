using System.Text;

namespace Cowork.Web.Http;

/// <summary>A text answered as UTF-8.</summary>
public sealed record TextResult(string ContentType, string Text) : IResult
{
    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var body = Encoding.UTF8.GetBytes(Text);
        var response = httpContext.Response;
        response.ContentType = ContentType;
        response.ContentLength = body.Length;
        response.Headers.CacheControl = "no-store";
        await response.BodyWriter.WriteAsync(body, httpContext.RequestAborted);
    }
}
