using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

public abstract partial class StorageContract
{
    static readonly SessionKey Group = new("g1");
    static readonly DateTimeOffset Nine = new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData(0, 0, 0, 0, 0)]
    [InlineData(99, 0, 0, 0, 0)]
    [InlineData(100, 256, 100, 0, 0)]
    [InlineData(256, 768, 140, 256, 100)]
    [InlineData(140, 768, 140, 0, 0)]
    [InlineData(511, 768, 140, 256, 100)]
    [InlineData(long.MaxValue, 768, 140, 768, 140)]
    public async Task A_groups_mark_is_the_last_one_before_a_message_or_an_event(long place, long feedBySeq, long bySeq, long feedById, long byId)
    {
        var (one, other) = (await Open("a"), await Open("b"));
        await one.Groups.PutMarks(Org, Group, [new(256, 100), new(512, 140)], None);
        await other.Groups.PutMarks(Org, Group, [new(512, 140), new(768, 140)], None);
        await other.Groups.PutMarks("other", Group, [new(1, 1)], None);
        await other.Groups.PutMarks(Org, new("g2"), [new(1, 1)], None);
        Assert.Equal(new GroupMark(feedBySeq, bySeq), await one.Groups.MarkBySeq(Org, Group, place, None));
        Assert.Equal(new GroupMark(feedById, byId), await one.Groups.MarkByFeedId(Org, Group, place, None));
    }

    [Fact]
    public async Task Who_is_connected_through_several_nodes_is_so_until_the_last_one_says_otherwise()
    {
        var (one, other) = (await Open("a"), await Open("b"));
        await one.Groups.PutConnections("a", [new(Org, Group, "bob", Nine.AddMinutes(1)), new(Org, Group, "ann", Nine), new("other", Group, "eve", Nine)], None);
        await other.Groups.PutConnections("b", [new(Org, Group, "bob", Nine), new(Org, new("g2"), "dan", Nine)], None);
        Assert.Equal([new("ann", Nine), new("bob", Nine)], await other.Groups.Connected(Org, Group, None));

        await other.Groups.PutConnections("b", [new(Org, Group, "bob", null)], None);
        await one.Groups.PutConnections("a", [new(Org, Group, "ann", null), new(Org, Group, "bob", Nine.AddMinutes(2))], None);
        Assert.Equal([new("bob", Nine.AddMinutes(2))], await other.Groups.Connected(Org, Group, None));
    }

    [Fact]
    public async Task Nobody_is_connected_through_a_node_that_is_not_heard_of_for_a_lease()
    {
        var (one, other) = (await Open("a"), await Open("b"));
        await one.Groups.PutConnections("a", [new(Org, Group, "ann", Nine)], None);
        await other.Groups.PutConnections("b", [new(Org, Group, "bob", Nine)], None);
        one.Pause(true);
        await Patience.Until(async () => await other.Groups.Connected(Org, Group, None) is [{ User: "bob" }], "the connections of a paused node are over");
        Assert.Equal(1, await other.Groups.ForgetConnections(None));
        Assert.Equal(0, await other.Groups.ForgetConnections(None));
        one.Pause(false);
        await one.Stop();
        Assert.Equal([new("bob", Nine)], await other.Groups.Connected(Org, Group, None));
    }
}
