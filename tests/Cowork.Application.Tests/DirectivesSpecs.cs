using Xunit;

namespace Cowork.Application.Tests;

public sealed class DirectivesSpecs
{
    [Theory]
    [InlineData("/tool read_file {\"path\":\"a\"}", "read_file {\"path\":\"a\"}")]
    [InlineData("/tool list_files", "list_files {}")]
    [InlineData("/tool a{\"x\":1}", "a {\"x\":1}")]
    [InlineData("/tool a {\"x\":1}\r\n/tool b {broken", "a {\"x\":1} | b {broken")]
    [InlineData("```python\nx = 1\nprint(\"x\")\n```", "scratchpad {\"action\":\"exec\",\"code\":\"x = 1\\nprint(\\\"x\\\")\"}")]
    [InlineData("```python\nopen", "scratchpad {\"action\":\"exec\",\"code\":\"open\"}")]
    [InlineData("```python\n/tool a\n```\n/tool b", "scratchpad {\"action\":\"exec\",\"code\":\"/tool a\"} | b {}")]
    [InlineData("````python\n```\n````", "scratchpad {\"action\":\"exec\",\"code\":\"```\"}")]
    [InlineData("```\n/tool a\n```", "")]     // a block of any other kind is text
    [InlineData("  /tool a", "")]     // a directive begins its line
    [InlineData("/tool", "")]
    [InlineData("/toolbox a", "")]
    public void Calls_are_taken_in_order(string message, string calls) =>
        Assert.Equal(calls, string.Join(" | ", Directives.Of(message).Calls.Select(c => $"{c.Name} {c.Input}")));

    [Fact]
    public void What_is_no_directive_is_the_question()
    {
        var directives = Directives.Of("What is this?\n/sleep 250\n/say One.\n/fail broken\n/sleep soon\n/say Two.\nAnd that?");
        Assert.Equal("What is this?\n/sleep soon\nAnd that?", directives.Question);
        Assert.Equal((TimeSpan.FromMilliseconds(250), "broken", "One.\nTwo."), (directives.Sleep, directives.Fail, directives.Say));
    }
}
