using System.Text.Json.Serialization.Metadata;

namespace Cowork.Web.Http;

/// <summary>A value answered as JSON.</summary>
public sealed record JsonResult<T>(int Status, T Value, JsonTypeInfo<T> Json) : IResult
{
    public string? Location { get; init; }

    /// <summary>True: it repeats the answer to an earlier request with the same <c>Idempotency-Key</c>.</summary>
    public bool Replayed { get; init; }

    public Task ExecuteAsync(HttpContext httpContext)
    {
        var response = httpContext.Response;
        response.StatusCode = Status;
        if (Location is not null)
        {
            response.Headers.Location = Location;
        }
        if (Replayed)
        {
            response.Headers["Idempotency-Replayed"] = "true";
        }
        return response.WriteJson(Value, Json);
    }
}

static class JsonResult
{
    public static JsonResult<T> Of<T>(int status, T value, JsonTypeInfo<T> json) => new(status, value, json);
}
