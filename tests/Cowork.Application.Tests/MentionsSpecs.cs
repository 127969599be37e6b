using Xunit;

namespace Cowork.Application.Tests;

public sealed class MentionsSpecs
{
    static readonly string[] Names = ["critic", "Fact-Checker", "a_1"];

    [Theory]
    [InlineData("@critic what do you think?", "critic")]
    [InlineData("Ask @CRITIC, then @fact-checker.", "critic,Fact-Checker")]
    [InlineData("(@critic) and \"@a_1\"", "critic,a_1")]
    [InlineData("@critic @critic", "critic")]
    [InlineData("@critic- or @critic_", "critic")] // what ends a word is no part of the name
    [InlineData("first\n@a_1\n@critic", "a_1,critic")]
    [InlineData("mail ann@critic.example", "")] // an address
    [InlineData("@critics @criticé @critic-2 @@ @", "")] // longer names
    [InlineData("critic", "")]
    [InlineData("`@critic` and a ` lone one", "")]
    [InlineData("a ` lone one and @critic", "critic")]
    [InlineData("```python\n@critic\n```", "")]
    [InlineData("```\n@critic\n```\n@a_1", "a_1")]
    [InlineData("\u0441ritic @\u0441ritic @cr\u0456tic", "")] // letters of another script that look the same
    [InlineData("\uff20critic @\uff43ritic @cri\u200dtic", "")] // another sign, a wide letter, a joiner inside
    [InlineData("@critic\u0301 @critic\ud835\udc31 \ud835\udc31@critic", "")] // a name that goes on with a mark or with a letter of two chars, and an address
    [InlineData("@fact-chec\u212aer @cr\u0131tic", "")] // the sign of Kelvin and an i without a dot are no letters of a name in another case
    [InlineData("\ud83d\ude00@critic\ud83d\ude00", "critic")]
    [InlineData("", "")]
    public void A_text_addresses_whom_it_names_after_the_sign(string text, string expected) => Assert.Equal(expected, string.Join(',', Mentions.In(text, Names)));
}
