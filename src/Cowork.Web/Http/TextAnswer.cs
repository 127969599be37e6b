using System.Text;

namespace Cowork.Web.Http;

/// <summary>An answer in text, whole.</summary>
public sealed record TextAnswer(string ContentType, string Text) : IResult
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
