using System.Collections.Immutable;

using Xunit;

using static Cowork.Domain.AppKeyCommand;
using static Cowork.Domain.AppKeyEvent;
using static Cowork.Domain.OneUseCommand;
using static Cowork.Domain.OneUseEvent;

namespace Cowork.Domain.Tests;

public sealed class AppKeySpec
{
    static readonly Spec<DigestKey, AppKeyCommand, AppKeyEvent, AppKey> Keys = new(AppKey.Aggregate);
    static readonly Spec<DigestKey, OneUseCommand, OneUseEvent, OneUse> Uses = new(OneUse.Aggregate);
    static readonly PublicKey Public = new("x", "y");
    static readonly AppKeyRegistered Registered = new("desk", "kid_1", Public, A.Morning);

    [Fact]
    public void A_key_is_registered_once_and_for_one_app()
    {
        ImmutableList<Issuer> bob = [new("user:bob")];
        Keys.Given().When(new Register("desk", "kid_1", Public, bob, A.Morning)).Then(Registered with { Issuers = bob });
        Keys.Given().When(new Register("desk", "kid_1", Public, [], A.Morning)).Then(Registered);
        Keys.Given(Registered).When(new Register("desk", "kid_1", Public, null, A.Morning)).ThenNothing();
        Keys.Given(Registered).When(new Register("other", "kid_1", Public, null, A.Morning)).ThenRefused("app_key_taken");
    }

    [Fact]
    public void A_revoked_key_stays_revoked()
    {
        Keys.Given(Registered).When(new Revoke(A.Morning)).Then(new AppKeyRevoked(A.Morning));
        Keys.Given(Registered, new AppKeyRevoked(A.Morning)).When(new Revoke(A.Morning)).ThenRefused("not_found");
        Keys.Given(Registered, new AppKeyRevoked(A.Morning)).When(new Register("desk", "kid_1", Public, null, A.Morning)).ThenRefused("app_key_revoked");
        Keys.Given().When(new Revoke(A.Morning)).ThenRefused("not_found");
    }

    [Theory]
    [InlineData("desk@acme", "desk", "acme")]
    [InlineData("a.b_c-1@x.y", "a.b_c-1", "x.y")]
    [InlineData("desk", null, null)]
    [InlineData("@acme", null, null)]
    [InlineData("desk@", null, null)]
    [InlineData("desk@a@b", null, null)]
    [InlineData("de sk@acme", null, null)]
    [InlineData("desk@ac/me", null, null)]
    [InlineData("", null, null)]
    public void The_id_of_an_app_names_its_tenant(string text, string? name, string? org)
    {
        var id = AppId.Parse(text);
        Assert.Equal((name, org), (id?.Name, id?.Org));
        Assert.True(id is null || id.ToString() == text);
    }

    [Fact]
    public void A_token_is_used_once()
    {
        var use = new Use("desk@acme", "jti", A.Morning.AddSeconds(60), A.Morning);
        var used = new TokenUsed("desk@acme", "jti", A.Morning.AddSeconds(60), A.Morning);
        Uses.Given().When(use).Then(used);
        Uses.Given(used).When(use).ThenRefused("token_replayed");
        Assert.NotEqual(OneUse.StreamKey("desk@acme", "jti"), OneUse.StreamKey("desk@other", "jti"));
    }
}
