using Microsoft.AspNetCore.Http.Features;

namespace Cowork.Web.Http;

/// <summary>Serves HEAD by GET without the body: the same status and headers, from the same code.</summary>
public sealed class HeadAsGet(RequestDelegate next)
{
    const string Key = "cowork.head";

    /// <summary>True: the client sent HEAD, so an endless stream ends after its headers.</summary>
    public static bool IsHead(HttpContext http) => http.Items.ContainsKey(Key);

    public async Task InvokeAsync(HttpContext http)
    {
        if (!HttpMethods.IsHead(http.Request.Method))
        {
            await next(http);
            return;
        }
        var body = http.Features.GetRequiredFeature<IHttpResponseBodyFeature>();
        http.Items[Key] = true;
        http.Request.Method = HttpMethods.Get;
        http.Features.Set<IHttpResponseBodyFeature>(new StreamResponseBodyFeature(Stream.Null, body));
        try
        {
            await next(http);
        }
        finally
        {
            // Kestrel must see HEAD again; for a GET it would miss the bytes that Content-Length promises.
            http.Request.Method = HttpMethods.Head;
            http.Features.Set(body);
        }
    }
}
