using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.GroupEvent;

namespace Cowork.Projections;

/// <summary>A group as <c>GET /groups/{id}</c> shows it. Messages do not change it.</summary>
/// <param name="OrgId">The organisation that it counts for, as the client named it.</param>
/// <param name="Agents">Ids of its agents; the first one answers messages that name none.</param>
/// <param name="CreatedBy">The user.</param>
/// <param name="Members">In the order in which they joined.</param>
public sealed record GroupRow(
    GroupKey GroupId, string OrgId, Content Title, bool IsPrivate, string Status, ImmutableList<string> Agents, string CreatedBy, ImmutableList<GroupMember> Members,
    DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt)
{
    /// <summary>Null: the user is no member.</summary>
    public GroupMember? Member(string user) => Members.Find(member => member.User == user);
}

/// <summary>The read model of groups, all of the tenant's or those that are public.</summary>
public static class Groups
{
    public const string Active = "active";

    /// <summary>Nobody says anything in it any more; its archive is being written.</summary>
    public const string Archiving = "archiving";

    public const string Archived = "archived";

    /// <summary>The scope of groups that anyone of the tenant may join.</summary>
    public const string Public = "public";

    /// <summary>The scope of the others.</summary>
    public const string Private = "private";

    public static ReadModel<GroupRow> Model { get; } = new(
        "groups", Group.Aggregate.Name, RowJson.Default.GroupRow, Evolve,
        Scope: row => row.IsPrivate ? Private : Public,
        Status: row => row.Status);

    public static GroupRow? Evolve(GroupRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (GroupCreated c, _) => new(
            c.GroupId, c.OrgId, c.Title, c.IsPrivate, Active, c.Agents, c.CreatedBy, [new(c.CreatedBy, GroupRole.Admin, e.At)], e.At, e.At),
        (_, null) => null,
        (GroupMemberAdded a, { } r) => r with { Members = Group.With(r.Members, a with { At = e.At }), UpdatedAt = e.At },
        (GroupMemberRemoved m, { } r) => r with { Members = r.Members.RemoveAll(member => member.User == m.User), UpdatedAt = e.At },
        (GroupArchiveRequested, { } r) => r with { Status = Archiving, UpdatedAt = e.At },
        (GroupEvent.GroupArchived, { } r) => r with { Status = Archived, UpdatedAt = e.At },
        (_, { } r) => r,
    };
}

/// <summary>That a user is a member of a group.</summary>
public sealed record GroupMemberRow(GroupKey GroupId, string User);

/// <summary>The read model of memberships: the groups of a user, the one that was joined last first.</summary>
public static class GroupMembers
{
    public static ReadModel<GroupMemberRow> Model { get; } = new(
        "group_members", Group.Aggregate.Name, RowJson.Default.GroupMemberRow, Evolve,
        Scope: row => row.User,
        Key: e => e.Event switch
        {
            GroupCreated c => KeyOf(e, c.CreatedBy),
            GroupMemberAdded a => KeyOf(e, a.User),
            GroupMemberRemoved r => KeyOf(e, r.User),
            _ => null,
        })
    {
        Lists = RowLists.ByScope,
    };

    static string KeyOf(RecordedEvent e, string user) => $"{Group.Aggregate.KeyOf(e.Stream)}.{user}";

    public static GroupMemberRow? Evolve(GroupMemberRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (GroupCreated c, _) => new(c.GroupId, c.CreatedBy),
        (GroupMemberAdded a, null) => new(new(Group.Aggregate.KeyOf(e.Stream)), a.User),
        (GroupMemberRemoved, _) => null,
        (_, { } r) => r,
        _ => null,
    };
}
