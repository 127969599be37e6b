using Xunit;

using static Cowork.Domain.SessionCommand;
using static Cowork.Domain.SessionEvent;

namespace Cowork.Domain.Tests;

public sealed class RetentionSpec
{
    static readonly Spec<SessionKey, SessionCommand, SessionEvent, Session> Spec = new(Session.Aggregate);
    static readonly SessionCreated Created = new(A.Session, "/w", "{}", null, A.Morning);
    static readonly SessionDeleted Gone = new(A.Morning);
    static readonly SessionHeld Held = new("lawsuit", A.Morning);
    static readonly ExpiredEvents Named = new(3, 3, new string('d', 64), 90);
    static readonly string Stones = new('e', 64);
    static readonly Expire Expire = new(Named, A.Later(1));

    [Fact]
    public void A_deleted_session_expires_and_is_removed_once()
    {
        Spec.Given(Created, Gone).When(Expire).Then(new SessionExpired(Named, A.Later(1)));
        Spec.Given(Created, Gone, new SessionExpired(Named, A.Morning)).When(Expire).ThenNothing();
        var finish = new FinishExpiry(3, 100, 1, Stones, A.Later(2));
        var removed = new SessionRemoved(3, 100, 1, A.Later(2), Stones);
        Spec.Given(Created, Gone, new SessionExpired(Named, A.Morning)).When(finish).Then(removed);
        Spec.Given(Created, Gone, new SessionExpired(Named, A.Morning), removed).When(finish).ThenNothing();
        // The data of the first events is gone: what is left is enough.
        Assert.Equal(new Session.Expired(IsRemoved: true), Spec.Given(new SessionExpired(Named, A.Morning), removed).State);
    }

    [Fact]
    public void A_session_that_was_not_deleted_or_whose_runs_have_not_ended_does_not_expire()
    {
        Spec.Given(Created).When(Expire).ThenRefused("not_found");
        Spec.Given(Created, new RunQueued(A.Run, 0, A.Morning), Gone).When(Expire).ThenRefused("session_active");
    }

    [Fact]
    public void A_hold_keeps_a_session_from_retention_before_and_after_its_deletion_until_it_is_released()
    {
        Spec.Given(Created).When(new Hold("lawsuit", A.Morning)).Then(Held);
        Spec.Given(Created, Held).When(new Hold("another", A.Morning)).ThenNothing();
        Spec.Given(Created, Held).When(new Delete(A.Morning, Days: 90)).ThenRefused("session_held");
        Spec.Given(Created, Held).When(new Delete(A.Morning)).ThenRefused("session_held");
        Spec.Given(Created, Held).When(new Delete(A.Morning, WithProject: true)).Then(Gone);
        Spec.Given(Created, Held, Gone).When(Expire).ThenRefused("session_held");
        Spec.Given(Created, Gone, Held).When(Expire).ThenRefused("session_held");
        Spec.Given(Created, Held, Gone).When(new Release(A.Morning)).Then(new SessionReleased(A.Morning));
        Spec.Given(Created, Held, Gone, new SessionReleased(A.Morning)).When(Expire).Then(new SessionExpired(Named, A.Later(1)));
        Spec.Given(Created).When(new Release(A.Morning)).ThenNothing();
    }

    [Fact]
    public void An_expired_session_takes_nothing()
    {
        var expired = Spec.Given(new SessionExpired(Named, A.Morning));
        expired.When(new Hold("late", A.Morning)).ThenRefused("expired");
        expired.When(new Enqueue(A.Run, 10, A.Morning)).ThenRefused("expired");
        expired.When(new Delete(A.Morning)).ThenRefused("expired");
        expired.When(new Create(A.Session, "/w", "{}", null, A.Morning)).ThenRefused("session_exists");
    }

    [Fact]
    public void Days_of_security_events_and_of_hosts_expire_once()
    {
        var security = new Spec<DayKey, SecurityCommand, SecurityEvent, SecurityDay>(SecurityDay.Aggregate);
        var refused = new SecurityEvent.AccessRefused("unknown", null, "::1", 1, A.Morning, A.Morning, A.Morning);
        security.Given().When(new ExpireSecurity(Named, A.Later(1))).ThenNothing();
        security.Given(refused).When(new ExpireSecurity(Named, A.Later(1))).Then(new SecurityEvent.SecurityExpired(Named, A.Later(1)));
        security.Given(refused, new SecurityEvent.SecurityExpired(Named, A.Morning)).When(new FinishSecurityExpiry(1, Stones, A.Later(1)))
            .Then(new SecurityEvent.SecurityRemoved(1, A.Later(1), Stones));
        var hosts = new Spec<DayKey, HostCommand, HostEvent, HostDay>(HostDay.Aggregate);
        var stopped = new HostEvent.HostStopped("n", A.Morning);
        hosts.Given(stopped).When(new HostCommand.Expire(Named, A.Later(1))).Then(new HostEvent.HostsExpired(Named, A.Later(1)));
        hosts.Given(stopped, new HostEvent.HostsExpired(Named, A.Morning)).When(new HostCommand.Expire(Named, A.Later(1))).ThenNothing();
    }

    [Fact]
    public void A_period_is_set_once()
    {
        var spec = new Spec<DigestKey, SetRetention, RetentionEvent, Retention>(Retention.Aggregate);
        var set = new RetentionEvent.RetentionSet(90, null, "policy", A.Morning);
        spec.Given().When(new SetRetention(new(90, null), "policy", A.Morning)).Then(set);
        spec.Given(set).When(new SetRetention(new(90, null), "again", A.Morning)).ThenNothing();
        Assert.Equal(new RetentionPeriods(90, null), spec.Given(set).State.Periods);
    }
}
