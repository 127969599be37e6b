using System.Text;

using Cowork.Domain;

using Xunit;

namespace Cowork.Application.Tests;

public sealed class PolicyFileSpecs
{
    [Fact]
    public void The_built_in_policy_is_the_one_that_the_document_shows()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "Cowork.sln")))
        {
            folder = folder.Parent;
        }
        var text = File.ReadAllText(Path.Combine(folder.FullName, "docs", "policy.md"));
        var begin = text.IndexOf("```json", StringComparison.Ordinal) + 7;
        var shown = PolicyFile.Parse(Encoding.UTF8.GetBytes(text[begin..text.IndexOf("```", begin, StringComparison.Ordinal)]));
        Assert.Equal(Policy.BuiltIn.Rules.Select(Words), shown.Rules.Select(Words));

        static string Words(PolicyRule r) =>
            $"{r.Name} {r.Outcome} {r.Reason} {string.Join(',', r.Kinds)} {string.Join(',', r.Tools)} {string.Join(',', r.Paths)} {string.Join(',', r.Below)} {r.InsideGrants} {r.InvalidInput}";
    }

    [Theory]
    [InlineData("", "is an invalid start|contain any JSON")]
    [InlineData("[]", "$: it must be an object with rules.")]
    [InlineData("{}", "$.rules: it must be a list of rules.")]
    [InlineData("""{"rules":[]}""", "$.rules: a policy without a rule allows nothing.")]
    [InlineData("""{"show_thinking":"yes"}""", "$.show_thinking: it must be true or false.")]
    [InlineData("""{"show_thinking":true,"rules":[]}""", "$.rules: a policy without a rule allows nothing.")]
    [InlineData("""{"rules":[],"rule":[]}""", "$.rule: there is no such member")]
    [InlineData("""{"rules":[{"outcome":"allow","reason":"x"}]}""", "$.rules[0].name: it must be a text.")]
    [InlineData("""{"rules":[{"name":"A b","outcome":"allow","reason":"x"}]}""", "$.rules[0].name: it must be a snake_case name")]
    [InlineData("""{"rules":[{"name":"no_rule","outcome":"allow","reason":"x"}]}""", "$.rules[0].name: it must be a snake_case name")]
    [InlineData("""{"rules":[{"name":"a","outcome":"perhaps","reason":"x"}]}""", "$.rules[0].outcome: it must be allow, confirm or deny.")]
    [InlineData("""{"rules":[{"name":"a","outcome":"allow","reason":"x","path":["b"]}]}""", "$.rules[0].path: there is no such member")]
    [InlineData("""{"rules":[{"name":"a","outcome":"allow","reason":"x","paths":"b"}]}""", "$.rules[0].paths: it must be a list of texts")]
    [InlineData("""{"rules":[{"name":"a","outcome":"allow","reason":"x","estimate_over":"90"}]}""", "$.rules[0].estimate_over: it must be a whole number of seconds.")]
    [InlineData("""{"rules":[{"name":"a","outcome":"allow","reason":"x","kinds":["write"]}]}""", "$.rules[0].kinds: there is no kind \"write\"")]
    [InlineData("""{"rules":[{"name":"a","outcome":"allow","reason":"x","inside_grants":"yes"}]}""", "$.rules[0].inside_grants: it must be true or false.")]
    [InlineData("""{"rules":[{"name":"a","outcome":"deny","reason":"x","paths":["secrets/keys"]}]}""", "$.rules[0].paths: \"secrets/keys\" is not one part of a path")]
    [InlineData("""{"rules":[{"name":"a","outcome":"deny","reason":"x","paths":["/secrets"]}]}""", "$.rules[0].paths: \"/secrets\" is not one part of a path")]
    [InlineData("""{"rules":[{"name":"a","outcome":"deny","reason":"x","paths":[".."]}]}""", "$.rules[0].paths: \"..\" is not one part of a path")]
    [InlineData("""{"rules":[{"name":"a","outcome":"deny","reason":"x","below":["/etc"]}]}""", "$.rules[0].below: \"/etc\" is not a folder")]
    [InlineData("""{"rules":[{"name":"a","outcome":"deny","reason":"x","below":["./drafts"]}]}""", "$.rules[0].below: \"./drafts\" is not a folder")]
    [InlineData("""{"rules":[{"name":"a","outcome":"deny","reason":"x","below":["drafts","old/*"]}]}""", "$.rules[0].below: \"old/*\" is not a folder")]
    [InlineData("""{"rules":[{"name":"a","outcome":"allow","reason":"x"},{"name":"a","outcome":"deny","reason":"x"}]}""", "$.rules: two rules are named a")]
    public void A_bad_file_is_refused_with_a_sentence(string json, string says)
    {
        var path = Path.GetTempFileName();
        try
        {
            File.WriteAllText(path, json);
            var refused = Assert.Throws<ArgumentException>(() => PolicyFile.Read(path));
            Assert.StartsWith($"The policy {path} cannot be used: ", refused.Message, StringComparison.Ordinal);
            Assert.Contains(says.Split('|'), part => refused.Message.Contains(part, StringComparison.Ordinal));
        }
        finally
        {
            File.Delete(path);
        }
        Assert.StartsWith("The policy /nowhere/policy.json cannot be read", Assert.Throws<ArgumentException>(() => PolicyFile.Read("/nowhere/policy.json")).Message);
    }

    [Theory]
    [InlineData("""{"show_thinking":true}""", true, true)]
    [InlineData("""{"show_thinking":false}""", false, true)]
    [InlineData("""{"show_thinking":true,"rules":[{"name":"a","outcome":"allow","reason":"x"}]}""", true, false)]
    [InlineData("""{"rules":[{"name":"a","outcome":"allow","reason":"x"}]}""", false, false)]
    public void Thinking_is_shown_only_where_the_file_says_so(string json, bool shows, bool builtIn)
    {
        var policy = PolicyFile.Parse(Encoding.UTF8.GetBytes(json));
        Assert.Equal(shows, policy.ShowThinking);
        Assert.Equal(builtIn, policy.Rules.SequenceEqual(Policy.BuiltIn.Rules));
        Assert.False(Policy.BuiltIn.ShowThinking);
    }

    [Fact]
    public void Rules_are_taken_in_their_order()
    {
        var policy = PolicyFile.Parse("""
            {"rules":[
              {"name":"no_drafts","outcome":"deny","reason":"Drafts stay.","kinds":["delete"],"below":["drafts"]},
              {"name":"tidy","outcome":"allow","reason":"Tidy up.","kinds":["delete"],"inside_grants":true}
            ]}
            """u8);
        Assert.Equal((PolicyOutcome.Deny, "no_drafts"), Verdict("drafts/a"));
        Assert.Equal((PolicyOutcome.Allow, "tidy"), Verdict("a"));
        (PolicyOutcome, string) Verdict(string path) => policy.Evaluate("delete_file", new("delete", path)) is var v ? (v.Outcome, v.Rule) : default;
    }
}
