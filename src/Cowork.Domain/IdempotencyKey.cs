using System.Text.Json.Serialization;

using static Cowork.Domain.IdempotencyKeyCommand;
using static Cowork.Domain.IdempotencyKeyEvent;

namespace Cowork.Domain;

public abstract record IdempotencyKeyCommand(DateTimeOffset Now)
{
    /// <param name="Scope">The scope in which the key is unique: the session, or principal, method and path.</param>
    /// <param name="RequestSha256">Digest of the request; the same key with another digest is refused.</param>
    /// <param name="RunId">The run that the request starts; a repeat answers with its present state. Null: it starts none.</param>
    /// <param name="Effect">What the request did, so that a repeat shows the same; null: the run's present state is the answer.</param>
    /// <param name="Kept">Time after which the key is free again; null: never.</param>
    /// <param name="BytesSha256">Digest of the request's bytes, as earlier releases stored it; null: they stored the same digest.</param>
    public sealed record Claim(
        string Scope, string Key, string RequestSha256, RunKey? RunId, RequestEffect? Effect, TimeSpan? Kept, DateTimeOffset Now, string? BytesSha256 = null)
        : IdempotencyKeyCommand(Now);
}

public abstract record IdempotencyKeyEvent(DateTimeOffset At) : Event(At)
{
    public sealed record IdempotencyKeyClaimed(
        string Scope, string Key, string RequestSha256, RunKey? RunId, RequestEffect? Effect, DateTimeOffset At) : IdempotencyKeyEvent(At)
    {
        /// <summary>Of a key that version 1 of this event claimed; it is stored no more.</summary>
        [JsonIgnore]
        public StoredAnswer? Answer { get; init; }
    }
}

/// <summary>Version 1 of <see cref="IdempotencyKeyClaimed"/>: it kept the answer itself in place of what the request did.</summary>
public sealed record IdempotencyKeyClaimedV1(string Scope, string Key, string RequestSha256, RunKey? RunId, StoredAnswer? Answer, DateTimeOffset At) : Event(At)
{
    public IdempotencyKeyClaimed Upcast() => new(Scope, Key, RequestSha256, RunId, null, At) { Answer = Answer };
}

/// <summary>What a request did to a stream. The stream at this version is what the first answer showed.</summary>
/// <param name="Before">The version that the request found; the same as <paramref name="Version"/> when it changed nothing.</param>
public sealed record RequestEffect(string StreamId, long Before, long Version);

/// <param name="Body">The JSON body as sent; null when it held a secret that is shown once.</param>
public sealed record StoredAnswer(int Status, string? Location, Content? Body);

/// <summary>A key that a client chose for a request, so that a repeat has no second effect. The claim and the effect are one commit.</summary>
public abstract record IdempotencyKey
{
    public sealed record Free : IdempotencyKey;

    /// <param name="Answer">Of a key that was claimed before keys remembered effects.</param>
    public sealed record Claimed(string RequestSha256, RunKey? RunId, RequestEffect? Effect, StoredAnswer? Answer, DateTimeOffset At) : IdempotencyKey;

    public static Aggregate<DigestKey, IdempotencyKeyCommand, IdempotencyKeyEvent, IdempotencyKey> Aggregate { get; } = new("key", new Free(), Decide, Evolve);

    /// <summary>Key of the stream: a digest, because scope and key may be long and contain any character.</summary>
    public static DigestKey StreamKey(string scope, string key) => new(Ids.KeyOf($"{scope}\n{key}"));

    public static Decision<IdempotencyKeyEvent> Decide(IdempotencyKeyCommand command, IdempotencyKey state) => (command, state) switch
    {
        (Claim c, Free) => new IdempotencyKeyClaimed(c.Scope, c.Key, c.RequestSha256, c.RunId, c.Effect, c.Now),
        (Claim { Kept: { } kept } c, Claimed k) when c.Now - k.At > kept =>
            new IdempotencyKeyClaimed(c.Scope, c.Key, c.RequestSha256, c.RunId, c.Effect, c.Now),
        (Claim c, Claimed k) when k.RequestSha256 != c.RequestSha256 && k.RequestSha256 != c.BytesSha256 =>
            Refusal.Invalid("idempotency_key_reused", "$.idempotency_key", "The key was used for another request.") with { Existing = k.RunId?.Id },
        (Claim, Claimed k) => Refusal.Conflict("idempotency_key_claimed", "The key was used for this very request.") with { Existing = k.RunId?.Id },
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static IdempotencyKey Evolve(IdempotencyKey state, IdempotencyKeyEvent e) => e switch
    {
        IdempotencyKeyClaimed c => new Claimed(c.RequestSha256, c.RunId, c.Effect, c.Answer, c.At),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
