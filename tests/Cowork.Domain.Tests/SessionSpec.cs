using System.Collections.Immutable;

using Xunit;

using static Cowork.Domain.SessionCommand;
using static Cowork.Domain.SessionEvent;

namespace Cowork.Domain.Tests;

public sealed class SessionSpec
{
    static readonly Spec<SessionKey, SessionCommand, SessionEvent, Session> Spec = new(Session.Aggregate);
    static readonly SessionCreated Created = new(A.Session, "/w", "{}", null, A.Morning);

    [Fact]
    public void A_session_keeps_the_grants_that_it_was_created_with()
    {
        ImmutableList<FolderGrant> grants = [new("/w", AllowWrite: true, AllowCreate: false, AllowDelete: false, ["out"])];
        ImmutableList<ConnectorGrant> connectors = [new("postgres", null, ["read"], AllowActions: false)];
        var decided = Session.Decide(new SessionCommand.Create(A.Session, "/w", "{}", null, A.Morning, Grants: grants, Connectors: connectors), new Session.None());
        var open = (Session.Open)Session.Evolve(new Session.None(), decided.Events.Single());
        Assert.Same(grants, open.Grants);
        Assert.Same(connectors, open.Connectors);
        Assert.Null(((Session.Open)Session.Evolve(new Session.None(), Created)).Grants);
    }

    static RunQueued Queued(RunKey run, int ahead) => new(run, ahead, A.Morning);

    [Fact]
    public void A_session_is_created_once() =>
        Spec.Given().When(new Create(A.Session, "/w", "{}", null, A.Morning)).Then(Created);

    [Fact]
    public void A_session_may_have_a_model() =>
        Spec.Given().When(new Create(A.Session, "/w", "{}", null, A.Morning, "m")).Then(Created with { Model = "m" });

    [Fact]
    public void An_id_that_was_used_is_refused_even_after_deletion()
    {
        Spec.Given(Created).When(new Create(A.Session, "/w", "{}", null, A.Morning)).ThenRefused("session_exists");
        Spec.Given(Created, new SessionDeleted(A.Morning)).When(new Create(A.Session, "/w", "{}", null, A.Morning)).ThenRefused("session_exists");
    }

    [Fact]
    public void Turns_wait_in_the_order_in_which_they_came()
    {
        Spec.Given(Created).When(new Enqueue(A.Run, Limits.QueuedPerSessionMax, A.Morning)).Then(Queued(A.Run, 0));
        Spec.Given(Created, Queued(A.Run, 0)).When(new Enqueue(A.OtherRun, Limits.QueuedPerSessionMax, A.Morning)).Then(Queued(A.OtherRun, 1));
    }

    [Fact]
    public void A_turn_that_is_queued_already_is_not_queued_again() =>
        Spec.Given(Created, Queued(A.Run, 0)).When(new Enqueue(A.Run, Limits.QueuedPerSessionMax, A.Morning)).ThenNothing();

    [Fact]
    public void When_the_first_run_ends_the_next_one_may_start() =>
        Spec.Given(Created, Queued(A.Run, 0), Queued(A.OtherRun, 1))
            .When(new Dequeue(A.Run, A.Later(1)))
            .Then(new RunDequeued(A.Run, A.OtherRun, A.Later(1)));

    [Fact]
    public void A_waiting_run_that_is_cancelled_leaves_and_gives_nobody_the_turn() =>
        Spec.Given(Created, Queued(A.Run, 0), Queued(A.OtherRun, 1), Queued(A.ThirdRun, 2))
            .When(new Dequeue(A.OtherRun, A.Later(1)))
            .Then(new RunDequeued(A.OtherRun, null, A.Later(1)));

    [Fact]
    public void A_run_leaves_once() =>
        Spec.Given(Created, Queued(A.Run, 0), new RunDequeued(A.Run, null, A.Morning)).When(new Dequeue(A.Run, A.Morning)).ThenNothing();

    [Fact]
    public void A_full_queue_refuses_the_next_turn()
    {
        var full = Enumerable.Range(0, Limits.QueuedPerSessionMax + 1).Select(i => (SessionEvent)Queued(new($"{i}"), i)).Prepend(Created).ToArray();
        var refused = Spec.Given(full).When(new Enqueue(A.Run, Limits.QueuedPerSessionMax, A.Morning)).ThenRefused("session_queue_full");
        Assert.Equal(429, refused.Status);
        Spec.Given(full[..^1]).When(new Enqueue(A.Run, Limits.QueuedPerSessionMax, A.Morning)).Then(Queued(A.Run, Limits.QueuedPerSessionMax));
    }

    static RunQueued InLane(RunKey run, string lane, int ahead) => Queued(run, ahead) with { Lane = lane };

    static Enqueue Into(RunKey run, string? lane, int waitingMax = 10) => new(run, waitingMax, A.Morning, Lane: lane);

    [Fact]
    public void Each_lane_has_a_first_run_and_runs_wait_for_those_of_their_lane_alone()
    {
        Spec.Given(Created).When(Into(A.Run, "critic")).Then(InLane(A.Run, "critic", 0));
        Spec.Given(Created, InLane(A.Run, "critic", 0)).When(Into(A.OtherRun, "assistant")).Then(InLane(A.OtherRun, "assistant", 0));
        Spec.Given(Created, InLane(A.Run, "critic", 0)).When(Into(A.OtherRun, null)).Then(Queued(A.OtherRun, 0));
        Spec.Given(Created, InLane(A.Run, "critic", 0)).When(Into(A.OtherRun, "critic")).Then(InLane(A.OtherRun, "critic", 1));
        Spec.Given(Created, InLane(A.Run, "critic", 0)).When(Into(A.Run, "critic")).ThenNothing();
        var state = Spec.Given(Created, InLane(A.Run, "critic", 0), InLane(A.OtherRun, "critic", 1), Queued(A.ThirdRun, 0)).State;
        Assert.Equal([A.ThirdRun, A.Run, A.OtherRun], state.LiveRuns());
        Assert.Equal([A.ThirdRun, A.Run], state.FirstRuns());
    }

    [Fact]
    public void A_run_that_leaves_its_lane_lets_the_next_one_of_that_lane_start()
    {
        var given = Spec.Given(Created, InLane(A.Run, "critic", 0), InLane(A.OtherRun, "critic", 1), InLane(A.ThirdRun, "assistant", 0));
        given.When(new Dequeue(A.Run, A.Later(1))).Then(new RunDequeued(A.Run, A.OtherRun, A.Later(1)));
        given.When(new Dequeue(A.OtherRun, A.Later(1))).Then(new RunDequeued(A.OtherRun, null, A.Later(1)));
        var left = given.When(new Dequeue(A.ThirdRun, A.Later(1))).Then(new RunDequeued(A.ThirdRun, null, A.Later(1)));
        Assert.Equal(["critic"], ((Session.Open)left).Lanes!.Keys);
        Assert.Null(((Session.Open)Spec.Given(Created, InLane(A.Run, "critic", 0), new RunDequeued(A.Run, null, A.Morning)).State).Lanes);
    }

    [Fact]
    public void Runs_of_all_lanes_wait_up_to_the_limit_and_the_first_of_a_lane_waits_for_none()
    {
        var full = Spec.Given(Created, InLane(A.Run, "critic", 0), InLane(A.OtherRun, "critic", 1));
        full.When(Into(A.ThirdRun, "critic", waitingMax: 1)).ThenRefused("session_queue_full");
        full.When(Into(A.ThirdRun, "assistant", waitingMax: 1)).Then(InLane(A.ThirdRun, "assistant", 0));
    }

    [Fact]
    public void A_deleted_session_lets_the_runs_of_its_lanes_leave()
    {
        var deleted = Spec.Given(Created, InLane(A.Run, "critic", 0), InLane(A.OtherRun, "critic", 1), new SessionDeleted(A.Morning));
        Assert.Equal([A.Run, A.OtherRun], deleted.State.LiveRuns());
        deleted.When(new Dequeue(A.Run, A.Later(1))).Then(new RunDequeued(A.Run, A.OtherRun, A.Later(1)));
    }

    [Fact]
    public void A_deleted_session_takes_no_turns_but_lets_its_runs_leave()
    {
        var deleted = Spec.Given(Created, Queued(A.Run, 0), new SessionDeleted(A.Morning));
        deleted.When(new Enqueue(A.OtherRun, Limits.QueuedPerSessionMax, A.Morning)).ThenRefused("not_found");
        deleted.When(new Dequeue(A.Run, A.Later(1))).Then(new RunDequeued(A.Run, null, A.Later(1)));
        deleted.When(new Delete(A.Morning)).ThenRefused("not_found");
    }

    [Fact]
    public void The_first_turn_gives_a_session_without_a_title_its_title()
    {
        var (one, other) = (Content.Of("One"), Content.Of("Other"));
        var titled = Spec.Given(Created).When(new Enqueue(A.Run, 10, A.Morning, one)).Then(Queued(A.Run, 0) with { Title = one });
        Assert.Equal(one, ((Session.Open)titled).Title);
        Spec.Given(Created, Queued(A.Run, 0) with { Title = one }).When(new Enqueue(A.OtherRun, 10, A.Morning, other)).Then(Queued(A.OtherRun, 1));
        Spec.Given(Created with { Title = one }).When(new Enqueue(A.Run, 10, A.Morning, other)).Then(Queued(A.Run, 0));
        // One that was cleared is given again.
        Spec.Given(Created with { Title = one }, new SessionChanged(null, null, false, A.Morning))
            .When(new Enqueue(A.Run, 10, A.Morning, other)).Then(Queued(A.Run, 0) with { Title = other });
    }

    [Fact]
    public void Title_goal_and_archiving_change_and_a_turn_makes_an_archived_session_active()
    {
        var change = new Change(Content.Of("T"), Content.Of("G"), Archived: true, A.Morning);
        var changed = new SessionChanged(change.Title, change.Goal, Archived: true, A.Morning);
        Spec.Given(Created).When(change).Then(changed);
        Spec.Given(Created, changed).When(change).ThenNothing();
        Spec.Given(Created).When(new Change(null, null, Archived: false, A.Morning)).ThenNothing();
        Assert.False(((Session.Open)Spec.Given(Created, changed, Queued(A.Run, 0)).State).Archived);
        Spec.Given(Created, new SessionDeleted(A.Morning)).When(change).ThenRefused("not_found");
    }

    [Theory]
    [InlineData("Hello", "Hello")]
    [InlineData("  Two\n\t lines \u0001 here  ", "Two lines here")]
    [InlineData("123456789 123456789 123456789 123456789 123456789 1234567890", "123456789 123456789 123456789 123456789 123456789 1234567890")] // sixty
    [InlineData("123456789 123456789 123456789 123456789 123456789 12345678901", "123456789 123456789 123456789 123456789 123456789")]
    [InlineData("123456789 123456789 123456789 123456789 123456789 1234567890 and more", "123456789 123456789 123456789 123456789 123456789 1234567890")]
    [InlineData("12345678901234567890123456789012345678901234567890123456789012345", "123456789012345678901234567890123456789012345678901234567890")] // one word
    [InlineData("12345678901234567890123456789012345678901234567890123456789😀", "12345678901234567890123456789012345678901234567890123456789")] // no half of a pair
    [InlineData("\u0001\n", null)]
    public void A_title_is_the_beginning_of_the_message_cut_at_a_word(string message, string? title) => Assert.Equal(title, Session.TitleOf(message));

    [Fact]
    public void What_does_not_exist_is_not_found()
    {
        Spec.Given().When(new Enqueue(A.Run, Limits.QueuedPerSessionMax, A.Morning)).ThenRefused("not_found");
        Spec.Given().When(new Delete(A.Morning)).ThenRefused("not_found");
    }
}
