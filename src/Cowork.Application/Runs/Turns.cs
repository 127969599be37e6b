using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>A client's turn in a session.</summary>
/// <param name="Message">Not blank, at most <see cref="Limits.MessageBytesMax"/> bytes, storable.</param>
/// <param name="Model">Null: the session's, or else the project's, or else the host's default.</param>
/// <param name="Key">The body's <c>idempotency_key</c>, unique within the session and kept for ever.</param>
/// <param name="Header">The header's key.</param>
/// <param name="Source">The skill that rendered the message; null: a person wrote it.</param>
/// <param name="RequestSha256">Hex digest of the request, the same for a repeat under the body's key; null: of the message and the model that it names.</param>
/// <param name="Skills">The skills that it asks for; null: those of its project alone.</param>
/// <param name="ContextFiles">The files that it names, read; null: none.</param>
public sealed record TurnRequest(
    SessionKey Session, string Message, string? Model, string? Key, RequestKey? Header, RunSource? Source = null, string? RequestSha256 = null,
    SkillSelection? Skills = null, ImmutableList<ContextText>? ContextFiles = null);

/// <param name="Reused">True: the body's key was used before, and started this run.</param>
/// <param name="Replayed">True: the header's key was used before.</param>
/// <param name="Accepted">The run's stream after this request; null: an earlier request started the run.</param>
public sealed record Turn(RunKey Run, bool Reused, bool Replayed, StreamResult? Accepted = null);

/// <summary>What a node needs to start a run with the commit that accepts it.</summary>
/// <param name="Epoch">Epoch of the claim that the commit gives to the node.</param>
/// <param name="SessionVersion">The session's version at which no run was under way. When it has another, the run is only queued.</param>
/// <param name="Items">The memories that match its message.</param>
/// <param name="History">The session's runs before it.</param>
/// <param name="Knows">Position up to which the memories are known. When another node wrote after it, the run is only queued. Null: they were read from the log.</param>
/// <param name="Settings">As in <see cref="RunEvent.RunStarted"/>.</param>
public sealed record RunStart(
    long Epoch, string Node, long SessionVersion, ImmutableList<RetrievedMemory> Items, ImmutableList<RunKey> History, long? Knows,
    string? Settings);

/// <summary>
/// Creates a run at the end of its session's queue. A command that starts runs for another reason, such as a schedule, calls <see cref="Decide"/> in its own unit
/// of work.
/// </summary>
/// <param name="RunId">The new run.</param>
/// <param name="RequestSha256">Hex digest of the request, the same for a repeat under the same key.</param>
/// <param name="Model">Null: the session's model, or else the project's, or else <paramref name="DefaultModel"/>.</param>
/// <param name="Key">The body's key, within the session.</param>
/// <param name="WaitingMax">Number of runs that may wait behind the first.</param>
/// <param name="Source">The skill that rendered the message; null: a person wrote it.</param>
/// <param name="Start">How this node starts the run with the same commit; null: the node that takes its job starts it.</param>
/// <param name="Title">The session's title, when it has none yet.</param>
/// <param name="Skills">The skills that the turn asks for; null: those of its project alone.</param>
/// <param name="ContextFiles">The files that the turn names, whose texts are stored already; null: none.</param>
public sealed record SubmitTurn(
    RunKey RunId, SessionKey Session, Content Message, string RequestSha256, string? Model, string DefaultModel, string? Key, RequestKey? Header, int WaitingMax,
    RunSource? Source = null, RunStart? Start = null, Content? Title = null, SkillSelection? Skills = null, ImmutableList<ContextText>? ContextFiles = null)
    : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var state = await work.State(Domain.Session.Aggregate, Session);
        if (state is not Session.Open session)
        {
            return state is Session.Expired ? Refusal.Expired("session") : Refusal.NotFound("session");
        }
        if (await SessionOfGroup.WhyRefused(work, session) is { } ofGroup)
        {
            return ofGroup;
        }
        var project = session.Project is { } of ? await work.PinnedState(Project.Aggregate, of) : null;
        if (project is Project.Deleted)
        {
            // The session is about to be deleted.
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
        var definition = (project as Project.Live)?.Definition;
        var (skills, unfit) = await ActiveSkills.Of(work, definition, Skills);
        if (unfit is not null)
        {
            return unfit;
        }
        var model = Model ?? session.Model ?? definition?.Model ?? DefaultModel;
        var create = new RunCommand.Create(
            RunId, session.SessionId, Message, model, Key, work.Now, Source, work.By.Issuers, session.Goal, skills, ContextFiles, session.Grants,
            Fork: session.Fork, Subject: session.Subject);
        if (await work.Do(Run.Aggregate, RunId, create, Session, RunId, isNew: true) is { } impossible)
        {
            return impossible;
        }
        var starts = Start is not null && work.IsFirstTry && Start.SessionVersion == await work.Version(Domain.Session.Aggregate, Session) ? Start : null;
        if (session.Queue.IsEmpty)
        {
            work.Start(new Job(Run.Aggregate.Name, RunId.Value, Epoch: starts?.Epoch));
        }
        if (await work.Do(Domain.Session.Aggregate, Session, new SessionCommand.Enqueue(RunId, WaitingMax, work.Now, Title), Session, RunId) is { } full)
        {
            return full;
        }
        if (starts is null)
        {
            return null;
        }
        work.Knows(starts.Knows);
        work.ContinueAs(RunDriver.Actor);
        return await work.Do(Run.Aggregate, RunId, new RunCommand.Start(starts.Epoch, starts.Node, work.Now, starts.Settings), Session, RunId)
            ?? await work.Do(Run.Aggregate, RunId, new RunCommand.RecordMemory(starts.Epoch, starts.Items, starts.History, work.Now), Session, RunId);
    }

    /// <summary>The scope of the keys in bodies.</summary>
    internal static string Scope(SessionKey session) => $"session {session.Value}";
}

/// <summary>The command that starts a run, with the message that it names, which may not be stored yet.</summary>
public sealed record PreparedTurn(SubmitTurn Submit, NamedText Message);

/// <summary>Requests the cancellation of a run. A run without a driver, in the queue or waiting for an approval, ends at once and leaves the queue.</summary>
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

/// <summary>Accepts turns: each becomes one run at the end of its session's queue.</summary>
public sealed class Turns(
    CommandHandler known, ICommandExecutor commands, TenantUsage usage, MemoryStep memory, IJobQueue jobs, IBlobs blobs,
    IReadOnlyDictionary<string, IChatClient> models, RunOptions options, TimeProvider clock)
{
    readonly TextCommands texts = new(known, commands, blobs);

    /// <summary>Starts a run, or answers the run of an earlier request under the same key.</summary>
    public async Task<(Turn? Turn, Refusal? Refused)> Submit(string org, Origin by, TurnRequest request, CancellationToken ct)
    {
        if (ModelCatalog.Unknown(models, request.Model) is { } unknown)
        {
            // A repeat is answered like its first request, even if the model has gone since.
            return await Earlier(org, request.Session, Digest(request), request.Key, request.Header, ct) is { } earlier ? (earlier, null) : (null, unknown);
        }
        var (turn, refused) = await Prepare(org, request, ct);
        if (turn is null)
        {
            return await Earlier(org, request.Session, Digest(request), request.Key, request.Header, ct) is { } earlier ? (earlier, null) : (null, refused);
        }
        using var room = jobs.Admit(org, Run.Aggregate.Name);
        if (room is not null)
        {
            turn = turn with { Submit = turn.Submit with { Start = await memory.Ahead(org, request.Session, request.Message, room, ct) } };
        }
        return await Take(org, by, turn, turn.Submit, ct);
    }

    /// <summary>Names the run and its message, without storing or starting anything.</summary>
    internal async Task<(PreparedTurn? Turn, Refusal? Refused)> Prepare(string org, TurnRequest request, CancellationToken ct)
    {
        if (await usage.RunRefusal(org, ct) is { } full)
        {
            return (null, full);
        }
        var message = NamedText.Of(request.Message);
        var submit = new SubmitTurn(
            RunKey.New(clock.GetUtcNow()), request.Session, message.Content, Digest(request), request.Model, options.DefaultModel, request.Key, request.Header,
            options.QueuedPerSessionMax, request.Source, Title: Session.TitleOf(request.Message) is { } title ? Content.Of(title) : null,
            Skills: request.Skills, ContextFiles: request.ContextFiles);
        return (new(submit, message), null);
    }

    /// <summary>Executes the command that starts the run: the turn itself, or one that contains it.</summary>
    internal Task<(Turn? Turn, Refusal? Refused)> Take(string org, Origin by, PreparedTurn turn, ICommand command, CancellationToken ct) =>
        Take(org, by, turn.Submit.RunId, [turn.Message], command, ct);

    /// <inheritdoc cref="Take(string, Origin, PreparedTurn, ICommand, CancellationToken)"/>
    /// <param name="named">The texts that the command names.</param>
    internal async Task<(Turn? Turn, Refusal? Refused)> Take(string org, Origin by, RunKey run, IReadOnlyList<NamedText> named, ICommand command, CancellationToken ct)
    {
        var result = await texts.Execute(org, by, command, named, ct);
        return result.Refused switch
        {
            null => (new(run, Reused: false, Replayed: false, result.On(Run.Aggregate.Stream(run))), null),
            { Code: "idempotency_key_claimed", Existing: { } existing } claimed =>
                (new(RunKey.FromId(existing), Reused: claimed.Path != RequestKey.Place, Replayed: claimed.Path == RequestKey.Place), null),
            { } refused => (null, refused),
        };
    }

    /// <summary>The run of an earlier request under the same key; null: there is none.</summary>
    /// <param name="requestSha256">As in <see cref="TurnRequest.RequestSha256"/>.</param>
    internal async ValueTask<Turn?> Earlier(string org, SessionKey session, string requestSha256, string? key, RequestKey? header, CancellationToken ct)
    {
        if (header is not null && await Claimed(header.Scope, header.Key, [header.RequestSha256, header.BytesSha256], header.Kept) is { } replayed)
        {
            return new(replayed, Reused: false, Replayed: true);
        }
        return key is not null && await Claimed(SubmitTurn.Scope(session), key, [requestSha256], null) is { } reused ? new(reused, Reused: true, Replayed: false) : null;

        async ValueTask<RunKey?> Claimed(string scope, string name, string?[] digests, TimeSpan? kept) =>
            await known.LatestState(org, IdempotencyKey.Aggregate, IdempotencyKey.StreamKey(scope, name), ct) is IdempotencyKey.Claimed { RunId: { } run } claimed
            && digests.Contains(claimed.RequestSha256) && !(clock.GetUtcNow() - claimed.At > kept)
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

    /// <summary>Removes an ended run from its session's queue or lane and starts the next one there.</summary>
    internal static async ValueTask<Refusal?> LeaveQueue(UnitOfWork work, SessionKey session, RunKey run)
    {
        var before = await work.State(Session.Aggregate, session);
        if (await work.Do(Session.Aggregate, session, new SessionCommand.Dequeue(run, work.Now), session, run) is { } refused)
        {
            return refused;
        }
        if (before.QueueOf(run) is [var first, var next, ..] && first == run)
        {
            work.Start(new Job(Run.Aggregate.Name, next.Value));
        }
        return null;
    }

    /// <summary>Hex digest of what the request asks for. A message alone is hashed as it is, as in all earlier releases.</summary>
    static string Digest(TurnRequest request) => request.RequestSha256 ?? Convert.ToHexStringLower(
        SHA256.HashData(Encoding.UTF8.GetBytes(request.Model is null ? request.Message : $"{request.Model}\0{request.Message}")));

    internal static SessionKey? SessionOf(Run run) => run switch
    {
        Run.Queued q => q.Request.SessionId,
        Run.Active a => a.Request.SessionId,
        Run.Suspended s => s.Before.Request.SessionId,
        Run.Ended e => e.Request.SessionId,
        _ => null,
    };
}
