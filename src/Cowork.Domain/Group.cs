using System.Collections.Immutable;
using System.Text.Json.Serialization;

using static Cowork.Domain.GroupCommand;
using static Cowork.Domain.GroupEvent;

namespace Cowork.Domain;

/// <summary>Commands to a group of contract D.</summary>
public abstract record GroupCommand(DateTimeOffset Now)
{
    /// <inheritdoc cref="GroupCreated"/>
    public sealed record Create(
        GroupKey GroupId, string OrgId, Content Title, bool IsPrivate, ImmutableList<string> Agents, string CreatedBy, DateTimeOffset Now,
        string? Subject = null) : GroupCommand(Now);

    /// <summary>Adds a member, or gives a member another role.</summary>
    /// <param name="Role">Null: whoever is a member keeps the role, anybody else gets <see cref="GroupRole.Member"/>.</param>
    /// <param name="By">The user who asks for it.</param>
    /// <param name="ByAdmin">True: an administrator of the tenant asks for it, who need not be a member.</param>
    public sealed record AddMember(string User, GroupRole? Role, string By, bool ByAdmin, DateTimeOffset Now) : GroupCommand(Now);

    /// <summary>Removes a member. A member may always leave, except that an administrator of the group does not leave other members without one.</summary>
    /// <inheritdoc cref="AddMember"/>
    public sealed record RemoveMember(string User, string By, bool ByAdmin, DateTimeOffset Now) : GroupCommand(Now);

    /// <summary>Closes the group, so that its archive is written. A second one changes nothing.</summary>
    /// <param name="Reason">Null: none was given.</param>
    /// <param name="By">The user who asks for it; null: the host, because nothing happened in the group.</param>
    /// <param name="ByAdmin">True: an administrator of the tenant asks for it, who need not be a member.</param>
    public sealed record RequestArchive(Content? Reason, string? By, bool ByAdmin, DateTimeOffset Now) : GroupCommand(Now);

    /// <inheritdoc cref="GroupArchived"/>
    public sealed record RecordArchive(string ArchiveSha256, long ArchiveBytes, DateTimeOffset Now) : GroupCommand(Now);

    /// <inheritdoc cref="GroupMessageStored"/>
    public sealed record StoreMessage(Content Text, string Sender, string MessageId, ImmutableList<AgentCall> Calls, DateTimeOffset Now) : GroupCommand(Now);

    /// <summary>Records that an agent has answered, and whom its answer addresses.</summary>
    /// <inheritdoc cref="GroupAgentAnswered"/>
    public sealed record RecordAnswer(RunKey RunId, RunAgent Agent, ImmutableList<AgentCall> Calls, DateTimeOffset Now) : GroupCommand(Now);

    /// <inheritdoc cref="GroupCallsStopped"/>
    public sealed record StopCalls(RunKey RunId, RunAgent Agent, ImmutableList<string> Addressed, StoppedCalls Reason, DateTimeOffset Now) : GroupCommand(Now);
}

public abstract record GroupEvent(DateTimeOffset At) : Event(At)
{
    /// <summary>The group is there, and so is its session. Its creator is a member, and administers it.</summary>
    /// <param name="OrgId">The organisation that it counts for, as the client named it.</param>
    /// <param name="IsPrivate">True: nobody but its members and the tenant's administrators knows of it.</param>
    /// <param name="Agents">Ids of its agents (<c>Cowork:Agents</c>), not empty; the first one answers messages that name none.</param>
    /// <param name="CreatedBy">The user.</param>
    public sealed record GroupCreated(
        GroupKey GroupId, string OrgId, Content Title, bool IsPrivate, ImmutableList<string> Agents, string CreatedBy, DateTimeOffset At,
        string? Subject = null) : GroupEvent(At);

    /// <summary>The user is a member from now on, or a member has another role.</summary>
    /// <param name="User">The user's name, as in the principal <c>user:NAME</c>.</param>
    public sealed record GroupMemberAdded(string User, GroupRole Role, DateTimeOffset At) : GroupEvent(At);

    /// <summary>The user has left, or was removed.</summary>
    public sealed record GroupMemberRemoved(string User, DateTimeOffset At) : GroupEvent(At);

    /// <summary>A member said something, and these runs answer it.</summary>
    /// <param name="Sender">The user.</param>
    /// <param name="MessageId">The client's id of the message, unique among those of the sender in this group; a ULID when it gave none.</param>
    /// <param name="Calls">The addressed agents and their runs.</param>
    public sealed record GroupMessageStored(Content Text, string Sender, string MessageId, ImmutableList<AgentCall> Calls, DateTimeOffset At) : GroupEvent(At);

    /// <summary>The group is closed: nobody says anything in it any more, and its archive is being written.</summary>
    /// <param name="Path">Where the archive will lie in the bucket, or in the folder of the blob store.</param>
    /// <param name="Reason">Null: none was given.</param>
    /// <param name="By">The user who asked for it; null: the host, because nothing happened in the group.</param>
    public sealed record GroupArchiveRequested(string Path, Content? Reason, string? By, DateTimeOffset At) : GroupEvent(At);

    /// <summary>The archive is written.</summary>
    /// <param name="ArchiveSha256">In hex: of the file's bytes.</param>
    /// <param name="ArchiveBytes">Their number.</param>
    public sealed record GroupArchived(string Path, string ArchiveSha256, long ArchiveBytes, DateTimeOffset At) : GroupEvent(At);

    /// <summary>An agent has answered: the run's reply is part of the conversation. The runs of the agents that it addresses begin with the same commit.</summary>
    /// <param name="Nickname">As the conversation shows it.</param>
    /// <param name="Sender">Who sent the message that it answers, or that began the chain: the user.</param>
    /// <param name="MessageId">The id of that message.</param>
    /// <param name="Calls">The agents that it addresses and their runs; null: none.</param>
    public sealed record GroupAgentAnswered(
        RunKey RunId, string AgentId, string Nickname, string Sender, string MessageId, DateTimeOffset At, ImmutableList<AgentCall>? Calls = null) : GroupEvent(At);

    /// <summary>An agent's answer addresses agents, and none of them is asked.</summary>
    /// <param name="Addressed">Ids of the agents.</param>
    /// <param name="Depth">How many agents have handed on before this one.</param>
    public sealed record GroupCallsStopped(
        RunKey RunId, string AgentId, string MessageId, ImmutableList<string> Addressed, StoppedCalls Reason, int Depth, DateTimeOffset At) : GroupEvent(At);
}

/// <summary>Why the agents that an answer addresses are not asked.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<StoppedCalls>))]
public enum StoppedCalls
{
    /// <summary>Agents have handed on <see cref="Limits.AgentDepthMax"/> times.</summary>
    [JsonStringEnumMemberName("depth")]
    Depth,

    /// <summary>The member's message has led to <see cref="Limits.RunsPerMessageMax"/> runs.</summary>
    [JsonStringEnumMemberName("runs")]
    Runs,

    /// <summary>As many runs wait as may, in the group or in the tenant.</summary>
    [JsonStringEnumMemberName("queue_full")]
    QueueFull,

    /// <summary>The group was closed while the agent answered.</summary>
    [JsonStringEnumMemberName("archived")]
    Archived,
}

/// <summary>Something that was said in a group: a member's message, which is that of the runs that answer it, or an agent's answer, which is the reply of its run.</summary>
/// <param name="RunId">A run that answers the message; of an answer: the run whose reply it is.</param>
/// <param name="By">The user, or the agent's nickname.</param>
/// <param name="AgentId">Null: a member said it.</param>
public sealed record GroupEntry(RunKey RunId, string By, string? AgentId = null);

/// <summary>An archive of a group.</summary>
/// <param name="Path">Where it lies in the bucket, or in the folder of the blob store.</param>
/// <param name="ArchivedAt">Null: it is being written, and so are the other two.</param>
/// <param name="Sha256">In hex.</param>
public sealed record ArchiveOfGroup(string Path, DateTimeOffset? ArchivedAt = null, string? Sha256 = null, long? Bytes = null);

/// <summary>What a member of a group may do with it.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<GroupRole>))]
public enum GroupRole
{
    /// <summary>Sends messages and reads the conversation.</summary>
    [JsonStringEnumMemberName("member")]
    Member,

    /// <summary>Adds and removes members, too.</summary>
    [JsonStringEnumMemberName("admin")]
    Admin,
}

/// <param name="User">The user's name, as in the principal <c>user:NAME</c>.</param>
public sealed record GroupMember(string User, GroupRole Role, DateTimeOffset Joined);

/// <summary>Something that was said in a group, and the runs that answer it.</summary>
public sealed record HeardEntry(GroupEntry Entry, ImmutableList<AgentCall> Calls);

/// <summary>A member's message and the number of runs that it has led to, those of agents that agents address included.</summary>
public sealed record MessageChain(string Sender, string MessageId, int Runs);

/// <summary>An agent that is addressed, and the run that answers.</summary>
public sealed record AgentCall(string AgentId, RunKey RunId);

/// <summary>A conversation of members and agents. What is said stands in the feed of its session.</summary>
public abstract record Group
{
    public sealed record None : Group;

    /// <param name="Org">The organisation that it counts for, as the client named it.</param>
    /// <param name="Agents">Ids of its agents; the first one answers messages that name none.</param>
    /// <param name="CreatedBy">The user.</param>
    /// <param name="Members">In the order in which they joined.</param>
    /// <param name="SaidAt">Time of the last message; of the group's creation when there is none.</param>
    /// <param name="Conversation">What was said last, oldest first, with the calls that each led to.</param>
    /// <param name="Chains">How many runs the last messages have led to, oldest first.</param>
    /// <param name="Archive">Null: the group is active. Otherwise nobody says anything in it any more.</param>
    public sealed record Live(
        GroupKey GroupId, string Org, Content Title, bool IsPrivate, ImmutableList<string> Agents, string CreatedBy, ImmutableList<GroupMember> Members,
        DateTimeOffset SaidAt, ImmutableList<HeardEntry> Conversation, ImmutableList<MessageChain> Chains, ArchiveOfGroup? Archive = null,
        string? Subject = null) : Group, IOfSubject
    {
        /// <summary>
        /// What a run is told of the conversation: what was said last without the message that it answers, and without later ones that other runs of its agent answer.
        /// </summary>
        public ImmutableList<GroupEntry> Before(RunKey run, string agentId)
        {
            var own = Conversation.FindIndex(heard => heard.Calls.Exists(call => call.RunId == run));
            return [.. Conversation.Where((heard, place) => place != own && (place < own || !heard.Calls.Exists(call => call.AgentId == agentId))).Select(heard => heard.Entry)];
        }

        /// <summary>How many runs a message has led to, as far as it is one of the last.</summary>
        public int RunsOf(string sender, string messageId) => Chains.Find(chain => chain.Sender == sender && chain.MessageId == messageId)?.Runs ?? 0;

        /// <summary>Null: the user is no member.</summary>
        public GroupMember? Member(string user) => Members.Find(member => member.User == user);

        /// <summary>The user may know of it; who administers or audits the tenant may, too.</summary>
        public bool IsSeenBy(string user) => !IsPrivate || Member(user) is not null;
    }

    public static Aggregate<GroupKey, GroupCommand, GroupEvent, Group> Aggregate { get; } = new("group", new None(), Decide, Evolve)
    {
        // A long conversation's state weighs no more than a short one's.
        SizeOf = static state => state is Live s ? (EntryBytes * (s.Conversation.Count + s.Chains.Count)) + (MemberBytes * s.Members.Count) : 0,
    };

    /// <summary>About what an entry of the conversation, or a chain, weighs in memory.</summary>
    const int EntryBytes = 300;

    /// <summary>About what a member weighs in memory.</summary>
    const int MemberBytes = 150;

    public static Decision<GroupEvent> Decide(GroupCommand command, Group state) => (command, state) switch
    {
        (Create c, None) => new GroupCreated(c.GroupId, c.OrgId, c.Title, c.IsPrivate, c.Agents, c.CreatedBy, c.Now, c.Subject),
        (Create c, Live s) when s.GroupId == c.GroupId => Decision<GroupEvent>.Nothing,
        (AddMember c, Live s) => Add(c, s),
        (RequestArchive c, Live s) => WhyNotArchived(c, s) is { } refused ? refused
            : s.Archive is not null ? Decision<GroupEvent>.Nothing
            : new GroupArchiveRequested(ArchivePath(s.GroupId, c.Now), c.Reason, c.By, c.Now),
        (RecordArchive c, Live { Archive: { ArchivedAt: null } archive }) => new GroupArchived(archive.Path, c.ArchiveSha256, c.ArchiveBytes, c.Now),
        (RecordArchive, Live { Archive: not null }) => Decision<GroupEvent>.Nothing,
        (RemoveMember c, Live s) => Remove(c, s),
        (StoreMessage c, Live s) => (WhyNotMember(s, c.Sender) ?? WhyClosed(s)) is { } refused ? refused : new GroupMessageStored(c.Text, c.Sender, c.MessageId, c.Calls, c.Now),
        (RecordAnswer c, Live) => new GroupAgentAnswered(
            c.RunId, c.Agent.Id, c.Agent.Nickname, c.Agent.Sender, c.Agent.MessageId, c.Now, c.Calls.IsEmpty ? null : c.Calls),
        (StopCalls c, Live) => new GroupCallsStopped(c.RunId, c.Agent.Id, c.Agent.MessageId, c.Addressed, c.Reason, c.Agent.Depth, c.Now),
        _ => Refusal.NotFound("group"),
    };

    public static Group Evolve(Group state, GroupEvent e) => (e, state) switch
    {
        (GroupCreated c, _) => new Live(
            c.GroupId, c.OrgId, c.Title, c.IsPrivate, c.Agents, c.CreatedBy, [new(c.CreatedBy, GroupRole.Admin, c.At)], c.At, [], [],
            Subject: c.Subject),
        (GroupMemberAdded a, Live s) => s with { Members = With(s.Members, a) },
        (GroupMemberRemoved r, Live s) => s with { Members = s.Members.RemoveAll(member => member.User == r.User) },
        (GroupMessageStored m, Live s) => Said(s, m) with { SaidAt = m.At },
        (GroupAgentAnswered a, Live s) => Led(Heard(s, new(a.RunId, a.Nickname, a.AgentId), a.Calls ?? []), a.Sender, a.MessageId, a.Calls?.Count ?? 0),
        (GroupCallsStopped, Live s) => s,
        (GroupArchiveRequested a, Live s) => s with { Archive = new(a.Path) },
        (GroupArchived a, Live s) => s with { Archive = new(a.Path, a.At, a.ArchiveSha256, a.ArchiveBytes) },
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    /// <summary>The refusal of what only members may; null: the user is one. Nobody else learns of a private group.</summary>
    public static Refusal? WhyNotMember(Live group, string user) => group.Member(user) is not null ? null
        : group.IsPrivate ? Refusal.NotFound("group")
        : new Refusal("not_a_member", 403, "Only members may do this. The group is public: join it first.");

    /// <summary>The refusal of what is done in active groups alone; null: the group is one.</summary>
    public static Refusal? WhyClosed(Live group) => group.Archive is null ? null : Refusal.Conflict("group_archived", "The group is archived, and takes nothing more.");

    static Refusal? WhyNotArchived(RequestArchive c, Live s) =>
        c.By is null || c.ByAdmin || s.Member(c.By) is { Role: GroupRole.Admin } ? null : s.IsSeenBy(c.By) ? AdminsOnly : Refusal.NotFound("group");

    /// <summary>The time that makes the name is that of the request, so that an archive which is written once more lies in the same place.</summary>
    static string ArchivePath(GroupKey group, DateTimeOffset at) =>
        $"groups/{group.Id}/archives/{at.UtcDateTime.ToString("yyyyMMdd'T'HHmmssfff'Z'", System.Globalization.CultureInfo.InvariantCulture)}.json";

    static Live Said(Live s, GroupMessageStored m) =>
        m.Calls is [var first, ..] ? Led(Heard(s, new(first.RunId, m.Sender), m.Calls), m.Sender, m.MessageId, m.Calls.Count) : s;

    static Live Heard(Live s, GroupEntry entry, ImmutableList<AgentCall> calls) => s with { Conversation = Last(s.Conversation.Add(new(entry, calls)), Limits.GroupHistoryMax) };

    static Live Led(Live s, string sender, string messageId, int runs)
    {
        var known = s.Chains.FindIndex(chain => chain.Sender == sender && chain.MessageId == messageId);
        return runs == 0 ? s : s with
        {
            Chains = known < 0
                ? Last(s.Chains.Add(new(sender, messageId, runs)), Limits.GroupChainsMax)
                : s.Chains.SetItem(known, s.Chains[known] with { Runs = s.Chains[known].Runs + runs }),
        };
    }

    static ImmutableList<T> Last<T>(ImmutableList<T> list, int max) => list.Count > max ? list.RemoveRange(0, list.Count - max) : list;

    static Decision<GroupEvent> Add(AddMember c, Live s)
    {
        var by = s.Member(c.By);
        if (!c.ByAdmin && by?.Role != GroupRole.Admin)
        {
            if (s.IsPrivate && by is null)
            {
                return Refusal.NotFound("group");
            }
            // Anyone joins a public group, and a repeat changes nothing.
            if (c.User != c.By || c.Role is GroupRole.Admin)
            {
                return AdminsOnly;
            }
        }
        if (WhyClosed(s) is { } closed)
        {
            return closed;
        }
        return s.Member(c.User) is { } member && (c.Role is null || member.Role == c.Role || !c.ByAdmin && by?.Role != GroupRole.Admin) ? Decision<GroupEvent>.Nothing
            : s.Member(c.User) is { Role: GroupRole.Admin } && c.Role == GroupRole.Member && !HasOtherAdmin(s, c.User) ? LastAdmin
            : s.Member(c.User) is null && s.Members.Count >= Limits.GroupMembersMax
                ? Refusal.TooMany("group_members_full", $"The group has {Limits.GroupMembersMax} members, and may not have more.")
            : new GroupMemberAdded(c.User, c.Role ?? GroupRole.Member, c.Now);
    }

    static Decision<GroupEvent> Remove(RemoveMember c, Live s)
    {
        var by = s.Member(c.By);
        if (!c.ByAdmin && by?.Role != GroupRole.Admin)
        {
            if (s.IsPrivate && by is null)
            {
                return Refusal.NotFound("group");
            }
            if (c.User != c.By)
            {
                return AdminsOnly;
            }
        }
        return s.Member(c.User) is not { } member ? Refusal.NotFound("member")
            : member.Role == GroupRole.Admin && s.Members.Count > 1 && !HasOtherAdmin(s, c.User) ? LastAdmin
            : new GroupMemberRemoved(c.User, c.Now);
    }

    static bool HasOtherAdmin(Live s, string user) => s.Members.Exists(member => member.Role == GroupRole.Admin && member.User != user);

    static Refusal AdminsOnly { get; } = new("group_admin_required", 403, "Only administrators of the group or of the tenant may do this.");

    static Refusal LastAdmin { get; } =
        Refusal.Conflict("last_group_admin", "The other members would have no administrator. Make one of them an administrator of the group first.");

    /// <summary>The members after one was added or given another role.</summary>
    public static ImmutableList<GroupMember> With(ImmutableList<GroupMember> members, GroupMemberAdded a) => members.FindIndex(member => member.User == a.User) switch
    {
        < 0 => members.Add(new(a.User, a.Role, a.At)),
        var place => members.SetItem(place, members[place] with { Role = a.Role }),
    };
}
