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
    Refusal? Unfit = null) : ICommand
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
            new SessionCommand.Create(Group.Session, WorkspacePath, "{}", null, work.Now, Title: Title, Connectors: [], Group: Group), Group.Session, isNew: true)
        ?? await work.Do(
            Domain.Group.Aggregate, Group, new GroupCommand.Create(Group, OrgId, Title, IsPrivate, Agents, CreatedBy, work.Now), Group.Session, isNew: true);
    }
}
