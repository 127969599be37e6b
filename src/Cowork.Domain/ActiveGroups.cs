using System.Collections.Immutable;

using static Cowork.Domain.ActiveGroupsCommand;
using static Cowork.Domain.ActiveGroupsEvent;

namespace Cowork.Domain;

/// <summary>Commands to the list of an organisation's active groups.</summary>
public abstract record ActiveGroupsCommand(DateTimeOffset Now)
{
    /// <param name="OrgId">The organisation, as clients name it.</param>
    public sealed record Open(string OrgId, GroupKey GroupId, DateTimeOffset Now) : ActiveGroupsCommand(Now);

    public sealed record Close(GroupKey GroupId, DateTimeOffset Now) : ActiveGroupsCommand(Now);
}

public abstract record ActiveGroupsEvent(DateTimeOffset At) : Event(At)
{
    public sealed record ActiveGroupOpened(string OrgId, GroupKey GroupId, DateTimeOffset At) : ActiveGroupsEvent(At);

    /// <summary>The group is active no more, and another one may be.</summary>
    public sealed record ActiveGroupClosed(GroupKey GroupId, DateTimeOffset At) : ActiveGroupsEvent(At);
}

/// <summary>
/// The active groups of an organisation. Every commit that creates or archives a group writes to its one stream, so that hosts that do so at once are put in an order,
/// and none exceeds <see cref="Limits.ActiveGroupsMax"/>.
/// </summary>
public sealed record ActiveGroups(ImmutableList<GroupKey> Groups)
{
    public static Aggregate<DigestKey, ActiveGroupsCommand, ActiveGroupsEvent, ActiveGroups> Aggregate { get; } = new("active_groups", new([]), Decide, Evolve)
    {
        // A stream that goes on for years has a state of 25 ids.
        SizeOf = static state => 64 * state.Groups.Count,
    };

    /// <summary>Key of the stream: a digest of the organisation's id.</summary>
    public static DigestKey StreamKey(string orgId) => new(Ids.KeyOf(orgId));

    public static Decision<ActiveGroupsEvent> Decide(ActiveGroupsCommand command, ActiveGroups state) => command switch
    {
        Open c when state.Groups.Contains(c.GroupId) => Decision<ActiveGroupsEvent>.Nothing,
        Open when state.Groups.Count >= Limits.ActiveGroupsMax => Refusal.TooMany(
            "active_group_limit_exceeded", $"The organisation has {Limits.ActiveGroupsMax} active groups, and may not have more. Archive one."),
        Open c => new ActiveGroupOpened(c.OrgId, c.GroupId, c.Now),
        Close c when state.Groups.Contains(c.GroupId) => new ActiveGroupClosed(c.GroupId, c.Now),
        Close => Decision<ActiveGroupsEvent>.Nothing,
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static ActiveGroups Evolve(ActiveGroups state, ActiveGroupsEvent e) => e switch
    {
        ActiveGroupOpened o => new(state.Groups.Add(o.GroupId)),
        ActiveGroupClosed c => new(state.Groups.Remove(c.GroupId)),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
