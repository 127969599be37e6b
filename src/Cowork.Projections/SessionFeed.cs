using System.Buffers;
using System.Runtime.CompilerServices;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>
/// An event as the feeds show it: <c>{id, run_id, type, event_type, ts, payload, stream_id, version, gid, hash, correlation_id}</c> and the session's id. The payload is the
/// stored data, except where a reader is better served, or must not see it.
/// </summary>
public static class SessionFeed
{
    /// <summary>Characters of a tool's result that the feed shows; the trace bundle has the whole.</summary>
    public const int PreviewCharsMax = 2_000;

    static readonly JsonWriterOptions Writing = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    // One entry goes to every reader that keeps up with it; each of them sends the same bytes.
    static readonly ConditionalWeakTable<FeedEntry, byte[]> InSession = [];
    static readonly ConditionalWeakTable<FeedEntry, byte[]> InTenant = [];

    /// <summary>The entry as one line of JSON, made once for as long as the entry lives.</summary>
    /// <param name="tenant">In the tenant's feed, whose ids are positions.</param>
    public static byte[] Bytes(FeedEntry entry, bool tenant) =>
        tenant ? InTenant.GetValue(entry, static e => Render(e, e.Position)) : InSession.GetValue(entry, static e => Render(e, e.FeedId));

    static byte[] Render(FeedEntry entry, long id)
    {
        var output = new ArrayBufferWriter<byte>(entry.Data.Length + 512);
        using (var json = new Utf8JsonWriter(output, Writing))
        {
            var type = EventTypes.FeedType(entry.Type);
            json.WriteStartObject();
            json.WriteNumber("id", id);
            json.WriteString("session_id", entry.Session is { } session ? Ids.IsKey(session) ? $"sess_{session}" : session : null);
            json.WriteString("run_id", entry.Run is { } run ? $"run_{run}" : null);
            json.WriteString("type", type);
            json.WriteString("event_type", type);
            json.WriteString("ts", HashChain.Timestamp(entry.At));
            json.WritePropertyName("payload");
            Payload(json, entry);
            json.WriteString("stream_id", entry.Stream);
            json.WriteNumber("version", entry.Version);
            json.WriteNumber("gid", entry.Position);
            json.WriteString("hash", entry.Hash);
            json.WriteString("correlation_id", entry.Correlation);
            json.WriteEndObject();
        }
        return output.WrittenSpan.ToArray();
    }

    static void Payload(Utf8JsonWriter json, FeedEntry entry)
    {
        Action<Utf8JsonWriter, JsonProperty>? shown = entry.Type switch
        {
            "session_created.v1" => SessionCreated,
            "llm_response.v1" or "run_completed.v1" => Money,
            "tool_call.v1" or "approval_requested.v1" => Input,
            "tool_result.v1" => Preview,
            "memory_written.v1" => Notes,
            // Secrets' hashes and stored answers are nobody's business, the auditor's included: he can see that there are some.
            "token_issued.v1" => static (json, member) => Except(json, member, "secret_sha256"),
            "idempotency_key_claimed.v1" => static (json, member) => Except(json, member, "answer"),
            _ => null,
        };
        if (shown is null)
        {
            json.WriteRawValue(entry.Data.Span, skipInputValidation: true);
            return;
        }
        using var data = JsonDocument.Parse(entry.Data);
        json.WriteStartObject();
        foreach (var member in data.RootElement.EnumerateObject())
        {
            shown(json, member);
        }
        if (entry.Type == "llm_response.v1" && !data.RootElement.TryGetProperty("cost_micro_usd", out _))
        {
            json.WriteNull("cost_usd");
        }
        json.WriteEndObject();
    }

    static void SessionCreated(Utf8JsonWriter json, JsonProperty member)
    {
        if (member.NameEquals("metadata"))
        {
            json.WritePropertyName(member.Name);
            json.WriteRawValue(member.Value.GetString()!, skipInputValidation: true);
        }
        else
        {
            Except(json, member, "auth_context");
        }
    }

    static void Money(Utf8JsonWriter json, JsonProperty member)
    {
        if (member.NameEquals("cost_micro_usd"))
        {
            json.WriteNumber("cost_usd", member.Value.GetInt64() / 1_000_000m);
        }
        else
        {
            member.WriteTo(json);
        }
    }

    static void Notes(Utf8JsonWriter json, JsonProperty member)
    {
        if (!member.NameEquals("notes"))
        {
            member.WriteTo(json);
            return;
        }
        json.WriteStartObject(member.Name);
        foreach (var part in member.Value.EnumerateObject())
        {
            Money(json, part);
        }
        json.WriteEndObject();
    }

    /// <summary>A model writes its arguments as text; most of the time the text is a JSON object.</summary>
    static void Input(Utf8JsonWriter json, JsonProperty member)
    {
        if ((member.NameEquals("input") || member.NameEquals("tool_input")) && member.Value.ValueKind == JsonValueKind.String)
        {
            WriteInput(json, member.Name, member.Value.GetString()!);
        }
        else
        {
            member.WriteTo(json);
        }
    }

    /// <summary>Writes the arguments of a call into an open object: as an object where they are one, else as the text that the model wrote.</summary>
    internal static void WriteInput(Utf8JsonWriter json, string name, string input)
    {
        using var parsed = Object(input);
        if (parsed is null)
        {
            json.WriteString(name, input);
            return;
        }
        json.WritePropertyName(name);
        parsed.RootElement.WriteTo(json);
    }

    static void Preview(Utf8JsonWriter json, JsonProperty member)
    {
        if (member.NameEquals("content") && member.Value.ValueKind == JsonValueKind.String)
        {
            var text = member.Value.GetString()!;
            var length = Math.Min(text.Length, PreviewCharsMax);
            json.WriteString("content_preview", text.AsSpan(0, length < text.Length && char.IsHighSurrogate(text[length - 1]) ? length - 1 : length));
        }
        else if (member.NameEquals("content"))
        {
            json.WritePropertyName("content_preview");
            member.Value.WriteTo(json);
        }
        else
        {
            member.WriteTo(json);
        }
    }

    static void Except(Utf8JsonWriter json, JsonProperty member, string hidden)
    {
        if (!member.NameEquals(hidden))
        {
            member.WriteTo(json);
        }
    }

    /// <summary>The JSON object that the text is, when every reader of JSON reads it alike: no member twice, no number beyond a double.</summary>
    static JsonDocument? Object(string text)
    {
        try
        {
            return text.AsSpan().TrimStart().StartsWith("{") && CanonicalJson.Of(System.Text.Encoding.UTF8.GetBytes(text)).Length > 0 ? JsonDocument.Parse(text) : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return null;
        }
    }
}
