using System.Buffers;
using System.Collections;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;

using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace Cowork.Web;

/// <summary>What a log line belongs to, besides what it says.</summary>
readonly record struct LogContext(string? TraceId, string? SpanId, string? RunId)
{
    /// <summary>The span that is current, else what the scopes say: a run keeps its trace's id where nobody traces.</summary>
    public static LogContext Of(IExternalScopeProvider? scopes)
    {
        var found = new StrongBox();
        scopes?.ForEachScope(
            static (scope, found) =>
            {
                if (scope is not IEnumerable<KeyValuePair<string, object?>> values)
                {
                    return;
                }
                foreach (var (name, value) in values)
                {
                    switch (name)
                    {
                        case "RunId":
                            found.RunId = value as string;
                            break;
                        case "TraceId":
                            found.TraceId = value as string;
                            break;
                    }
                }
            },
            found);
        return Activity.Current is { IdFormat: ActivityIdFormat.W3C } span
            ? new(span.TraceId.ToHexString(), span.SpanId.ToHexString(), found.RunId)
            : new(found.TraceId, null, found.RunId);
    }

    sealed class StrongBox
    {
        public string? TraceId { get; set; }

        public string? RunId { get; set; }
    }
}

/// <summary>One line of text for each entry, for people.</summary>
sealed class TextLines(TimeProvider clock) : ConsoleFormatter("cowork-text")
{
    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var line = new StringBuilder()
            .Append(clock.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture)).Append(' ')
            .Append(NameOf(logEntry.LogLevel)).Append(": ").Append(logEntry.Category).Append('[').Append(logEntry.EventId.Id).Append("] ")
            .Append(logEntry.Formatter(logEntry.State, logEntry.Exception));
        if (logEntry.Exception is not null)
        {
            line.Append(' ').Append(logEntry.Exception);
        }
        line.Replace("\r\n", " ").Replace('\n', ' ').Replace('\r', ' ');
        var context = LogContext.Of(scopeProvider);
        line.Append(context.RunId is null ? "" : $" run_id={context.RunId}").Append(context.TraceId is null ? "" : $" trace_id={context.TraceId}");
        textWriter.WriteLine(line);
    }

    internal static string NameOf(LogLevel level) => level switch
    {
        LogLevel.Trace => "trce",
        LogLevel.Debug => "dbug",
        LogLevel.Information => "info",
        LogLevel.Warning => "warn",
        LogLevel.Error => "fail",
        _ => "crit",
    };
}

/// <summary>
/// One JSON object a line: <c>time, level, category, event_id, message</c>, where there are <c>trace_id, span_id, run_id, exception</c>, and the message's
/// values as <c>attributes</c>.
/// </summary>
sealed class JsonLines(TimeProvider clock) : ConsoleFormatter("cowork-json")
{
    static readonly JsonWriterOptions Writing = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var output = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(output, Writing))
        {
            json.WriteStartObject();
            json.WriteString("time", clock.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture));
            json.WriteString("level", TextLines.NameOf(logEntry.LogLevel));
            json.WriteString("category", logEntry.Category);
            json.WriteNumber("event_id", logEntry.EventId.Id);
            json.WriteString("message", logEntry.Formatter(logEntry.State, logEntry.Exception));
            var context = LogContext.Of(scopeProvider);
            Maybe(json, "trace_id", context.TraceId);
            Maybe(json, "span_id", context.SpanId);
            Maybe(json, "run_id", context.RunId);
            if (logEntry.State is IEnumerable<KeyValuePair<string, object?>> values)
            {
                json.WriteStartObject("attributes");
                foreach (var (name, value) in values.Where(v => v.Key != "{OriginalFormat}"))
                {
                    Value(json, name, value);
                }
                json.WriteEndObject();
            }
            Maybe(json, "exception", logEntry.Exception?.ToString());
            json.WriteEndObject();
        }
        textWriter.WriteLine(Encoding.UTF8.GetString(output.WrittenSpan));
    }

    static void Maybe(Utf8JsonWriter json, string name, string? value)
    {
        if (value is not null)
        {
            json.WriteString(name, value);
        }
    }

    static void Value(Utf8JsonWriter json, string name, object? value)
    {
        switch (value)
        {
            case null:
                json.WriteNull(name);
                break;
            case bool flag:
                json.WriteBoolean(name, flag);
                break;
            case int or long:
                json.WriteNumber(name, Convert.ToInt64(value, CultureInfo.InvariantCulture));
                break;
            case string text:
                json.WriteString(name, text);
                break;
            case IEnumerable many:
                json.WriteString(name, string.Join(", ", many.Cast<object?>()));
                break;
            default:
                json.WriteString(name, Convert.ToString(value, CultureInfo.InvariantCulture));
                break;
        }
    }
}
