using System.Buffers;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Endpoints.AgentService;
using Cowork.Web.Endpoints.Platform;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Desktop;

/// <summary>A session as it is after an event of its feed: the events after it join without a gap.</summary>
/// <param name="Tasks">The newest ones, newest first, and the one that works.</param>
/// <param name="Artifacts">The newest ones, newest first.</param>
public sealed record SessionSnapshot(DesktopSession Session, IReadOnlyList<DesktopTask> Tasks, IReadOnlyList<ArtifactMetadata> Artifacts, long LastEventId);

/// <summary>Body of <c>POST /stream-token</c>.</summary>
/// <param name="SessionId">The only session whose stream the token opens; null: any that the caller may see.</param>
public sealed record NewStreamToken(string? SessionId = null) : IRequestBody<NewStreamToken>
{
    public static JsonTypeInfo<NewStreamToken> Json => DesktopJson.Default.NewStreamToken;

    public static NewStreamToken WhenEmpty { get; } = new();

    public void Validate(ValidationErrors errors)
    {
        if (SessionId is { Length: 0 })
        {
            errors.Add("$.sessionId", "Must not be empty.");
        }
    }
}

/// <param name="Token">For <c>?access_token=</c> of a session's events, until <paramref name="ExpiresAt"/>.</param>
public sealed record StreamTokenAnswer(string Token, DateTimeOffset ExpiresAt);

static class SessionEventEndpoints
{
    static readonly WholeNumberQuery LastEventId = new("lastEventId", 0, long.MaxValue, 0, "Only events after this id, and no snapshot. The header Last-Event-ID comes first.");
    static readonly WholeNumberQuery SinceId = new("since_id", 0, long.MaxValue, 0, "The same as lastEventId.");
    static readonly TextQuery AccessToken = new(StreamTokens.Parameter, "", "A stream token, for clients that cannot send headers.");

    public static void MapSessionEvents(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/sessions/{sessionId}/events", Stream).WithName("streamSessionEvents").WithTags("Session events").WithMetadata(new TakesStreamToken())
            .WithSummary("A session as it is and what happens in it (server-sent events, resumed with Last-Event-ID)")
            .Takes(LastEventId, SinceId).Takes(AccessToken).TakesLastEventId()
            .Produces<string>(200, "text/event-stream").Refuses(404, 422);
        routes.MapPost("/stream-token", Issue).WithName("issueStreamToken").WithTags("Session events")
            .WithSummary("A token of 60 s for a stream of events, which an EventSource opens without headers")
            .Produces<StreamTokenAnswer>(201).Refuses(400, 404, 409, 413, 415, 422);
    }

    static async Task<IResult> Stream(
        PathKey<SessionKey> session, HttpContext http, Caller caller, EventStream stream, SessionSnapshots snapshots, IBlobs blobs, IEventLog log, IRows rows,
        TimeProvider clock, CancellationToken ct)
    {
        var inQuery = http.Request.Query.ContainsKey(LastEventId.Name) ? LastEventId : SinceId;
        var since = inQuery.ReadLastEventId(http) ?? (http.Request.Query.ContainsKey(inQuery.Name) ? inQuery.Read(http) : null);
        if (await rows.FindSession(caller, session.Key, ct) is null)
        {
            return ErrorResult.NotFound("session");
        }
        if (since is { } cursor && (await log.Feed(caller.Org, session.Key, cursor, 1, ct)).Head is var head && head < cursor)
        {
            return FeedPages.CursorAhead(head, inQuery.PlaceOrLastEventId(http));
        }
        var (place, full) = stream.Open(http);
        using var counted = place;
        if (place is null)
        {
            return full!;
        }
        var events = new TaskEvents(blobs);
        return await stream.Send(
            http, place, Follow,
            (output, item) =>
            {
                since = item.Id;
                output.Write(item.Lines);
                // Of a deleted session nothing more comes.
                return !item.IsLast;
            },
            item => item.At,
            // The snapshot is the first event (decisions.md), however long it takes: until then a comment keeps the connection.
            () => since is null
                ? EventStream.Alive.ToArray()
                : TaskEvents.Lines(null, "system.heartbeat", System.Text.Encoding.ASCII.GetBytes($$"""{"ts":"{{HashChain.Timestamp(clock.GetUtcNow())}}"}""")));

        async IAsyncEnumerable<(long Id, byte[] Lines, DateTimeOffset At, bool IsLast)> Follow([EnumeratorCancellation] CancellationToken over)
        {
            if (since is null)
            {
                if (await snapshots.Take(caller, session.Key, over) is not { } snapshot)
                {
                    // It was deleted a moment ago.
                    yield break;
                }
                var data = JsonSerializer.SerializeToUtf8Bytes(snapshot, DesktopJson.Answers.SessionSnapshot);
                yield return (snapshot.LastEventId, TaskEvents.Lines(snapshot.LastEventId, "session.snapshot", data), DateTimeOffset.MinValue, false);
            }
            await foreach (var entry in stream.WhileSeen(caller, session.Key, since ?? 0, over))
            {
                yield return (entry.FeedId, await events.Lines(entry, over), entry.At, entry.Is<SessionEvent.SessionDeleted>());
            }
        }
    }

    static async Task<IResult> Issue(Body<NewStreamToken> body, HttpContext http, Caller caller, StreamTokens tokens, IRows rows, CancellationToken ct)
    {
        SessionKey? session = body.Value.SessionId is { } id ? PathIds.Key<SessionKey>(id, "$.sessionId") : null;
        if (session is { } only && await rows.FindSession(caller, only, ct) is null)
        {
            return ErrorResult.NotFound("session");
        }
        var (token, expiresAt) = tokens.Issue(RequestAuthorization.BearerOf(http.Request.Headers.Authorization.ToString())!, session);
        http.Response.Headers.CacheControl = "no-store";
        return JsonResult.Of(201, new StreamTokenAnswer(token, expiresAt), DesktopJson.Answers.StreamTokenAnswer);
    }
}

/// <summary>Takes snapshots of sessions, each as of one event of the feed while others write.</summary>
public sealed class SessionSnapshots(IEventLog log, IRows rows, RunViews views, TaskViews tasks, CommandHandler commands)
{
    /// <summary>Tasks and artifacts that a snapshot has at the most.</summary>
    const int ListedMax = 100;

    const int PageMax = 500;

    /// <summary>
    /// Null: there is no such session. What the rows show is of different moments, all after a first look at the feed and before a second one. What happened between
    /// the two is folded from the log up to the second look, so that all of it is as of that.
    /// </summary>
    public async ValueTask<SessionSnapshot?> Take(Caller caller, SessionKey session, CancellationToken ct)
    {
        var org = caller.Org;
        var from = (await log.Feed(org, session, long.MaxValue, 1, ct)).Head;
        if (await rows.FindSession(caller, session, ct) is not { } found)
        {
            return null;
        }
        var listed = await rows.List(org, Runs.Model.Table, new(session.Value, Limit: ListedMax, Bytes: PageBytes.Max), ct);
        var runs = listed.Select(row => Runs.Model.Read(row.Json.Span)).ToDictionary(run => run.RunId.Value, StringComparer.Ordinal);
        var first = new HashSet<string>(StringComparer.Ordinal);
        foreach (var working in await commands.LatestState(org, Session.Aggregate, session, ct) is Session.Open open ? open.FirstRuns() : [])
        {
            first.Add(working.Value);
            if (!runs.ContainsKey(working.Value) && await views.Row(org, working, ct) is { } worker)
            {
                runs[working.Value] = worker;
            }
        }
        var said = new Dictionary<string, string?>(StringComparer.Ordinal);
        foreach (var run in runs.Values)
        {
            said[run.RunId.Value] = await tasks.Said(org, run, inLog: true, ct);
        }
        var artifacts = (await rows.List(org, SessionArtifacts.Model.Table, new(session.Value, Limit: ListedMax), ct))
            .Select(row => Of(SessionArtifacts.Model.Read(row.Json.Span))).ToList();

        var (to, changed) = (from, new HashSet<string>(StringComparer.Ordinal));
        while (await log.Feed(org, session, to, PageMax, ct) is { Entries: [_, ..] page })
        {
            foreach (var entry in page)
            {
                to = entry.FeedId;
                if (entry.Run is { } run)
                {
                    changed.Add(run.Value);
                }
                Follow(first, entry);
                if (entry.Is<ArtifactEvent.ArtifactDiscovered>())
                {
                    var discovered = (ArtifactEvent.ArtifactDiscovered)entry.Read();
                    artifacts.RemoveAll(artifact => artifact.ArtifactId == discovered.ArtifactId);
                    artifacts.Insert(0, ArtifactMetadata.Of(discovered));
                }
            }
        }
        foreach (var run in changed)
        {
            (runs[run], said[run]) = await Fold(org, session, new(run), to, ct);
        }
        var shown = new List<DesktopTask>();
        foreach (var run in runs.Values.OrderByDescending(run => run.RunId.Value, StringComparer.Ordinal))
        {
            var isFirst = first.Contains(run.RunId.Value);
            if (shown.Count < ListedMax || isFirst)
            {
                shown.Add(DesktopTask.Of(await views.WithTexts(run, ct), isFirst, said[run.RunId.Value]));
            }
        }
        return new(DesktopSession.Of(found), shown, [.. artifacts.Take(ListedMax)], to);
    }

    static ArtifactMetadata Of(ArtifactRow row) => new(
        row.ArtifactId, row.RunId?.TaskId, Artifacts.NameOf(row.Path), row.Path, row.Type, ArtifactPaths.ContentType(row.MediaType), row.Bytes, row.Sha256, row.Version,
        row.UpdatedAt);

    /// <summary>Brings the first runs of the session's queues to where an event leaves them.</summary>
    static void Follow(HashSet<string> first, FeedEntry entry)
    {
        if (EventTypes.TypeOf(entry.Type) is not { } type || !type.IsSubclassOf(typeof(SessionEvent)))
        {
            return;
        }
        switch (entry.Read())
        {
            case SessionEvent.RunQueued { Ahead: 0 } queued:
                first.Add(queued.RunId.Value);
                break;
            case SessionEvent.RunDequeued dequeued:
                first.Remove(dequeued.RunId.Value);
                if (dequeued.NextRunId is { } next)
                {
                    first.Add(next.Value);
                }
                break;
        }
    }

    /// <summary>A run, and what was said of its reply, as of an event of the feed.</summary>
    async ValueTask<(RunRow Row, string? Said)> Fold(string org, SessionKey session, RunKey run, long through, CancellationToken ct)
    {
        RunRow? row = null;
        Run state = new Run.None();
        foreach (var entry in await log.OfRun(org, session, run, ct))
        {
            if (entry.FeedId <= through && EventTypes.TypeOf(entry.Type)?.IsSubclassOf(typeof(RunEvent)) == true)
            {
                var e = (RunEvent)entry.Read();
                row = Runs.Evolve(row, TaskEvents.Recorded(entry, e));
                state = Run.Evolve(e is RunEvent.RunCreated begun ? await commands.BeginOf(org, Run.Aggregate, begun, ct) : state, e);
            }
        }
        var folded = row ?? throw new InvalidOperationException($"The feed names {run}, and the log has no event of it.");
        return (folded, folded is { Reply: null, HasText: true } ? TaskViews.SaidIn(state) : null);
    }
}
