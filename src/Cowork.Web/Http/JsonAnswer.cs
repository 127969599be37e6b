using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>A JSON answer, whole.</summary>
/// <param name="Replayed">A repeat of an earlier request's answer.</param>
public sealed record JsonAnswer(int Status, ReadOnlyMemory<byte> Body, string? Location = null, bool Replayed = false) : IResult
{
    public static JsonAnswer Of<T>(int status, T value, JsonTypeInfo<T> json, string? location = null) =>
        new(status, JsonSerializer.SerializeToUtf8Bytes(value, json), location);

    public async ValueTask<StoredAnswer> ToStored(IBlobs blobs, CancellationToken ct) =>
        new(Status, Location, await blobs.Store(Encoding.UTF8.GetString(Body.Span), ct));

    /// <summary>The same for an answer that is known to be short.</summary>
    public StoredAnswer ToStoredInline() => new(Status, Location, Content.Of(Encoding.UTF8.GetString(Body.Span)));

    /// <summary>What a request comes to whose command was executed: the answer that the command has made, a refusal, or what the key's first request was answered.</summary>
    /// <param name="answer">Null only when the command was refused.</param>
    public static async ValueTask<IResult> Outcome(
        Refusal? refused, JsonAnswer? answer, CommandHandler known, IBlobs blobs, string org, RequestKey? key, CancellationToken ct) => refused switch
        {
            null => answer!,
            { Code: "idempotency_key_claimed" } => await Replay(known, blobs, org, key!, ct),
            _ => ErrorResult.Of(refused),
        };

    static async ValueTask<IResult> Replay(CommandHandler commands, IBlobs blobs, string org, RequestKey key, CancellationToken ct)
    {
        var state = await commands.Fresh(org, IdempotencyKey.Aggregate, IdempotencyKey.StreamKey(key.Scope, key.Key), ct);
        return state is IdempotencyKey.Claimed { Answer: { } answer }
            ? answer.Body is { } body
                ? new JsonAnswer(answer.Status, Encoding.UTF8.GetBytes(await blobs.Text(body, ct)), answer.Location, Replayed: true)
                : new ErrorResult(409, "secret_not_replayable", "The first answer held a secret that is shown once. Revoke what it made and ask anew, with another key.")
            : new ErrorResult(409, "idempotency_in_flight", "The first request with this key is not done yet.") { RetryAfter = 1 };
    }

    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var response = httpContext.Response;
        response.StatusCode = Status;
        response.ContentType = "application/json";
        response.ContentLength = Body.Length;
        response.Headers.CacheControl = "no-store";
        if (Location is not null)
        {
            response.Headers.Location = Location;
        }
        if (Replayed)
        {
            response.Headers["Idempotency-Replayed"] = "true";
        }
        await response.BodyWriter.WriteAsync(Body, httpContext.RequestAborted);
    }
}
