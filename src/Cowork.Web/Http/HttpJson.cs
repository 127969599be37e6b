using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Cowork.Web.Http;

/// <summary>The shapes that several contracts share.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(NoBody))]
[JsonSerializable(typeof(ProblemDetails))]
[JsonSerializable(typeof(StreamGrant))]
public sealed partial class HttpJson : JsonSerializerContext
{
    /// <summary>The context for answers: with relaxed escaping.</summary>
    public static HttpJson Answers => field ??= new(RelaxedJson.Of(Default.Options));
}

/// <summary>JSON that people can read: only the characters that JSON requires are escaped.</summary>
static class RelaxedJson
{
    public static JsonWriterOptions Writing { get; } = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>A context's options with relaxed escaping.</summary>
    public static JsonSerializerOptions Of(JsonSerializerOptions options) => new(options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
}
