using System.Collections.Immutable;

using static Cowork.Domain.DataKeysCommand;
using static Cowork.Domain.DataKeysEvent;

namespace Cowork.Domain;

public abstract record DataKeysCommand(DateTimeOffset Now)
{
    /// <summary>Makes a key of a purpose, in place of the one that is used now.</summary>
    /// <param name="Replaces">The key that is used now; null: there is none. When another writer made one before, nothing happens.</param>
    public sealed record Make(DataKey Key, string? Replaces, DateTimeOffset Now) : DataKeysCommand(Now);

    /// <summary>Puts the same key under another master key. No-op when it is under that one already.</summary>
    public sealed record Rewrap(string KeyId, WrappedKey Wrapped, DateTimeOffset Now) : DataKeysCommand(Now);
}

public abstract record DataKeysEvent(DateTimeOffset At) : Event(At)
{
    /// <summary>What is encrypted from now on is under this key.</summary>
    public sealed record DataKeyMade(DataKey Key, DateTimeOffset At) : DataKeysEvent(At);

    /// <summary>The same key under another master key.</summary>
    public sealed record DataKeyRewrapped(string KeyId, WrappedKey Wrapped, DateTimeOffset At) : DataKeysEvent(At);
}

/// <summary>A key as the log keeps it.</summary>
/// <param name="MasterId">The master key that it is under.</param>
/// <param name="Ciphertext">Base64 of nonce (12 bytes), AES-256-GCM ciphertext of the 32 bytes of the key, and tag (16 bytes).</param>
public sealed record WrappedKey(string MasterId, string Ciphertext);

/// <param name="Id">A ULID.</param>
/// <param name="Purpose"><see cref="DataKeys.Secrets"/> or <see cref="DataKeys.Requests"/>.</param>
public sealed record DataKey(string Id, string Purpose, WrappedKey Wrapped);

/// <summary>The keys that a tenant's secrets are encrypted with, in one stream. Earlier ones stay, because the log holds what they encrypted.</summary>
/// <param name="Keys">In the order in which they were made.</param>
public sealed record DataKeys(ImmutableList<DataKey> Keys)
{
    /// <summary>Purpose of the keys that encrypt credentials.</summary>
    public const string Secrets = "secrets";

    /// <summary>Purpose of the key that digests of requests with secrets are made with, so that nobody can try passwords on a digest. It is never replaced.</summary>
    public const string Requests = "requests";

    public static Aggregate<DigestKey, DataKeysCommand, DataKeysEvent, DataKeys> Aggregate { get; } = new("data_keys", new([]), Decide, Evolve);

    /// <summary>Of the tenant's one stream.</summary>
    public static DigestKey Key { get; } = new(Ids.KeyOf("data_keys"));

    /// <summary>The key of a purpose that is used now; null: none was made.</summary>
    public DataKey? Current(string purpose) => Keys.FindLast(key => key.Purpose == purpose);

    /// <summary>A key that was made once; null: none has this id.</summary>
    public DataKey? Find(string id) => Keys.Find(key => key.Id == id);

    public static Decision<DataKeysEvent> Decide(DataKeysCommand command, DataKeys state) => command switch
    {
        Make c => state.Current(c.Key.Purpose)?.Id == c.Replaces ? new DataKeyMade(c.Key, c.Now) : Decision<DataKeysEvent>.Nothing,
        Rewrap c => state.Find(c.KeyId) is not { } key ? Refusal.NotFound("data key")
            : key.Wrapped.MasterId == c.Wrapped.MasterId ? Decision<DataKeysEvent>.Nothing
            : new DataKeyRewrapped(c.KeyId, c.Wrapped, c.Now),
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static DataKeys Evolve(DataKeys state, DataKeysEvent e) => e switch
    {
        DataKeyMade m => new(state.Keys.Add(m.Key)),
        DataKeyRewrapped r => new(state.Keys.ConvertAll(key => key.Id == r.KeyId ? key with { Wrapped = r.Wrapped } : key)),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
