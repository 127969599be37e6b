using System.Text.Json;
using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names a session, which is also a conversation and a desktop session: a ULID, or the id that the client chose.</summary>
[JsonConverter(typeof(KeyConverter<SessionKey>))]
public readonly record struct SessionKey(string Value) : IKey<SessionKey>
{
    const string IdPrefix = "sess_";
    const string ConversationPrefix = "conv_";

    public static string Noun => "session";

    public static string FieldName => "session_id";

    /// <summary>The client chose the id, and it looks like a ULID of ours. The key is the same as that of the ULID.</summary>
    bool IsOwn { get; init; }

    /// <summary>A generated id has a prefix; a client's own stands for itself.</summary>
    public string Prefix => !IsOwn && Ids.IsKey(Value) ? IdPrefix : "";

    /// <summary>The id in A and C: <c>sess_ULID</c>, or the client's own.</summary>
    public string Id => Prefix + Value;

    /// <summary>The id of the conversation in contract B, also of one whose id the client chose: <c>conv_x</c>.</summary>
    public string ConversationId => ConversationPrefix + Value;

    public static SessionKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>Of an id that a client chose (<see cref="Ids.IsClientChosen"/>).</summary>
    public static SessionKey Own(string id) => new(id) { IsOwn = true };

    /// <summary><c>sess_ULID</c>, <c>conv_ULID</c>, the bare ULID, a client's own <c>x</c> or <c>conv_x</c>. Null: no session can have this id.</summary>
    public static SessionKey? Parse(string id)
    {
        if (Ids.Key(id, "sess", "conv") is { } generated)
        {
            return new(generated);
        }
        var own = id.StartsWith(ConversationPrefix, StringComparison.Ordinal) ? id[ConversationPrefix.Length..] : id;
        return Ids.IsClientChosen(own) ? new(own) : null;
    }

    public static SessionKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) && Ids.IsKey(id.AsSpan(IdPrefix.Length)) ? new(id[IdPrefix.Length..]) : Own(id);

    public bool Equals(SessionKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}

/// <summary>Writes a session's bare key, as memories have stored it from their first version on.</summary>
public sealed class BareSessionKeyConverter : JsonConverter<SessionKey>
{
    public override SessionKey Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        new(reader.GetString() ?? throw new JsonException("An id is null."));

    public override void Write(Utf8JsonWriter writer, SessionKey value, JsonSerializerOptions options) => writer.WriteStringValue(value.Value);
}
