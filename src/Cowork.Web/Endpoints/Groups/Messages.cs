using System.Text;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Groups;

/// <summary>Body of <c>POST /groups/{id}/messages</c>, as the message of the socket has it.</summary>
/// <param name="Text">Not blank, at most 256 KiB.</param>
/// <param name="MessageId">An id of the sender's own, unique in the group: a repeat stores nothing and is answered with the stored message.</param>
/// <param name="AgentIds">The agents that are to answer; empty or left out: those that the text names by <c>@nickname</c>, or else the group's first.</param>
public sealed record NewGroupMessage([property: NeverNull] string? Text, string? MessageId = null, IReadOnlyList<string>? AgentIds = null) : IRequestBody<NewGroupMessage>
{
    public static JsonTypeInfo<NewGroupMessage> Json => GroupsJson.Default.NewGroupMessage;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(Text) || Encoding.UTF8.GetByteCount(Text) > Limits.MessageBytesMax)
        {
            errors.Add("$.text", $"A text of 1 to {Limits.MessageBytesMax} bytes is required, and must not be blank.");
        }
        if (MessageId is not null && (string.IsNullOrWhiteSpace(MessageId) || MessageId.Length > Limits.IdCharsMax))
        {
            errors.Add("$.message_id", $"An id of your own has 1 to {Limits.IdCharsMax} characters, and must not be blank.");
        }
        NewGroup.ValidateAgents(AgentIds, errors);
    }
}

/// <param name="Seq">Of the message <c>user_message_stored</c>, as all members see it.</param>
/// <param name="EventId">Id of the event <c>group_message_stored</c> in the feed of the group's session.</param>
/// <param name="Runs">The addressed agents, and the runs that answer.</param>
/// <param name="Repeated">True: the message was stored before under this id.</param>
public sealed record GroupMessageAnswer(
    GroupKey GroupId, string MessageId, string UserId, long Seq, long EventId, IReadOnlyList<GroupRunAnswer> Runs, bool Repeated, DateTimeOffset CreatedAt);

public sealed record GroupRunAnswer(string AgentId, RunKey RunId);

static class GroupMessageEndpoints
{
    public static void MapGroupMessages(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/{group_id}/messages", Post).WithName("createGroupMessage").WithTags("Groups").RequireMember()
            .WithSummary("Say something in a group; the addressed agents answer")
            .Produces<GroupMessageAnswer>(202).Refuses(400, 404, 409, 413, 415, 422, 429, 507);

    static async Task<IResult> Post(
        PathKey<GroupKey> group, Body<NewGroupMessage> body, Caller caller, GroupMessages messages, GroupFeed feed, CommandAnswers answers, CancellationToken ct)
    {
        var (posted, refused) = await messages.Post(
            caller.Org, caller.Origin, group.Key, caller.User, body.Value.Text!, body.Value.MessageId, body.Value.AgentIds, ct, body.Key);
        return posted is not null ? await Answer(caller.Org, group.Key, posted, feed, ct)
            : refused!.Code == "idempotency_key_claimed" && await answers.EffectOf(caller.Org, body.Key!, ct) is { } effect
                ? await Answer(caller.Org, group.Key, await messages.At(caller.Org, group.Key, effect.Version, repeated: true, ct), feed, ct) with { Replayed = true }
            : ErrorResult.Of(refused);
    }

    static async ValueTask<JsonResult<GroupMessageAnswer>> Answer(string org, GroupKey group, PostedMessage posted, GroupFeed feed, CancellationToken ct) => JsonResult.Of(
        202,
        new(
            group, posted.Stored.MessageId, posted.Stored.Sender, await feed.SeqOf(org, group, posted.FeedId, ct), posted.FeedId,
            [.. posted.Stored.Calls.Select(call => new GroupRunAnswer(call.AgentId, call.RunId))], posted.Repeated, posted.Stored.At),
        GroupsJson.Answers.GroupMessageAnswer);
}
