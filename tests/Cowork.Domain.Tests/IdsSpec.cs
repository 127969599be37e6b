using Xunit;

namespace Cowork.Domain.Tests;

public sealed class IdsSpec
{
    const string Key = "01kdvkjr000000000000000001";

    [Fact]
    public void A_key_begins_with_its_time_and_sorts_by_it()
    {
        var keys = Enumerable.Range(0, 1_000).Select(i => Ids.NewKey(A.Later(i))).ToList();
        Assert.All(keys, key => Assert.True(Ids.IsKey(key), key));
        Assert.Equal(keys.Order(StringComparer.Ordinal), keys);
        Assert.Equal(1_000, keys.Distinct().Count());
    }

    [Theory]
    [InlineData("sess_" + Key, Key)]
    [InlineData("conv_" + Key, Key)]
    [InlineData(Key, Key)]
    [InlineData("mine", "mine")]
    [InlineData("conv_mine", "mine")]
    [InlineData("run_" + Key, null)]    // an id of something else
    [InlineData("sess_mine", null)]     // our prefix, not our id
    [InlineData("a/b", null)]
    [InlineData("", null)]
    [InlineData("ä", null)]
    [InlineData("a\0b", null)]
    public void A_session_goes_by_any_of_its_forms(string id, string? key) => Assert.Equal(key, Ids.SessionKey(id));

    [Theory]
    [InlineData("run_" + Key, Key)]
    [InlineData("resp_" + Key, Key)]
    [InlineData("task_" + Key, Key)]
    [InlineData(Key, Key)]
    [InlineData("sess_" + Key, null)]
    [InlineData("run_01KDVKJR000000000000000001", null)] // lower case only
    [InlineData("run_81kdvkjr00000000000000000i", null)]
    [InlineData("run_", null)]
    public void A_run_goes_by_any_of_its_forms(string id, string? key) => Assert.Equal(key, Ids.Key(id, "run", "resp", "task"));

    [Fact]
    public void A_clients_id_has_a_length()
    {
        Assert.True(Ids.IsClientChosen(new('a', Limits.IdCharsMax)));
        Assert.False(Ids.IsClientChosen(new('a', Limits.IdCharsMax + 1)));
    }

    // No InlineData: attributes are stored as UTF-8, which has no lone surrogates.
    public static TheoryData<string, string> Texts => new()
    {
        { "plain", "plain" },
        { "nul\0", "nul\\u0000" },
        { "lone\ud800", "lone\\ud800" },
        { "\udc00x", "\\udc00x" },
        { "pair😀", "pair😀" },
        { "", "" },
    };

    [Theory]
    [MemberData(nameof(Texts), DisableDiscoveryEnumeration = true)]
    public void Text_that_cannot_be_stored_is_written_out(string text, string stored)
    {
        Assert.Equal(stored, StorableText.Escape(text));
        Assert.Equal(text == stored, StorableText.IsStorable(text));
    }
}
