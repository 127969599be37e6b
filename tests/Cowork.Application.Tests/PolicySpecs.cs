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
        read_file read        | .npmrc              | deny secret_path
        read_file read        | app/.pypirc         | deny secret_path
        read_file read        | .netrc              | deny secret_path
        read_file read        | .pgpass             | deny secret_path
        read_file read        | .git-credentials    | deny secret_path
        read_file read        | tls/server.pem      | deny secret_path
        read_file read        | tls/Server.KEY      | deny secret_path
        read_file read        | a.pfx               | deny secret_path
        read_file read        | .ssh/known_hosts    | deny secret_path
        read_file read        | .aws/credentials    | deny secret_path
        read_file read        | .azure/x            | deny secret_path
        read_file read        | .kube/config        | deny secret_path
        read_file read        | .docker/config.json | deny secret_path
        read_file read        | keyboard.md         | allow read_inside
        read_file read        | pem.txt             | allow read_inside
        read_file read        | secrets/token.txt   | deny secret_path
        list_files list       | deep/Secrets        | deny secret_path
        read_file read        | my.env              | allow read_inside | .env begins the name
        read_file read        | secrets.md          | allow read_inside | a file about secrets is no folder of them
        write_file create     | a.txt               | confirm create_inside
        write_file overwrite  | a.txt               | confirm overwrite_inside
        write_file create     | .anton/output/a.txt | allow write_output
        write_file overwrite  | .anton/output/d/a   | allow write_output
        write_file create     | .anton/outputs/a    | confirm create_inside   | a name that begins alike
        write_file create     | .Anton/output/a     | confirm create_inside   | another folder, on this disk
        write_file create     | .anton/output/.env  | deny secret_path
        delete_file delete    | a.txt               | confirm delete_inside
        delete_file delete    | .anton/output/a.txt | confirm delete_inside
        move_file move        | a.txt               | confirm move_inside
        delete_file delete    | .env                | deny secret_path
        scratchpad execute    | -                   | allow cell
        scratchpad execute    | a.csv               | allow cell
        scratchpad execute    | .env                | deny secret_path
        x cell                | -                   | deny no_rule
        x invalid             | -                   | deny no_rule
        """);

    [Theory]
    [InlineData(0, "allow cell")]
    [InlineData(90, "allow cell")]
    [InlineData(91, "confirm long_cell")]
    public void Code_that_says_it_takes_long_is_confirmed(int seconds, string expected) =>
        Assert.Equal(expected, Word(Policy.BuiltIn.Evaluate("scratchpad", new("execute") { EstimateSeconds = seconds })));

    [Fact]
    public void Code_that_touches_one_secret_among_other_files_is_denied() =>
        Assert.Equal("deny secret_path", Word(Policy.BuiltIn.Evaluate("scratchpad", new("execute", "a.csv") { More = ["b.csv", ".env"] })));

    [Theory]
    [MemberData(nameof(Cases))]
    public void The_first_rule_that_fits_decides(string call, string? path, string expected) =>
        Assert.Equal(expected, Word(Policy.BuiltIn.Evaluate(call.Split(' ')[0], new(call.Split(' ')[1], path))));

    [Theory]
    [InlineData("read")]
    [InlineData("list")]
    [InlineData("search")]
    [InlineData("create")]
    [InlineData("overwrite")]
    [InlineData("delete")]
    [InlineData("move")]
    public void Outside_the_grants_nothing_is_touched(string kind) =>
        Assert.Equal("deny outside_grants", Word(Policy.BuiltIn.Evaluate("any", new(kind, null, InsideGrants: false))));

    [Fact]
    public void A_call_that_cannot_be_judged_is_denied_with_the_reason()
    {
        var verdict = Policy.BuiltIn.Evaluate("read_file", new("read", Invalid: "The path is empty."));
        Assert.Equal(("deny invalid_input", "The path is empty."), (Word(verdict), verdict.Reason));
    }

    [Fact]
    public void A_call_that_cannot_be_judged_is_never_allowed()
    {
        var lax = new Policy([new("all", PolicyOutcome.Allow, "Anything goes.")]);
        Assert.Equal("deny no_rule", Word(lax.Evaluate("read_file", new("read", Invalid: "The path is empty."))));
    }

    [Fact]
    public void A_rule_may_name_tools()
    {
        var policy = new Policy([new("mcp", PolicyOutcome.Allow, "Trusted.") { Tools = ["mcp__docs__*"] }]);
        Assert.Equal("allow mcp", Word(policy.Evaluate("mcp__docs__find", new("call"))));
        Assert.Equal("deny no_rule", Word(policy.Evaluate("mcp__mail__send", new("call"))));
    }

    [Theory]
    [InlineData("a.txt", "secrets/a.txt", "deny secret_path")]
    [InlineData(".env", "a.txt", "deny secret_path")]
    [InlineData("a.txt", "b.txt", "confirm move_inside")]
    public void Either_path_of_a_move_may_be_the_reason_to_deny_it(string from, string to, string expected) =>
        Assert.Equal(expected, Word(Policy.BuiltIn.Evaluate("move_file", new("move", from) { Target = to })));

    [Fact]
    public void Both_paths_of_a_move_must_be_where_moving_is_allowed()
    {
        var policy = new Policy([new("tidy", PolicyOutcome.Allow, "Tidying up.") { Kinds = ["move"], Below = ["box"] }]);
        Assert.Equal("allow tidy", Word(policy.Evaluate("move_file", new("move", "box/a") { Target = "box/b" })));
        Assert.Equal("deny no_rule", Word(policy.Evaluate("move_file", new("move", "box/a") { Target = "b" })));
        Assert.Equal("deny no_rule", Word(policy.Evaluate("move_file", new("move", "a") { Target = "box/b" })));
    }

    [Fact]
    public void What_was_approved_is_not_what_has_become_of_it()
    {
        var asked = new GrantedApproval(new("x"), "create_inside", "");
        Assert.Null(Policy.BuiltIn.Reevaluate("write_file", new("create", "a.txt"), asked));
        Assert.Null(Policy.BuiltIn.Reevaluate("write_file", new("create", ".anton/output/a.txt"), null));
        Assert.Contains("has changed since it was approved (now overwrite_inside)", Policy.BuiltIn.Reevaluate("write_file", new("overwrite", "a.txt"), asked)!.Text);
        Assert.Contains("has changed since it was allowed (now create_inside)", Policy.BuiltIn.Reevaluate("write_file", new("create", "a.txt"), null)!.Text);
        Assert.Contains("Refused by policy (secret_path)", Policy.BuiltIn.Reevaluate("write_file", new("create", ".env"), asked)!.Text);
    }

    static string Word(PolicyVerdict verdict) => $"{verdict.Outcome.ToString().ToLowerInvariant()} {verdict.Rule}";
}
