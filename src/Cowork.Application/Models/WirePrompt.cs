using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>
/// A request's messages in the one form that strict chat templates accept: one system text, no message without content, and no user message after another one.
/// </summary>
sealed class WirePrompt
{
    /// <summary>Stands for a tool's empty result: some providers refuse a result without text.</summary>
    public const string EmptyResult = "(The tool answered nothing.)";

    readonly Dictionary<string, string> wireNames = new(StringComparer.Ordinal);
    readonly Dictionary<string, string> toolNames = new(StringComparer.Ordinal);

    public WirePrompt(IEnumerable<ChatMessage> messages, IEnumerable<AIFunctionDeclaration> tools)
    {
        var all = messages.ToList();
        System = string.Join("\n\n", all.Where(m => m.Role == ChatRole.System && !string.IsNullOrWhiteSpace(m.Text)).Select(m => m.Text));
        Messages = [.. Merge(all.Where(m => m.Role != ChatRole.System && !IsEmpty(m)))];
        Tools = [.. tools];
        foreach (var tool in Tools)
        {
            AddName(tool.Name);
        }
    }

    /// <summary>The text of all system messages, which not every provider takes at a later place; empty: there is none.</summary>
    public string System { get; }

    /// <summary>The messages without the system's.</summary>
    public IReadOnlyList<ChatMessage> Messages { get; }

    public IReadOnlyList<AIFunctionDeclaration> Tools { get; }

    /// <summary>The name under which the provider knows a tool: of the characters and length that every provider accepts, and no other tool's.</summary>
    public string WireName(string toolName) => wireNames.TryGetValue(toolName, out var wire) ? wire : WireJson.ToolName(toolName);

    /// <summary>The tool that the provider calls by a name; a name that no tool has is answered as it is.</summary>
    public string ToolName(string wireName) => toolNames.GetValueOrDefault(wireName, wireName);

    /// <summary>The text of a tool's result.</summary>
    public static string ResultText(FunctionResultContent result) => (string?)result.Result is { } text && !string.IsNullOrWhiteSpace(text) ? text : EmptyResult;

    void AddName(string toolName)
    {
        var name = WireJson.ToolName(toolName);
        for (var i = 2; toolNames.ContainsKey(name); i++)
        {
            name = $"{name[..Math.Min(name.Length, WireJson.NameCharsMax - 4)]}_{i}";
        }
        toolNames[name] = toolName;
        wireNames[toolName] = name;
    }

    /// <summary>A turn whose reply was empty leaves such a message behind, and some providers refuse it for ever.</summary>
    static bool IsEmpty(ChatMessage message) =>
        string.IsNullOrWhiteSpace(message.Text) && !message.Contents.Any(c => c is FunctionCallContent or FunctionResultContent);

    static IEnumerable<ChatMessage> Merge(IEnumerable<ChatMessage> messages)
    {
        ChatMessage? user = null;
        foreach (var message in messages)
        {
            if (message.Role == ChatRole.User)
            {
                user = user is null ? message : new(ChatRole.User, $"{user.Text}\n\n{message.Text}");
                continue;
            }
            if (user is not null)
            {
                yield return user;
                user = null;
            }
            yield return message;
        }
        if (user is not null)
        {
            yield return user;
        }
    }
}
