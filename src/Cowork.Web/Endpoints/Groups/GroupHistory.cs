using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Groups;

/// <summary>A page of a group's messages, oldest first.</summary>
/// <param name="Messages">As the WebSocket sends them.</param>
/// <param name="LastSeq">Seq of the group's last message when the page was read; the place from which a WebSocket goes on behind the newest page.</param>
/// <param name="HasMore">There are older messages, or with <c>since</c> newer ones.</param>
public sealed record GroupMessageList(GroupKey GroupId, IReadOnlyList<JsonElement> Messages, long LastSeq, bool HasMore);

/// <param name="UserId">The user.</param>
/// <param name="Since">When the first of the user's connections that are open began.</param>
public sealed record ConnectedMember(string UserId, DateTimeOffset Since);

/// <summary>Who is connected to a group, through any host.</summary>
public sealed record GroupPresence(GroupKey GroupId, IReadOnlyList<ConnectedMember> Connected);

static class GroupHistory
{
    public static readonly WholeNumberQuery Since = new("since", 0, long.MaxValue, 0, "Only messages after this seq.");
    static readonly WholeNumberQuery Before = new("before", 1, long.MaxValue, long.MaxValue, "Only messages before this seq.");
    static readonly WholeNumberQuery Limit = new("limit", 1, 1000, 100, "At most so many: the newest, or with since the oldest.");

    public static void MapGroupHistory(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/{group_id}/messages", Messages).WithName("listGroupMessages").WithTags("Groups")
            .WithSummary("A group's messages, the newest ones or from a place on, oldest first")
            .Takes(Since, Before, Limit)
            .Produces<GroupMessageList>().Refuses(404, 422);
        routes.MapGet("/{group_id}/presence", Presence).WithName("getGroupPresence").WithTags("Groups")
            .WithSummary("Who is connected to a group")
            .Produces<GroupPresence>().Refuses(404, 422);
    }

    public static ErrorResult CursorAhead(long head, string place) =>
        ErrorResult.Invalid(place, $"The group's messages end at {head}: this cursor is not one of its.", "cursor_ahead");

    static async Task<IResult> Messages(PathKey<GroupKey> group, HttpContext http, Caller caller, IRows rows, GroupFeed feed, CancellationToken ct)
    {
        var (before, limit) = (Before.Read(http), (int)Limit.Read(http));
        var isForward = http.Request.Query.ContainsKey(Since.Name);
        var since = Since.Read(http);
        if (await rows.FindGroup(caller, group.Key, ct) is null)
        {
            return ErrorResult.NotFound("group");
        }
        var head = (await feed.Head(caller.Org, group.Key, ct)).Seq;
        if (since > head)
        {
            return CursorAhead(head, Since.Name);
        }
        if (isForward)
        {
            var page = await feed.Page(caller.Org, group.Key, since, limit, PageBytes.Max, Math.Min(before - 1, head), ct);
            return new GroupPageResult(group.Key, page.Messages, head, page.HasMore && page.Messages is [.., var last] && last.Seq < Math.Min(before - 1, head));
        }
        var found = await feed.PageBefore(caller.Org, group.Key, Math.Min(before, head + 1), limit, PageBytes.Max, ct);
        return new GroupPageResult(group.Key, found, head, found is [{ Seq: > 1 }, ..]);
    }

    static async Task<IResult> Presence(PathKey<GroupKey> group, Caller caller, IRows rows, IGroupStore store, CancellationToken ct) =>
        await rows.FindGroup(caller, group.Key, ct) is not null
            ? JsonResult.Of(
                200, new(group.Key, [.. (await store.Connected(caller.Org, group.Key.Session, ct)).Select(user => new ConnectedMember(user.User, user.Since))]),
                GroupsJson.Answers.GroupPresence)
            : ErrorResult.NotFound("group");

    /// <summary>A page with the rendered bytes of its messages.</summary>
    sealed record GroupPageResult(GroupKey Group, IReadOnlyList<GroupMessage> Messages, long LastSeq, bool HasMore) : IResult
    {
        public Task ExecuteAsync(HttpContext httpContext) => httpContext.Response.WriteJson(Write, RelaxedJson.Writing);

        void Write(Utf8JsonWriter json)
        {
            json.WriteStartObject();
            json.WriteString("group_id", Group.Id);
            json.WriteStartArray("messages");
            foreach (var message in Messages)
            {
                json.WriteRawValue(message.Json.Span, skipInputValidation: true);
            }
            json.WriteEndArray();
            json.WriteNumber("last_seq", LastSeq);
            json.WriteBoolean("has_more", HasMore);
            json.WriteEndObject();
        }
    }
}
