using Xunit;

using static Cowork.Domain.ApiTokenCommand;
using static Cowork.Domain.ApiTokenEvent;
using static Cowork.Domain.IdempotencyKeyCommand;
using static Cowork.Domain.IdempotencyKeyEvent;

namespace Cowork.Domain.Tests;

public sealed class KeysAndTokensSpec
{
    static readonly Spec<DigestKey, IdempotencyKeyCommand, IdempotencyKeyEvent, IdempotencyKey> Keys = new(IdempotencyKey.Aggregate);
    static readonly Spec<TokenKey, ApiTokenCommand, ApiTokenEvent, ApiToken> Tokens = new(ApiToken.Aggregate);
    static readonly IdempotencyKeyClaimed Claimed = new("s", "k", "d1", A.Run, null, A.Morning);
    static readonly TokenIssued Issued = new(new("t"), "ci", "ann", ["member"], "f00d", A.Morning);

    static Claim Claiming(string digest, TimeSpan? kept = null, double later = 0) => new("s", "k", digest, A.OtherRun, null, kept, A.Later(later));

    [Fact]
    public void A_free_key_is_claimed() => Keys.Given().When(Claiming("d1")).Then(new IdempotencyKeyClaimed("s", "k", "d1", A.OtherRun, null, A.Morning));

    [Fact]
    public void The_same_request_finds_what_the_first_one_made() =>
        Assert.Equal(A.Run.Id, Keys.Given(Claimed).When(Claiming("d1")).ThenRefused("idempotency_key_claimed").Existing);

    [Fact]
    public void Another_request_under_the_same_key_is_refused_and_told_which_run_has_it()
    {
        var refused = Keys.Given(Claimed).When(Claiming("d2")).ThenRefused("idempotency_key_reused");
        Assert.Equal((422, A.Run.Id), (refused.Status, refused.Existing));
    }

    [Theory]
    [InlineData(60, 60, false)]
    [InlineData(60, 61, true)]
    public void A_key_that_is_kept_for_a_time_is_free_after_it(int kept, int later, bool free)
    {
        var claim = Claiming("d2", TimeSpan.FromSeconds(kept), later);
        if (free)
        {
            Keys.Given(Claimed).When(claim).Then(new IdempotencyKeyClaimed("s", "k", "d2", A.OtherRun, null, A.Later(later)));
        }
        else
        {
            Keys.Given(Claimed).When(claim).ThenRefused("idempotency_key_reused");
        }
    }

    [Fact]
    public void A_key_that_an_earlier_release_claimed_holds_with_the_answer_that_it_stored()
    {
        var answer = new StoredAnswer(201, "/sessions/x", Content.Of("{}"));
        var before = new IdempotencyKeyClaimedV1("s", "k", "d1", null, answer, A.Morning).Upcast();
        Assert.Equal(new IdempotencyKey.Claimed("d1", null, null, answer, A.Morning), Keys.Given(before).State);
        Keys.Given(before).When(Claiming("d1")).ThenRefused("idempotency_key_claimed");
        Keys.Given(before).When(Claiming("d2")).ThenRefused("idempotency_key_reused");
    }

    [Fact]
    public void A_key_without_an_end_is_kept_for_ever() => Keys.Given(Claimed).When(Claiming("d1", later: 1e9)).ThenRefused("idempotency_key_claimed");

    [Fact]
    public void Scope_and_key_together_name_the_stream()
    {
        Assert.NotEqual(IdempotencyKey.StreamKey("a", "b"), IdempotencyKey.StreamKey("a", "c"));
        Assert.NotEqual(IdempotencyKey.StreamKey("a", "b"), IdempotencyKey.StreamKey("b", "a"));
        Assert.True(Ids.IsKey(IdempotencyKey.StreamKey("ä", "\u0001").Value));
    }

    [Theory]
    [InlineData("member", null)]
    [InlineData("", "roles_required")]
    [InlineData("root", "unknown_role")]
    public void A_token_has_known_roles(string role, string? code)
    {
        var issue = new Issue(new("t"), "ci", "ann", role.Length == 0 ? [] : [role], "f00d", A.Morning);
        if (code is null)
        {
            Assert.IsType<ApiToken.Valid>(Tokens.Given().When(issue).ThenSome());
        }
        else
        {
            Tokens.Given().When(issue).ThenRefused(code);
        }
    }

    [Fact]
    public void A_token_is_revoked_once()
    {
        Tokens.Given(Issued).When(new Revoke(A.Morning)).Then(new TokenRevoked(A.Morning));
        Tokens.Given(Issued, new TokenRevoked(A.Morning)).When(new Revoke(A.Morning)).ThenRefused("not_found");
        Tokens.Given().When(new Revoke(A.Morning)).ThenRefused("not_found");
    }
}
