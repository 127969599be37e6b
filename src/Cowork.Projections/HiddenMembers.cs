using System.Collections.Frozen;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>The members of stored events that no reader sees, not even an auditor: hashes of secrets, stored answers, and what a client gave for policies alone.</summary>
static class HiddenMembers
{
    static readonly FrozenDictionary<Type, string> ByType = new Dictionary<Type, string>
    {
        [typeof(SessionEvent.SessionCreated)] = "auth_context",
        [typeof(ApiTokenEvent.TokenIssued)] = "secret_sha256",
        [typeof(ApiTokenEvent.TokenRotated)] = "secret_sha256",
        [typeof(IdempotencyKeyEvent.IdempotencyKeyClaimed)] = "answer",
    }.ToFrozenDictionary();

    /// <summary>The hidden member of a stored event of a type; null: it has none.</summary>
    /// <param name="type">The stored name.</param>
    public static string? Of(string type) => EventTypes.TypeOf(type) is { } known ? ByType.GetValueOrDefault(known) : null;

    /// <summary>The event's type has this hidden member.</summary>
    public static bool IsHidden(Type type, string member) => ByType.GetValueOrDefault(type) == member;

    /// <summary>The data without its hidden member, and that member's name; null: the event has none, and the data is whole.</summary>
    /// <param name="type">The stored name.</param>
    /// <param name="data">In canonical form, as is what is answered.</param>
    public static (byte[] Data, string Withheld)? Without(string type, ReadOnlySpan<byte> data)
    {
        if (Of(type) is not { } member || JsonNode.Parse(data) is not JsonObject o || o[member] is null)
        {
            return null;
        }
        o.Remove(member);
        return (TraceBundle.Canonical(o), member);
    }

    /// <summary>Members of an event in a bundle that go with it: the data, and what was left out of it.</summary>
    public static void Write(Utf8JsonWriter writer, string type, byte[] data)
    {
        var withheld = Without(type, data);
        writer.WritePropertyName("data");
        writer.WriteRawValue(withheld?.Data ?? data);
        if (withheld is { Withheld: var member })
        {
            writer.WriteString("withheld", member);
        }
    }
}
