using System.Text.Json;
using System.Text.Json.Nodes;

using Json.Schema;

namespace Cowork.Testing.Hosts;

/// <summary>
/// /openapi.json, with a schema for each answer that it describes, which is compiled when the first such answer comes. The schemas are stricter than the document: an
/// object may hold no member that its schema does not name.
/// </summary>
sealed class ApiDescription
{
    static readonly EvaluationOptions Quick = new() { OutputFormat = OutputFormat.Flag, RequireFormatValidation = true };
    static readonly EvaluationOptions Telling = new() { OutputFormat = OutputFormat.List, RequireFormatValidation = true };

    /// <summary>Neither the nodes of the document nor what knows all schemas by their ids is for several threads at once.</summary>
    static readonly Lock Building = new();

    readonly List<(string Method, string[] Path, JsonObject Operation)> operations = [];
    readonly Dictionary<(string Operation, string Status, string ContentType), Compiled?> schemas = [];

    ApiDescription(JsonObject document)
    {
        var definitions = JsonNode.Parse(document["components"]!["schemas"]!.ToJsonString().Replace("#/components/schemas/", "#/$defs/", StringComparison.Ordinal))!.AsObject();
        foreach (var schema in definitions.Select(d => d.Value!.AsObject()).Where(schema => schema.ContainsKey("properties")))
        {
            schema["additionalProperties"] ??= false;
        }
        var earlier = definitions.DeepClone().AsObject();
        foreach (var schema in earlier.Select(d => d.Value!.AsObject()))
        {
            schema.Remove("required");
        }
        var compiled = new Dictionary<string, Compiled>();
        foreach (var (path, item) in document["paths"]!.AsObject())
        {
            foreach (var (method, operation) in item!.AsObject())
            {
                operations.Add((method.ToUpperInvariant(), path.Split('/'), operation!.AsObject()));
                foreach (var (status, response) in operation["responses"]!.AsObject())
                {
                    foreach (var (type, media) in response!["content"]?.AsObject() ?? [])
                    {
                        var schema = media!["schema"]!.ToJsonString().Replace("#/components/schemas/", "#/$defs/", StringComparison.Ordinal);
                        schemas[((string)operation["operationId"]!, status, type)] = !type.EndsWith("/json", StringComparison.Ordinal) && !type.EndsWith("+json", StringComparison.Ordinal) ? null
                            : compiled.TryGetValue(schema, out var known) ? known
                            : compiled[schema] = new(Compiling(schema, compiled.Count, "", definitions), Compiling(schema, compiled.Count, "earlier/", earlier));
                    }
                }
            }
        }
        // A literal part of a path comes before a parameter.
        operations = [.. operations.OrderBy(o => o.Path.Count(part => part.StartsWith('{')))];
    }

    public static ApiDescription Read(string document) => new(JsonNode.Parse(document)!.AsObject());

    /// <param name="Earlier">Of an answer that an earlier release stored: it may lack members.</param>
    sealed record Compiled(Lazy<JsonSchema> Present, Lazy<JsonSchema> Earlier);

    /// <summary>What is wrong with an answer; null: it is as described, or its path is not described.</summary>
    /// <param name="isWhole">False: only status and path are looked at.</param>
    /// <param name="isRepeated">The answer is that to an earlier request with the same key.</param>
    public string? Fault(string method, string path, int status, string? contentType, ReadOnlySpan<byte> body, bool isWhole, bool isRepeated)
    {
        var parts = path.Split('/');
        var there = operations.Where(o => Matches(o.Path, parts)).ToList();
        if (there.Count == 0)
        {
            return null;
        }
        var isHead = method == "HEAD";
        var operation = there.Find(o => o.Method == (isHead ? "GET" : method)).Operation;
        if (operation is null)
        {
            return (status, method) is (405, _) or (204, "OPTIONS") or (401 or 403 or 400, _) ? null : $"There is no operation for {method} {path}, which answered {status}.";
        }
        var name = (string)operation["operationId"]!;
        if (operation["responses"]![$"{status}"] is not { } response)
        {
            return $"{name} does not say that it may answer {status}.";
        }
        if (response["content"] is not JsonObject contents)
        {
            return body.Length == 0 ? null : $"{name}: {status} has no body.";
        }
        if (isHead || !isWhole)
        {
            return null;
        }
        if (contentType is null || !schemas.TryGetValue((name, $"{status}", contentType), out var compiled))
        {
            // The bytes of an artifact have the type that its file has.
            return contents.ContainsKey("application/octet-stream") ? null : $"{name}: {status} is no {contentType ?? "body without a type"}.";
        }
        if (compiled is null)
        {
            return null;
        }
        var schema = (isRepeated ? compiled.Earlier : compiled.Present).Value;
        JsonElement json;
        try
        {
            // What clients stored may be as deep as a body, and lies deeper in an answer.
            var reader = new Utf8JsonReader(body, new JsonReaderOptions { MaxDepth = 2 * Web.Http.JsonValidator.DepthMax });
            json = JsonElement.ParseValue(ref reader);
        }
        catch (JsonException e)
        {
            return $"{name}: {status} is no JSON: {e.Message}";
        }
        if (schema.Evaluate(json, Quick).IsValid)
        {
            return null;
        }
        var faults = schema.Evaluate(json, Telling).Details?.Where(d => d.Errors is not null).SelectMany(d => d.Errors!.Values.Select(e => $"{d.InstanceLocation} {e}")) ?? [];
        return $"{name}: {status} is not as described: {string.Join("; ", faults.Distinct().Take(5))}: {json}";
    }

    static bool Matches(string[] template, string[] path) =>
        template.Length == path.Length && template.Zip(path).All(pair => pair.First == pair.Second || (pair.First.StartsWith('{') && pair.Second.Length > 0));

    static Lazy<JsonSchema> Compiling(string schema, int number, string kind, JsonObject definitions) => new(() =>
    {
        lock (Building)
        {
            var used = new JsonObject();
            Use(JsonNode.Parse(schema), used);
            return JsonSchema.FromText(new JsonObject
            {
                ["$schema"] = "https://json-schema.org/draft/2020-12/schema",
                ["$id"] = $"https://cowork.example/{kind}{number}",
                ["allOf"] = new JsonArray(JsonNode.Parse(schema)),
                ["$defs"] = used,
            }.ToJsonString());
        }

        // A definition is compiled with all that it refers to, which is a few of some hundred.
        void Use(JsonNode? part, JsonObject used)
        {
            foreach (var inner in part is JsonObject of ? of.Select(member => member.Value) : part as JsonArray ?? [])
            {
                Use(inner, used);
            }
            if (part is JsonObject && part["$ref"] is JsonValue reference && reference.TryGetValue<string>(out var to) && to["#/$defs/".Length..] is var name && !used.ContainsKey(name))
            {
                used[name] = definitions[name]!.DeepClone();
                Use(used[name], used);
            }
        }
    });
}
