using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>An <c>Idempotency-Key</c> header with its scope (contracts/decisions.md, "Idempotency").</summary>
/// <param name="Scope">Principal, method and path.</param>
/// <param name="RequestSha256">Of the body.</param>
public sealed record RequestKey(string Scope, string Key, string RequestSha256)
{
    /// <summary>Claims the key in the work that has the request's effect.</summary>
    /// <param name="kept">How long it holds.</param>
    public async ValueTask<Refusal?> Claim(Work work, TimeSpan kept, string? runId, StoredAnswer? answer) =>
        await work.Do(
            IdempotencyKey.Aggregate, IdempotencyKey.StreamKey(Scope, Key),
            new IdempotencyKeyCommand.Claim(Scope, Key, RequestSha256, runId, answer, kept, work.Now)) is { } refused
            ? refused with { Path = refused.Path is null ? null : "Idempotency-Key" }
            : null;
}

/// <summary>What a client asks of a session.</summary>
/// <param name="Session">Key of the session.</param>
/// <param name="Message">Not blank, at most <see cref="Limits.MessageBytesMax"/> bytes, storable.</param>
/// <param name="Key">The body's <c>idempotency_key</c>: within the session, for ever.</param>
/// <param name="Header">The header's key.</param>
public sealed record TurnRequest(string Session, string Message, string? Model, string? Key, RequestKey? Header);

/// <param name="Run">Key of the run.</param>
/// <param name="Reused">The body's key had been used: this is the run that it started.</param>
/// <param name="Replayed">The header's key had been used.</param>
public sealed record Turn(string Run, bool Reused, bool Replayed);

/// <summary>Takes turns: each becomes one run at the end of its session's queue.</summary>
public sealed class Turns(Commands commands, IRunQueries queries, IBlobs blobs, RunOptions options, TimeProvider clock)
{
    static readonly TimeSpan CountedFor = TimeSpan.FromSeconds(1);

    readonly ConcurrentDictionary<string, (long Count, DateTimeOffset At)> queued = new();

    /// <summary>Starts a run, or answers the one that the same request started before.</summary>
    public async Task<(Turn? Turn, Refusal? Refused)> Submit(string org, Origin by, TurnRequest request, CancellationToken ct)
    {
        var model = request.Model ?? options.DefaultModel;
        if (await QueuedIn(org, ct) >= options.QueuedPerTenantMax)
        {
            return (null, Refusal.TooMany("tenant_queue_full", $"{options.QueuedPerTenantMax} runs already wait."));
        }
        var message = await blobs.Store(request.Message, ct);
        var digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(request.Message)));
        var key = Ids.NewKey(clock.GetUtcNow());
        var runId = $"run_{key}";
        var replayed = false;
        var refused = await commands.Commit(
            org, by,
            async work =>
            {
                replayed = false;
                if (await work.State(Session.Aggregate, request.Session) is not Session.Open session)
                {
                    return Refusal.NotFound("session");
                }
                if (request.Header is not null && await request.Header.Claim(work, options.IdempotencyKept, runId, null) is { } header)
                {
                    replayed = header.Code == "idempotency_key_claimed";
                    return header;
                }
                if (request.Key is not null)
                {
                    var scope = $"session {request.Session}";
                    var claim = new IdempotencyKeyCommand.Claim(scope, request.Key, digest, runId, null, null, work.Now);
                    if (await work.Do(IdempotencyKey.Aggregate, IdempotencyKey.StreamKey(scope, request.Key), claim) is { } inBody)
                    {
                        return inBody;
                    }
                }
                var create = new RunCommand.Create(runId, session.SessionId, message, model, request.Key, work.Now);
                if (await work.Do(Run.Aggregate, key, create, request.Session, key) is { } impossible)
                {
                    return impossible;
                }
                if (session.Queue.IsEmpty)
                {
                    work.Start(new Job(Run.Aggregate.Name, key));
                }
                return await work.Do(Session.Aggregate, request.Session, new SessionCommand.Enqueue(runId, options.QueuedPerSessionMax, work.Now), request.Session, key);
            },
            ct);
        return refused switch
        {
            null => (new(key, Reused: false, Replayed: false), null),
            { Code: "idempotency_key_claimed", Existing: { } existing } => (new(Ids.Key(existing, "run")!, Reused: !replayed, replayed), null),
            _ => (null, refused),
        };
    }

    /// <summary>Asks for a run to be cancelled. One that nobody drives, because it waits for its turn or for an approval, ends at once and leaves the queue.</summary>
    public async Task<Refusal?> Cancel(string org, Origin by, string run, RequestKey? header, Func<Run, StoredAnswer>? answer, CancellationToken ct) =>
        await commands.Commit(
            org, by,
            async work =>
            {
                var before = await work.State(Run.Aggregate, run);
                if (before is Run.None)
                {
                    return Refusal.NotFound("run");
                }
                var given = answer?.Invoke(before);
                if (header is not null && await header.Claim(work, options.IdempotencyKept, null, given) is { } claimed)
                {
                    return claimed;
                }
                return await Cancel(work, run);
            },
            ct);

    /// <summary>Deletes a session; its live runs are cancelled in the same commit, or by their drivers soon after.</summary>
    public async Task<Refusal?> DeleteSession(string org, Origin by, string session, CancellationToken ct) =>
        await commands.Commit(
            org, by,
            async work =>
            {
                if (await work.Do(Session.Aggregate, session, new SessionCommand.Delete(work.Now), session) is { } refused)
                {
                    return refused;
                }
                var queue = ((Session.Deleted)await work.State(Session.Aggregate, session)).Queue;
                foreach (var runId in queue.Reverse())
                {
                    if (await Cancel(work, Ids.Key(runId, "run")!) is { } stuck)
                    {
                        return stuck;
                    }
                }
                return null;
            },
            ct);

    static async ValueTask<Refusal?> Cancel(Work work, string run)
    {
        var session = SessionOf(await work.State(Run.Aggregate, run));
        if (await work.Do(Run.Aggregate, run, new RunCommand.Cancel(work.Now), session, run) is { } refused)
        {
            return refused;
        }
        return await work.State(Run.Aggregate, run) is Run.Ended ? await LeaveQueue(work, session!, run) : null;
    }

    /// <summary>Takes an ended run out of its session's queue and lets the next one start.</summary>
    internal static async ValueTask<Refusal?> LeaveQueue(Work work, string session, string run)
    {
        var before = await work.State(Session.Aggregate, session);
        if (await work.Do(Session.Aggregate, session, new SessionCommand.Dequeue($"run_{run}", work.Now), session, run) is { } refused)
        {
            return refused;
        }
        var queue = before switch
        {
            Session.Open open => open.Queue,
            Session.Deleted deleted => deleted.Queue,
            _ => [],
        };
        if (queue is [var first, var next, ..] && first == $"run_{run}")
        {
            work.Start(new Job(Run.Aggregate.Name, Ids.Key(next, "run")!));
        }
        return null;
    }

    internal static string? SessionOf(Run run) => run switch
    {
        Run.Queued q => Ids.SessionKey(q.Request.SessionId),
        Run.Active a => Ids.SessionKey(a.Request.SessionId),
        Run.Suspended s => Ids.SessionKey(s.Before.Request.SessionId),
        Run.Ended e => Ids.SessionKey(e.Request.SessionId),
        _ => null,
    };

    /// <summary>How many runs wait in the tenant, as of no more than a second ago: the cap protects the host and need not be exact.</summary>
    async ValueTask<long> QueuedIn(string org, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        if (queued.TryGetValue(org, out var known) && now - known.At < CountedFor)
        {
            return known.Count;
        }
        var count = await queries.Queued(org, options.QueuedPerTenantMax, ct);
        queued[org] = (count, now);
        return count;
    }
}
