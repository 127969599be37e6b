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
    public void A_token_that_would_have_expired_already_is_not_issued()
    {
        var issue = new Issue(new("t"), "ci", "ann", Issued.Roles, "f00d", A.Morning);
        Tokens.Given().When(issue with { ExpiresAt = A.Morning }).ThenRefused("invalid_expiry");
        Tokens.Given().When(issue with { ExpiresAt = A.Later(1), Issuers = [] }).Then(Issued with { ExpiresAt = A.Later(1) });
    }

    [Fact]
    public void The_old_secret_of_a_rotated_token_works_until_the_overlap_or_the_token_ends()
    {
        var rotate = new Rotate("beef", TimeSpan.FromSeconds(60), A.Later(5_000), [], A.Later(1));
        Tokens.Given(Issued).When(rotate).Then(new TokenRotated("beef", A.Later(61), A.Later(5_000), null, A.Later(1)));
        Tokens.Given(Issued with { ExpiresAt = A.Later(30) }).When(rotate).Then(new TokenRotated("beef", A.Later(30), A.Later(5_000), null, A.Later(1)));
        Tokens.Given(Issued with { ExpiresAt = A.Later(1) }).When(rotate).ThenRefused("token_expired");
        Tokens.Given(Issued, new TokenRevoked(A.Morning)).When(rotate).ThenRefused("not_found");
    }

    [Fact]
    public void Who_rotates_a_token_is_behind_it_from_then_on_with_all_who_were()
    {
        var given = Tokens.Given(Issued with { Issuers = [new("user:bob")] });
        var rotated = given.When(new Rotate("beef", TimeSpan.Zero, null, [new("user:ann"), new("user:cleo"), new("user:bob")], A.Morning)).ThenSome();
        Assert.Equal([new("user:bob"), new("user:cleo")], Assert.IsType<ApiToken.Valid>(rotated).Issuers);
    }

    [Fact]
    public void Roles_change_while_a_token_works()
    {
        Tokens.Given(Issued).When(new ChangeRoles(["member"], A.Morning)).ThenNothing();
        Tokens.Given(Issued).When(new ChangeRoles(["root"], A.Morning)).ThenRefused("unknown_role");
        Tokens.Given(Issued).When(new ChangeRoles([], A.Morning)).ThenRefused("roles_required");
        Tokens.Given(Issued with { ExpiresAt = A.Morning }).When(new ChangeRoles(["auditor"], A.Morning)).ThenRefused("token_expired");
        Assert.Equal(["auditor"], Assert.IsType<ApiToken.Valid>(Tokens.Given(Issued).When(new ChangeRoles(["auditor"], A.Morning)).ThenSome()).Held);
    }

    [Theory]
    [InlineData("ann", "", "ann", "", true)] // the same
    [InlineData("ann", "", "x", "ann", true)] // a name that she issued
    [InlineData("x", "ann", "ann", "", true)] // the other way round
    [InlineData("ann", "", "y", "x ann", true)] // over a chain
    [InlineData("x", "ann", "y", "ann", true)] // two names of hers
    [InlineData("x", "root*", "y", "root*", false)] // an operator names everybody
    [InlineData("root", "", "y", "root*", true)] // and may not decide about a name of theirs
    [InlineData("x", "ann root*", "bob", "root*", false)]
    [InlineData("ann", "", "bob", "", false)]
    public void Who_issued_a_token_counts_as_one_with_its_user(string actor, string behind, string other, string behindOther, bool isOne)
    {
        Assert.Equal(isOne, Issuer.MayBeOne(actor, Persons(behind), other, Persons(behindOther)));
        Assert.Equal(isOne, Issuer.MayBeOne(other, Persons(behindOther), actor, Persons(behind)));

        static List<Issuer> Persons(string names) =>
            [.. names.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(name => new Issuer(name.TrimEnd('*'), name.EndsWith('*') ? true : null))];
    }

    [Fact]
    public void The_last_operator_stays()
    {
        var operators = new Spec<DigestKey, OperatorsCommand, OperatorsEvent, Operators>(Operators.Aggregate);
        var (one, two) = (new OperatorsEvent.OperatorAdded(new("1"), A.Morning), new OperatorsEvent.OperatorAdded(new("2"), A.Morning));
        operators.Given(one).When(new OperatorsCommand.Add(new("1"), A.Morning)).ThenNothing();
        operators.Given(one).When(new OperatorsCommand.Remove(new("1"), [new("1")], A.Morning)).ThenRefused("last_operator");
        operators.Given(one, two).When(new OperatorsCommand.Remove(new("1"), [new("1")], A.Morning)).ThenRefused("last_operator");
        operators.Given(one, two).When(new OperatorsCommand.Remove(new("1"), [new("1"), new("2")], A.Morning)).Then(new OperatorsEvent.OperatorRemoved(new("1"), A.Morning));
        operators.Given(one).When(new OperatorsCommand.Remove(new("2"), [], A.Morning)).ThenNothing();
    }

    [Fact]
    public void A_token_is_revoked_once()
    {
        Tokens.Given(Issued).When(new Revoke(A.Morning)).Then(new TokenRevoked(A.Morning));
        Tokens.Given(Issued, new TokenRevoked(A.Morning)).When(new Revoke(A.Morning)).ThenRefused("not_found");
        Tokens.Given().When(new Revoke(A.Morning)).ThenRefused("not_found");
    }
}
