using System.Text.Json;

using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>
/// What a provider wants back with the next request (thinking, signatures), as the protected data of a <see cref="TextReasoningContent"/>: one JSON object, whose
/// member <c>format</c> names the wire format that wrote it and is the only one that reads it.
/// </summary>
static class Reasoning
{
    /// <summary>What a provider sends may be as deep as the reader allows, and lies in an object of ours.</summary>
    static readonly JsonDocumentOptions Deep = new() { MaxDepth = 256 };

    /// <summary>The content that carries the JSON beside an answer's or message's other contents.</summary>
    public static TextReasoningContent Content(string json) => new(null) { ProtectedData = json };

    /// <summary>The object of a message that this format wrote. An element of kind Undefined: there is none, or another format wrote it.</summary>
    public static JsonElement Of(ChatMessage message, string format)
    {
        foreach (var content in message.Contents)
        {
            if (content is TextReasoningContent { ProtectedData: { } json })
            {
                if (json == PersonalAttribute.Text)
                {
                    // A release that erased it as an ordinary text left this.
                    return default;
                }
                var reasoning = JsonElement.Parse(json, Deep);
                return reasoning.Member("format").Text() == format ? reasoning : default;
            }
        }
        return default;
    }
}
