using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The arguments of a call, read with a sentence for the model where they are not what the schema says.</summary>
public static class ToolInput
{
    /// <summary>A published JSON Schema.</summary>
    public static JsonElement Schema(string json) => JsonElement.Parse(json);

    /// <summary>A text argument; <paramref name="error"/> says what is wrong with it. An absent optional one is null without an error.</summary>
    /// <param name="blank">The text may be empty.</param>
    public static string? Text(JsonElement input, string name, bool required, out string? error, bool blank = false)
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
        if (!blank && string.IsNullOrWhiteSpace(text))
        {
            error = $"The argument \"{name}\" is empty.";
            return null;
        }
        return text;
    }

    /// <summary>A whole number within bounds, or what stands for it when it is absent.</summary>
    public static long Number(JsonElement input, string name, long otherwise, long min, long max, out string? error)
    {
        error = null;
        if (!input.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null)
        {
            return otherwise;
        }
        if (value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && number == Math.Floor(number) && number >= min && number <= max)
        {
            return (long)number;
        }
        error = $"The argument \"{name}\" must be a whole number from {min} to {max}.";
        return otherwise;
    }

    /// <summary>What is wrong with the JSON text of a call's input, or null: then <paramref name="input"/> is an object whose every string is well-formed text.</summary>
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
            return "The input holds a NUL or a broken character."; // half a surrogate pair, written as an escape
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
