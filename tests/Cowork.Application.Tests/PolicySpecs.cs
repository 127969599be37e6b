using Cowork.Domain;

using Xunit;

namespace Cowork.Application.Tests;

public sealed class PolicySpecs
{
    public static TheoryData<string, string?, string> Cases => Table.Triples(
        """
        read_file read        | data/a.csv          | allow read_inside
        list_files list       | .                   | allow read_inside
        search_files search   | .                   | allow read_inside
        remember remember     | -                   | allow memory
        recall recall         | -                   | allow memory
        read_file read        | .env                | deny secret_path
        read_file read        | app/.env.production | deny secret_path
        read_file read        | .ENV                | deny secret_path
        read_file read        | .environment/x      | deny secret_path
        read_file read        | keys/id_rsa         | deny secret_path
        read_file read        | id_rsa.pub          | deny secret_path
        read_file read        | secrets/token.txt   | deny secret_path
        list_files list       | deep/Secrets        | deny secret_path
        read_file read        | my.env              | allow read_inside | .env begins the name
        read_file read        | secrets.md          | allow read_inside | a file about secrets is no folder of them
        write_file write      | a.txt               | deny no_rule
        x invalid             | -                   | deny no_rule
        """);

    [Theory]
    [MemberData(nameof(Cases))]
    public void The_first_rule_that_fits_decides(string call, string? path, string expected) =>
        Assert.Equal(expected, Word(Policy.BuiltIn.Judge(call.Split(' ')[0], new(call.Split(' ')[1], path))));

    [Theory]
    [InlineData("read")]
    [InlineData("list")]
    [InlineData("search")]
    public void Outside_the_grants_nothing_is_read(string kind) =>
        Assert.Equal("deny outside_grants", Word(Policy.BuiltIn.Judge("any", new(kind, null, InsideGrants: false))));

    [Fact]
    public void A_call_that_cannot_be_judged_is_denied_with_the_reason()
    {
        var verdict = Policy.BuiltIn.Judge("read_file", new("read", Invalid: "The path is empty."));
        Assert.Equal(("deny invalid_input", "The path is empty."), (Word(verdict), verdict.Reason));
    }

    [Fact]
    public void A_call_that_cannot_be_judged_is_never_allowed()
    {
        var lax = new Policy([new("all", PolicyOutcome.Allow, "Anything goes.")]);
        Assert.Equal("deny no_rule", Word(lax.Judge("read_file", new("read", Invalid: "The path is empty."))));
    }

    [Fact]
    public void A_rule_may_name_tools()
    {
        var policy = new Policy([new("mcp", PolicyOutcome.Allow, "Trusted.") { Tools = ["mcp__docs__*"] }]);
        Assert.Equal("allow mcp", Word(policy.Judge("mcp__docs__find", new("call"))));
        Assert.Equal("deny no_rule", Word(policy.Judge("mcp__mail__send", new("call"))));
    }

    static string Word(PolicyVerdict verdict) => $"{(verdict.Outcome == PolicyOutcome.Allow ? "allow" : "deny")} {verdict.Rule}";
}
