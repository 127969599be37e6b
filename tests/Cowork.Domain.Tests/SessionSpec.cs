using Xunit;

using static Cowork.Domain.SessionCommand;
using static Cowork.Domain.SessionEvent;

namespace Cowork.Domain.Tests;

public sealed class SessionSpec
{
    static readonly Spec<SessionKey, SessionCommand, SessionEvent, Session> Spec = new(Session.Aggregate);
    static readonly SessionCreated Created = new(A.Session, "/w", "{}", null, A.Morning);

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

    [Fact]
    public void A_deleted_session_takes_no_turns_but_lets_its_runs_leave()
    {
        var deleted = Spec.Given(Created, Queued(A.Run, 0), new SessionDeleted(A.Morning));
        deleted.When(new Enqueue(A.OtherRun, Limits.QueuedPerSessionMax, A.Morning)).ThenRefused("not_found");
        deleted.When(new Dequeue(A.Run, A.Later(1))).Then(new RunDequeued(A.Run, null, A.Later(1)));
        deleted.When(new Delete(A.Morning)).ThenRefused("not_found");
    }

    [Fact]
    public void What_does_not_exist_is_not_found()
    {
        Spec.Given().When(new Enqueue(A.Run, Limits.QueuedPerSessionMax, A.Morning)).ThenRefused("not_found");
        Spec.Given().When(new Delete(A.Morning)).ThenRefused("not_found");
    }
}
