using System.Collections.Immutable;
using System.Text;

namespace Cowork.Domain;

/// <summary>
/// A prompt template: <c>{name}</c> is a parameter, <c>{{</c> and <c>}}</c> are literal braces, and other braces are faults. Values are inserted without
/// interpretation, so a value may contain braces.
/// </summary>
public sealed class SkillTemplate
{
    readonly ImmutableList<Part> parts;

    SkillTemplate(ImmutableList<Part> parts)
    {
        this.parts = parts;
        RequiredParams = [.. parts.Where(p => p.IsParam).Select(p => p.Text).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
    }

    /// <summary>Distinct parameter names, sorted.</summary>
    public ImmutableList<string> RequiredParams { get; }

    /// <summary>Answers the template, or a sentence that says what is wrong.</summary>
    public static (SkillTemplate? Template, string? Fault) Parse(string text)
    {
        var parts = ImmutableList.CreateBuilder<Part>();
        var literal = new StringBuilder();
        for (var i = 0; i < text.Length;)
        {
            var brace = text.AsSpan(i).IndexOfAny('{', '}');
            if (brace < 0)
            {
                literal.Append(text, i, text.Length - i);
                break;
            }
            literal.Append(text, i, brace);
            i += brace;
            if (i + 1 < text.Length && text[i + 1] == text[i])
            {
                literal.Append(text[i]);
                i += 2;
                continue;
            }
            var end = text[i] == '{' ? text.AsSpan(i + 1).IndexOfAny('{', '}') : -1;
            if (end < 0 || text[i + 1 + end] == '{')
            {
                return (null, $"The \"{text[i]}\" at character {i + 1} stands alone; a brace is written twice, a parameter as {{name}}.");
            }
            var name = text.Substring(i + 1, end);
            if (!IsParam(name))
            {
                return (
                    null,
                    $"The braces at character {i + 1} hold no parameter: a name has 1 to {Limits.ParamNameCharsMax} letters, digits and underscores, and begins with no digit.");
            }
            if (literal.Length > 0)
            {
                parts.Add(new(literal.ToString(), IsParam: false));
                literal.Clear();
            }
            parts.Add(new(name, IsParam: true));
            i += end + 2;
        }
        if (literal.Length > 0)
        {
            parts.Add(new(literal.ToString(), IsParam: false));
        }
        return (new(parts.ToImmutable()), null);
    }

    /// <summary>The prompt with the parameters filled in. Unknown parameters are ignored.</summary>
    public (string? Prompt, Refusal? Refused) Render(IReadOnlyDictionary<string, string> values)
    {
        if (RequiredParams.Where(name => !values.ContainsKey(name)).ToList() is { Count: > 0 } missing)
        {
            return (null, new("missing_params", 400, $"Parameters are missing: {string.Join(", ", missing)}."));
        }
        var prompt = new StringBuilder();
        foreach (var part in parts)
        {
            prompt.Append(part.IsParam ? values[part.Text] : part.Text);
            if (prompt.Length > Limits.MessageBytesMax)
            {
                return (null, TooLong);
            }
        }
        var text = prompt.ToString();
        return string.IsNullOrWhiteSpace(text) ? (null, new("blank_prompt", 400, "With these parameters nothing is left to say."))
            : Encoding.UTF8.GetByteCount(text) > Limits.MessageBytesMax ? (null, TooLong)
            : (text, null);
    }

    static Refusal TooLong => Refusal.Invalid("prompt_too_long", "$.params", $"With these parameters the prompt has more than {Limits.MessageBytesMax} bytes.");

    static bool IsParam(string name) =>
        name.Length is > 0 and <= Limits.ParamNameCharsMax && !char.IsAsciiDigit(name[0]) && name.All(c => char.IsAsciiLetterOrDigit(c) || c == '_');

    sealed record Part(string Text, bool IsParam);
}
