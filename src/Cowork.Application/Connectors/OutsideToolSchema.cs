using System.Collections.Frozen;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// The input schema of a tool as models take it (JSON Schema 2020-12, of which providers know a part). A request with one schema that its provider does not understand fails as a
/// whole, so that a source which lies about one tool would take a run's model away. What only narrows values and is malformed is left out, because the source checks its
/// arguments itself; a schema whose structure is malformed makes its tool unusable.
/// </summary>
public static class OutsideToolSchema
{
    const int DepthMax = 16;

    const int PropertyCharsMax = 64;

    static readonly FrozenSet<string> Types = ["object", "array", "string", "number", "integer", "boolean", "null"];

    static readonly FrozenSet<string> OfSchemas = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

    static readonly FrozenSet<string> OfOneSchema =
        ["items", "additionalProperties", "additionalItems", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties"];

    static readonly FrozenSet<string> OfSchemaLists = ["anyOf", "oneOf", "allOf", "prefixItems"];

    static readonly FrozenSet<string> OfNumbers = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];

    static readonly FrozenSet<string> OfCounts =
        ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains"];

    static readonly FrozenSet<string> OfFlags = ["uniqueItems", "deprecated", "readOnly", "writeOnly"];

    /// <summary>Texts that people and models read.</summary>
    static readonly FrozenSet<string> OfWords = ["title", "description"];

    static readonly FrozenSet<string> OfTexts = ["pattern", "format", "contentEncoding", "contentMediaType"];

    /// <summary>What providers refuse beside the type of the whole input.</summary>
    static readonly FrozenSet<string> NotAtTop = ["anyOf", "oneOf", "allOf", "not", "if", "then", "else", "enum", "const", "$ref"];

    /// <summary>Reads a source's schema.</summary>
    /// <returns>Null: the tool cannot be offered with it, and the sentence says why.</returns>
    public static (JsonElement? Schema, string? WhyNot) Of(string json)
    {
        try
        {
            if (Encoding.UTF8.GetByteCount(json) > ConnectorLimits.SchemaBytesMax)
            {
                throw new UnusableSchemaException($"Its input schema has more than {ConnectorLimits.SchemaBytesMax >> 10} KiB.");
            }
            var given = JsonElement.Parse(json, new JsonDocumentOptions { AllowDuplicateProperties = false });
            var references = new List<string>();
            var schema = given.ValueKind == JsonValueKind.Object ? Top(given, references) : throw new UnusableSchemaException("Its input schema is no object.");
            if (references.Find(reference => !Resolves(schema, reference)) is { } lost)
            {
                throw new UnusableSchemaException($"Its input schema refers to what is not in it: {Quoted(lost)}.");
            }
            return (JsonElement.Parse(CanonicalJson.Of(Encoding.UTF8.GetBytes(schema.ToJsonString()))), null);
        }
        catch (UnusableSchemaException e)
        {
            return (null, e.Message);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or ArgumentException)
        {
            return (null, "Its input schema is no JSON that can be kept.");
        }
    }

    static JsonObject Top(JsonElement given, List<string> references)
    {
        var isObject = !given.TryGetProperty("type", out var type)
            || (type.ValueKind == JsonValueKind.String && type.GetString() == "object")
            || (type.ValueKind == JsonValueKind.Array && type.EnumerateArray().Any(one => one.ValueKind == JsonValueKind.String && one.GetString() == "object"));
        if (!isObject)
        {
            throw new UnusableSchemaException("Its input is no object.");
        }
        var schema = Copy(given, 0, references, isTop: true);
        schema["type"] = "object";
        schema.TryAdd("properties", new JsonObject());
        return schema;
    }

    static JsonObject Copy(JsonElement given, int depth, List<string> references, bool isTop = false)
    {
        if (depth > DepthMax)
        {
            throw new UnusableSchemaException($"Its input schema is more than {DepthMax} levels deep.");
        }
        var copy = new JsonObject();
        foreach (var member in given.EnumerateObject())
        {
            if ((isTop && NotAtTop.Contains(member.Name)) || !StorableText.IsStorable(member.Name))
            {
                continue;
            }
            if (Member(member.Name, member.Value, depth, references) is { } value)
            {
                copy[member.Name] = value;
            }
        }
        return copy;
    }

    /// <summary>The value of a keyword; null: it is left out.</summary>
    static JsonNode? Member(string name, JsonElement value, int depth, List<string> references)
    {
        if (OfSchemas.Contains(name))
        {
            return Map(name, value, depth, references);
        }
        if (OfOneSchema.Contains(name))
        {
            return One(name, value, depth, references);
        }
        if (OfSchemaLists.Contains(name))
        {
            return value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 0
                ? new JsonArray([.. value.EnumerateArray().Select(one => One(name, one, depth, references))])
                : throw Malformed(name);
        }
        return name switch
        {
            "type" => TypeOf(value),
            "required" => Required(value),
            "enum" => value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 0 ? Kept(value) : null,
            "const" or "default" or "examples" => Kept(value),
            "$ref" => Reference(value, references),
            // A number beyond those of RFC 8785 cannot be kept, and limits nothing.
            _ when OfNumbers.Contains(name) =>
                value.ValueKind == JsonValueKind.Number && value.GetDouble() is var limit && double.IsFinite(limit) && (name != "multipleOf" || limit > 0) ? Kept(value) : null,
            _ when OfCounts.Contains(name) => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var count) && count >= 0 ? Kept(value) : null,
            _ when OfFlags.Contains(name) => value.ValueKind is JsonValueKind.True or JsonValueKind.False ? Kept(value) : null,
            _ when OfWords.Contains(name) => value.ValueKind == JsonValueKind.String
                ? FileText.Truncate(VisibleText.Of(StorableText.Escape(value.GetString()!)), ConnectorLimits.DescriptionCharsMax)
                : null,
            _ when OfTexts.Contains(name) => value.ValueKind == JsonValueKind.String ? Kept(value) : null,
            // Other keywords mean nothing to models, and some providers refuse them.
            _ => null,
        };
    }

    static JsonObject Map(string name, JsonElement value, int depth, List<string> references)
    {
        if (value.ValueKind != JsonValueKind.Object)
        {
            throw Malformed(name);
        }
        var map = new JsonObject();
        foreach (var member in value.EnumerateObject())
        {
            if (name == "properties" && (member.Name.Length is 0 or > PropertyCharsMax || !member.Name.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.')))
            {
                throw new UnusableSchemaException($"Its input has a property that models cannot name: {Quoted(member.Name)}.");
            }
            map[member.Name] = One(name, member.Value, depth, references);
        }
        return map;
    }

    static JsonNode One(string name, JsonElement value, int depth, List<string> references) => value.ValueKind switch
    {
        JsonValueKind.Object => Copy(value, depth + 1, references),
        JsonValueKind.True or JsonValueKind.False => JsonValue.Create(value.GetBoolean()),
        _ => throw Malformed(name),
    };

    static JsonNode TypeOf(JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.String && Types.Contains(value.GetString()!))
        {
            return value.GetString()!;
        }
        var types = value.ValueKind == JsonValueKind.Array
            ? value.EnumerateArray().Select(one => one.ValueKind == JsonValueKind.String ? one.GetString()! : "").Distinct().ToList()
            : [];
        return types.Count > 0 && types.TrueForAll(Types.Contains) ? new JsonArray([.. types.Select(type => JsonValue.Create(type))]) : throw Malformed("type");
    }

    static JsonArray? Required(JsonElement value) => value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(name => name.ValueKind == JsonValueKind.String)
        ? new([.. value.EnumerateArray().Select(name => name.GetString()!).Where(name => StorableText.IsStorable(name)).Distinct().Select(name => JsonValue.Create(name))])
        : null;

    static JsonNode? Reference(JsonElement value, List<string> references)
    {
        var reference = value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Malformed("$ref");
        references.Add(reference);
        return reference;
    }

    /// <summary>A value that means what it says, when it can be kept.</summary>
    static JsonNode? Kept(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => value.EnumerateObject().All(member => StorableText.IsStorable(member.Name)) ? JsonObject.Create(value) : null,
        JsonValueKind.Array => JsonArray.Create(value),
        JsonValueKind.String => StorableText.IsStorable(value.GetString()!) ? JsonValue.Create(value) : null,
        _ => JsonValue.Create(value),
    };

    /// <summary>A reference within the schema: <c>#</c>, or a JSON pointer after it (RFC 6901).</summary>
    static bool Resolves(JsonObject schema, string reference)
    {
        if (reference == "#")
        {
            return true;
        }
        if (!reference.StartsWith("#/", StringComparison.Ordinal))
        {
            return false;
        }
        JsonNode? at = schema;
        foreach (var part in reference[2..].Split('/'))
        {
            var name = Uri.UnescapeDataString(part).Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);
            at = at switch
            {
                JsonObject map => map[name],
                JsonArray list when int.TryParse(name, out var place) && place >= 0 && place < list.Count => list[place],
                _ => null,
            };
        }
        return at is JsonObject;
    }

    static string Quoted(string text) => FileText.Truncate(VisibleText.Of(StorableText.Escape(text)), 100);

    static UnusableSchemaException Malformed(string keyword) => new($"Its input schema is malformed at {keyword}.");

    sealed class UnusableSchemaException(string message) : Exception(message);
}
