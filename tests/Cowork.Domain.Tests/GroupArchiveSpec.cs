using Xunit;

using static Cowork.Domain.GroupCommand;
using static Cowork.Domain.GroupEvent;

namespace Cowork.Domain.Tests;

public sealed class GroupArchiveSpec
{
    const string Path = "groups/grp_01kdvkjr000000000000000009/archives/20260101T090001000Z.json";

    static readonly Spec<GroupKey, GroupCommand, GroupEvent, Group> Spec = new(Group.Aggregate);
    static readonly GroupKey Key = GroupKey.FromId("grp_01kdvkjr000000000000000009");
    static readonly Content Reason = Content.Of("done");
    static readonly GroupCreated Private = new(Key, "acme", Content.Of("Q2"), IsPrivate: true, ["assistant"], "ann", A.Morning);
    static readonly GroupMemberAdded Bob = new("bob", GroupRole.Member, A.Morning);
    static readonly GroupArchiveRequested Requested = new(Path, Reason, "ann", A.Later(1));
    static readonly GroupArchived Archived = new(Path, "ab", 7, A.Later(2));

    [Fact]
    public void An_archive_is_asked_for_once_and_written_once()
    {
        Spec.Given(Private).When(new RequestArchive(Reason, "ann", false, A.Later(1))).Then(Requested);
        Spec.Given(Private, Requested).When(new RequestArchive(null, "ann", false, A.Later(2))).ThenNothing();
        Spec.Given(Private, Requested).When(new RecordArchive("ab", 7, A.Later(2))).Then(Archived);
        Spec.Given(Private, Requested, Archived).When(new RecordArchive("ab", 7, A.Later(3))).ThenNothing();
        Spec.Given(Private, Requested, Archived).When(new RequestArchive(Reason, "ann", false, A.Later(3))).ThenNothing();
        Spec.Given(Private).When(new RecordArchive("ab", 7, A.Later(2))).ThenRefused("not_found");
    }

    [Theory]
    [InlineData("ann", false, null)]
    [InlineData("bob", false, "group_admin_required")]
    [InlineData("eve", false, "not_found")]
    [InlineData("eve", true, null)]
    [InlineData(null, false, null)]   // the host, because the group is idle
    public void Administrators_archive_and_nobody_else_learns_of_a_private_group(string? by, bool byAdmin, string? code)
    {
        var outcome = Spec.Given(Private, Bob).When(new RequestArchive(Reason, by, byAdmin, A.Later(1)));
        if (code is null)
        {
            outcome.Then(Requested with { By = by });
        }
        else
        {
            outcome.ThenRefused(code);
        }
    }

    [Fact]
    public void What_is_closed_takes_no_message_and_no_member_and_lets_members_go()
    {
        foreach (var past in (GroupEvent[][])[[Private, Bob, Requested], [Private, Bob, Requested, Archived]])
        {
            Spec.Given(past).When(new StoreMessage(Reason, "bob", "m-1", [], A.Later(3))).ThenRefused("group_archived");
            Spec.Given(past).When(new StoreMessage(Reason, "eve", "m-1", [], A.Later(3))).ThenRefused("not_found");
            Spec.Given(past).When(new AddMember("eve", GroupRole.Member, "ann", false, A.Later(3))).ThenRefused("group_archived");
            Spec.Given(past).When(new RemoveMember("bob", "ann", false, A.Later(3))).Then(new GroupMemberRemoved("bob", A.Later(3)));
        }
    }
}
