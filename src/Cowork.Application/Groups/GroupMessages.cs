using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A message that is stored in a group.</summary>
/// <param name="FeedId">Of its event <c>group_message_stored</c> in the feed of the group's session.</param>
/// <param name="Repeated">True: it was stored before under the same id, and nothing was stored now.</param>
public sealed record PostedMessage(long FeedId, bool Repeated);

/// <summary>Takes messages of members: each is stored, and starts the runs of the agents that it addresses, with one commit.</summary>
public sealed class GroupMessages(ICommandExecutor commands, IEventLog log, TimeProvider clock)
{
    /// <summary>
    /// Stores a message. Refused: the sender is no member (<c>not_a_member</c>; a private group is <c>not_found</c>), an agent is not of the group (<c>unknown_agent</c>),
    /// or the id was used for another message (<c>idempotency_key_reused</c>).
    /// </summary>
    /// <param name="sender">The user.</param>
    /// <param name="text">Not blank, at most <see cref="Limits.MessageBytesMax"/> bytes, storable.</param>
    /// <param name="messageId">Unique among those of the sender in the group; a repeat is answered with the stored message. Null: none.</param>
    /// <param name="agentIds">The agents that are addressed; null or empty: those that the text names, or else the group's first.</param>
    /// <param name="header">The idempotency key that the same commit claims.</param>
    public async ValueTask<(PostedMessage? Posted, Refusal? Refused)> Post(
        string org, Origin by, GroupKey group, string sender, string text, string? messageId, IReadOnlyList<string>? agentIds, CancellationToken ct, RequestKey? header = null)
    {
        var result = await commands.Execute(org, by, new PostMessage(group, Content.Of(text), sender, messageId ?? Ids.NewKey(clock.GetUtcNow()), header), ct);
        if (result.Refused is not null)
        {
            return (null, result.Refused);
        }
        var stream = result.On(Group.Aggregate.Stream(group));
        return (new(await FeedIdOf(org, group, stream.Version, ct), false), null);
    }

    async ValueTask<long> FeedIdOf(string org, GroupKey group, long version, CancellationToken ct)
    {
        var stream = Group.Aggregate.Stream(group);
        for (var after = 0L; ;)
        {
            var page = await log.Feed(org, group.Session, after, 1_000, ct);
            if (page.Entries.FirstOrDefault(e => e.Stream == stream && e.Version == version) is { } found)
            {
                return found.FeedId;
            }
            after = page.Entries[^1].FeedId;
        }
    }
}

/// <summary>Stores a message of a member in a group.</summary>
public sealed record PostMessage(GroupKey Group, Content Text, string Sender, string MessageId, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(
            Domain.Group.Aggregate, Group, new GroupCommand.StoreMessage(Text, Sender, MessageId, [], work.Now), Group.Session);
        return Header is null ? refused : await Header.Claim(work, Domain.Group.Aggregate, Group) ?? refused;
    }
}
