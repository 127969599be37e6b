using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Reads the arguments of a call. An argument that does not match the schema gives an error sentence for the model.</summary>
public static class ToolInput
{
    /// <summary>Parses a JSON Schema.</summary>
    public static JsonElement Schema(string json) => JsonElement.Parse(json);

    /// <summary>A string argument; null: it is absent, or <paramref name="error"/> says what is wrong.</summary>
    /// <param name="allowBlank">The text may be blank.</param>
    public static string? Text(JsonElement input, string name, bool required, out string? error, bool allowBlank = false)
    {
        error = null;
        if (!input.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null)
        {
            error = required ? $"The argument \"{name}\" is missing." : null;
            return null;
        }
        if (value.ValueKind != JsonValueKind.String)
        {
            error = $"The argument \"{name}\" must be a string.";
            return null;
        }
        var text = value.GetString()!;
        if (!allowBlank && string.IsNullOrWhiteSpace(text))
        {
            error = $"The argument \"{name}\" is empty.";
            return null;
        }
        return text;
    }

    /// <summary>An integer argument within bounds; absent: the default.</summary>
    public static long Number(JsonElement input, string name, long defaultValue, long min, long max, out string? error)
    {
        error = null;
        if (!input.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null)
        {
            return defaultValue;
        }
        if (value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && number == Math.Floor(number) && number >= min && number <= max)
        {
            return (long)number;
        }
        error = $"The argument \"{name}\" must be a whole number from {min} to {max}.";
        return defaultValue;
    }

    /// <summary>Parses the JSON text of a call's input. Answers the error, or null: then <paramref name="input"/> is an object whose strings are all storable.</summary>
    public static string? Read(string json, out JsonElement input)
    {
        input = default;
        if (!StorableText.IsStorable(json))
        {
            return "The input holds a NUL or a broken character.";
        }
        try
        {
            var parsed = JsonElement.Parse(string.IsNullOrWhiteSpace(json) ? "{}" : json, new JsonDocumentOptions { AllowDuplicateProperties = false });
            if (parsed.ValueKind != JsonValueKind.Object)
            {
                return "The input must be a JSON object.";
            }
            if (!IsStorable(parsed))
            {
                return "The input holds a NUL or a broken character.";
            }
            input = parsed;
            return null;
        }
        catch (JsonException e)
        {
            return $"The input is not JSON: {e.Message}";
        }
        catch (InvalidOperationException)
        {
            return "The input holds a NUL or a broken character."; // an escaped half of a surrogate pair
        }
    }

    static bool IsStorable(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => StorableText.IsStorable(value.GetString()),
        JsonValueKind.Array => value.EnumerateArray().All(IsStorable),
        JsonValueKind.Object => value.EnumerateObject().All(m => StorableText.IsStorable(m.Name) && IsStorable(m.Value)),
        _ => true,
    };
}
