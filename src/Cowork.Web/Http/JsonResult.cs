using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Cowork.Web.Http;

/// <summary>A value answered as JSON.</summary>
public sealed record JsonResult<T>(int Status, T Value, JsonTypeInfo<T> Json) : ILateAnswer
{
    public string? Location { get; init; }

    /// <summary>True: it repeats the answer to an earlier request with the same <c>Idempotency-Key</c>.</summary>
    public bool Replayed { get; init; }

    /// <summary>Of what is shown; null: it has no tag.</summary>
    public string? ETag { get; init; }

    public JsonWriterOptions Writing => Json.Writing();

    public Task ExecuteAsync(HttpContext httpContext)
    {
        httpContext.Response.Begin(Status, Location, Replayed);
        if (ETag is not null)
        {
            httpContext.Response.Headers.ETag = ETag;
        }
        return httpContext.Response.WriteJson(Value, Json);
    }

    public void Write(Utf8JsonWriter json) => JsonSerializer.Serialize(json, Value, Json);
}

static class JsonResult
{
    public static JsonResult<T> Of<T>(int status, T value, JsonTypeInfo<T> json) => new(status, value, json);
}

/// <summary>Stored JSON answered as it is.</summary>
public sealed record StoredJsonResult(int Status, ReadOnlyMemory<byte> Body) : IResult
{
    public string? Location { get; init; }

    /// <inheritdoc cref="JsonResult{T}.Replayed"/>
    public bool Replayed { get; init; }

    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var response = httpContext.Response;
        response.Begin(Status, Location, Replayed);
        response.ContentType = "application/json";
        response.ContentLength = Body.Length;
        response.Headers.CacheControl = "no-store";
        await response.BodyWriter.WriteAsync(Body, httpContext.RequestAborted);
    }
}

/// <summary>JSON of a known length that is written while it is sent.</summary>
/// <param name="Write">Writes the whole of it.</param>
public sealed record WrittenJsonResult(long Length, Func<PipeWriter, CancellationToken, Task> Write) : IResult
{
    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var response = httpContext.Response;
        response.Begin(200, location: null, replayed: false);
        response.ContentType = "application/json";
        response.ContentLength = Length;
        response.Headers.CacheControl = "no-store";
        if (!HeadAsGet.IsHead(httpContext))
        {
            await Write(response.BodyWriter, httpContext.RequestAborted);
        }
    }
}
