using Cowork.Domain;

namespace Cowork.Application;

/// <summary>An <c>Idempotency-Key</c> header with its scope (contracts/decisions.md, "Idempotency").</summary>
/// <param name="Scope">Principal, method and path.</param>
/// <param name="RequestSha256">Hex digest of the body's canonical JSON (RFC 8785) without the fields that only say how long to wait.</param>
/// <param name="BytesSha256">Hex digest of the body's bytes, by which earlier releases compared requests.</param>
/// <param name="Kept">Time after which the key is free again.</param>
public sealed record RequestKey(string Scope, string Key, string RequestSha256, TimeSpan Kept, string? BytesSha256 = null)
{
    /// <summary>The path in refusals of the header's key.</summary>
    public const string Place = "Idempotency-Key";

    /// <summary>Claims the key for a request that starts a run: a repeat shows the run as it is then.</summary>
    public ValueTask<Refusal?> Claim(UnitOfWork work, RunKey run) => Claim(work, run, null);

    /// <summary>
    /// Claims the key for the effect of the unit of work on a stream, in the same commit. The refusal of a used key takes precedence over every other refusal,
    /// whatever the state of the stream is now: a command claims its key after its decision and answers this refusal first.
    /// </summary>
    public async ValueTask<Refusal?> Claim<TKey, TCommand, TEvent, TState>(
        UnitOfWork work, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class =>
        await Claim(work, null, await work.Effect(aggregate, key));

    async ValueTask<Refusal?> Claim(UnitOfWork work, RunKey? run, RequestEffect? effect) =>
        await work.Do(
            IdempotencyKey.Aggregate, IdempotencyKey.StreamKey(Scope, Key),
            new IdempotencyKeyCommand.Claim(Scope, Key, RequestSha256, run, effect, Kept, work.Now, BytesSha256), isNew: true) is { } refused
            ? refused with { Path = Place }
            : null;
}
