using System.Text.Json;
using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>What names a stream among those of its aggregate.</summary>
public interface IStreamKey
{
    string Value { get; }
}

/// <summary>The key of a stream that is named by what it is about: a digest (<see cref="Ids.KeyOf"/>). Clients never see it.</summary>
public readonly record struct DigestKey(string Value) : IStreamKey;

/// <summary>The key of a stream of which a tenant has one for each day (UTC): <c>20260101</c>. Clients see it in the names of streams only.</summary>
public readonly record struct DayKey(string Value) : IStreamKey
{
    public static DayKey Of(DateTimeOffset at) => new(at.UtcDateTime.ToString("yyyyMMdd", System.Globalization.CultureInfo.InvariantCulture));
}

/// <summary>
/// The key of one kind of thing, a type for each kind, so that a run's key cannot be taken for a session's. A key is the bare ULID, or the id that the client
/// chose (sessions only); streams, rows and jobs go by it. Clients see an id: the key behind a prefix that depends on the contract.
/// </summary>
public interface IKey<TSelf> : IStreamKey
    where TSelf : struct, IKey<TSelf>
{
    /// <summary>The kind of thing, as a refusal says it: <c>There is no such session.</c></summary>
    static abstract string Noun { get; }

    /// <summary>The JSON field and path parameter that hold the id: <c>session_id</c>.</summary>
    static abstract string FieldName { get; }

    /// <summary>The prefix of <see cref="Id"/> with its underscore; empty for a client's own id.</summary>
    string Prefix { get; }

    /// <summary>The id in events, and in the contracts that have no prefix of their own for it.</summary>
    string Id => Prefix + Value;

    /// <summary>The key of an id in any form that a client may send. Null: nothing can have this id.</summary>
    static abstract TSelf? Parse(string id);

    /// <summary>The key of an id that was made by <see cref="Id"/>; it is not checked again.</summary>
    static abstract TSelf FromId(string id);
}

/// <summary>Writes a key as its <see cref="IKey{TSelf}.Id"/>.</summary>
public sealed class KeyConverter<TKey> : JsonConverter<TKey>
    where TKey : struct, IKey<TKey>
{
    const int CharsMax = Limits.IdCharsMax + 8;

    public override TKey Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        TKey.FromId(reader.GetString() ?? throw new JsonException("An id is null."));

    public override void Write(Utf8JsonWriter writer, TKey value, JsonSerializerOptions options)
    {
        // Events and rows hold many ids: their text is put together without a string for each.
        var (prefix, key) = (value.Prefix, value.Value);
        Span<char> id = stackalloc char[CharsMax];
        if (prefix.Length + key.Length > id.Length)
        {
            writer.WriteStringValue(prefix + key);
            return;
        }
        prefix.CopyTo(id);
        key.CopyTo(id[prefix.Length..]);
        writer.WriteStringValue(id[..(prefix.Length + key.Length)]);
    }
}
