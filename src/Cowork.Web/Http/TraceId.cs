using System.Diagnostics;

using Microsoft.AspNetCore.Http.Features;

namespace Cowork.Web.Http;

/// <summary>The W3C trace id of a request. Its span, events and errors carry it.</summary>
static class TraceId
{
    const string Key = "cowork.trace";

    /// <summary>The id that the client sent, or one made for this request.</summary>
    public static string Of(HttpContext http)
    {
        if (http.Features.Get<IHttpActivityFeature>()?.Activity is { IdFormat: ActivityIdFormat.W3C } span)
        {
            return span.TraceId.ToHexString();
        }
        // ASP.NET Core starts no span when nothing listens.
        if (http.Items[Key] is not string made)
        {
            http.Items[Key] = made = ActivityTraceId.CreateRandom().ToHexString();
        }
        return made;
    }
}
