using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Creates a group and its session with one commit. Refused: the organisation has <see cref="Limits.ActiveGroupsMax"/> active groups.
/// </summary>
/// <param name="OrgId">The organisation that it counts for, as the client named it.</param>
/// <param name="Agents">Ids of configured agents, not empty.</param>
/// <param name="CreatedBy">The user.</param>
/// <param name="WorkspacePath">Absolute path of the session's folder, which exists.</param>
/// <param name="Header">The idempotency key that the same commit claims.</param>
/// <param name="Unfit">Why the request cannot be met; a repeat of one that was is answered all the same. Null: it can.</param>
public sealed record CreateGroup(
    GroupKey Group, string OrgId, Content Title, bool IsPrivate, ImmutableList<string> Agents, string CreatedBy, string WorkspacePath, RequestKey? Header = null,
    Refusal? Unfit = null, string? Subject = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = Unfit ?? await Create(work);
        return Header is null ? refused : await Header.Claim(work, Domain.Group.Aggregate, Group) ?? refused;
    }

    async ValueTask<Refusal?> Create(UnitOfWork work)
    {
        work.Start(new Job(IdleGroups.JobKind, Group.Value));
        return await work.Do(ActiveGroups.Aggregate, ActiveGroups.StreamKey(OrgId), new ActiveGroupsCommand.Open(OrgId, Group, work.Now))
        ?? await work.Do(
            Session.Aggregate, Group.Session,
            new SessionCommand.Create(Group.Session, WorkspacePath, "{}", null, work.Now, Title: Title, Group: Group, Subject: Subject), Group.Session,
            isNew: true)
        ?? await work.Do(
            Domain.Group.Aggregate, Group, new GroupCommand.Create(Group, OrgId, Title, IsPrivate, Agents, CreatedBy, work.Now, Subject), Group.Session,
            isNew: true);
    }
}

/// <summary>
/// Makes a user a member of a group, or gives a member another role. Refused: only anyone's own joining of a public group needs no administrator
/// (<c>group_admin_required</c>); the group has <see cref="Limits.GroupMembersMax"/> members.
/// </summary>
/// <param name="Role">Null: whoever is a member keeps the role, anybody else gets <see cref="GroupRole.Member"/>.</param>
/// <param name="By">The user who asks for it.</param>
/// <param name="ByAdmin">True: an administrator of the tenant asks for it.</param>
/// <param name="Header">The idempotency key that the same commit claims.</param>
public sealed record AddGroupMember(GroupKey Group, string User, GroupRole? Role, string By, bool ByAdmin, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(Domain.Group.Aggregate, Group, new GroupCommand.AddMember(User, Role, By, ByAdmin, work.Now), Group.Session);
        return Header is null ? refused : await Header.Claim(work, Domain.Group.Aggregate, Group) ?? refused;
    }
}

/// <summary>
/// Removes a member of a group. Refused: somebody who is no administrator removes somebody else (<c>group_admin_required</c>), or the other members would have no
/// administrator (<c>last_group_admin</c>).
/// </summary>
/// <inheritdoc cref="AddGroupMember"/>
public sealed record RemoveGroupMember(GroupKey Group, string User, string By, bool ByAdmin) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) =>
        work.Do(Domain.Group.Aggregate, Group, new GroupCommand.RemoveMember(User, By, ByAdmin, work.Now), Group.Session);
}
