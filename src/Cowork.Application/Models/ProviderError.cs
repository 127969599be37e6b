using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Cowork.Application.Models;

/// <summary>What a provider, or a proxy before it, says about a failure. The forms are many: objects, lists, plain text, pages.</summary>
/// <param name="Reason">For people, in one line, and not yet without secrets; empty: it says nothing.</param>
/// <param name="Kinds">Its codes, types and statuses.</param>
/// <param name="RetryAfter">The delay that it asks for; null: none.</param>
sealed partial record ProviderError(string Reason, IReadOnlySet<string> Kinds, TimeSpan? RetryAfter)
{
    /// <summary>Objects inside each other, and entries of a list, that are looked at.</summary>
    const int DepthMax = 6;
    const int ItemsMax = 20;

    /// <summary>Characters at a key's ends by which a part of it is recognised, and where stars or dots stand for its middle.</summary>
    const int KeyPartChars = 6;
    const int MaskedPartChars = 3;

    /// <summary>Keys that are shorter are words, which stand in other words.</summary>
    const int KeyCharsMin = 12;

    static readonly HashSet<string> RefusedKinds = new(StringComparer.OrdinalIgnoreCase)
    {
        "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "request_too_large", "billing_error", "insufficient_quota",
        "invalid_api_key", "model_not_found", "context_length_exceeded", "BadRequestError", "NotFoundError", "400", "401", "402", "403", "404", "413", "422",
    };

    static readonly HashSet<string> BusyKinds = new(StringComparer.OrdinalIgnoreCase)
    {
        "overloaded_error", "rate_limit_error", "rate_limit_exceeded", "server_error", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "429", "503", "529",
    };

    /// <summary>Members with a reason, the general before the particular.</summary>
    static readonly string[] ReasonMembers = ["title", "error", "message", "detail", "errors", "error_description", "error_message", "error_msg", "msg", "base_resp", "status_msg"];

    /// <summary>Members with a reason where none of the others has one.</summary>
    static readonly string[] OtherMembers = ["reason", "description", "details", "cause"];

    /// <summary>An account without credit gets the status of one that asks too often, and waiting does not help.</summary>
    public bool IsEmptyAccount => Kinds.Contains("insufficient_quota");

    /// <summary>Reads the body of an answer that is no stream.</summary>
    public static ProviderError Read(string body)
    {
        var text = body.Trim('\ufeff', ' ', '\r', '\n', '\t');
        if (text.StartsWith("data:", StringComparison.Ordinal) || text.StartsWith("event:", StringComparison.Ordinal))
        {
            text = string.Join('\n', text.Split('\n').Where(l => l.StartsWith("data:", StringComparison.Ordinal)).Select(l => l[5..].Trim()).Where(l => l != "[DONE]"));
        }
        if (text.StartsWith('{') || text.StartsWith('[') || text.StartsWith('"'))
        {
            try
            {
                return Of(JsonElement.Parse(text));
            }
            catch (JsonException)
            {
                // Cut off, or no JSON after all: shown as the text that it is.
            }
        }
        var reason = FileText.OneLine(text.StartsWith('<') ? TextOfPage(text) : text);
        return new(reason, new HashSet<string>(), DelayIn(reason));
    }

    /// <summary>Reads an error in JSON, whichever form it has.</summary>
    public static ProviderError Of(JsonElement json)
    {
        var kinds = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        TimeSpan? delay = null;
        Collect(json, kinds, ref delay, 0);
        var reason = FileText.OneLine(ReasonOf(json, 0));
        if (reason.Length == 0 && HasContent(json))
        {
            reason = FileText.OneLine(json.GetRawText());
        }
        return new(reason, kinds, delay ?? DelayIn(reason));
    }

    /// <summary>The exception for an error in the middle of an answer.</summary>
    public ModelException ToException() => new(
        Kinds.Overlaps(RefusedKinds) ? ModelException.Refused : Kinds.Overlaps(BusyKinds) ? ModelException.Unavailable : ModelException.Failed,
        $"The model broke off its answer: {(Reason.Length > 0 ? Reason : string.Join(' ', Kinds))}")
    {
        RetryAfter = RetryAfter,
    };

    /// <summary>The delay of the headers; null: none. <c>Retry-After</c> is a number of seconds, perhaps with a fraction, or a date.</summary>
    public static TimeSpan? DelayOf(Func<string, string?> header, DateTimeOffset now)
    {
        if (Number(header("retry-after-ms")) is { } ms)
        {
            return Span(ms / 1_000);
        }
        var after = header("Retry-After");
        return Number(after) is { } seconds ? Span(seconds)
            : DateTimeOffset.TryParse(after, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var date) ? Span((date - now).TotalSeconds)
            : null;
    }

    /// <summary>The text without the key, recognisable parts of it, and what looks like another credential.</summary>
    public static string Redact(string text, string? key)
    {
        if (key is not null)
        {
            text = text.Replace(key, "***", StringComparison.Ordinal);
            if (key.Length >= KeyCharsMin)
            {
                text = Word().Replace(text, word =>
                    HasEnd(word.Value, key, KeyPartChars) || (Mask().IsMatch(word.Value) && HasEnd(word.Value, key, MaskedPartChars)) ? "***" : word.Value);
            }
        }
        return Credential().Replace(text, "${name}***");
    }

    static bool HasEnd(string word, string key, int chars) =>
        word.Contains(key[..chars], StringComparison.Ordinal) || word.Contains(key[^chars..], StringComparison.Ordinal);

    static string ReasonOf(JsonElement json, int depth)
    {
        if (depth > DepthMax)
        {
            return "";
        }
        switch (json.ValueKind)
        {
            case JsonValueKind.String:
                return json.Text()!.Trim();
            case JsonValueKind.Array:
                return Join("; ", json.EnumerateArray().Take(ItemsMax).Select(item => ReasonOf(item, depth + 1)));
            case JsonValueKind.Object:
                var place = string.Join('.', json.Member("loc").Items().Select(part => part.TextOrJson()));
                var reason = Join(": ", ReasonMembers.Select(name => ReasonOfMember(json, name, depth + 1)));
                reason = reason.Length > 0 ? reason : Join(": ", OtherMembers.Select(name => ReasonOf(json.Member(name), depth + 1)));
                var cause = ReasonOf(json.Member("metadata").Member("raw"), depth + 1);
                return Join(": ", [place, reason, cause]);
            default:
                return "";
        }
    }

    /// <summary>Errors by field are a member of an object, too: <c>{"errors": {"model": ["Unknown."]}}</c>.</summary>
    static string ReasonOfMember(JsonElement json, string name, int depth) =>
        name == "errors" && json.Member(name) is { ValueKind: JsonValueKind.Object } fields
            ? Join("; ", fields.EnumerateObject().Take(ItemsMax).Select(f => Join(": ", [f.Name, ReasonOf(f.Value, depth + 1)])))
            : ReasonOf(json.Member(name), depth);

    /// <summary>The parts that say something which no earlier one says.</summary>
    static string Join(string separator, IEnumerable<string> parts)
    {
        var kept = new List<string>();
        foreach (var part in parts)
        {
            if (part.Length > 0 && !kept.Exists(k => k.Contains(part, StringComparison.Ordinal)))
            {
                kept.Add(part);
            }
        }
        return string.Join(separator, kept);
    }

    static bool HasContent(JsonElement json) => json.ValueKind switch
    {
        JsonValueKind.Object => json.EnumerateObject().Any(),
        JsonValueKind.Array => json.GetArrayLength() > 0,
        JsonValueKind.Number => true,
        _ => false,
    };

    static void Collect(JsonElement json, HashSet<string> kinds, ref TimeSpan? delay, int depth)
    {
        if (depth > DepthMax)
        {
            return;
        }
        foreach (var item in json.Items().Take(ItemsMax))
        {
            Collect(item, kinds, ref delay, depth + 1);
        }
        if (json.ValueKind != JsonValueKind.Object)
        {
            return;
        }
        foreach (var member in json.EnumerateObject())
        {
            switch (member.Name)
            {
                case "code" or "type" or "status" or "error_code" or "status_code" when member.Value.ValueKind is JsonValueKind.String or JsonValueKind.Number:
                    kinds.Add(member.Value.TextOrJson()!);
                    break;
                case "retryDelay" or "retry_delay" or "retryAfter" or "retry_after" or "retry-after" or "retry_after_seconds" or "estimated_time":
                    delay ??= DelayOf(member.Value);
                    break;
                case "retry_after_ms" or "retry-after-ms" or "retryAfterMs":
                    delay ??= Number(member.Value.TextOrJson()) is { } ms ? Span(ms / 1_000) : null;
                    break;
                default:
                    Collect(member.Value, kinds, ref delay, depth + 1);
                    break;
            }
        }
    }

    /// <summary>Seconds, a duration as <c>17s</c>, or an object of seconds and nanoseconds.</summary>
    static TimeSpan? DelayOf(JsonElement json) =>
        json.ValueKind == JsonValueKind.Object
            ? Number(json.Member("seconds").TextOrJson()) is { } seconds ? Span(seconds + ((Number(json.Member("nanos").TextOrJson()) ?? 0) / 1e9)) : null
            : Number(json.TextOrJson()) is { } number ? Span(number)
            : json.Text() is { } text && Durations().Match(text) is { Success: true, Length: > 0 } match ? DurationOf(match) : null;

    static TimeSpan? DelayIn(string text) => AskedDelay().Match(text) is { Success: true } match ? DurationOf(match) : null;

    static TimeSpan? DurationOf(Match match)
    {
        var seconds = 0.0;
        for (var i = 0; i < match.Groups["number"].Captures.Count; i++)
        {
            var number = Number(match.Groups["number"].Captures[i].Value) ?? 0;
            seconds += number * match.Groups["unit"].Captures[i].Value.ToLowerInvariant() switch
            {
                "ms" or "millisecond" or "milliseconds" => 0.001,
                "m" or "min" or "mins" or "minute" or "minutes" => 60,
                "h" or "hour" or "hours" => 3_600,
                _ => 1,
            };
        }
        return Span(seconds);
    }

    static double? Number(string? text) => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number) ? number : null;

    static TimeSpan Span(double seconds) => TimeSpan.FromMilliseconds(Math.Ceiling(Math.Clamp(seconds, 0, TimeSpan.FromDays(365).TotalSeconds) * 1_000));

    /// <summary>The words of a page: without tags, scripts, styles and comments.</summary>
    static string TextOfPage(string page)
    {
        var text = new StringBuilder(page.Length);
        var at = 0;
        while (at < page.Length)
        {
            var tag = page.IndexOf('<', at);
            if (tag < 0)
            {
                break;
            }
            text.Append(page, at, tag - at).Append(' ');
            at = EndOf(page, tag);
        }
        return WebUtility.HtmlDecode(text.Append(page, at, page.Length - at).ToString());
    }

    /// <summary>The place after the tag, or after all that the tag hides.</summary>
    static int EndOf(string page, int tag)
    {
        var end = page.AsSpan(tag).StartsWith("<!--") ? "-->"
            : page.AsSpan(tag + 1).StartsWith("script", StringComparison.OrdinalIgnoreCase) ? "</script>"
            : page.AsSpan(tag + 1).StartsWith("style", StringComparison.OrdinalIgnoreCase) ? "</style>"
            : ">";
        var at = page.IndexOf(end, tag, StringComparison.OrdinalIgnoreCase);
        return at < 0 ? page.Length : at + end.Length;
    }

    [GeneratedRegex(@"[^\s""'<>,;()\[\]{}]+")]
    private static partial Regex Word();

    [GeneratedRegex(@"\*|…|\.\.|•")]
    private static partial Regex Mask();

    [GeneratedRegex(
        """(?<name>\b(bearer|basic)\s+)[^\s"',}]{12,}|(?<name>\b(authorization|[a-z-]*api[-_]?key|access[-_]token|key)["']?\s*[:=]\s*["']?)(?=[^\s"',}]*[0-9])[^\s"',}]{8,}""",
        RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex Credential();

    [GeneratedRegex(
        @"\b(try again|retry|retrying|retried|wait)\b[^0-9\n]{0,40}?((?<number>\d+(\.\d+)?)\s*(?<unit>ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)(?![a-z])\s*)+",
        RegexOptions.IgnoreCase | RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex AskedDelay();

    [GeneratedRegex(
        @"^\s*((?<number>\d+(\.\d+)?)\s*(?<unit>ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)(?![a-z])\s*)+$",
        RegexOptions.IgnoreCase | RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex Durations();
}
