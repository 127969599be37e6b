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
            // Behind a trusted proxy that takes a prefix away (X-Forwarded-Prefix), a client asks below it.
            response.Headers.Location = $"{response.HttpContext.Request.PathBase.ToUriComponent()}{location}";
        }
        if (replayed)
        {
            response.Headers["Idempotency-Replayed"] = "true";
        }
    }

    /// <summary>The headers of a JSON body. An answer may not be stored, because the next one to the same request may differ, unless it says otherwise.</summary>
    public static void BeginJson(this HttpResponse response, string contentType)
    {
        response.ContentType = contentType;
        if (response.Headers.CacheControl.Count == 0)
        {
            response.Headers.CacheControl = "no-store";
        }
    }

    /// <summary>Sends a value as the body: serialised into the response's pipe, with <c>Content-Length</c>.</summary>
    public static Task WriteJson<T>(this HttpResponse response, T value, JsonTypeInfo<T> json, string contentType = "application/json") =>
        response.WriteJson(writer => JsonSerializer.Serialize(writer, value, json), json.Writing(), contentType);

    /// <summary>How values of a type are written: with the escaping of their context.</summary>
    public static JsonWriterOptions Writing(this JsonTypeInfo json) => new() { Encoder = json.Options.Encoder, SkipValidation = true };

    /// <summary>Sends JSON that is partly stored bytes.</summary>
    public static async Task WriteJson(this HttpResponse response, Action<Utf8JsonWriter> write, JsonWriterOptions options, string contentType = "application/json")
    {
        response.BeginJson(contentType);
        await using (var writer = new Utf8JsonWriter(response.BodyWriter, options))
        {
            write(writer);
            writer.Flush();
            response.ContentLength = writer.BytesCommitted;
        }
        // Also to a caller whose access has ended meanwhile: what is in the pipe cannot be taken back for another answer.
        await response.BodyWriter.FlushAsync(CancellationToken.None);
    }
}
