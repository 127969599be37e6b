using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

using Microsoft.AspNetCore.Http.Features;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>An event of a feed.</summary>
/// <remarks><see cref="SessionFeed"/> renders it once, and feeds send those bytes.</remarks>
/// <param name="Type">What happened. A later release has more types.</param>
/// <param name="EventType">The same as <c>type</c>.</param>
/// <param name="CorrelationId">The trace id of the request that caused it.</param>
/// <param name="EventId">The event's own id, as bundles have it.</param>
/// <param name="FeedId">The event's id in its session's feed; null in the tenant's.</param>
/// <param name="Actor">Who caused it: <c>user:ann</c>, <c>agent</c>, <c>system</c>.</param>
/// <param name="StoredType">The type with its version, as bundles have it.</param>
/// <param name="Tombstone">True: the event's data expired, and its payload is empty.</param>
public sealed record FeedEvent(
    long Id, string? SessionId, string? RunId, string Type, string EventType, DateTimeOffset Ts, JsonElement Payload, string StreamId, long Version, long Gid, string Hash,
    string? CorrelationId, Guid EventId, long? FeedId, string Actor, string StoredType,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] bool? Tombstone = null);

public sealed record EventList(SessionKey SessionId, IReadOnlyList<FeedEvent> Events, long NextSinceId);

public sealed record TenantEventList(IReadOnlyList<FeedEvent> Events, long NextSinceId);

static class FeedEndpoints
{
    internal static readonly WholeNumberQuery SinceId = new("since_id", 0, long.MaxValue, 0, "Only events after this id; next_since_id of the page before.");
    internal static readonly WholeNumberQuery Limit = new("limit", 1, 1000, 500, "At most so many.");
    internal static readonly WholeNumberQuery WaitSeconds = new("wait_seconds", 0, 60, 0, "When there is nothing yet, wait so long for something.");

    /// <summary>A browser's <c>EventSource</c> hands events with a name to listeners of that name, and only those without one to <c>onmessage</c>.</summary>
    internal static readonly ChoiceQuery Named = new(
        "named", ["true", "false"], "true", "Whether each event has its type as name; onmessage of a browser hears only those without.");

    public static void MapFeeds(this IEndpointRouteBuilder routes)
    {
        var session = routes.MapGroup("/sessions/{session_id}/events").WithTags("Events");
        session.MapGet("", SessionPage).WithName("listEvents")
            .WithSummary("A session's events in order")
            .Takes(SinceId, Limit, WaitSeconds).TakesPrefer()
            .Produces<EventList>().Refuses(404, 422);
        session.MapGet("/stream", SessionStream).WithName("streamEvents")
            .WithSummary("A session's events as they happen (server-sent events, resumed with Last-Event-ID)")
            .Takes(SinceId).Takes(Named).TakesLastEventId()
            .Produces<string>(200, "text/event-stream").Refuses(404, 422);
        var tenant = routes.MapGroup("/events").WithTags("Events").RequireAuditor();
        tenant.MapGet("", TenantPage).WithName("listTenantEvents")
            .WithSummary("All events of the tenant in order")
            .Takes(SinceId, Limit, WaitSeconds).TakesPrefer()
            .Produces<TenantEventList>().Refuses(422);
        tenant.MapGet("/stream", TenantStream).WithName("streamTenantEvents")
            .WithSummary("All events of the tenant as they happen (server-sent events, resumed with Last-Event-ID)")
            .Takes(SinceId).Takes(Named).TakesLastEventId()
            .Produces<string>(200, "text/event-stream").Refuses(422);
    }

    static async Task<IResult> SessionPage(PathKey<SessionKey> session, HttpContext http, Caller caller, FeedPages pages, IRows rows, HostSettings settings)
    {
        var (since, limit, wait) = Asked(http, settings);
        return await rows.FindSession(caller, session.Key, http.RequestAborted) is { } row
            ? new LateResult(pages.Page(caller.Org, session.Key, row.SessionId, since, limit, wait, http.RequestAborted))
            : ErrorResult.NotFound("session");
    }

    static LateResult TenantPage(HttpContext http, Caller caller, FeedPages pages, HostSettings settings)
    {
        var (since, limit, wait) = Asked(http, settings);
        return new(pages.Page(caller.Org, null, null, since, limit, wait, http.RequestAborted));
    }

    static async Task<IResult> SessionStream(PathKey<SessionKey> session, HttpContext http, Caller caller, EventStream stream, IRows rows)
    {
        var (since, isNamed) = (Cursor(http), IsNamed(http));
        return await rows.FindSession(caller, session.Key, http.RequestAborted) is not null
            ? await stream.Send(http, caller.Org, session.Key, since, isNamed)
            : ErrorResult.NotFound("session");
    }

    static Task<IResult> TenantStream(HttpContext http, Caller caller, EventStream stream) => stream.Send(http, caller.Org, null, Cursor(http), IsNamed(http));

    internal static bool IsNamed(HttpContext http) => Named.Read(http) == "true";

    static (long Since, int Limit, TimeSpan Wait) Asked(HttpContext http, HostSettings settings) =>
        (SinceId.Read(http), (int)Limit.Read(http), Waiting.ForEvents(http, settings, WaitSeconds));

    /// <summary>A browser that reconnects sends the header and its first URL, so the header wins.</summary>
    internal static long Cursor(HttpContext http) => SinceId.ReadLastEventId(http) ?? SinceId.Read(http);
}

/// <summary>Pages of feeds.</summary>
public sealed class FeedPages(FeedHub hub, TimeProvider clock, IHostApplicationLifetime lifetime)
{
    /// <param name="session">Null: the tenant's feed.</param>
    /// <param name="shown">The session with its id as the session's row has it: a client's own may look like one of ours.</param>
    public async Task<IResult> Page(string org, SessionKey? session, SessionKey? shown, long since, int limit, TimeSpan wait, CancellationToken aborted)
    {
        FeedPage page;
        using var over = CancellationTokenSource.CreateLinkedTokenSource(aborted, lifetime.ApplicationStopping);
        try
        {
            page = await hub.Page(org, session, since, limit, wait, clock, over.Token);
        }
        catch (OperationCanceledException) when (!aborted.IsCancellationRequested)
        {
            // The host stops. The client asks the next host with the same cursor.
            page = new([], since);
        }
        if (page.Head < since)
        {
            return CursorAhead(page.Head, FeedEndpoints.SinceId.Name);
        }
        return new FeedPageResult(session is null, shown, page.Entries, since);
    }

    /// <param name="place">The parameter or header that the cursor came in.</param>
    public static ErrorResult CursorAhead(long head, string place) =>
        ErrorResult.Invalid(place, $"The feed ends at {head}: this cursor is not one of its.", "cursor_ahead");
}

/// <summary>A page of a feed, with the rendered bytes of its events.</summary>
/// <param name="IsTenants">True: the tenant's feed, whose ids are positions.</param>
/// <param name="SessionId">Null in the tenant's feed.</param>
/// <param name="Since">The cursor in the request.</param>
sealed record FeedPageResult(bool IsTenants, SessionKey? SessionId, IReadOnlyList<FeedEntry> Entries, long Since) : ILateAnswer
{
    public JsonWriterOptions Writing => RelaxedJson.Writing;

    public Task ExecuteAsync(HttpContext httpContext) => httpContext.Response.WriteJson(Write, Writing);

    public void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        if (SessionId is { } session)
        {
            json.WriteString("session_id", session.Id);
        }
        json.WriteStartArray("events");
        foreach (var entry in Entries)
        {
            json.WriteRawValue(SessionFeed.Bytes(entry, IsTenants), skipInputValidation: true);
        }
        json.WriteEndArray();
        json.WriteNumber("next_since_id", Entries is [.., var last] ? IsTenants ? last.Position : last.FeedId : Since);
        json.WriteEndObject();
    }
}

/// <summary>Feeds as server-sent events. A slow reader costs one bounded buffer; missed entries are read from the log.</summary>
public sealed class EventStream(
    FeedHub hub, IEventLog log, IRows rows, OpenStreams open, HostSettings settings, TimeProvider clock, IHostApplicationLifetime lifetime)
{
    /// <summary>Bytes that are collected before a flush while more events are ready.</summary>
    const int SendAtBytes = 16 * 1024;

    const string ServerSentEvents = "text/event-stream";

    static readonly TimeSpan RetryStorageAfter = TimeSpan.FromMilliseconds(500);

    /// <summary>A comment, which no reader of server-sent events is told of.</summary>
    internal static ReadOnlySpan<byte> Alive => ": alive\n\n"u8;

    /// <summary>Takes a place among the streams that may be open, until it is disposed, or refuses it.</summary>
    public (OpenStreams.Place? Place, ErrorResult? Refused) Open(HttpContext http) => open.Open(Caller.Of(http), http.Connection.RemoteIpAddress);

    /// <param name="session">Null: the tenant's feed.</param>
    /// <param name="isNamed">Every event has an <c>event:</c> line with its type.</param>
    public async Task<IResult> Send(HttpContext http, string org, SessionKey? session, long since, bool isNamed)
    {
        var (place, full) = Open(http);
        using var counted = place;
        if (place is null)
        {
            return full!;
        }
        var head = (await log.Feed(org, session, since, 1, http.RequestAborted)).Head;
        return head < since
            ? FeedPages.CursorAhead(head, FeedEndpoints.SinceId.PlaceOrLastEventId(http))
            : await Send(http, place, org, session, since, (output, entry) =>
            {
                Write(output, entry, session is null ? entry.Position : entry.FeedId, session is null, isNamed);
                // Of a deleted session nothing more comes.
                return session is null || !entry.Is<SessionEvent.SessionDeleted>();
            });
    }

    /// <summary>Sends what a reader makes of the entries of a feed.</summary>
    /// <param name="place">Of <see cref="Open"/>: whoever has none streams nothing, so that no stream is left out of the count.</param>
    /// <param name="since">Id after which the feed is read.</param>
    /// <param name="write">Writes an entry, or nothing. False: nothing more comes, and the stream ends.</param>
    public Task<IResult> Send(HttpContext http, OpenStreams.Place place, string org, SessionKey? session, long since, Func<PipeWriter, FeedEntry, bool> write)
    {
        var last = since;
        return Send(
            http, place, ct => session is { } of ? WhileSeen(Caller.Of(http), of, last, ct) : hub.Follow(org, null, last, ct),
            (output, entry) =>
            {
                last = session is null ? entry.Position : entry.FeedId;
                return write(output, entry);
            },
            entry => entry.At);
    }

    /// <summary>
    /// The feed of a session that the caller sees, for as long as that is so: it ends behind the event by which they are no member of its group any more, and has nothing where
    /// that event is not behind <paramref name="since"/>.
    /// </summary>
    public async IAsyncEnumerable<FeedEntry> WhileSeen(Caller caller, SessionKey session, long since, [EnumeratorCancellation] CancellationToken ct)
    {
        // They may have been removed since they were let in, or while the database was away: the event that says so may be one of those that were sent.
        if (await rows.IsHidden(caller, session, ct))
        {
            yield break;
        }
        await foreach (var entry in hub.Follow(caller.Org, session, since, ct))
        {
            yield return entry;
            if (entry.Is<GroupEvent.GroupMemberRemoved>() && await rows.FindSession(caller, session, ct) is null)
            {
                yield break;
            }
        }
    }

    /// <summary>Sends events as they come.</summary>
    /// <param name="place">Of <see cref="Open"/>: whoever has none streams nothing, so that no stream is left out of the count.</param>
    /// <param name="open">Begins, and begins anew after an outage of the database: behind what was written.</param>
    /// <param name="write">Writes an event, or nothing. False: nothing more comes, and the stream ends.</param>
    /// <param name="at">When an event happened.</param>
    /// <param name="beat">What is sent after a while without an event; null: a comment.</param>
    /// <param name="form">The media type, when it is another one than server-sent events.</param>
    public async Task<IResult> Send<T>(
        HttpContext http, OpenStreams.Place place, Func<CancellationToken, IAsyncEnumerable<T>> open, Func<PipeWriter, T, bool> write, Func<T, DateTimeOffset> at,
        Func<byte[]>? beat = null, string form = ServerSentEvents)
    {
        ArgumentNullException.ThrowIfNull(place);
        Begin(http, form);
        if (!HeadAsGet.IsHead(http))
        {
            using var over = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping);
            Measures.Followers.Add(1);
            try
            {
                if (form == ServerSentEvents)
                {
                    // The first bytes confirm the subscription and set the reconnection time.
                    http.Response.BodyWriter.Write("retry: 1000\n\n"u8);
                }
                await http.Response.BodyWriter.FlushAsync(over.Token);
                await Follow(http.Response.BodyWriter, open, write, at, beat, over.Token);
            }
            catch (OperationCanceledException) when (over.IsCancellationRequested)
            {
                // The client disconnected or the host stops. The client resumes with its cursor.
            }
            finally
            {
                Measures.Followers.Add(-1);
            }
        }
        return TypedResults.Empty;
    }

    /// <summary>Makes the answer a stream of events that goes out as it is written.</summary>
    public static void Begin(HttpContext http, string form = ServerSentEvents)
    {
        http.Features.Get<RequestShare>()?.Wait();
        http.Features.GetRequiredFeature<IHttpResponseBodyFeature>().DisableBuffering();
        http.Response.ContentType = form;
        // A proxy that compresses or buffers would hand the events on in lumps (RFC 9111, 5.2.2.6).
        http.Response.Headers.CacheControl = "no-store, no-transform";
        http.Response.Headers["X-Accel-Buffering"] = "no";
    }

    async Task Follow<T>(
        PipeWriter output, Func<CancellationToken, IAsyncEnumerable<T>> open, Func<PipeWriter, T, bool> write, Func<T, DateTimeOffset> at, Func<byte[]>? beat,
        CancellationToken ct)
    {
        var started = clock.GetUtcNow();
        var silence = new Silence(settings.KeepAlive, clock);
        while (true)
        {
            try
            {
                await using var entries = open(ct).GetAsyncEnumerator(ct);
                while (await Next(entries, output, silence, beat, ct))
                {
                    var entry = entries.Current;
                    var unflushed = output.UnflushedBytes;
                    var goesOn = write(output, entry);
                    if (output.UnflushedBytes > unflushed)
                    {
                        silence.End();
                    }
                    if (Measures.FeedLag.Enabled && at(entry) >= started)
                    {
                        // Replayed events have no lag.
                        Measures.FeedLag.Record((clock.GetUtcNow() - at(entry)).TotalSeconds);
                    }
                    if (output.UnflushedBytes > SendAtBytes)
                    {
                        await output.FlushAsync(ct);
                    }
                    if (!goesOn)
                    {
                        await output.FlushAsync(ct);
                        return;
                    }
                }
                return;
            }
            catch (StorageUnavailableException)
            {
                // The stream stays open until the database is back; an error would end it.
                await output.FlushAsync(ct);
                await Task.Delay(RetryStorageAfter, clock, ct);
            }
        }
    }

    /// <summary>Moves to the next entry. Flushes before it waits, and sends a heartbeat whenever the silence is over.</summary>
    async ValueTask<bool> Next<T>(IAsyncEnumerator<T> entries, PipeWriter output, Silence silence, Func<byte[]>? beat, CancellationToken ct)
    {
        var next = entries.MoveNextAsync();
        if (next.IsCompleted && silence.Left > TimeSpan.Zero)
        {
            return await next;
        }
        var coming = next.AsTask();
        try
        {
            await output.FlushAsync(ct);
            do
            {
                if (silence.Left is var left && left > TimeSpan.Zero)
                {
                    using var enough = CancellationTokenSource.CreateLinkedTokenSource(ct);
                    if (await Task.WhenAny(coming, Task.Delay(left, clock, enough.Token)) == coming)
                    {
                        await enough.CancelAsync();
                        break;
                    }
                }
                ct.ThrowIfCancellationRequested();
                output.Write(beat is null ? Alive : beat());
                await output.FlushAsync(ct);
                silence.End();
            }
            while (!coming.IsCompleted);
        }
        catch
        {
            // An enumerator must not be disposed while it moves; the same token ends its wait.
            await coming.ContinueWith(static _ => { }, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            throw;
        }
        return await coming;
    }

    /// <summary>Writes an entry as one event.</summary>
    internal static void Write(PipeWriter output, FeedEntry entry, long id, bool tenant, bool isNamed)
    {
        var line = SessionFeed.Bytes(entry, tenant);
        var name = isNamed ? $"event: {EventTypes.FeedType(entry.Type)}\n" : "";
        output.Write(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"id: {id}\n{name}data: ")));
        output.Write(line);
        output.Write("\n\n"u8);
    }

    /// <summary>
    /// The time in which a stream sent nothing. Entries of which its reader makes nothing do not end it, and neither does an outage of the database: a proxy sees
    /// only what is sent.
    /// </summary>
    sealed class Silence(TimeSpan max, TimeProvider clock)
    {
        long since = clock.GetTimestamp();

        /// <summary>Until a heartbeat is due; not positive: it is.</summary>
        public TimeSpan Left => max - clock.GetElapsedTime(since);

        public void End() => since = clock.GetTimestamp();
    }
}
