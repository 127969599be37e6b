using System.Collections.Immutable;

using static Cowork.Domain.SigningKeysCommand;
using static Cowork.Domain.SigningKeysEvent;

namespace Cowork.Domain;

public abstract record SigningKeysCommand(DateTimeOffset Now)
{
    /// <summary>Signs with this key from now on, in place of the purpose's current one.</summary>
    /// <param name="Replaces">Id of the current key; null: there is none. When another writer made one before, nothing happens.</param>
    public sealed record Make(SigningKey Key, string? Replaces, DateTimeOffset Now) : SigningKeysCommand(Now);

    /// <summary>Puts the same private key under another master key. No-op when it is under that one already.</summary>
    public sealed record Rewrap(string Kid, WrappedKey Wrapped, DateTimeOffset Now) : SigningKeysCommand(Now);
}

public abstract record SigningKeysEvent(DateTimeOffset At) : Event(At)
{
    /// <summary>What is signed for the key's purpose from now on is signed with it.</summary>
    public sealed record SigningKeyMade(SigningKey Key, DateTimeOffset At) : SigningKeysEvent(At);

    /// <summary>The same private key under another master key.</summary>
    public sealed record SigningKeyRewrapped(string Kid, WrappedKey Wrapped, DateTimeOffset At) : SigningKeysEvent(At);
}

/// <summary>A point on the curve P-256: the public half of an ES256 key.</summary>
/// <param name="X">Base64url of 32 bytes, as in a JWK (RFC 7518, 6.2.1).</param>
/// <param name="Y">Base64url of 32 bytes.</param>
public sealed record PublicKey(string X, string Y);

/// <summary>An ES256 key pair as the log keeps it.</summary>
/// <param name="Kid">The thumbprint of the public key (RFC 7638, SHA-256, base64url).</param>
/// <param name="Purpose"><see cref="SigningKeys.Orchestrator"/> or <see cref="SigningKeys.Heads"/>.</param>
/// <param name="Wrapped">PKCS#8 of the private key under a master key.</param>
public sealed record SigningKey(string Kid, string Purpose, PublicKey Public, WrappedKey Wrapped);

/// <param name="MadeAt">From this time on it signs.</param>
/// <param name="ReplacedAt">Since this time another key signs; null: it is the purpose's current one.</param>
public sealed record KnownSigningKey(SigningKey Key, DateTimeOffset MadeAt, DateTimeOffset? ReplacedAt);

/// <summary>The keys that the hosts of a database sign with, in one stream. Earlier ones stay: they verify what they signed.</summary>
/// <param name="Keys">In the order in which they were made.</param>
public sealed record SigningKeys(ImmutableList<KnownSigningKey> Keys)
{
    /// <summary>Purpose of the keys that sign session certificates and routing tokens. A replaced one verifies until what it signed has expired.</summary>
    public const string Orchestrator = "orchestrator";

    /// <summary>Purpose of the keys that sign the heads of the log. A replaced one verifies for ever.</summary>
    public const string Heads = "heads";

    public static ImmutableList<string> Purposes { get; } = [Orchestrator, Heads];

    public static Aggregate<DigestKey, SigningKeysCommand, SigningKeysEvent, SigningKeys> Aggregate { get; } = new("signing_keys", new([]), Decide, Evolve);

    /// <summary>Of the one stream, in the operators' tenant.</summary>
    public static DigestKey Key { get; } = new(Ids.KeyOf("signing_keys"));

    /// <summary>The key that signs for a purpose now; null: none was made.</summary>
    public SigningKey? Current(string purpose) => Keys.FindLast(known => known.Key.Purpose == purpose)?.Key;

    /// <summary>A key that was made once; null: none has this id.</summary>
    public KnownSigningKey? Find(string kid) => Keys.Find(known => known.Key.Kid == kid);

    public static Decision<SigningKeysEvent> Decide(SigningKeysCommand command, SigningKeys state) => command switch
    {
        Make c => state.Current(c.Key.Purpose)?.Kid == c.Replaces && state.Find(c.Key.Kid) is null ? new SigningKeyMade(c.Key, c.Now) : Decision<SigningKeysEvent>.Nothing,
        Rewrap c => state.Find(c.Kid) is not { } known ? Refusal.NotFound("signing key")
            : known.Key.Wrapped.MasterId == c.Wrapped.MasterId ? Decision<SigningKeysEvent>.Nothing
            : new SigningKeyRewrapped(c.Kid, c.Wrapped, c.Now),
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static SigningKeys Evolve(SigningKeys state, SigningKeysEvent e) => e switch
    {
        SigningKeyMade m => new(
            state.Keys.ConvertAll(known => known.Key.Purpose == m.Key.Purpose && known.ReplacedAt is null ? known with { ReplacedAt = m.At } : known).Add(new(m.Key, m.At, null))),
        SigningKeyRewrapped r => new(state.Keys.ConvertAll(known => known.Key.Kid == r.Kid ? known with { Key = known.Key with { Wrapped = r.Wrapped } } : known)),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
