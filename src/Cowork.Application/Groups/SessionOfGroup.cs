using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A group's session is changed through contract D alone, whose commands ask who is a member; those of the other contracts are refused here.</summary>
public static class SessionOfGroup
{
    /// <summary>
    /// The refusal of a command of another contract: <c>session_of_group</c>, or <c>not_found</c> for who does not see the group and learns nothing of it. Null: the
    /// session is no group's, or is not there.
    /// </summary>
    internal static async ValueTask<Refusal?> WhyRefused(UnitOfWork work, Session session, string noun = "session") =>
        session is not Session.Open { Group: { } key } ? null
        : await work.State(Group.Aggregate, key) is Group.Live group && group.IsSeenBy(Origin.UserOf(work.By.Actor)) ? Refused(key)
        : Refusal.NotFound(noun);

    /// <inheritdoc cref="WhyRefused(UnitOfWork, Session, string)"/>
    internal static async ValueTask<Refusal?> WhyRefused(UnitOfWork work, SessionKey session, string noun = "session") =>
        await WhyRefused(work, await work.State(Session.Aggregate, session), noun);

    /// <summary>The refusal for who sees the group.</summary>
    public static Refusal Refused(GroupKey group) => Refusal.Conflict("session_of_group", $"This is the conversation of the group {group}: use the addresses of groups.");
}
