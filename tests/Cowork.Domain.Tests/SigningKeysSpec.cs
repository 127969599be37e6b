using Xunit;

using static Cowork.Domain.SigningKeysCommand;
using static Cowork.Domain.SigningKeysEvent;

namespace Cowork.Domain.Tests;

public sealed class SigningKeysSpec
{
    static readonly Spec<DigestKey, SigningKeysCommand, SigningKeysEvent, SigningKeys> Keys = new(SigningKeys.Aggregate);
    static readonly SigningKey First = new("kid_1", SigningKeys.Orchestrator, new("x1", "y1"), new("master_1", "AAAA"));
    static readonly SigningKey Second = new("kid_2", SigningKeys.Orchestrator, new("x2", "y2"), new("master_1", "BBBB"));
    static readonly SigningKey Heads = new("kid_3", SigningKeys.Heads, new("x3", "y3"), new("master_1", "CCCC"));

    [Fact]
    public void Two_who_make_a_key_at_once_use_the_one_that_was_first()
    {
        Keys.Given().When(new Make(First, null, A.Morning)).Then(new SigningKeyMade(First, A.Morning));
        Keys.Given(new SigningKeyMade(First, A.Morning)).When(new Make(Second, null, A.Morning)).ThenNothing();
        Keys.Given(new SigningKeyMade(First, A.Morning)).When(new Make(Second, "kid_1", A.Morning)).Then(new SigningKeyMade(Second, A.Morning));
        Keys.Given(new SigningKeyMade(First, A.Morning), new SigningKeyMade(Second, A.Morning)).When(new Make(First, "kid_2", A.Morning)).ThenNothing();
    }

    [Fact]
    public void A_replaced_key_stays_with_the_time_of_its_replacement_and_another_purpose_replaces_none()
    {
        var later = A.Morning.AddHours(1);
        SigningKeysEvent[] events = [new SigningKeyMade(First, A.Morning), new SigningKeyMade(Heads, A.Morning), new SigningKeyMade(Second, later)];
        var keys = events.Aggregate(SigningKeys.Aggregate.Initial, SigningKeys.Evolve);
        Assert.Equal((Second, Heads), (keys.Current(SigningKeys.Orchestrator), keys.Current(SigningKeys.Heads)));
        Assert.Equal(new(First, A.Morning, later), keys.Find("kid_1"));
        Assert.Equal(new(Heads, A.Morning, null), keys.Find("kid_3"));
        Assert.Null(keys.Find("kid_4"));
    }

    [Fact]
    public void A_key_is_wrapped_anew_once()
    {
        var anew = new WrappedKey("master_2", "DDDD");
        Keys.Given(new SigningKeyMade(First, A.Morning)).When(new Rewrap("kid_1", anew, A.Morning)).Then(new SigningKeyRewrapped("kid_1", anew, A.Morning));
        Keys.Given(new SigningKeyMade(First, A.Morning), new SigningKeyRewrapped("kid_1", anew, A.Morning)).When(new Rewrap("kid_1", anew, A.Morning)).ThenNothing();
        Keys.Given().When(new Rewrap("kid_1", anew, A.Morning)).ThenRefused("not_found");
    }
}
