using System.Collections.Immutable;
using System.Text.Json;

using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>The operations of an OpenAPI document (2.0 to 3.1, JSON) as a table for a model. What the document says wrongly is passed over.</summary>
static class OpenApiSummary
{
    const int PropertiesMax = 40;

    static readonly string[] Methods = ["get", "head", "post", "put", "patch", "delete"];

    public static ImmutableArray<string> Columns { get; } = ["method", "path", "summary", "parameters", "body"];

    /// <returns>Null: the text is no such document.</returns>
    public static ConnectorAnswer.Table? Of(string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text);
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("paths", out var paths) || paths.ValueKind != JsonValueKind.Object)
            {
                return null;
            }
            var operations =
                from path in paths.EnumerateObject()
                where path.Value.ValueKind == JsonValueKind.Object
                from method in Methods
                let operation = Member(path.Value, method)
                where operation.ValueKind == JsonValueKind.Object
                select (IReadOnlyList<string?>)
                    [method.ToUpperInvariant(), Cell(path.Name), Cell(Summary(operation)), Cell(Parameters(root, path.Value, operation)), Cell(Body(root, operation))];
            var rows = operations.Take(ConnectorLimits.RowsMax + 1).ToList();
            return rows.Count > ConnectorLimits.RowsMax
                ? new(Columns, rows[..ConnectorLimits.RowsMax], $"The document has more operations: these are the first {ConnectorLimits.RowsMax}.")
                : new(Columns, rows);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    static string Summary(JsonElement operation) => Text(operation, "summary") ?? Text(operation, "description") ?? Text(operation, "operationId") ?? "";

    static string Parameters(JsonElement root, JsonElement path, JsonElement operation) => string.Join(", ",
        from parameter in Elements(Member(path, "parameters")).Concat(Elements(Member(operation, "parameters"))).Select(given => Resolved(root, given)).Take(PropertiesMax)
        where Text(parameter, "in") is "path" or "query" or "header"
        let type = Text(parameter, "type") ?? TypeOf(Resolved(root, Member(parameter, "schema")))
        select $"{Text(parameter, "name")} ({Text(parameter, "in")}, {type}{(Member(parameter, "required").ValueKind == JsonValueKind.True ? ", required" : "")})");

    static string Body(JsonElement root, JsonElement operation)
    {
        var content = Member(Resolved(root, Member(operation, "requestBody")), "content");
        if (content.ValueKind == JsonValueKind.Object)
        {
            return content.EnumerateObject().Select(type => $"{type.Name}: {Shape(root, Resolved(root, Member(type.Value, "schema")))}").FirstOrDefault() ?? "";
        }
        // OpenAPI 2.0 has the body among the parameters.
        var body = Elements(Member(operation, "parameters")).Select(given => Resolved(root, given)).FirstOrDefault(parameter => Text(parameter, "in") == "body");
        return body.ValueKind == JsonValueKind.Object ? Shape(root, Resolved(root, Member(body, "schema"))) : "";
    }

    static string Shape(JsonElement root, JsonElement schema) => Member(schema, "properties") is { ValueKind: JsonValueKind.Object } properties
        ? $"{{{string.Join(", ", properties.EnumerateObject().Take(PropertiesMax).Select(property => $"{property.Name}: {TypeOf(Resolved(root, property.Value))}"))}}}"
        : TypeOf(schema);

    static string TypeOf(JsonElement schema) => Member(schema, "type") switch
    {
        { ValueKind: JsonValueKind.String } type => type.GetString()!,
        { ValueKind: JsonValueKind.Array } types => string.Join('|', types.EnumerateArray().Where(type => type.ValueKind == JsonValueKind.String).Select(type => type.GetString())),
        _ => "any",
    };

    /// <summary>What a reference within the document points to, one step: a chain of them can be a ring.</summary>
    static JsonElement Resolved(JsonElement root, JsonElement given)
    {
        if (Text(given, "$ref") is not { } reference || !reference.StartsWith("#/", StringComparison.Ordinal))
        {
            return given;
        }
        return reference[2..].Split('/').Aggregate(root, (at, part) => Member(at, Name(part)));
    }

    /// <summary>A part of a pointer (RFC 6901) in a fragment.</summary>
    static string Name(string part) => Uri.UnescapeDataString(part).Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);

    static JsonElement Member(JsonElement parent, string name) => parent.ValueKind == JsonValueKind.Object && parent.TryGetProperty(name, out var member) ? member : default;

    static JsonElement.ArrayEnumerator Elements(JsonElement list) => list.ValueKind == JsonValueKind.Array ? list.EnumerateArray() : default;

    static string? Text(JsonElement parent, string name) => Member(parent, name) is { ValueKind: JsonValueKind.String } text ? text.GetString() : null;

    static string Cell(string text) => PlainReason.Quoted(text, ConnectorLimits.CellCharsMax);
}
