using System.Runtime.CompilerServices;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <param name="NextSinceId">Give it as <c>since_id</c> to get the events after these.</param>
/// <param name="HasMore">The session's feed goes on behind them: ask again at once, also where the page is empty.</param>
public sealed record RunEventList(SessionKey SessionId, RunKey RunId, IReadOnlyList<FeedEvent> Events, long NextSinceId, bool HasMore);

static class RunFeedEndpoints
{
    public static void MapRunFeeds(this IEndpointRouteBuilder routes)
    {
        var run = routes.MapGroup("/runs/{run_id}").WithTags("Events");
        run.MapGet("/events", Page).WithName("listRunEvents")
            .WithSummary("A run's part of its session's events, in order")
            .Takes(FeedEndpoints.SinceId, FeedEndpoints.Limit, FeedEndpoints.WaitSeconds).TakesPrefer()
            .Produces<RunEventList>().Refuses(404, 422);
        run.MapGet("/stream", Stream).WithName("streamRunEvents")
            .WithSummary("A run's part of its session's events as they happen (server-sent events, resumed with Last-Event-ID)")
            .Takes(FeedEndpoints.SinceId).Takes(FeedEndpoints.Named).TakesLastEventId()
            .Produces<string>(200, "text/event-stream").Refuses(404, 422);
    }

    static async Task<IResult> Page(PathKey<RunKey> run, HttpContext http, Caller caller, IRows rows, RunFeeds feeds, HostSettings settings)
    {
        var (since, limit) = (FeedEndpoints.SinceId.Read(http), (int)FeedEndpoints.Limit.Read(http));
        var wait = Waiting.ForEvents(http, settings, FeedEndpoints.WaitSeconds);
        return await rows.Find(caller, Runs.Model, run.Key.Value, http.RequestAborted) is { } found
            ? new LateResult(feeds.Page(caller.Org, found.Row, found.Stored.Created, since, limit, wait, http.RequestAborted))
            : ErrorResult.NotFound("run");
    }

    static async Task<IResult> Stream(PathKey<RunKey> run, HttpContext http, Caller caller, IRows rows, RunFeeds feeds, EventStream stream)
    {
        var (since, isNamed) = (FeedEndpoints.Cursor(http), FeedEndpoints.IsNamed(http));
        if (await rows.Find(caller, Runs.Model, run.Key.Value, http.RequestAborted) is not { } found)
        {
            return ErrorResult.NotFound("run");
        }
        var (place, full) = stream.Open(http);
        using var counted = place;
        if (place is null)
        {
            return full!;
        }
        var (begin, head) = await feeds.Begin(caller.Org, found.Row, found.Stored.Created, since, http.RequestAborted);
        if (head < since)
        {
            return FeedPages.CursorAhead(head, FeedEndpoints.SinceId.PlaceOrLastEventId(http));
        }
        var last = begin;
        return await stream.Send(
            http, place, ct => feeds.Follow(caller, found.Row, last, ct),
            (output, entry) =>
            {
                last = entry.FeedId;
                // Of a deleted session nothing more comes.
                var isOver = entry.Is<SessionEvent.SessionDeleted>();
                if (entry.Run == found.Row.RunId)
                {
                    EventStream.Write(output, entry, entry.FeedId, tenant: false, isNamed);
                }
                return !isOver;
            },
            entry => entry.At);
    }
}

/// <summary>Runs' parts of their sessions' feeds.</summary>
public sealed class RunFeeds(FeedHub hub, IEventLog log, EventStream stream, TimeProvider clock, IHostApplicationLifetime lifetime)
{
    const int PageEvents = 500;

    /// <summary>The id behind which a run's part goes on, and the feed's last one.</summary>
    /// <param name="created">Position of the event that made the run, which is the first of its part.</param>
    public async ValueTask<(long Since, long Head)> Begin(string org, RunRow run, long created, long since, CancellationToken ct) => (
        since > 0 ? since : await FeedSearch.IdOf(log, org, run.SessionId, created, ct) - 1,
        (await log.Feed(org, run.SessionId, long.MaxValue, 1, ct)).Head);

    public async Task<IResult> Page(string org, RunRow run, long created, long since, int limit, TimeSpan wait, CancellationToken aborted)
    {
        var (after, head) = await Begin(org, run, created, since, aborted);
        if (head < since)
        {
            return FeedPages.CursorAhead(head, FeedEndpoints.SinceId.Name);
        }
        using var over = CancellationTokenSource.CreateLinkedTokenSource(aborted, lifetime.ApplicationStopping);
        var until = clock.GetUtcNow() + wait;
        while (true)
        {
            var page = await log.FeedOfRun(org, run.SessionId, run.RunId, after, limit, aborted);
            var through = Through(page, after, limit);
            var left = until - clock.GetUtcNow();
            if (page.Entries.Count > 0 || through < page.Head || left <= TimeSpan.Zero)
            {
                return new RunFeedPageResult(run.SessionId, run.RunId, page.Entries, through, through < page.Head);
            }
            after = through;
            try
            {
                if ((await hub.Page(org, run.SessionId, after, 1, left, clock, over.Token)).Entries.Count == 0)
                {
                    until = clock.GetUtcNow();
                }
            }
            catch (OperationCanceledException) when (!aborted.IsCancellationRequested)
            {
                // The host stops. The client asks the next host with the same cursor.
                until = clock.GetUtcNow();
            }
        }
    }

    /// <summary>The entries of a run's part behind an id, until the token is cancelled, and others of its session as they come, which say that it may be over.</summary>
    public async IAsyncEnumerable<FeedEntry> Follow(Caller caller, RunRow run, long since, [EnumeratorCancellation] CancellationToken ct)
    {
        var after = since;
        while (true)
        {
            var page = await log.FeedOfRun(caller.Org, run.SessionId, run.RunId, after, PageEvents, ct);
            foreach (var entry in page.Entries)
            {
                yield return entry;
            }
            after = Through(page, after, PageEvents);
            if (after >= page.Head)
            {
                break;
            }
        }
        await foreach (var entry in stream.WhileSeen(caller, run.SessionId, after, ct))
        {
            yield return entry;
        }
    }

    /// <summary>The id up to which a page has everything of the run.</summary>
    static long Through(FeedPage page, long after, int limit) =>
        page.Entries is [.., var last] && (page.IsCut || page.Entries.Count == limit) ? last.FeedId : Math.Max(after, Math.Min(page.Head, after + IEventLog.FeedWindow));
}

/// <summary>A page of a run's part of a feed, with the rendered bytes of its events.</summary>
sealed record RunFeedPageResult(SessionKey SessionId, RunKey RunId, IReadOnlyList<FeedEntry> Entries, long Through, bool HasMore) : ILateAnswer
{
    public JsonWriterOptions Writing => RelaxedJson.Writing;

    public Task ExecuteAsync(HttpContext httpContext) => httpContext.Response.WriteJson(Write, Writing);

    public void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("session_id", SessionId.Id);
        json.WriteString("run_id", RunId.Id);
        json.WriteStartArray("events");
        foreach (var entry in Entries)
        {
            json.WriteRawValue(SessionFeed.Bytes(entry, tenant: false), skipInputValidation: true);
        }
        json.WriteEndArray();
        json.WriteNumber("next_since_id", Through);
        json.WriteBoolean("has_more", HasMore);
        json.WriteEndObject();
    }
}
