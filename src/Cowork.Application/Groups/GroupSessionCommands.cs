using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Opens a session of a group's controller. Refused: there is no such group, it counts for another organisation (<c>foreign_org</c>), or the user is no member
/// (<c>not_a_member</c>), or the group is
/// archived (<c>group_archived</c>).
/// </summary>
/// <param name="OrgId">The organisation that the group counts for, as the app named it.</param>
/// <param name="User">The member for whom it is opened.</param>
/// <param name="Kid">The thumbprint of the session's public key.</param>
/// <param name="App">Id of the app.</param>
/// <param name="Use">The signed request.</param>
public sealed record OpenGroupSession(
    GroupKey Group, string OrgId, string User, string Kid, string App, DateTimeOffset ExpiresAt, SingleUse Use, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (await Use.Claim(work) is { } replayed)
        {
            return replayed;
        }
        var refused = await WhyNot(work)
            ?? await work.Do(
                GroupSession.Aggregate, GroupSession.StreamKey(Kid), new GroupSessionCommand.Open(Group, Kid, User, App, ExpiresAt, work.Now), Group.Session, isNew: true);
        return Header is null ? refused : await Header.Claim(work, GroupSession.Aggregate, GroupSession.StreamKey(Kid)) ?? refused;
    }

    async ValueTask<Refusal?> WhyNot(UnitOfWork work) => await work.PinnedState(Domain.Group.Aggregate, Group) is not Group.Live group ? Refusal.NotFound("group")
        : group.Org != OrgId ? new("foreign_org", 403, "The group counts for another organisation.")
        : Domain.Group.WhyClosed(group) ?? GroupAccess.WhyNotMember(group, User);
}

/// <summary>Closes the session of a group's controller; once more is silence.</summary>
/// <param name="Group">The group that the request names.</param>
/// <param name="Kid">The thumbprint of the session's public key, of its certificate.</param>
/// <param name="Use">The signed request.</param>
public sealed record CleanUpGroupSession(GroupKey Group, string Kid, string? Reason, SingleUse Use, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (await Use.Claim(work) is { } replayed)
        {
            return replayed;
        }
        var key = GroupSession.StreamKey(Kid);
        // The group tells whose words the reason is. That of an erased subject closes without one.
        var subject = (await work.State(Domain.Group.Aggregate, Group) as IOfSubject)?.Subject;
        var isErased = subject is not null && await work.State(DataSubject.Aggregate, DataSubject.KeyOf(subject)) is DataSubject.Erased;
        var refused = await work.Do(GroupSession.Aggregate, key, new GroupSessionCommand.CleanUp(isErased ? null : Reason, work.Now), Group.Session);
        return Header is null ? refused : await Header.Claim(work, GroupSession.Aggregate, key) ?? refused;
    }
}

/// <summary>What who is not a user of this service, but speaks for one, may hear of a group.</summary>
public static class GroupAccess
{
    /// <summary>The refusal of an app that asks for a user who is no member; null: the user is one. An app knows its tenant's groups, private ones too.</summary>
    public static Refusal? WhyNotMember(Group.Live group, string user) =>
        group.Member(user) is null ? new("not_a_member", 403, "The user is no member of the group.") : null;
}
