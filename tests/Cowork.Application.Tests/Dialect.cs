namespace Cowork.Application.Tests;

/// <summary>What a provider puts on the wire. Texts are given as they stand inside a JSON string.</summary>
abstract class Dialect
{
    public static Dialect Of(string provider) => provider == "openai" ? new OpenAi() : new Anthropic();

    /// <summary>How every answer begins.</summary>
    public abstract string[] Begin { get; }

    /// <summary>Of the answer that <see cref="Begin"/> begins.</summary>
    public const string ModelId = "m-2026-01";

    public abstract string Text(string text);

    /// <summary>Thinking with a signature, in pieces.</summary>
    public abstract string[] Thinking(string text);

    public abstract string CallBegin(int index, string id, string name);

    public abstract string CallPiece(int index, string arguments);

    /// <param name="cached">Of <paramref name="input"/>.</param>
    public abstract string[] End(string reason = "stop", long input = 10, long output = 5, long cached = 0);

    /// <summary>A whole answer.</summary>
    public string[] Say(params string[] texts) => [.. Begin, .. texts.Select(Text), .. End()];

    sealed class OpenAi : Dialect
    {
        public override string[] Begin => [Choice("""{"role":"assistant","content":""}""")];

        public override string Text(string text) => Choice($$"""{"content":"{{text}}"}""");

        public override string[] Thinking(string text) =>
        [
            Choice($$$"""{"reasoning_content":"{{{text}}}","reasoning_details":[{"type":"reasoning.text","text":"{{{text}}}","index":0}]}"""),
            Choice("""{"reasoning_details":[{"type":"reasoning.text","signature":"c2ln","index":0}],"extra_content":{"google":{"thought_signature":"c2ln"}}}"""),
        ];

        public override string CallBegin(int index, string id, string name) =>
            Choice($$$"""{"tool_calls":[{"index":{{{index}}},"id":"{{{id}}}","type":"function","function":{"name":"{{{name}}}","arguments":""}}]}""");

        public override string CallPiece(int index, string arguments) =>
            Choice($$$"""{"tool_calls":[{"index":{{{index}}},"function":{"arguments":"{{{arguments}}}"}}]}""");

        public override string[] End(string reason, long input, long output, long cached) =>
        [
            $$"""{"model":"{{ModelId}}","choices":[{"index":0,"delta":{},"finish_reason":"{{reason}}"}]}""",
            $$$"""{"choices":[],"usage":{"prompt_tokens":{{{input}}},"completion_tokens":{{{output}}},"prompt_tokens_details":{"cached_tokens":{{{cached}}} }} }""",
            "[DONE]",
        ];

        static string Choice(string delta) =>
            $$"""{"id":"c","object":"chat.completion.chunk","model":"{{ModelId}}","choices":[{"index":0,"delta":{{delta}},"finish_reason":null}]}""";
    }

    sealed class Anthropic : Dialect
    {
        public override string[] Begin =>
        [
            Event("message_start", $$$""" "message":{"id":"m","role":"assistant","content":[],"model":"{{{ModelId}}}","usage":{"output_tokens":1}}"""),
            Event("content_block_start", """ "index":0,"content_block":{"type":"text","text":""}"""),
            Event("ping", null),
        ];

        public override string Text(string text) => Event("content_block_delta", $$""" "index":0,"delta":{"type":"text_delta","text":"{{text}}"}""");

        public override string[] Thinking(string text) =>
        [
            Event("content_block_start", """ "index":90,"content_block":{"type":"thinking","thinking":"","signature":""}"""),
            Event("content_block_delta", $$""" "index":90,"delta":{"type":"thinking_delta","thinking":"{{text}}"}"""),
            Event("content_block_delta", """ "index":90,"delta":{"type":"signature_delta","signature":"c2ln"}"""),
        ];

        public override string CallBegin(int index, string id, string name) =>
            Event("content_block_start", $$$""" "index":{{{index + 1}}},"content_block":{"type":"tool_use","id":"{{{id}}}","name":"{{{name}}}","input":{}}""");

        public override string CallPiece(int index, string arguments) =>
            Event("content_block_delta", $$""" "index":{{index + 1}},"delta":{"type":"input_json_delta","partial_json":"{{arguments}}"}""");

        public override string[] End(string reason, long input, long output, long cached) =>
        [
            Event("content_block_stop", """ "index":0"""),
            Event(
                "message_delta",
                $$$""" "delta":{"stop_reason":"{{{Reason(reason)}}}"},"usage":{{{Usage(input - cached, output, cached)}}}"""),
            Event("message_stop", null),
        ];

        static string Usage(long input, long output, long cached) =>
            $$"""{"input_tokens":{{input}},"cache_read_input_tokens":{{cached}},"output_tokens":{{output}}}""";

        static string Reason(string reason) => reason switch
        {
            "stop" => "end_turn",
            "tool_calls" => "tool_use",
            "length" => "max_tokens",
            _ => reason,
        };

        static string Event(string type, string? rest) =>
            $$"""
            event: {{type}}
            data: {"type":"{{type}}"{{(rest is null ? "" : ",")}}{{rest}}}
            """;
    }
}
