using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Application;

namespace Cowork.Web.Http;

/// <summary>A text in the body of a PATCH: left out, null, or given.</summary>
public sealed class OptionalTextConverter : JsonConverter<Optional<string>>
{
    public override bool HandleNull => true;

    public override Optional<string> Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => Optional<string>.Of(reader.TokenType switch
    {
        JsonTokenType.Null => null,
        JsonTokenType.String => reader.GetString(),
        _ => throw new JsonException(),
    });

    public override void Write(Utf8JsonWriter writer, Optional<string> value, JsonSerializerOptions options) => writer.WriteStringValue(value.Value);
}

/// <summary>Any JSON in the body of a PATCH: null when it was left out; a null that was given is an element.</summary>
public sealed class GivenElementConverter : JsonConverter<JsonElement?>
{
    public override bool HandleNull => true;

    public override JsonElement? Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => JsonElement.ParseValue(ref reader);

    public override void Write(Utf8JsonWriter writer, JsonElement? value, JsonSerializerOptions options)
    {
        if (value is { } given)
        {
            given.WriteTo(writer);
        }
        else
        {
            writer.WriteNullValue();
        }
    }
}

/// <summary>A list of texts in the body of a PATCH: left out, null, or given.</summary>
public sealed class OptionalTextsConverter : JsonConverter<Optional<IReadOnlyList<string>>>
{
    public override bool HandleNull => true;

    public override Optional<IReadOnlyList<string>> Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType == JsonTokenType.Null)
        {
            return Optional<IReadOnlyList<string>>.Of(null);
        }
        var texts = new List<string>();
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            throw new JsonException();
        }
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            texts.Add(reader.TokenType == JsonTokenType.String ? reader.GetString()! : throw new JsonException());
        }
        return Optional<IReadOnlyList<string>>.Of(texts);
    }

    public override void Write(Utf8JsonWriter writer, Optional<IReadOnlyList<string>> value, JsonSerializerOptions options)
    {
        if (value.Value is null)
        {
            writer.WriteNullValue();
            return;
        }
        writer.WriteStartArray();
        foreach (var text in value.Value)
        {
            writer.WriteStringValue(text);
        }
        writer.WriteEndArray();
    }
}
