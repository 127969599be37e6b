using Cowork.Application.Storage;

using Microsoft.AspNetCore.Http.Features;

namespace Cowork.Web.Http;

/// <summary>The outermost layer: whatever happens below, the client gets an answer of ours, and never a stack or SQL.</summary>
public sealed partial class ProblemBoundary(RequestDelegate next, ILogger<ProblemBoundary> logger)
{
    public async Task InvokeAsync(HttpContext http)
    {
        http.Response.Headers.XContentTypeOptions = "nosniff";
        ErrorResult error;
        try
        {
            await next(http);
            if (http.Response.HasStarted || http.Response.StatusCode < 400 || http.Response.ContentType is not null)
            {
                return;
            }
            if (http.Response.StatusCode == 405)
            {
                http.Response.Headers.Allow = http.Response.Headers.Allow.ToString().Replace("GET", "GET, HEAD", StringComparison.Ordinal) + ", OPTIONS";
            }
            if (http.Response.StatusCode == 405 && HttpMethods.IsOptions(http.Request.Method))
            {
                http.Response.StatusCode = 204;
                return;
            }
            error = ErrorResult.OfStatus(http.Response.StatusCode);
        }
        catch (UnreadableRequestException e)
        {
            error = e.Error;
        }
        catch (BadHttpRequestException e)
        {
            error = ErrorResult.OfStatus(e.StatusCode);
        }
        catch (StorageUnavailableException e)
        {
            LogAway(logger, http.Request.Method, TraceId.Of(http), e.Message);
            error = ErrorResult.Unavailable("The database does not answer at the moment.");
        }
        catch (Exception e) when (http.RequestAborted.IsCancellationRequested && e is OperationCanceledException or IOException)
        {
            // The client has gone; there is nobody to answer.
            return;
        }
#pragma warning disable CA1031 // Nothing may go past: this is where a bug becomes a 500 and a line in the log.
        catch (Exception e)
#pragma warning restore CA1031
        {
            LogBug(logger, e, http.Request.Method, http.GetEndpoint()?.DisplayName ?? "no endpoint", TraceId.Of(http));
            error = ErrorResult.OfStatus(500);
        }
        if (http.Response.HasStarted)
        {
            // Half an answer is worse than none: the client sees the connection break.
            http.Abort();
            return;
        }
        var kept = http.Response.Headers.Where(h => h.Key is "Allow" or "Access-Control-Allow-Origin" or "Vary" or "X-Content-Type-Options").ToList();
        http.Response.Clear();
        kept.ForEach(h => http.Response.Headers[h.Key] = h.Value);
        try
        {
            await error.ExecuteAsync(http);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            // It went in the meantime.
        }
    }

    [LoggerMessage(1, LogLevel.Warning, "{Method} answered 503 (trace {TraceId}): {Reason}")]
    static partial void LogAway(ILogger logger, string method, string traceId, string reason);

    [LoggerMessage(2, LogLevel.Error, "{Method} {Endpoint} failed (trace {TraceId})")]
    static partial void LogBug(ILogger logger, Exception e, string method, string endpoint, string traceId);
}

/// <summary>HEAD is GET without the body: the same status and headers, from the same code.</summary>
public sealed class HeadAsGet(RequestDelegate next)
{
    const string Key = "cowork.head";

    /// <summary>True when only the headers of this GET are wanted, so that an endless answer may end at once.</summary>
    public static bool Wanted(HttpContext http) => http.Items.ContainsKey(Key);

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
            // The server itself must see the method again, or it would miss the bytes that the length promises.
            http.Request.Method = HttpMethods.Head;
            http.Features.Set(body);
        }
    }
}
