using System.Text;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>Body of <c>POST /runs/{id}/fork</c> and <c>POST /sessions/{id}/fork</c>; every field is optional.</summary>
/// <param name="AtEvent">The last event of the past that both have: its id in the session's feed. Default: the last one that there is.</param>
/// <param name="Message">The first turn of the new session. Not blank, at most 256 KiB.</param>
public sealed record NewFork(long? AtEvent = null, string? Message = null) : IRequestBody<NewFork>
{
    public static JsonTypeInfo<NewFork> Json => AgentServiceJson.Default.NewFork;

    public static NewFork WhenEmpty { get; } = new();

    public static bool IsClosed => true;

    public void Validate(ValidationErrors errors)
    {
        if (AtEvent is < 1)
        {
            errors.Add("$.at_event", "Events of a feed are counted from 1.");
        }
        if (Message is not null && string.IsNullOrWhiteSpace(Message))
        {
            errors.Add("$.message", "Must not be blank.");
        }
        else if (Message is not null && Encoding.UTF8.GetByteCount(Message) > Limits.MessageBytesMax)
        {
            errors.Add("$.message", $"A message has at most {Limits.MessageBytesMax} bytes.");
        }
    }
}

/// <summary>Where a session forked from.</summary>
/// <param name="RunId">The run that was named; null: the session was.</param>
/// <param name="EventId">The last event of the common past, by its id in that session's feed.</param>
/// <param name="StreamId">The event's stream, <paramref name="Version"/> its place there, and <paramref name="Hash"/> covers that stream up to it.</param>
/// <param name="Runs">The runs that prompts show of that past, oldest first. The last may have the beginning only.</param>
public sealed record ForkOrigin(SessionKey SessionId, RunKey? RunId, long EventId, string StreamId, long Version, string Hash, IReadOnlyList<RunKey> Runs)
{
    public static ForkOrigin? Of(SessionFork? fork) => fork is null ? null
        : new(fork.SessionId, fork.RunId, fork.FeedId, fork.Event.StreamId, fork.Event.Version, fork.Hash, fork.History);
}

/// <param name="RunId">The first turn's run; null: no message was given.</param>
/// <param name="WorkspacePath">The folder of the other session: both see the files as they are now.</param>
/// <param name="Effects">What runs of the common past did outside the log, by their record: the fork does not undo it.</param>
/// <param name="MoreEffects">Effects that are not shown.</param>
public sealed record ForkAnswer(
    SessionKey SessionId, RunKey? RunId, ForkOrigin ForkedFrom, string WorkspacePath, IReadOnlyList<PastEffect> Effects, int MoreEffects, DateTimeOffset CreatedAt);

static class ForkEndpoints
{
    public static void MapForks(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/runs/{run_id}/fork", OfRun).WithName("forkRun").WithTags("Runs").RequireMember()
            .WithSummary("Make a session that has the past of a run up to one of its events, by reference, and goes on by itself")
            .Produces<ForkAnswer>(201).Refuses(400, 404, 409, 413, 415, 422, 429, 507);
        routes.MapPost("/sessions/{session_id}/fork", OfSession).WithName("forkSession").WithTags("Sessions").RequireMember()
            .WithSummary("Make a session that has the past of another one up to one of its events, by reference, and goes on by itself")
            .Produces<ForkAnswer>(201).Refuses(400, 404, 409, 413, 415, 422, 429, 507);
    }

    static async Task<IResult> OfRun(
        PathKey<RunKey> run, Body<NewFork> body, Caller caller, RunViews views, IRows rows, ForkPoints points, Making making, CancellationToken ct)
    {
        if (await views.Find(caller, run.Key, ct) is not { } row || await rows.FindSession(caller, row.SessionId, ct) is not { } session)
        {
            return ErrorResult.NotFound("run");
        }
        var (fork, refused) = await points.OfRun(caller.Org, row.SessionId, run.Key, body.Value.AtEvent, ct);
        return fork is null ? ErrorResult.Of(refused!) : await making.Fork(caller, session, fork, body, ct);
    }

    static async Task<IResult> OfSession(
        PathKey<SessionKey> session, Body<NewFork> body, Caller caller, IRows rows, ForkPoints points, Making making, CancellationToken ct)
    {
        if (await rows.FindSession(caller, session.Key, ct) is not { } row)
        {
            return ErrorResult.NotFound("session");
        }
        var (fork, refused) = await points.OfSession(caller.Org, row.SessionId, body.Value.AtEvent, ct);
        return fork is null ? ErrorResult.Of(refused!) : await making.Fork(caller, row, fork, body, ct);
    }

    /// <summary>Makes forks and tells of them.</summary>
    public sealed class Making(Forks forks, ForkPoints points, TenantUsage usage, CommandAnswers answers, IEventLog log)
    {
        public async Task<IResult> Fork(Caller caller, SessionRow source, SessionFork fork, Body<NewFork> body, CancellationToken ct)
        {
            if (await usage.SessionRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
            {
                return ErrorResult.Of(full);
            }
            var (session, result) = await forks.Make(caller.Org, caller.Origin, fork, source.Metadata, body.Value.Message, body.Key, ct);
            if (result.Refused is null)
            {
                usage.Made(caller.Org, sessions: 1);
            }
            return await answers.Of(caller.Org, result, Session.Aggregate.Stream(session), body.Key, async after => await Shown(caller.Org, after, ct), ct);
        }

        async ValueTask<JsonResult<ForkAnswer>> Shown(string org, StreamResult after, CancellationToken ct)
        {
            var made = after.Row(Projections.Sessions.Model);
            var (effects, more) = await points.Effects(org, made.Fork!, ct);
            var first = (await log.Load(org, after.Stream, 0, checked((int)after.Version), ct)).Events.Select(e => e.Event).OfType<SessionEvent.RunQueued>().FirstOrDefault();
            var answer = new ForkAnswer(made.SessionId, first?.RunId, ForkOrigin.Of(made.Fork)!, made.WorkspacePath, effects, more, made.CreatedAt);
            return JsonResult.Of(201, answer, AgentServiceJson.Answers.ForkAnswer) with { Location = $"/sessions/{made.SessionId}" };
        }
    }
}
