using System.Buffers;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

static class SeenStreamEndpoints
{
    static readonly TextQuery Types = new("types", "", "Only events of these types, separated by commas.");
    static readonly TextQuery Actor = new("actor", "", "Only events that this principal caused: user:ann, agent, system.");
    static readonly WholeNumberQuery SinceId = new("since_id", 0, long.MaxValue, 0, "Only events after this position (gid). Without it, and without Last-Event-ID: from now on.");

    public static void MapSeenStream(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/stream", Stream).WithName("streamSeenEvents").WithTags("Events")
            .WithSummary("The events of all sessions that the caller sees, as they happen (server-sent events, resumed with Last-Event-ID)")
            .Takes(SinceId).Takes(Types).Takes(SessionInQuery.Parameter).Takes(Actor).Takes(FeedEndpoints.Named).TakesLastEventId()
            .Produces<string>(200, "text/event-stream").Refuses(404, 422);

    static async Task<IResult> Stream(HttpContext http, Caller caller, IRows rows, IEventLog log, FeedHub hub, EventStream stream)
    {
        var (isNamed, session) = (FeedEndpoints.IsNamed(http), SessionInQuery.Read(http));
        var (types, actor) = (Types.Read(http), Actor.Read(http));
        HashSet<string>? wanted = types.Length == 0 ? null : [.. types.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)];
        var since = SinceId.ReadLastEventId(http) ?? (http.Request.Query.ContainsKey(SinceId.Name) ? SinceId.Read(http) : (long?)null);
        if (session is { } asked && await rows.FindSession(caller, asked, http.RequestAborted) is null)
        {
            return ErrorResult.NotFound("session");
        }
        var (place, full) = stream.Open(http);
        using var counted = place;
        if (place is null)
        {
            return full!;
        }
        var head = (await log.Feed(caller.Org, null, long.MaxValue, 1, http.RequestAborted)).Head;
        if (since > head)
        {
            return FeedPages.CursorAhead(head, SinceId.PlaceOrLastEventId(http));
        }
        var seen = new SeenEvents(
            caller, rows, hub, entry => (session is not { } of || entry.Session?.Value == of.Value) && (wanted is null || wanted.Contains(EventTypes.FeedType(entry.Type)))
                && (actor.Length == 0 || entry.Actor == actor),
            since ?? head);
        return await stream.Send(
            http, place, seen.Follow,
            (output, entry) =>
            {
                if (entry is null)
                {
                    output.Write(Cursor(seen.Position));
                }
                else
                {
                    EventStream.Write(output, entry, entry.Position, tenant: true, isNamed);
                }
                return true;
            },
            entry => entry?.At ?? DateTimeOffset.MinValue, () => Cursor(seen.Position));

        static byte[] Cursor(long position) => Encoding.ASCII.GetBytes(
            string.Create(CultureInfo.InvariantCulture, $"id: {position}\nevent: cursor\ndata: {{\"gid\":{position}}}\n\n"));
    }
}

/// <summary>
/// The tenant's events that a caller sees: of sessions that they see, and of skills, schedules and projects, which all of the tenant see. Auditors and administrators see all
/// of them, as in the tenant's feed.
/// </summary>
/// <param name="fits">The caller wants the event.</param>
/// <param name="since">Position behind which they begin.</param>
sealed class SeenEvents(Caller caller, IRows rows, FeedHub hub, Func<FeedEntry, bool> fits, long since)
{
    /// <summary>Sessions of which it is remembered whether the caller sees them.</summary>
    const int RememberedMax = 10_000;

    /// <summary>Events that are passed over before the reader is told how far the stream has come.</summary>
    const int PassedMax = 1_000;

    static readonly string[] SharedStreams = [Skill.Aggregate.Name, Schedule.Aggregate.Name, Project.Aggregate.Name];

    readonly bool seesAll = caller.Roles.Contains(Roles.Auditor) || caller.Roles.Contains(Roles.Admin);
    readonly Dictionary<SessionKey, bool> sessions = [];

    /// <summary>What is up to here was answered, or is not for the caller.</summary>
    public long Position { get; private set; } = since;

    /// <summary>The events behind <see cref="Position"/> as they happen; null: only the position has changed.</summary>
    public async IAsyncEnumerable<FeedEntry?> Follow([EnumeratorCancellation] CancellationToken ct)
    {
        yield return null;
        var passed = 0;
        await foreach (var entry in hub.Follow(caller.Org, null, Position, ct))
        {
            var isShown = await IsSeen(entry, ct) && fits(entry);
            Position = entry.Position;
            if (isShown)
            {
                passed = 0;
                yield return entry;
            }
            else if (++passed == PassedMax)
            {
                passed = 0;
                yield return null;
            }
        }
    }

    async ValueTask<bool> IsSeen(FeedEntry entry, CancellationToken ct)
    {
        if (seesAll)
        {
            return true;
        }
        if (entry.Session is not { } session)
        {
            return SharedStreams.Any(name => entry.Stream.StartsWith(name + "-", StringComparison.Ordinal));
        }
        // Who is a member from an event on sees it; who is none any more from an event on sees that one, and nothing behind it.
        if (entry.Is<GroupEvent.GroupMemberAdded>() || entry.Is<GroupEvent.GroupCreated>())
        {
            sessions.Remove(session);
        }
        if (!sessions.TryGetValue(session, out var isSeen))
        {
            if (sessions.Count == RememberedMax)
            {
                sessions.Clear();
            }
            sessions.Add(session, isSeen = await rows.FindSession(caller, session, ct) is not null);
        }
        if (entry.Is<GroupEvent.GroupMemberRemoved>() || entry.Is<SessionEvent.SessionDeleted>())
        {
            sessions.Remove(session);
        }
        return isSeen;
    }
}
