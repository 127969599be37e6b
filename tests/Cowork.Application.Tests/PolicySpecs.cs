using Cowork.Domain;

using Xunit;

namespace Cowork.Application.Tests;

public sealed class PolicySpecs
{
    [Theory]
    [InlineData("read_file",    "read",     "data/a.csv",            "allow read_inside")]
    [InlineData("list_files",   "list",     ".",                     "allow read_inside")]
    [InlineData("search_files", "search",   ".",                     "allow read_inside")]
    [InlineData("remember",     "remember", null,                    "allow memory")]
    [InlineData("recall",       "recall",   null,                    "allow memory")]
    [InlineData("read_file",    "read",     ".env",                  "deny secret_path")]
    [InlineData("read_file",    "read",     "app/.env.production",   "deny secret_path")]
    [InlineData("read_file",    "read",     ".ENV",                  "deny secret_path")]
    [InlineData("read_file",    "read",     ".environment/x",        "deny secret_path")]
    [InlineData("read_file",    "read",     "keys/id_rsa",           "deny secret_path")]
    [InlineData("read_file",    "read",     "id_rsa.pub",            "deny secret_path")]
    [InlineData("read_file",    "read",     "secrets/token.txt",     "deny secret_path")]
    [InlineData("list_files",   "list",     "deep/Secrets",          "deny secret_path")]
    [InlineData("read_file",    "read",     "my.env",                "allow read_inside")]   // .env begins the name
    [InlineData("read_file",    "read",     "secrets.md",            "allow read_inside")]   // a file about secrets is no folder of them
    [InlineData("write_file",   "write",    "a.txt",                 "deny no_rule")]
    [InlineData("x",            "invalid",  null,                    "deny no_rule")]
    public void The_first_rule_that_fits_decides(string tool, string kind, string? path, string expected) =>
        Assert.Equal(expected, Word(Policy.BuiltIn.Judge(tool, new(kind, path))));

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
