using Xunit;

using static Cowork.Domain.ActiveGroupsCommand;
using static Cowork.Domain.ActiveGroupsEvent;

namespace Cowork.Domain.Tests;

public sealed class ActiveGroupsSpec
{
    static readonly Spec<DigestKey, ActiveGroupsCommand, ActiveGroupsEvent, ActiveGroups> Spec = new(ActiveGroups.Aggregate);
    static readonly GroupKey Key = GroupKey.FromId("grp_01kdvkjr000000000000000009");

    [Fact]
    public void A_group_is_opened_and_closed_once()
    {
        var opened = new ActiveGroupOpened("acme", Key, A.Morning);
        Spec.Given().When(new Open("acme", Key, A.Morning)).Then(opened);
        Spec.Given(opened).When(new Open("acme", Key, A.Morning)).ThenNothing();
        Spec.Given(opened).When(new Close(Key, A.Morning)).Then(new ActiveGroupClosed(Key, A.Morning));
        Spec.Given(opened, new ActiveGroupClosed(Key, A.Morning)).When(new Close(Key, A.Morning)).ThenNothing();
    }

    [Fact]
    public void An_organisation_has_25_active_groups_and_no_more_until_one_is_closed()
    {
        var full = Enumerable.Range(0, Limits.ActiveGroupsMax).Select(i => (ActiveGroupsEvent)new ActiveGroupOpened("acme", new($"{i}"), A.Morning)).ToArray();
        Assert.Equal(429, Spec.Given(full).When(new Open("acme", Key, A.Morning)).ThenRefused("active_group_limit_exceeded").Status);
        Spec.Given([.. full, new ActiveGroupClosed(new("7"), A.Morning)]).When(new Open("acme", Key, A.Morning)).Then(new ActiveGroupOpened("acme", Key, A.Morning));
    }
}
