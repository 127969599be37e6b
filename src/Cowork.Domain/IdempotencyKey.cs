using static Cowork.Domain.IdempotencyKeyCommand;
using static Cowork.Domain.IdempotencyKeyEvent;

namespace Cowork.Domain;

public abstract record IdempotencyKeyCommand(DateTimeOffset Now)
{
    /// <param name="Scope">The scope in which the key is unique: the session, or principal, method and path.</param>
    /// <param name="RequestSha256">Digest of the request; the same key with another digest is refused.</param>
    /// <param name="RunId">The run that the request starts; a repeat answers with its present state. Null: it starts none.</param>
    /// <param name="Answer">The answer as given, when it is to be given again.</param>
    /// <param name="Kept">Time after which the key is free again; null: never.</param>
    public sealed record Claim(
        string Scope, string Key, string RequestSha256, string? RunId, StoredAnswer? Answer, TimeSpan? Kept, DateTimeOffset Now) : IdempotencyKeyCommand(Now);
}

public abstract record IdempotencyKeyEvent(DateTimeOffset At) : Event(At)
{
    public sealed record IdempotencyKeyClaimed(
        string Scope, string Key, string RequestSha256, string? RunId, StoredAnswer? Answer, DateTimeOffset At) : IdempotencyKeyEvent(At);
}

/// <param name="Body">The JSON body as sent; null when it held a secret that is shown once.</param>
public sealed record StoredAnswer(int Status, string? Location, Content? Body);

/// <summary>A key that a client chose for a request, so that a repeat has no second effect. The claim and the effect are one commit.</summary>
public abstract record IdempotencyKey
{
    public sealed record Free : IdempotencyKey;

    public sealed record Claimed(string RequestSha256, string? RunId, StoredAnswer? Answer, DateTimeOffset At) : IdempotencyKey;

    public static Aggregate<IdempotencyKeyCommand, IdempotencyKeyEvent, IdempotencyKey> Aggregate { get; } = new("key", new Free(), Decide, Evolve);

    /// <summary>Key of the stream: a digest, because scope and key may be long and contain any character.</summary>
    public static string StreamKey(string scope, string key) => Ids.KeyOf($"{scope}\n{key}");

    public static Decision<IdempotencyKeyEvent> Decide(IdempotencyKeyCommand command, IdempotencyKey state) => (command, state) switch
    {
        (Claim c, Free) => new IdempotencyKeyClaimed(c.Scope, c.Key, c.RequestSha256, c.RunId, c.Answer, c.Now),
        (Claim { Kept: { } kept } c, Claimed k) when c.Now - k.At > kept =>
            new IdempotencyKeyClaimed(c.Scope, c.Key, c.RequestSha256, c.RunId, c.Answer, c.Now),
        (Claim c, Claimed k) when k.RequestSha256 != c.RequestSha256 =>
            Refusal.Invalid("idempotency_key_reused", "$.idempotency_key", "The key was used for another request.") with { Existing = k.RunId },
        (Claim, Claimed k) => Refusal.Conflict("idempotency_key_claimed", "The key was used for this very request.") with { Existing = k.RunId },
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static IdempotencyKey Evolve(IdempotencyKey state, IdempotencyKeyEvent e) => e switch
    {
        IdempotencyKeyClaimed c => new Claimed(c.RequestSha256, c.RunId, c.Answer, c.At),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
