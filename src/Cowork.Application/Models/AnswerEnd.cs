using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>How an answer ended, in the words of many providers.</summary>
static class AnswerEnd
{
    /// <summary>Words for an end that is none: the provider gave up in the middle of the answer.</summary>
    static readonly string[] FailureParts = ["error", "fail", "abort", "cancel", "timeout", "interrupt", "insufficient", "overload", "malformed", "unavailable", "incomplete"];

    /// <summary>
    /// The end in one spelling: <c>stop</c>, <c>tool_calls</c>, <c>length</c> or <c>content_filter</c>; a word of the provider's own as it is. Null: the provider has
    /// not said yet.
    /// </summary>
    public static ChatFinishReason? Of(string? reason) => reason?.Trim().ToLowerInvariant() switch
    {
        // Some servers write the word null until the end has come.
        null or "" or "null" or "none" => null,
        "stop" or "end_turn" or "stop_sequence" or "stop_token" or "eos" or "eos_token" or "end" or "complete" or "completed" or "done" => ChatFinishReason.Stop,
        "tool_calls" or "tool_call" or "tool_use" or "function_call" or "function_calls" => ChatFinishReason.ToolCalls,
        "length" or "max_tokens" or "max_output_tokens" or "max_length" or "model_length" or "model_context_window_exceeded" => ChatFinishReason.Length,
        "content_filter" or "content_filtered" or "refusal" or "safety" or "sensitive" or "recitation" or "blocklist" or "prohibited_content" or "spii" =>
            ChatFinishReason.ContentFilter,
        _ => new(reason!),
    };

    /// <summary>The answer broke off: <c>error</c>, <c>network_error</c>, <c>insufficient_system_resource</c>, <c>abort</c>, ….</summary>
    public static bool IsFailure(string reason) => Array.Exists(FailureParts, part => reason.Contains(part, StringComparison.OrdinalIgnoreCase));

    /// <summary>The model itself ended the answer, with its text or with tool calls.</summary>
    public static bool IsWhole(string stopReason) => stopReason == ChatFinishReason.Stop.Value || stopReason == ChatFinishReason.ToolCalls.Value;

    /// <summary>The provider cut the answer off, so that its last tool call may have half of its arguments.</summary>
    public static bool IsCut(string stopReason) => stopReason == ChatFinishReason.Length.Value || stopReason == ChatFinishReason.ContentFilter.Value;

    /// <summary>2: the answer broke off; 1: it was cut off; 0: neither.</summary>
    public static int Badness(string reason) => IsFailure(reason) ? 2 : IsCut(reason) ? 1 : 0;
}
