using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What a client asks of a session.</summary>
/// <param name="Message">Not blank, at most <see cref="Limits.MessageBytesMax"/> bytes, storable.</param>
/// <param name="Key">The body's <c>idempotency_key</c>: within the session, for ever.</param>
/// <param name="Header">The header's key.</param>
/// <param name="Source">What the message was made from; null: somebody's own words.</param>
/// <param name="RequestSha256">Hex, of what a repeat under the body's key must have asked; null: the message.</param>
public sealed record TurnRequest(
    SessionKey Session, string Message, string? Model, string? Key, RequestKey? Header, RunSource? Source = null, string? RequestSha256 = null);

/// <param name="Reused">The body's key had been used: this is the run that it started.</param>
/// <param name="Replayed">The header's key had been used.</param>
/// <param name="Accepted">The run's stream as this request left it; null: an earlier request started the run.</param>
public sealed record Turn(RunKey Run, bool Reused, bool Replayed, StreamResult? Accepted = null);

/// <summary>
/// Makes a turn a run at the end of its session's queue. What starts runs for other reasons puts it into its own work: <see cref="Decide"/> adds to it.
/// </summary>
/// <param name="RunId">Of the new run, when it comes to be.</param>
/// <param name="RequestSha256">Hex: what a repeat under the same key must have asked.</param>
/// <param name="Key">The body's key, within the session.</param>
/// <param name="WaitingMax">Runs that may wait behind the session's first.</param>
/// <param name="Source">What the message was made from; null: somebody's own words.</param>
public sealed record SubmitTurn(
    RunKey RunId, SessionKey Session, Content Message, string RequestSha256, string Model, string? Key, RequestKey? Header, int WaitingMax, RunSource? Source = null)
    : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (await work.State(Domain.Session.Aggregate, Session) is not Session.Open session)
        {
            return Refusal.NotFound("session");
        }
        if (Header is not null && await Header.Claim(work, RunId) is { } header)
        {
            return header;
        }
        if (Key is not null)
        {
            var scope = Scope(Session);
            var claim = new IdempotencyKeyCommand.Claim(scope, Key, RequestSha256, RunId, null, null, work.Now);
            if (await work.Do(IdempotencyKey.Aggregate, IdempotencyKey.StreamKey(scope, Key), claim, isNew: true) is { } inBody)
            {
                return inBody;
            }
        }
        var create = new RunCommand.Create(RunId, session.SessionId, Message, Model, Key, work.Now, Source);
        if (await work.Do(Run.Aggregate, RunId, create, Session, RunId, isNew: true) is { } impossible)
        {
            return impossible;
        }
        if (session.Queue.IsEmpty)
        {
            work.Start(new Job(Run.Aggregate.Name, RunId.Value));
        }
        return await work.Do(Domain.Session.Aggregate, Session, new SessionCommand.Enqueue(RunId, WaitingMax, work.Now), Session, RunId);
    }

    /// <summary>Of a body's keys.</summary>
    internal static string Scope(SessionKey session) => $"session {session.Value}";
}

/// <summary>Asks for a run to be cancelled. One that nobody drives, because it waits for its turn or for an approval, ends at once and leaves the queue.</summary>
public sealed record CancelRun(RunKey Run, RequestKey? Header) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (await work.State(Domain.Run.Aggregate, Run) is Domain.Run.None)
        {
            return Refusal.NotFound("run");
        }
        var refused = await Turns.Cancel(work, Run);
        return Header is null ? refused : await Header.Claim(work, Domain.Run.Aggregate, Run) ?? refused;
    }
}

/// <summary>Takes turns: each becomes one run at the end of its session's queue.</summary>
public sealed class Turns(CommandHandler known, ICommandExecutor commands, IRunQueries queries, IBlobs blobs, RunOptions options, TimeProvider clock)
{
    static readonly TimeSpan CountedFor = TimeSpan.FromSeconds(1);

    readonly ConcurrentDictionary<string, (long Count, DateTimeOffset At)> queued = new();

    /// <summary>Starts a run, or answers the one that the same request started before.</summary>
    public async Task<(Turn? Turn, Refusal? Refused)> Submit(string org, Origin by, TurnRequest request, CancellationToken ct)
    {
        var (submit, refused) = await Prepare(org, request, ct);
        return submit is null ? (null, refused) : await Take(org, by, submit, submit, ct);
    }

    /// <summary>Puts the message where texts are kept and names the run. Nothing is started yet.</summary>
    internal async Task<(SubmitTurn? Submit, Refusal? Refused)> Prepare(string org, TurnRequest request, CancellationToken ct)
    {
        if (await QueuedIn(org, ct) >= options.QueuedPerTenantMax)
        {
            return (null, Refusal.TooMany("tenant_queue_full", $"{options.QueuedPerTenantMax} runs already wait."));
        }
        var message = await blobs.Store(request.Message, ct);
        var digest = request.RequestSha256 ?? Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(request.Message)));
        var submit = new SubmitTurn(
            RunKey.New(clock.GetUtcNow()), request.Session, message, digest, request.Model ?? options.DefaultModel, request.Key, request.Header,
            options.QueuedPerSessionMax, request.Source);
        return (submit, null);
    }

    /// <summary>Executes what starts the run: the turn itself, or a command that holds it.</summary>
    internal async Task<(Turn? Turn, Refusal? Refused)> Take(string org, Origin by, SubmitTurn submit, ICommand command, CancellationToken ct)
    {
        var result = await commands.Execute(org, by, command, ct);
        return result.Refused switch
        {
            null => (new(submit.RunId, Reused: false, Replayed: false, result.On(Run.Aggregate.Stream(submit.RunId))), null),
            { Code: "idempotency_key_claimed", Existing: { } existing } claimed =>
                (new(RunKey.FromId(existing), Reused: claimed.Path != RequestKey.Place, Replayed: claimed.Path == RequestKey.Place), null),
            { } refused => (null, refused),
        };
    }

    /// <summary>The run that the same request started before; null: it did not come before.</summary>
    /// <param name="requestSha256">As in <see cref="TurnRequest.RequestSha256"/>.</param>
    internal async ValueTask<Turn?> Earlier(string org, SessionKey session, string requestSha256, string? key, RequestKey? header, CancellationToken ct)
    {
        if (header is not null && await Claimed(header.Scope, header.Key, header.RequestSha256, header.Kept) is { } replayed)
        {
            return new(replayed, Reused: false, Replayed: true);
        }
        return key is not null && await Claimed(SubmitTurn.Scope(session), key, requestSha256, null) is { } reused ? new(reused, Reused: true, Replayed: false) : null;

        async ValueTask<RunKey?> Claimed(string scope, string name, string sha256, TimeSpan? kept) =>
            await known.LatestState(org, IdempotencyKey.Aggregate, IdempotencyKey.StreamKey(scope, name), ct) is IdempotencyKey.Claimed { RunId: { } run } claimed
            && claimed.RequestSha256 == sha256 && !(clock.GetUtcNow() - claimed.At > kept)
                ? run
                : null;
    }

    internal static async ValueTask<Refusal?> Cancel(UnitOfWork work, RunKey run)
    {
        var before = await work.State(Run.Aggregate, run);
        var session = SessionOf(before);
        if (await work.Do(Run.Aggregate, run, new RunCommand.Cancel(work.Now), session, run) is { } refused)
        {
            return refused;
        }
        ApprovalExpiry.CancelExpiry(work, before);
        return await work.State(Run.Aggregate, run) is Run.Ended ? await LeaveQueue(work, session!.Value, run) : null;
    }

    /// <summary>Takes an ended run out of its session's queue and lets the next one start.</summary>
    internal static async ValueTask<Refusal?> LeaveQueue(UnitOfWork work, SessionKey session, RunKey run)
    {
        var before = await work.State(Session.Aggregate, session);
        if (await work.Do(Session.Aggregate, session, new SessionCommand.Dequeue(run, work.Now), session, run) is { } refused)
        {
            return refused;
        }
        var queue = before switch
        {
            Session.Open open => open.Queue,
            Session.Deleted deleted => deleted.Queue,
            _ => [],
        };
        if (queue is [var first, var next, ..] && first == run)
        {
            work.Start(new Job(Run.Aggregate.Name, next.Value));
        }
        return null;
    }

    internal static SessionKey? SessionOf(Run run) => run switch
    {
        Run.Queued q => q.Request.SessionId,
        Run.Active a => a.Request.SessionId,
        Run.Suspended s => s.Before.Request.SessionId,
        Run.Ended e => e.Request.SessionId,
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
