using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>The outermost middleware: turns every exception and bare error status into an error of the request's contract. No answer shows a stack trace or SQL.</summary>
public sealed partial class ErrorBoundary(RequestDelegate next, RequestMemory memory, Dialects dialects, ILogger<ErrorBoundary> logger)
{
    public async Task InvokeAsync(HttpContext http)
    {
        http.Response.Headers.XContentTypeOptions = "nosniff";
        if (dialects.Of(http).Headers is { Count: > 0 } headers)
        {
            // At the last moment, so that no error takes them away.
            http.Response.OnStarting(() =>
            {
                foreach (var (name, value) in headers)
                {
                    http.Response.Headers[name] = value;
                }
                return Task.CompletedTask;
            });
        }
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
            error = e.IsDenied ? ErrorResult.Denied(e.OfBlobs)
                : ErrorResult.Unavailable(e.OfBlobs ? "The blob store does not answer at the moment." : "The database does not answer at the moment.");
        }
        catch (SecretUnreadableException e)
        {
            LogSealed(logger, http.Request.Method, TraceId.Of(http), e.Message);
            error = new(
                503, "secrets_unreadable", "This host cannot open the tenant's secrets, because it has another master key, or a key is gone. Its log and /health/ready have more.")
            {
                RetryAfter = 5,
            };
        }
        catch (TooMuchHistoryException)
        {
            error = ErrorResult.Invalid(
                AsOf.Name, $"More than {Limits.AsOfFoldsMax} things of this list have changed since then. Ask for one of them, or narrow the list.", "as_of_too_much");
        }
        catch (BlobStoreFullException e)
        {
            LogFull(logger, http.Request.Method, TraceId.Of(http), e.Message);
            error = new(507, "storage_full", "There is no room for the text or file on this host's disk. Nothing of the request was kept.");
        }
        catch (Exception e) when (e is OutOfMemoryException || e.InnerException is OutOfMemoryException)
        {
            memory.CountRefused();
            LogMemory(logger, http.Request.Method, TraceId.Of(http));
            error = MemoryGuard.Pressure() with { Detail = "This host had no memory left for the request. What it asked for may have been done." };
        }
        catch (Exception e) when (http.RequestAborted.IsCancellationRequested && e is OperationCanceledException or IOException)
        {
            // The client closed the connection.
            return;
        }
#pragma warning disable CA1031 // An unexpected exception becomes a 500 and a line in the log.
        catch (Exception e)
#pragma warning restore CA1031
        {
            LogBug(logger, e, http.Request.Method, http.GetEndpoint()?.DisplayName ?? "no endpoint", TraceId.Of(http));
            error = ErrorResult.OfStatus(500);
        }
        if (http.Response.HasStarted)
        {
            // Part of the answer is sent. Closing the connection tells the client that the rest is missing.
            http.Abort();
            return;
        }
        static bool IsKept(string header) =>
            header is "Allow" or "Vary" or "X-Content-Type-Options" || header.StartsWith("Access-Control-", StringComparison.OrdinalIgnoreCase);
        var kept = http.Response.Headers.Where(h => IsKept(h.Key)).ToList();
        http.Response.Clear();
        kept.ForEach(h => http.Response.Headers[h.Key] = h.Value);
        try
        {
            await error.ExecuteAsync(http);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            // The client closed the connection meanwhile.
        }
    }

    [LoggerMessage(1, LogLevel.Warning, "{Method} answered 503 (trace {TraceId}): {Reason}")]
    static partial void LogAway(ILogger logger, string method, string traceId, string reason);

    [LoggerMessage(5, LogLevel.Error, "{Method} answered 503 (trace {TraceId}): {Reason}")]
    static partial void LogSealed(ILogger logger, string method, string traceId, string reason);

    [LoggerMessage(3, LogLevel.Error, "{Method} answered 507 (trace {TraceId}): {Reason}")]
    static partial void LogFull(ILogger logger, string method, string traceId, string reason);

    [LoggerMessage(4, LogLevel.Warning, "{Method} answered 503 (trace {TraceId}): the process has no memory left")]
    static partial void LogMemory(ILogger logger, string method, string traceId);

    [LoggerMessage(2, LogLevel.Error, "{Method} {Endpoint} failed (trace {TraceId})")]
    static partial void LogBug(ILogger logger, Exception e, string method, string endpoint, string traceId);
}
