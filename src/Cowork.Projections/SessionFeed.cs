using System.Buffers;
using System.Collections.Frozen;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>
/// An event as the feeds show it: <c>{id, session_id, run_id, type, event_type, ts, payload, stream_id, version, gid, hash, correlation_id, event_id, feed_id, actor,
/// stored_type}</c>. The payload is the stored data, with some members in a more readable form and secrets left out.
/// An event whose data expired has an empty payload and <c>"tombstone": true</c>.
/// </summary>
public static class SessionFeed
{
    /// <summary>Characters of a tool's result that the feed shows; the trace bundle has the whole.</summary>
    public const int PreviewCharsMax = 2_000;

    /// <summary>End of the names of members that hold money.</summary>
    const string MicroUsd = "_micro_usd";

    static readonly JsonWriterOptions Writing = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes a member of a payload. Events of other types are shown as they are stored.</summary>
    static readonly FrozenDictionary<Type, Action<Utf8JsonWriter, JsonProperty>> MemberWriters = new Dictionary<Type, Action<Utf8JsonWriter, JsonProperty>>
    {
        [typeof(SessionEvent.SessionCreated)] = WriteSession,
        [typeof(RunEvent.LlmResponse)] = WriteAnswer,
        [typeof(RunEvent.ModelRetried)] = WriteUsage,
        [typeof(RunEvent.RunFailed)] = WriteUsage,
        [typeof(RunEvent.RunCompleted)] = WriteMoney,
        [typeof(BudgetEvent.BudgetLimitsSet)] = WriteMoney,
        [typeof(BudgetEvent.BudgetReserved)] = WriteMoney,
        [typeof(BudgetEvent.BudgetSettled)] = WriteMoney,
        [typeof(BudgetEvent.BudgetSoftLimitReached)] = WriteMoney,
        [typeof(RunEvent.ToolCall)] = WriteArguments,
        [typeof(RunEvent.ApprovalRequested)] = WriteArguments,
        [typeof(RunEvent.ToolResult)] = WritePreview,
        [typeof(MemoryEvent.MemoryWritten)] = WriteNotes,
        [typeof(ApiTokenEvent.TokenIssued)] = static (json, member) => WriteUnlessHidden(json, member, typeof(ApiTokenEvent.TokenIssued)),
        [typeof(ApiTokenEvent.TokenRotated)] = static (json, member) => WriteUnlessHidden(json, member, typeof(ApiTokenEvent.TokenRotated)),
        [typeof(IdempotencyKeyEvent.IdempotencyKeyClaimed)] = static (json, member) => WriteUnlessHidden(json, member, typeof(IdempotencyKeyEvent.IdempotencyKeyClaimed)),
    }.ToFrozenDictionary();

    // All readers of a feed share one entry and send the same bytes.
    static readonly ConditionalWeakTable<FeedEntry, byte[]> InSession = [];
    static readonly ConditionalWeakTable<FeedEntry, byte[]> InTenant = [];

    /// <summary>The entry as one line of JSON, rendered once per entry.</summary>
    /// <param name="tenant">For the tenant's feed, whose ids are global positions.</param>
    public static byte[] Bytes(FeedEntry entry, bool tenant) =>
        // What is sealed may be erased meanwhile.
        entry.IsSealed ? Render(entry, tenant ? entry.Position : entry.FeedId, tenant ? null : entry.FeedId)
        : tenant ? InTenant.GetValue(entry, static e => Render(e, e.Position, null)) : InSession.GetValue(entry, static e => Render(e, e.FeedId, e.FeedId));

    /// <param name="feedId">Null in the tenant's feed, where only an entry that comes from the writer knows it.</param>
    static byte[] Render(FeedEntry entry, long id, long? feedId)
    {
        var output = new ArrayBufferWriter<byte>(entry.Data.Length + 512);
        using (var json = new Utf8JsonWriter(output, Writing))
        {
            var type = EventTypes.FeedType(entry.Type);
            json.WriteStartObject();
            json.WriteNumber("id", id);
            json.WriteString("session_id", entry.Session?.Id);
            json.WriteString("run_id", entry.Run?.Id);
            json.WriteString("type", type);
            json.WriteString("event_type", type);
            json.WriteString("ts", HashChain.Timestamp(entry.At));
            json.WritePropertyName("payload");
            if (Tombstones.Is(entry.Data.Span))
            {
                json.WriteRawValue("{}"u8);
                json.WriteBoolean("tombstone", true);
            }
            else
            {
                WritePayload(json, entry);
            }
            json.WriteString("stream_id", entry.Stream);
            json.WriteNumber("version", entry.Version);
            json.WriteNumber("gid", entry.Position);
            json.WriteString("hash", entry.Hash);
            json.WriteString("correlation_id", entry.Correlation);
            json.WriteString("event_id", entry.Id);
            if (feedId is { } known)
            {
                json.WriteNumber("feed_id", known);
            }
            else
            {
                json.WriteNull("feed_id");
            }
            json.WriteString("actor", entry.Actor);
            json.WriteString("stored_type", entry.Type);
            json.WriteEndObject();
        }
        return output.WrittenSpan.ToArray();
    }

    static void WritePayload(Utf8JsonWriter json, FeedEntry entry)
    {
        if (EventTypes.TypeOf(entry.Type) is not { } type || !MemberWriters.TryGetValue(type, out var writeMember))
        {
            json.WriteRawValue(entry.Open().Span, skipInputValidation: true);
            return;
        }
        using var data = JsonDocument.Parse(entry.Open());
        json.WriteStartObject();
        foreach (var member in data.RootElement.EnumerateObject())
        {
            writeMember(json, member);
        }
        if (type == typeof(RunEvent.LlmResponse) && !data.RootElement.TryGetProperty("cost_micro_usd", out _))
        {
            json.WriteNull("cost_usd");
        }
        json.WriteEndObject();
    }

    static void WriteSession(Utf8JsonWriter json, JsonProperty member)
    {
        if (member.NameEquals("metadata"))
        {
            json.WritePropertyName(member.Name);
            json.WriteRawValue(member.Value.GetString()!, skipInputValidation: true);
        }
        else
        {
            WriteUnlessHidden(json, member, typeof(SessionEvent.SessionCreated));
        }
    }

    static void WriteMoney(Utf8JsonWriter json, JsonProperty member)
    {
        if (member.Name.EndsWith(MicroUsd, StringComparison.Ordinal))
        {
            json.WriteNumber($"{member.Name[..^MicroUsd.Length]}_usd", Money.Usd(member.Value.GetInt64()));
        }
        else
        {
            member.WriteTo(json);
        }
    }

    /// <summary>What a provider wants back is for it alone: the thinking in it is shown by <c>thinking_delta</c>, where the policy shows it.</summary>
    static void WriteAnswer(Utf8JsonWriter json, JsonProperty member)
    {
        if (!member.NameEquals("reasoning"))
        {
            WriteMoney(json, member);
        }
    }

    static void WriteUsage(Utf8JsonWriter json, JsonProperty member) => WriteMoneyIn(json, member, "usage");

    static void WriteNotes(Utf8JsonWriter json, JsonProperty member) => WriteMoneyIn(json, member, "notes");

    static void WriteMoneyIn(Utf8JsonWriter json, JsonProperty member, string name)
    {
        if (!member.NameEquals(name))
        {
            member.WriteTo(json);
            return;
        }
        json.WriteStartObject(member.Name);
        foreach (var part in member.Value.EnumerateObject())
        {
            WriteMoney(json, part);
        }
        json.WriteEndObject();
    }

    /// <summary>The stored arguments are the text that the model wrote, which is usually a JSON object.</summary>
    static void WriteArguments(Utf8JsonWriter json, JsonProperty member)
    {
        if ((member.NameEquals("input") || member.NameEquals("tool_input")) && member.Value.ValueKind == JsonValueKind.String)
        {
            json.WritePropertyName(member.Name);
            Arguments(member.Value.GetString()!).WriteTo(json);
        }
        else
        {
            member.WriteTo(json);
        }
    }

    /// <summary>The arguments of a call: an object where the text is one, else the text that the model wrote.</summary>
    public static JsonElement Arguments(string input) => ParseObject(input) ?? JsonSerializer.SerializeToElement(input, RowJson.Default.String);

    /// <summary>A text for who cannot ask the blob store: one that lies there is shown by its digest, and one that is encrypted as nothing.</summary>
    public static string Shown(Content content) => content switch
    {
        Content.Inline inline => inline.Text,
        Content.Blob blob => string.Create(CultureInfo.InvariantCulture, $"({blob.Bytes} bytes, sha256 {blob.Sha256})"),
        _ => "",
    };

    /// <summary>The beginning of a tool's result.</summary>
    public static string Preview(string text)
    {
        var length = Math.Min(text.Length, PreviewCharsMax);
        return text[..(length < text.Length && char.IsHighSurrogate(text[length - 1]) ? length - 1 : length)];
    }

    static void WritePreview(Utf8JsonWriter json, JsonProperty member)
    {
        if (member.NameEquals("content") && member.Value.ValueKind == JsonValueKind.String)
        {
            json.WriteString("content_preview", Preview(member.Value.GetString()!));
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

    static void WriteUnlessHidden(Utf8JsonWriter json, JsonProperty member, Type type)
    {
        if (!HiddenMembers.IsHidden(type, member.Name))
        {
            member.WriteTo(json);
        }
    }

    /// <summary>Null: the text is not a JSON object, or readers of JSON would read it differently (a duplicate member, a number beyond a double).</summary>
    static JsonElement? ParseObject(string text)
    {
        try
        {
            return text.AsSpan().TrimStart().StartsWith("{") && CanonicalJson.Of(System.Text.Encoding.UTF8.GetBytes(text)).Length > 0 ? JsonElement.Parse(text) : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return null;
        }
    }
}
