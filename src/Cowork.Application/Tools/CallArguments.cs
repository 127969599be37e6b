using System.Text.Json;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>
/// The arguments of a tool call as text. A model's client keeps the text as the model wrote it beside the parsed form, so that the recorded call is what the
/// model asked for, even if the text is not valid JSON.
/// </summary>
public static class CallArguments
{
    /// <summary>Key of <see cref="AIContent.AdditionalProperties"/> for the text.</summary>
    public const string RawKey = "raw";

    static readonly JsonSerializerOptions Compact = new(AIJsonUtilities.DefaultOptions) { WriteIndented = false };

    /// <summary>A call with these arguments. For text that is not a JSON object, <see cref="FunctionCallContent.Arguments"/> is null and the exception says why.</summary>
    public static FunctionCallContent Call(string id, string name, string input)
    {
        Dictionary<string, object?>? arguments = null;
        Exception? error = null;
        if (ToolInput.Read(input, out var parsed) is { } fault)
        {
            error = new JsonException(fault);
        }
        else
        {
            arguments = parsed.EnumerateObject().ToDictionary(m => m.Name, m => (object?)m.Value, StringComparer.Ordinal);
        }
        return new(id, name, arguments) { Exception = error, AdditionalProperties = new() { [RawKey] = input } };
    }

    /// <summary>The arguments as the model wrote them, else the JSON of the parsed form.</summary>
    public static string Text(FunctionCallContent call) =>
        call.AdditionalProperties?.TryGetValue(RawKey, out var raw) == true && raw is string text ? text
        : call.Arguments is { } arguments ? JsonSerializer.Serialize(arguments, Compact.GetTypeInfo(typeof(IDictionary<string, object?>)))
        : "{}";
}
