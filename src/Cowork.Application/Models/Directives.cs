using System.Globalization;
using System.Text.Json;

namespace Cowork.Application;

/// <summary>A tool call that a message contains as a directive.</summary>
/// <param name="Input">The arguments as written, which may not be valid JSON.</param>
public sealed record DirectiveCall(string Name, string Input);

/// <summary>
/// The directives of a message to the offline model (contracts/decisions.md, "The offline model"). Lines inside a fenced block are text, not directives.
/// </summary>
/// <param name="Calls">The <c>/tool</c> lines and <c>python</c> blocks, in order.</param>
/// <param name="Sleep">Delay before the first answer.</param>
/// <param name="Fail">The error that the model fails with; null: it does not fail.</param>
/// <param name="Say">The text of the last answer; null: the model composes it.</param>
/// <param name="Question">The message without its directives.</param>
public sealed record Directives(IReadOnlyList<DirectiveCall> Calls, TimeSpan Sleep, string? Fail, string? Say, string Question)
{
    public static Directives Of(string message)
    {
        var calls = new List<DirectiveCall>();
        var say = new List<string>();
        var rest = new List<string>();
        var sleep = 0;
        string? fail = null;
        List<string>? code = null;
        string? fence = null;
        foreach (var line in message.ReplaceLineEndings("\n").Split('\n'))
        {
            if (fence is not null)
            {
                if (line.Trim() == fence)
                {
                    if (code is not null)
                    {
                        calls.Add(Cell(code));
                    }
                    (fence, code) = (null, null);
                }
                else
                {
                    (code ?? rest).Add(line);
                }
                continue;
            }
            var trimmed = line.TrimStart();
            if (trimmed.StartsWith("```", StringComparison.Ordinal))
            {
                fence = trimmed[..^trimmed.TrimStart('`').Length];
                code = trimmed[fence.Length..].Trim().Equals("python", StringComparison.OrdinalIgnoreCase) ? [] : null;
            }
            else if (ArgumentOf(line, "/tool") is { } call)
            {
                var space = call.AsSpan().IndexOfAny(' ', '\t', '{');
                var (name, input) = space < 0 ? (call, "{}") : (call[..space], call[space..].Trim());
                calls.Add(new(name, input.Length == 0 ? "{}" : input));
            }
            else if (ArgumentOf(line, "/sleep") is { } wait && int.TryParse(wait, NumberStyles.None, CultureInfo.InvariantCulture, out var ms))
            {
                sleep = ms;
            }
            else if (ArgumentOf(line, "/fail") is { } why)
            {
                fail ??= why;
            }
            else if (ArgumentOf(line, "/say") is { } text)
            {
                say.Add(text);
            }
            else
            {
                rest.Add(line);
            }
        }
        if (code is not null)
        {
            // An unclosed block ends with the message.
            calls.Add(Cell(code));
        }
        return new(
            calls, TimeSpan.FromMilliseconds(sleep), fail, say.Count == 0 ? null : string.Join('\n', say), string.Join('\n', rest).Trim());
    }

    static DirectiveCall Cell(List<string> code)
    {
        // Not by a JSON writer, which refuses some characters that a message may contain.
        var text = JsonEncodedText.Encode(Domain.StorableText.Escape(string.Join('\n', code)), System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping);
        return new("scratchpad", $$"""{"action":"exec","code":"{{text}}"}""");
    }

    /// <summary>The rest of the line after a directive's word; null: the line is not this directive, or has no argument.</summary>
    static string? ArgumentOf(string line, string word) =>
        line.StartsWith(word, StringComparison.Ordinal) && line.Length > word.Length && line[word.Length] is ' ' or '\t' && line[word.Length..].Trim() is { Length: > 0 } rest
            ? rest
            : null;
}
