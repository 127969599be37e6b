using Xunit;

using static Cowork.Domain.AuthorizationRequestCommand;
using static Cowork.Domain.AuthorizationRequestEvent;
using static Cowork.Domain.ConnectionRefreshCommand;
using static Cowork.Domain.ConnectionRefreshEvent;

namespace Cowork.Domain.Tests;

public sealed class AuthorizationSpec
{
    static readonly Spec<DigestKey, AuthorizationRequestCommand, AuthorizationRequestEvent, AuthorizationRequest> Spec = new(AuthorizationRequest.Aggregate);
    static readonly AuthorizationTerms Terms = new(
        new("01kdvkjr000000000000000031"), "github", "GitHub", new("key_1", "AAAA"), "https://cowork.example/callback", "user:ann", A.Morning.AddMinutes(10));
    static readonly AuthorizationRequested Requested = new(Terms, A.Morning);

    [Fact]
    public void A_request_is_answered_once_and_in_time()
    {
        Spec.Given().When(new AuthorizationRequestCommand.Begin(Terms, A.Morning)).Then(Requested);
        Spec.Given(Requested).When(new AuthorizationRequestCommand.Begin(Terms, A.Morning)).ThenNothing();
        Spec.Given(Requested).When(new Receive(null, A.Morning.AddMinutes(9))).Then(new AuthorizationAnswered(null, A.Morning.AddMinutes(9)));
        Spec.Given(Requested).When(new Receive("access_denied", A.Morning)).Then(new AuthorizationAnswered("access_denied", A.Morning));
        Spec.Given(Requested).When(new Receive(null, A.Morning.AddMinutes(10))).ThenRefused("authorization_expired");
        Spec.Given(Requested, new AuthorizationAnswered("access_denied", A.Morning)).When(new Receive(null, A.Morning)).ThenRefused("authorization_used");
        Spec.Given().When(new Receive(null, A.Morning)).ThenRefused("not_found");
    }

    [Fact]
    public void Only_who_has_the_state_finds_its_request()
    {
        Assert.Equal(AuthorizationRequest.StreamKey("a"), AuthorizationRequest.StreamKey("a"));
        Assert.NotEqual(AuthorizationRequest.StreamKey("a"), AuthorizationRequest.StreamKey("b"));
        Assert.DoesNotContain("topsecret", AuthorizationRequest.StreamKey("topsecret").Value, StringComparison.Ordinal);
    }
}

public sealed class ConnectionRefreshSpec
{
    static readonly Spec<ConnectionKey, ConnectionRefreshCommand, ConnectionRefreshEvent, ConnectionRefresh> Spec = new(ConnectionRefresh.Aggregate);
    static readonly DateTimeOffset Until = A.Morning.AddSeconds(45);
    static readonly ConnectionRefreshStarted Started = new(3, "one", Until, A.Morning);

    [Fact]
    public void One_attempt_at_a_time_refreshes_a_revision()
    {
        Spec.Given().When(new ConnectionRefreshCommand.Begin(3, "one", Until, A.Morning)).Then(Started);
        Spec.Given(Started).When(new ConnectionRefreshCommand.Begin(3, "two", Until, A.Morning)).ThenNothing();
        Spec.Given(Started).When(new ConnectionRefreshCommand.Begin(2, "two", Until, A.Morning)).ThenNothing();
    }

    [Fact]
    public void Another_attempt_begins_for_a_newer_revision_and_when_the_first_one_is_overdue()
    {
        Spec.Given(Started).When(new ConnectionRefreshCommand.Begin(4, "two", Until, A.Morning)).Then(new ConnectionRefreshStarted(4, "two", Until, A.Morning));
        Spec.Given(Started).When(new ConnectionRefreshCommand.Begin(3, "two", Until.AddSeconds(45), Until)).Then(new ConnectionRefreshStarted(3, "two", Until.AddSeconds(45), Until));
    }

    [Fact]
    public void A_failure_is_told_by_who_has_the_claim()
    {
        var failed = new ConnectionRefreshFailed(3, false, A.Morning);
        Spec.Given(Started).When(new Fail("one", false, A.Morning)).Then(failed);
        Spec.Given(Started).When(new Fail("two", false, A.Morning)).ThenNothing();
        Spec.Given(Started, failed).When(new ConnectionRefreshCommand.Begin(3, "two", Until, A.Morning)).ThenSome();
    }

    [Fact]
    public void A_refresh_token_that_the_source_takes_no_more_is_not_tried_again()
    {
        var spent = new ConnectionRefreshFailed(3, true, A.Morning);
        Spec.Given(Started).When(new Fail("one", true, A.Morning)).Then(spent);
        Spec.Given(Started, spent).When(new ConnectionRefreshCommand.Begin(3, "two", Until, A.Morning)).ThenNothing();
        Spec.Given(Started, spent).When(new ConnectionRefreshCommand.Begin(4, "two", Until, A.Morning)).ThenSome();
    }
}
