using System.Text.Json;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>
/// The arguments of a call as text. A model's client that has the text as the model wrote it keeps it beside the parsed form, so that
/// what is recorded is what was asked for, also when it is no JSON.
/// </summary>
public static class CallArguments
{
    /// <summary>Key of <see cref="AIContent.AdditionalProperties"/> under which the text lies.</summary>
    public const string Raw = "raw";

    static readonly JsonSerializerOptions Compact = new(AIJsonUtilities.DefaultOptions) { WriteIndented = false };

    /// <summary>A call whose arguments are this text. When it is no JSON object, <see cref="FunctionCallContent.Arguments"/> is null and its exception says why.</summary>
    public static FunctionCallContent Call(string id, string name, string input)
    {
        Dictionary<string, object?>? arguments = null;
        Exception? wrong = null;
        if (ToolInput.Read(input, out var parsed) is { } why)
        {
            wrong = new JsonException(why);
        }
        else
        {
            arguments = parsed.EnumerateObject().ToDictionary(m => m.Name, m => (object?)m.Value, StringComparer.Ordinal);
        }
        return new(id, name, arguments) { Exception = wrong, AdditionalProperties = new() { [Raw] = input } };
    }

    /// <summary>The arguments as the model wrote them, or as JSON where only their parsed form is known.</summary>
    public static string Text(FunctionCallContent call) =>
        call.AdditionalProperties?.TryGetValue(Raw, out var raw) == true && raw is string text ? text
        : call.Arguments is { } arguments ? JsonSerializer.Serialize(arguments, Compact.GetTypeInfo(typeof(IDictionary<string, object?>)))
        : "{}";
}
