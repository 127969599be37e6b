using Cowork.Application;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Groups;

/// <summary>Lets members connect to their groups.</summary>
sealed class GroupSockets(
    RoutingTokens tokens, CommandHandler commands, GroupFeed feed, GroupRooms rooms, GroupConnections connections, GroupCredentials credentials, OpenStreams open,
    RequestRates rates, WrongTokens wrong, OpenRequests requests, SecurityLog security, GroupSocketServices services, IHostApplicationLifetime lifetime)
{
    /// <summary>The query parameter with the routing token.</summary>
    public const string Token = "token";

    const string Unknown = "unknown";

    /// <summary>Serves a connection to its end, or refuses it.</summary>
    public async Task<IResult> Connect(HttpContext http, GroupKey group, long since, CancellationToken ct)
    {
        // RFC 6455, 4.2.1: a GET of HTTP/1.1 or higher.
        if (!http.WebSockets.IsWebSocketRequest || HeadAsGet.IsHead(http) || HttpProtocol.IsHttp10(http.Request.Protocol))
        {
            if (!HttpProtocol.IsHttp2(http.Request.Protocol))
            {
                // HTTP/2 has no such header (RFC 9113, 8.2.2).
                http.Response.Headers.Upgrade = "websocket";
            }
            http.Response.Headers.SecWebSocketVersion = "13";
            return new ErrorResult(426, "upgrade_required", "This address is a WebSocket (RFC 6455, version 13).");
        }
        var heard = requests.Heard;
        var sent = http.Request.Query[Token];
        var (grant, _, why) = await tokens.Verify(sent is [{ Length: > 0 } text] ? text : null, group, ct);
        if (grant is null)
        {
            security.Refused(null, null, sent.Count == 0 ? "no_credentials" : ReasonOf(why!), http);
            // One that has expired, or is another group's, was right once: no sign of somebody who guesses.
            var tooMany = sent.Count > 0 && ReasonOf(why!) == Unknown ? wrong.Failed(null, TokenFault.Unknown, http.Connection.RemoteIpAddress, heard) : null;
            return tooMany ?? ErrorResult.Of(why!) with { Challenge = why!.Status == 401 ? $"Bearer realm=\"cowork\"{(sent.Count > 0 ? ", error=\"invalid_token\"" : "")}" : null };
        }
        var caller = new Caller(grant.Org, $"user:{grant.User}", [Roles.Member], IsOperator: false, TraceId.Of(http), Issuers: grant.Issuers);
        if (rates.Take(grant.Org) is { } tooFast)
        {
            return tooFast;
        }
        var (place, full) = open.Open(caller, http.Connection.RemoteIpAddress, grant.User);
        using var counted = place;
        if (place is null)
        {
            return full!;
        }
        using var memory = new RequestShare(services.Memory, grant.Org);
        if (!memory.Begin(0, 0))
        {
            return MemoryGuard.Pressure();
        }
        // Whoever is removed after this look has a seat already, and is told.
        using var seat = await rooms.Enter(grant.Org, group, grant.User, ct);
        if (WhyNot(await commands.LatestState(grant.Org, Group.Aggregate, group, ct), grant.User) is { } refused)
        {
            security.Denied(caller, refused.Code, http);
            return ErrorResult.Of(refused);
        }
        if (since > seat.Seq && (await feed.Page(grant.Org, group, since, 1, 0, null, ct)).Head is var head && head < since)
        {
            return GroupHistory.CursorAhead(head, GroupHistory.Since.Name);
        }
        using var credential = credentials.Enter(grant.Org, grant.Via);
        if (await credentials.WhyGone(credential, ct) is { } gone)
        {
            security.Refused(grant.Org, null, Unknown, http);
            return gone;
        }
        await Serve(http, grant, seat, credential, since);
        return TypedResults.Empty;
    }

    async Task Serve(HttpContext http, RoutingGrant grant, GroupSeat seat, GroupCredentials.Watch credential, long since)
    {
        using var socket = await http.WebSockets.AcceptWebSocketAsync();
        var guard = http.Features.Get<WebSocketGuard>()!.Guard!;
        using var connected = connections.Open(grant.Org, grant.Group, grant.User);
        Measures.Followers.Add(1);
        try
        {
            using var served = new GroupSocket(socket, guard, seat, grant, services);
            await served.Serve(since, credential.Gone, http.Abort, lifetime.ApplicationStopping, http.RequestAborted);
        }
        finally
        {
            Measures.Followers.Add(-1);
        }
    }

    /// <summary>Why the user may not connect; null: the user may.</summary>
    static Refusal? WhyNot(Group group, string user) => group switch
    {
        Group.Live live when live.Member(user) is null => new Refusal("not_a_member", 403, "The token's user is no member of the group any more."),
        Group.Live live => Group.WhyClosed(live),
        _ => Refusal.NotFound("group"),
    };

    /// <summary>The reason in the security log (docs/audit.md).</summary>
    static string ReasonOf(Refusal refused) => refused.Code switch
    {
        "token_expired" => "expired",
        "foreign_group" => "foreign_group",
        _ => Unknown,
    };
}

static class GroupSocketEndpoints
{
    static readonly TextQuery Token = new(GroupSockets.Token, "", "A routing token of the group. The connection outlives it.");

    public static void MapGroupSockets(this IEndpointRouteBuilder routes)
    {
        const string Path = "/{group_id}/ws";
        routes.MapGet(Path, Connect).AllowAnonymous().WithMetadata(new TakesWebSocket()).WithName("openGroupSocket").WithTags("Groups")
            .WithSummary("A connection to a group for its messages, both ways (WebSocket, resumed with since)")
            .Takes(Token).Takes(GroupHistory.Since)
            // HTTP/2 has no upgrade: the connection is accepted with 200 (RFC 8441).
            .Produces(101).Produces(200).Refuses(401, 403, 404, 409, 422, 426, 429, 503);
        routes.MapMethods(Path, [HttpMethods.Connect], Connect).AllowAnonymous().WithMetadata(new TakesWebSocket()).ExcludeFromDescription();
    }

    static Task<IResult> Connect(PathKey<GroupKey> group, HttpContext http, GroupSockets sockets) =>
        sockets.Connect(http, group.Key, GroupHistory.Since.Read(http), http.RequestAborted);
}
