using System.Collections.Immutable;

using Xunit;

using static Cowork.Domain.GroupCommand;
using static Cowork.Domain.GroupEvent;

namespace Cowork.Domain.Tests;

public sealed class GroupSpec
{
    static readonly Spec<GroupKey, GroupCommand, GroupEvent, Group> Spec = new(Group.Aggregate);
    static readonly GroupKey Key = GroupKey.FromId("grp_01kdvkjr000000000000000009");
    static readonly Content Text = Content.Of("Hello");
    static readonly ImmutableList<string> Agents = ["assistant", "critic"];
    static readonly ImmutableList<AgentCall> ToAssistant = [new("assistant", A.Run)];
    static readonly ImmutableList<AgentCall> ToCritic = [new("critic", A.OtherRun)];
    static readonly GroupCreated Private = new(Key, "acme", Content.Of("Q2"), IsPrivate: true, Agents, "ann", A.Morning);
    static readonly GroupCreated Public = Private with { IsPrivate = false };
    static readonly GroupMemberAdded Bob = new("bob", GroupRole.Member, A.Later(1));

    static AddMember Add(string user, string by, GroupRole role = GroupRole.Member, bool byAdmin = false) => new(user, role, by, byAdmin, A.Later(1));

    static RemoveMember Remove(string user, string by, bool byAdmin = false) => new(user, by, byAdmin, A.Later(2));

    static RunAgent Agent(string id, int depth = 0) => new(id, id, "ann", "ann", "m-1", depth);

    static GroupMessageStored Said(string messageId, ImmutableList<AgentCall> calls) => new(Text, "ann", messageId, calls, A.Morning);

    [Fact]
    public void A_group_is_created_once_and_its_creator_administers_it()
    {
        Spec.Given().When(new Create(Key, "acme", Private.Title, true, Agents, "ann", A.Morning)).Then(Private);
        Spec.Given(Private).When(new Create(Key, "acme", Private.Title, true, Agents, "ann", A.Morning)).ThenNothing();
        Assert.Equal([new("ann", GroupRole.Admin, A.Morning)], ((Group.Live)Spec.Given(Private).State).Members);
    }

    [Fact]
    public void Anyone_joins_a_public_group_and_nobody_makes_somebody_else_a_member_without_being_an_administrator()
    {
        Spec.Given(Public).When(Add("bob", "bob")).Then(Bob);
        Spec.Given(Public, Bob).When(Add("bob", "bob")).ThenNothing();
        Assert.Equal(403, Spec.Given(Public).When(Add("bob", "bob", GroupRole.Admin)).ThenRefused("group_admin_required").Status);
        Spec.Given(Public, Bob).When(Add("carl", "bob")).ThenRefused("group_admin_required");
        Spec.Given(Public, Bob).When(Add("carl", "ann")).Then(new GroupMemberAdded("carl", GroupRole.Member, A.Later(1)));
        Spec.Given(Public).When(Add("carl", "root", byAdmin: true)).Then(new GroupMemberAdded("carl", GroupRole.Member, A.Later(1)));
    }

    [Fact]
    public void A_private_group_is_not_there_for_who_is_no_member()
    {
        Spec.Given(Private).When(Add("bob", "bob")).ThenRefused("not_found");
        Spec.Given(Private).When(Remove("ann", "bob")).ThenRefused("not_found");
        Spec.Given(Private).When(new StoreMessage(Text, "bob", "m-1", ToAssistant, A.Morning)).ThenRefused("not_found");
        Spec.Given(Private, Bob).When(Add("carl", "bob")).ThenRefused("group_admin_required");
        Assert.Equal(403, Spec.Given(Public).When(new StoreMessage(Text, "bob", "m-1", ToAssistant, A.Morning)).ThenRefused("not_a_member").Status);
    }

    [Fact]
    public void An_administrator_that_joins_a_group_again_stays_one()
    {
        Spec.Given(Public).When(Add("ann", "ann", GroupRole.Admin)).ThenNothing();
        // It gives the role up only when another one is there.
        Spec.Given(Public, Bob).When(Add("ann", "ann")).ThenRefused("last_group_admin");
        var second = Bob with { Role = GroupRole.Admin };
        // Who joins, or adds somebody, without a word of the role takes none away.
        foreach (var (user, by) in (ReadOnlySpan<(string, string)>)[("ann", "ann"), ("bob", "ann"), ("bob", "bob"), ("ann", "bob")])
        {
            Spec.Given(Public, second).When(new AddMember(user, null, by, false, A.Later(1))).ThenNothing();
        }
        Spec.Given(Public).When(new AddMember("ann", null, "ann", false, A.Later(1))).ThenNothing();
        Spec.Given(Public).When(new AddMember("bob", null, "bob", false, A.Later(1))).Then(Bob);
        Spec.Given(Public, second).When(Add("ann", "ann")).Then(new GroupMemberAdded("ann", GroupRole.Member, A.Later(1)));
        Assert.Equal(
            [("ann", GroupRole.Member, A.Morning), ("bob", GroupRole.Admin, A.Later(1))],
            ((Group.Live)Spec.Given(Public, second, new GroupMemberAdded("ann", GroupRole.Member, A.Later(5))).State).Members.Select(m => (m.User, m.Role, m.Joined)));
    }

    [Fact]
    public void A_member_leaves_and_an_administrator_removes_others()
    {
        Spec.Given(Private, Bob).When(Remove("bob", "bob")).Then(new GroupMemberRemoved("bob", A.Later(2)));
        Spec.Given(Private, Bob).When(Remove("bob", "ann")).Then(new GroupMemberRemoved("bob", A.Later(2)));
        Spec.Given(Private, Bob).When(Remove("bob", "root", byAdmin: true)).Then(new GroupMemberRemoved("bob", A.Later(2)));
        Spec.Given(Private, Bob).When(Remove("ann", "bob")).ThenRefused("group_admin_required");
        Spec.Given(Private, Bob).When(Remove("carl", "ann")).ThenRefused("not_found");
        Assert.Null(((Group.Live)Spec.Given(Private, Bob, new GroupMemberRemoved("bob", A.Later(2))).State).Member("bob"));
    }

    [Fact]
    public void The_last_administrator_leaves_only_as_the_last_member()
    {
        Assert.Equal(409, Spec.Given(Private, Bob).When(Remove("ann", "ann")).ThenRefused("last_group_admin").Status);
        Spec.Given(Private).When(Remove("ann", "ann")).Then(new GroupMemberRemoved("ann", A.Later(2)));
        Spec.Given(Private, Bob with { Role = GroupRole.Admin }).When(Remove("ann", "ann")).Then(new GroupMemberRemoved("ann", A.Later(2)));
    }

    [Fact]
    public void A_group_has_a_number_of_members_and_no_more()
    {
        var full = Enumerable.Range(1, Limits.GroupMembersMax - 1).Select(i => (GroupEvent)new GroupMemberAdded($"u{i}", GroupRole.Member, A.Morning)).Prepend(Public).ToArray();
        Assert.Equal(429, Spec.Given(full).When(Add("bob", "bob")).ThenRefused("group_members_full").Status);
        Spec.Given(full[..^1]).When(Add("bob", "bob")).Then(Bob);
        Spec.Given(full).When(Add("u1", "ann", GroupRole.Admin)).ThenSome();
    }

    [Fact]
    public void A_run_is_told_what_was_said_before_without_its_own_message_and_what_waits_for_its_agent()
    {
        ImmutableList<AgentCall> later = [new("assistant", A.ThirdRun)];
        var group = (Group.Live)Spec.Given(
            Private, Said("m-1", ToAssistant), Said("m-2", ToCritic), new GroupAgentAnswered(A.OtherRun, "critic", "critic", "ann", "m-2", A.Morning), Said("m-3", later)).State;
        Assert.Equal([new(A.OtherRun, "ann"), new(A.OtherRun, "critic", "critic")], group.Before(A.Run, "assistant"));
        Assert.Equal([new(A.Run, "ann"), new(A.OtherRun, "ann"), new(A.OtherRun, "critic", "critic")], group.Before(A.ThirdRun, "assistant"));
        Assert.Equal([new(A.Run, "ann"), new(A.OtherRun, "critic", "critic"), new(A.ThirdRun, "ann")], group.Before(A.OtherRun, "critic"));
    }

    [Fact]
    public void The_answer_of_an_agent_is_no_part_of_what_the_agent_that_it_addresses_is_told_before()
    {
        var group = (Group.Live)Spec.Given(
            Private, Said("m-1", ToAssistant), new GroupAgentAnswered(A.Run, "assistant", "assistant", "ann", "m-1", A.Morning, ToCritic)).State;
        Assert.Equal([new(A.Run, "ann")], group.Before(A.OtherRun, "critic"));
    }

    [Fact]
    public void A_conversation_is_remembered_as_far_as_it_is_shown()
    {
        var said = Enumerable.Range(0, Limits.GroupHistoryMax + 5).Select(i => (GroupEvent)Said($"m-{i}", [new("critic", new RunKey($"{i}"))])).Prepend(Private).ToArray();
        var before = ((Group.Live)Spec.Given(said).State).Before(A.Run, "assistant");
        Assert.Equal((Limits.GroupHistoryMax, "5"), (before.Count, before[0].RunId.Value));
    }

    [Fact]
    public void The_runs_that_a_message_leads_to_are_counted()
    {
        var group = (Group.Live)Spec.Given(
            Private, Said("m-1", [new("assistant", A.Run), new("critic", A.OtherRun)]), Said("m-2", ToAssistant),
            new GroupAgentAnswered(A.Run, "assistant", "assistant", "ann", "m-1", A.Morning, ToCritic)).State;
        Assert.Equal((3, 1, 0), (group.RunsOf("ann", "m-1"), group.RunsOf("ann", "m-2"), group.RunsOf("bob", "m-1")));
    }

    [Fact]
    public void An_answer_and_calls_that_are_stopped_are_recorded()
    {
        Spec.Given(Private).When(new RecordAnswer(A.Run, Agent("assistant"), ToCritic, A.Morning))
            .Then(new GroupAgentAnswered(A.Run, "assistant", "assistant", "ann", "m-1", A.Morning, ToCritic));
        Spec.Given(Private).When(new RecordAnswer(A.Run, Agent("assistant"), [], A.Morning))
            .Then(new GroupAgentAnswered(A.Run, "assistant", "assistant", "ann", "m-1", A.Morning));
        ImmutableList<string> addressed = ["critic"];
        Spec.Given(Private).When(new StopCalls(A.Run, Agent("assistant", 10), addressed, StoppedCalls.Depth, A.Morning))
            .Then(new GroupCallsStopped(A.Run, "assistant", "m-1", addressed, StoppedCalls.Depth, 10, A.Morning));
    }

    [Fact]
    public void What_does_not_exist_is_not_found()
    {
        foreach (var command in (GroupCommand[])[Add("bob", "bob"), Remove("bob", "bob"), new StoreMessage(Text, "ann", "m-1", ToAssistant, A.Morning)])
        {
            Spec.Given().When(command).ThenRefused("not_found");
        }
    }
}
