using System.Text;

using Cowork.Application;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>Answers a request from the result of its command, or from the result of an earlier request with the same <c>Idempotency-Key</c>.</summary>
public sealed class CommandAnswers(CommandHandler commands, IBlobs blobs)
{
    /// <param name="stream">Name of the stream that the answer shows.</param>
    /// <param name="answer">Makes the answer from that stream after the commit; for a repeat, after the commit of the first request.</param>
    /// <param name="holdsSecret">The answer shows a secret that is not stored, so it cannot be repeated.</param>
    public async ValueTask<IResult> Of<T>(
        string org, CommandResult result, string stream, RequestKey? key, Func<StreamResult, ValueTask<JsonResult<T>>> answer, CancellationToken ct,
        bool holdsSecret = false) => result.Refused switch
        {
            null => await answer(result.On(stream)),
            { Code: "idempotency_key_claimed" } => await Replay(org, key!, answer, holdsSecret, ct),
            var refused => ErrorResult.Of(refused),
        };

    public ValueTask<IResult> Of<T>(
        string org, CommandResult result, string stream, RequestKey? key, Func<StreamResult, JsonResult<T>> answer, CancellationToken ct, bool holdsSecret = false) =>
        Of(org, result, stream, key, after => ValueTask.FromResult(answer(after)), ct, holdsSecret);

    /// <summary>True: an earlier request with this key was accepted, so that no limit refuses this one.</summary>
    public async ValueTask<bool> IsRepeat(string org, RequestKey? key, CancellationToken ct) =>
        key is not null && await commands.LatestState(org, IdempotencyKey.Aggregate, IdempotencyKey.StreamKey(key.Scope, key.Key), ct) is IdempotencyKey.Claimed;

    /// <summary>What the first request with the key did; null: there was none, or its effect is not kept.</summary>
    public async ValueTask<RequestEffect?> EffectOf(string org, RequestKey key, CancellationToken ct) =>
        await commands.LatestState(org, IdempotencyKey.Aggregate, IdempotencyKey.StreamKey(key.Scope, key.Key), ct) is IdempotencyKey.Claimed { Effect: { } effect }
            ? effect
            : null;

    async ValueTask<IResult> Replay<T>(string org, RequestKey key, Func<StreamResult, ValueTask<JsonResult<T>>> answer, bool holdsSecret, CancellationToken ct) =>
        await commands.LatestState(org, IdempotencyKey.Aggregate, IdempotencyKey.StreamKey(key.Scope, key.Key), ct) switch
        {
            IdempotencyKey.Claimed when holdsSecret => new ErrorResult(
                409, "secret_not_replayable", "The first answer held a secret that is shown once. Revoke what it made and ask anew, with another key."),
            IdempotencyKey.Claimed { Effect: { } effect } => await answer(await commands.At(org, effect, ct)) with { Replayed = true },
            IdempotencyKey.Claimed { Answer: { Body: { } body } stored } =>
                new StoredJsonResult(stored.Status, Encoding.UTF8.GetBytes(await blobs.Text(body, ct))) { Location = stored.Location, Replayed = true },
            _ => new ErrorResult(409, "idempotency_in_flight", "The first request with this key is not done yet.") { RetryAfter = 1 },
        };
}
