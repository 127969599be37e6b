using System.Text.Json;
using System.Text.Json.Serialization;

namespace Cowork.Web.Http;

/// <summary>A JSON object in an answer that is as it was sent: the order of its members, its numbers, its escapes and its white space.</summary>
/// <param name="Text">It was valid when it was stored, and is not looked at again.</param>
[JsonConverter(typeof(JsonTextConverter))]
public sealed record JsonText(string Text);

public sealed class JsonTextConverter : JsonConverter<JsonText>
{
    public override JsonText Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => new(JsonElement.ParseValue(ref reader).GetRawText());

    public override void Write(Utf8JsonWriter writer, JsonText value, JsonSerializerOptions options) => writer.WriteRawValue(value.Text, skipInputValidation: true);
}
