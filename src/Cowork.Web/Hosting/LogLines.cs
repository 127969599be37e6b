using System.Buffers;
using System.Collections;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;

using Cowork.Application;

using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace Cowork.Web;

/// <summary>The ids that connect a log line to its trace and its run.</summary>
readonly record struct LogContext(string? TraceId, string? SpanId, string? RunId)
{
    /// <summary>The trace and span of the current activity, else the trace of the scopes: a run's lines have the trace id also without a listener.</summary>
    public static LogContext Of(IExternalScopeProvider? scopes)
    {
        var found = new StrongBox<LogContext>();
        scopes?.ForEachScope(
            static (scope, found) =>
            {
                foreach (var (name, value) in scope as IEnumerable<KeyValuePair<string, object?>> ?? [])
                {
                    found.Value = name switch
                    {
                        "RunId" => found.Value with { RunId = value as string },
                        "TraceId" => found.Value with { TraceId = value as string },
                        _ => found.Value,
                    };
                }
            },
            found);
        return Activity.Current is { IdFormat: ActivityIdFormat.W3C } span
            ? new(span.TraceId.ToHexString(), span.SpanId.ToHexString(), found.Value.RunId)
            : found.Value;
    }
}

/// <summary>Writes each entry as one line of text that ends in its run and trace ids; Microsoft's simple formatter puts scopes before the message, or leaves them out.</summary>
sealed class TextLogFormatter(TimeProvider clock) : ConsoleFormatter("cowork-text")
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
        var visible = VisibleText.Of(line.ToString());
        line.Clear().Append(visible);
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
/// Writes each entry as one JSON object: <c>time, level, category, event_id, message</c>, optional <c>trace_id, span_id, run_id, exception</c>, and the
/// message's values as <c>attributes</c> (docs/telemetry.md promises these members). Microsoft's JSON formatter fixes other names and nests the ids in a list of
/// scopes (decision 29).
/// </summary>
sealed class JsonLogFormatter(TimeProvider clock) : ConsoleFormatter("cowork-json")
{
    static readonly JsonWriterOptions Writing = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var output = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(output, Writing))
        {
            json.WriteStartObject();
            json.WriteString("time", clock.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture));
            json.WriteString("level", TextLogFormatter.NameOf(logEntry.LogLevel));
            json.WriteString("category", logEntry.Category);
            json.WriteNumber("event_id", logEntry.EventId.Id);
            json.WriteString("message", logEntry.Formatter(logEntry.State, logEntry.Exception));
            var context = LogContext.Of(scopeProvider);
            WriteOptional(json, "trace_id", context.TraceId);
            WriteOptional(json, "span_id", context.SpanId);
            WriteOptional(json, "run_id", context.RunId);
            if (logEntry.State is IEnumerable<KeyValuePair<string, object?>> values)
            {
                json.WriteStartObject("attributes");
                foreach (var (name, value) in values.Where(v => v.Key != "{OriginalFormat}"))
                {
                    WriteValue(json, name, value);
                }
                json.WriteEndObject();
            }
            WriteOptional(json, "exception", logEntry.Exception?.ToString());
            json.WriteEndObject();
        }
        textWriter.WriteLine(VisibleText.OfJson(Encoding.UTF8.GetString(output.WrittenSpan)));
    }

    static void WriteOptional(Utf8JsonWriter json, string name, string? value)
    {
        if (value is not null)
        {
            json.WriteString(name, value);
        }
    }

    static void WriteValue(Utf8JsonWriter json, string name, object? value)
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
