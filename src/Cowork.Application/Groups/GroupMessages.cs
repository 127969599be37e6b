using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A message that is stored in a group.</summary>
/// <param name="FeedId">Of its event <c>group_message_stored</c> in the feed of the group's session.</param>
/// <param name="Repeated">True: it was stored before under the same id, and nothing was stored now.</param>
public sealed record PostedMessage(long FeedId, bool Repeated, GroupEvent.GroupMessageStored Stored);

/// <summary>Takes messages of members: each is stored, and begins the runs of the agents that it addresses, with one commit.</summary>
public sealed class GroupMessages(
    CommandHandler known, TextCommands commands, GroupRuns runs, AgentCatalog agents, TenantUsage usage, IEventLog log, RunOptions options, TimeProvider clock)
    : ICommitObserver
{
    /// <summary>Bytes of the messages that this host stored last: whoever sent one is answered without a look into the log.</summary>
    const long RecentBytesMax = 8 << 20;

    const int NamesBytes = 400;

    readonly LastUsed<(string Org, string Stream, long Version), FeedEntry> recent = new(RecentBytesMax, entry => NamesBytes + entry.Data.Length);

    /// <summary>
    /// Stores a message. Refused: the sender is no member (<c>not_a_member</c>; a private group is <c>not_found</c>), an agent is not of the group (<c>unknown_agent</c>),
    /// the id was used for another message (<c>idempotency_key_reused</c>), or too many runs wait.
    /// </summary>
    /// <param name="sender">The user.</param>
    /// <param name="text">Not blank, at most <see cref="Limits.MessageBytesMax"/> bytes, storable.</param>
    /// <param name="messageId">Unique among those of the sender in the group; a repeat is answered with the stored message. Null: none.</param>
    /// <param name="agentIds">The agents that are addressed; null or empty: those that the text names, or else the group's first.</param>
    /// <param name="header">The idempotency key that the same commit claims; a repeat is refused <c>idempotency_key_claimed</c>.</param>
    public async ValueTask<(PostedMessage? Posted, Refusal? Refused)> Post(
        string org, Origin by, GroupKey group, string sender, string text, string? messageId, IReadOnlyList<string>? agentIds, CancellationToken ct, RequestKey? header = null)
    {
        var (calls, refused) = await Address(org, group, text, agentIds, ct);
        refused ??= await usage.RunRefusal(org, ct);
        var message = NamedText.Of(text);
        var post = new PostMessage(
            group, message.Content, sender, messageId ?? Ids.NewKey(clock.GetUtcNow()), messageId is null ? null : Digest(message, agentIds), calls,
            options.QueuedPerSessionMax, header, refused);
        var result = await commands.Execute(org, by, post, message, ct);
        return result.Refused switch
        {
            null => (await At(org, group, result.On(Group.Aggregate.Stream(group)).Version, repeated: false, ct), null),
            { Code: "idempotency_key_claimed", Path: not RequestKey.Place } => (await Earlier(org, group, post, ct), null),
            var other => (null, other),
        };
    }

    /// <summary>The stored message whose event has this version in the group's stream.</summary>
    public async ValueTask<PostedMessage> At(string org, GroupKey group, long version, bool repeated, CancellationToken ct)
    {
        var stream = Group.Aggregate.Stream(group);
        if (recent.Get((org, stream, version)) is { } entry)
        {
            return new(entry.FeedId, repeated, (GroupEvent.GroupMessageStored)entry.Read());
        }
        var stored = (await log.Load(org, stream, version - 1, 1, ct)).Events[0];
        return new(await FeedSearch.IdOf(log, org, group.Session, stored.Position, ct), repeated, (GroupEvent.GroupMessageStored)stored.Event);
    }

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        foreach (var entry in entries.Where(entry => entry.Is<GroupEvent.GroupMessageStored>()))
        {
            recent.Put((entry.Org, entry.Stream, entry.Version), entry);
        }
    }

    /// <summary>What others stored is found in the log.</summary>
    public void OthersWrote()
    {
    }

    async ValueTask<PostedMessage> Earlier(string org, GroupKey group, PostMessage post, CancellationToken ct) =>
        await known.LatestState(org, IdempotencyKey.Aggregate, IdempotencyKey.StreamKey(post.Scope, post.MessageId), ct) is IdempotencyKey.Claimed { Effect: { } effect }
            ? await At(org, group, effect.Version, repeated: true, ct)
            : throw new InvalidOperationException($"The id {post.MessageId} of {group} was claimed without a message.");

    /// <summary>The agents that a message addresses, or why it cannot. A group's agents never change, so that they may be looked up before the message is decided.</summary>
    async ValueTask<(ImmutableList<PreparedCall> Calls, Refusal? Refused)> Address(string org, GroupKey key, string text, IReadOnlyList<string>? agentIds, CancellationToken ct)
    {
        if ((await known.Known(org, Group.Aggregate, key, state => state is not Group.None, ct)).State is not Group.Live group)
        {
            // The decision says so.
            return ([], null);
        }
        var addressed = new List<AgentDefinition>();
        foreach (var (place, id) in (agentIds ?? []).Index())
        {
            if (!group.Agents.Contains(id) || agents.Find(id) is not { } agent)
            {
                return ([], Refusal.Invalid(
                    "unknown_agent", $"$.agent_ids[{place}]", $"There is no such agent in this group. There are: {string.Join(", ", group.Agents)}."));
            }
            if (!addressed.Contains(agent))
            {
                addressed.Add(agent);
            }
        }
        if (addressed.Count == 0)
        {
            addressed.AddRange(runs.Addressed(group, text));
        }
        if (addressed.Count == 0)
        {
            if (group.Agents.Select(agents.Find).OfType<AgentDefinition>().FirstOrDefault() is not { } first)
            {
                return ([], Refusal.Invalid("unknown_agent", "$.agent_ids", $"This host has none of the group's agents any more: {string.Join(", ", group.Agents)}."));
            }
            addressed.Add(first);
        }
        return ([.. addressed.Select(agent => new PreparedCall(RunKey.New(clock.GetUtcNow()), GroupRuns.AgentOf(agent), runs.ModelOf(agent)))], null);
    }

    static string Digest(NamedText message, IReadOnlyList<string>? agentIds) =>
        NamedText.Digest(Content.Of($"{NamedText.Digest(message.Content)}\n{string.Join('\n', agentIds ?? [])}"));
}

/// <summary>The run of an agent that a message addresses.</summary>
/// <param name="Agent">Without what it answers.</param>
public sealed record PreparedCall(RunKey RunId, RunAgent Agent, string Model);

/// <summary>Stores a message of a member in a group, and begins the runs that answer it.</summary>
/// <param name="RequestSha256">Hex digest of the message, the same for a repeat under its id; null: the sender gave no id.</param>
/// <param name="WaitingMax">Runs that may wait in the group's lanes.</param>
/// <param name="Header">The idempotency key that the same commit claims.</param>
/// <param name="Unfit">Why the request cannot be met; a repeat of one that was is answered all the same. Null: it can.</param>
public sealed record PostMessage(
    GroupKey Group, Content Text, string Sender, string MessageId, string? RequestSha256, ImmutableList<PreparedCall> Calls, int WaitingMax, RequestKey? Header = null,
    Refusal? Unfit = null) : ICommand
{
    /// <summary>The scope of the message's id.</summary>
    internal string Scope => $"group {Group.Value} {Sender}";

    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        // Who is no member any more is told nothing, not even what became of an earlier message.
        if (await work.State(Domain.Group.Aggregate, Group) is not Domain.Group.Live group)
        {
            return Refusal.NotFound("group");
        }
        if (Domain.Group.WhyNotMember(group, Sender) is { } stranger)
        {
            return stranger;
        }
        var refused = Unfit ?? await Store(work);
        return (Header is null ? null : await Header.Claim(work, Domain.Group.Aggregate, Group)) ?? await ClaimId(work) ?? refused;
    }

    async ValueTask<Refusal?> Store(UnitOfWork work)
    {
        var calls = Calls.Select(call => new AgentCall(call.Agent.Id, call.RunId)).ToImmutableList();
        var refused = await work.Do(
            Domain.Group.Aggregate, Group, new GroupCommand.StoreMessage(Text, Sender, MessageId, calls, work.Now), Group.Session);
        foreach (var call in Calls)
        {
            refused ??= await GroupRuns.Begin(
                work, Group.Session, call.RunId, Text, call.Model, call.Agent with { By = Sender, Sender = Sender, MessageId = MessageId }, work.By.Issuers, WaitingMax);
        }
        return refused;
    }

    async ValueTask<Refusal?> ClaimId(UnitOfWork work) => RequestSha256 is null ? null : await work.Do(
        IdempotencyKey.Aggregate, IdempotencyKey.StreamKey(Scope, MessageId),
        new IdempotencyKeyCommand.Claim(Scope, MessageId, RequestSha256, null, await work.Effect(Domain.Group.Aggregate, Group), null, work.Now), isNew: true) is { } used
        ? used.Status == 422 ? used with { Path = "$.message_id" } : used
        : null;
}
