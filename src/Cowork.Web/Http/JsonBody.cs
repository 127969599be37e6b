using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Cowork.Web.Http;

static class JsonBody
{
    /// <summary>Begins an answer with its status, <c>Location</c> and <c>Idempotency-Replayed</c>.</summary>
    public static void Begin(this HttpResponse response, int status, string? location, bool replayed)
    {
        response.StatusCode = status;
        if (location is not null)
        {
            response.Headers.Location = location;
        }
        if (replayed)
        {
            response.Headers["Idempotency-Replayed"] = "true";
        }
    }

    /// <summary>Sends a value as the body: serialised into the response's pipe, with <c>Content-Length</c>.</summary>
    public static Task WriteJson<T>(this HttpResponse response, T value, JsonTypeInfo<T> json, string contentType = "application/json") =>
        response.WriteJson(writer => JsonSerializer.Serialize(writer, value, json), new() { Encoder = json.Options.Encoder, SkipValidation = true }, contentType);

    /// <summary>Sends JSON that is partly stored bytes.</summary>
    public static async Task WriteJson(this HttpResponse response, Action<Utf8JsonWriter> write, JsonWriterOptions options, string contentType = "application/json")
    {
        response.ContentType = contentType;
        response.Headers.CacheControl = "no-store";
        await using (var writer = new Utf8JsonWriter(response.BodyWriter, options))
        {
            write(writer);
            writer.Flush();
            response.ContentLength = writer.BytesCommitted;
        }
        await response.BodyWriter.FlushAsync(response.HttpContext.RequestAborted);
    }
}
