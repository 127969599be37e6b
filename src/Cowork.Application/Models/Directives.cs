using System.Globalization;
using System.Text.Json;

namespace Cowork.Application;

/// <summary>A call that a message spells out.</summary>
/// <param name="Input">As it was written: JSON text, or what was meant to be.</param>
public sealed record SpelledCall(string Name, string Input);

/// <summary>
/// What a message tells the offline model to do (contracts/decisions.md, "The offline model"). Lines inside a fenced block are text, not directives.
/// </summary>
/// <param name="Calls">The <c>/tool</c> lines and <c>python</c> blocks, in order.</param>
/// <param name="Sleep">Before the first answer.</param>
/// <param name="Fail">Why the model fails, when it is told to.</param>
/// <param name="Say">The text of the last answer.</param>
/// <param name="Question">What is left of the message.</param>
public sealed record Directives(IReadOnlyList<SpelledCall> Calls, TimeSpan Sleep, string? Fail, string? Say, string Question)
{
    public static Directives Of(string message)
    {
        var calls = new List<SpelledCall>();
        var said = new List<string>();
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
            else if (After(line, "/tool") is { } call)
            {
                var space = call.AsSpan().IndexOfAny(' ', '\t', '{');
                var (name, input) = space < 0 ? (call, "{}") : (call[..space], call[space..].Trim());
                calls.Add(new(name, input.Length == 0 ? "{}" : input));
            }
            else if (After(line, "/sleep") is { } wait && int.TryParse(wait, NumberStyles.None, CultureInfo.InvariantCulture, out var ms))
            {
                sleep = ms;
            }
            else if (After(line, "/fail") is { } why)
            {
                fail ??= why;
            }
            else if (After(line, "/say") is { } text)
            {
                said.Add(text);
            }
            else
            {
                rest.Add(line);
            }
        }
        if (code is not null)
        {
            // The block was not closed: it ends with the message.
            calls.Add(Cell(code));
        }
        return new(
            calls, TimeSpan.FromMilliseconds(sleep), fail, said.Count == 0 ? null : string.Join('\n', said), string.Join('\n', rest).Trim());
    }

    static SpelledCall Cell(List<string> code)
    {
        // Written by hand: a message may hold characters that a JSON writer refuses.
        var text = JsonEncodedText.Encode(Domain.StorableText.Escape(string.Join('\n', code)), System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping);
        return new("scratchpad", $$"""{"action":"exec","code":"{{text}}"}""");
    }

    /// <summary>What follows a directive's word on its line; null when the line is none, or when nothing follows.</summary>
    static string? After(string line, string word) =>
        line.StartsWith(word, StringComparison.Ordinal) && line.Length > word.Length && line[word.Length] is ' ' or '\t' && line[word.Length..].Trim() is { Length: > 0 } rest
            ? rest
            : null;
}
