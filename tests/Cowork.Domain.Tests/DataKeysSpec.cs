using Xunit;

using static Cowork.Domain.DataKeysCommand;
using static Cowork.Domain.DataKeysEvent;
using static Cowork.Domain.MasterKeysCommand;
using static Cowork.Domain.MasterKeysEvent;

namespace Cowork.Domain.Tests;

public sealed class DataKeysSpec
{
    static readonly Spec<DigestKey, DataKeysCommand, DataKeysEvent, DataKeys> Keys = new(DataKeys.Aggregate);
    static readonly Spec<DigestKey, MasterKeysCommand, MasterKeysEvent, MasterKeys> Masters = new(MasterKeys.Aggregate);
    static readonly DataKey First = new("key_1", DataKeys.Secrets, new("master_1", "AAAA"));
    static readonly DataKey Second = new("key_2", DataKeys.Secrets, new("master_1", "BBBB"));
    static readonly DataKey Requests = new("key_3", DataKeys.Requests, new("master_1", "CCCC"));

    [Fact]
    public void Two_who_make_a_key_at_once_use_the_one_that_was_first()
    {
        Keys.Given().When(new Make(First, null, A.Morning)).Then(new DataKeyMade(First, A.Morning));
        Keys.Given(new DataKeyMade(First, A.Morning)).When(new Make(Second, null, A.Morning)).ThenNothing();
        Keys.Given(new DataKeyMade(First, A.Morning)).When(new Make(Second, "key_1", A.Morning)).Then(new DataKeyMade(Second, A.Morning));
    }

    [Fact]
    public void A_key_of_another_purpose_takes_no_ones_place()
    {
        Keys.Given(new DataKeyMade(First, A.Morning)).When(new Make(Requests, null, A.Morning)).Then(new DataKeyMade(Requests, A.Morning));
        var keys = DataKeys.Evolve(DataKeys.Evolve(new([]), new DataKeyMade(First, A.Morning)), new DataKeyMade(Requests, A.Morning));
        Assert.Equal((First, Requests), (keys.Current(DataKeys.Secrets), keys.Current(DataKeys.Requests)));
    }

    [Fact]
    public void A_key_is_wrapped_anew_once()
    {
        var anew = new WrappedKey("master_2", "DDDD");
        Keys.Given(new DataKeyMade(First, A.Morning)).When(new Rewrap("key_1", anew, A.Morning)).Then(new DataKeyRewrapped("key_1", anew, A.Morning));
        Keys.Given(new DataKeyMade(First, A.Morning), new DataKeyRewrapped("key_1", anew, A.Morning)).When(new Rewrap("key_1", anew, A.Morning)).ThenNothing();
        Keys.Given().When(new Rewrap("key_1", anew, A.Morning)).ThenRefused("not_found");
    }

    [Fact]
    public void Of_two_hosts_that_bring_a_master_key_the_second_learns_of_the_first()
    {
        Masters.Given().When(new Adopt("master_1", null, A.Morning)).Then(new MasterKeyAdopted("master_1", A.Morning));
        Masters.Given(new MasterKeyAdopted("master_1", A.Morning)).When(new Adopt("master_2", null, A.Morning)).ThenNothing();
        Masters.Given(new MasterKeyAdopted("master_1", A.Morning)).When(new Adopt("master_2", "master_1", A.Morning)).Then(new MasterKeyAdopted("master_2", A.Morning));
        Masters.Given(new MasterKeyAdopted("master_1", A.Morning)).When(new Adopt("master_1", "master_1", A.Morning)).ThenNothing();
    }

    [Fact]
    public void A_tenant_is_registered_once()
    {
        Masters.Given().When(new Register("acme", A.Morning)).Then(new KeyTenantRegistered("acme", A.Morning));
        Masters.Given(new KeyTenantRegistered("acme", A.Morning)).When(new Register("acme", A.Morning)).ThenNothing();
    }
}
