using System.Text.RegularExpressions;

using Xunit;

namespace Cowork.Tidy;

public sealed partial class DocumentRules
{
    const int ReadmeLinesMax = 150;
    const int LineMax = 200;

    [Fact]
    public void The_readme_is_read_in_one_go() => Rule.Holds(
        Repository.Documents.Where(f => f == "README.md" && Repository.Lines(f).Length > ReadmeLinesMax),
        $"At most {ReadmeLinesMax} lines; move the rest to docs/ and link it:");

    [Fact]
    public void Only_the_known_documents_stand_at_the_root() => Rule.Holds(
        Repository.Documents.Where(f => !f.Contains('/', StringComparison.Ordinal)).Except(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE.md"]),
        "Plans and notes belong into issues, documents into docs/:");

    [Fact]
    public void Lines_of_prose_are_short() => Rule.Holds(
        Repository.Where(Repository.Documents, line => line.Length > LineMax && !line.StartsWith('|') && !line.Contains("](", StringComparison.Ordinal)),
        $"Break the line at {LineMax} characters:");

    [Fact]
    public void Links_lead_somewhere() => Rule.Holds(
        from document in Repository.Documents
        from link in Link().Matches(Repository.Read(document))
        let target = link.Groups["target"].Value.Split('#')[0]
        where target.Length > 0 && !target.Contains(':', StringComparison.Ordinal)
        let path = Path.Combine(Repository.Root, Path.GetDirectoryName(document)!, target)
        where !File.Exists(path) && !Directory.Exists(path)
        select $"{document}: {target}",
        "Mend the link:");

    [Fact]
    public void Every_page_is_found_from_the_readme()
    {
        var linked = Link().Matches(Repository.Read("README.md")).Select(link => link.Groups["target"].Value.Split('#')[0]).ToHashSet();
        Rule.Holds(
            Repository.Documents.Where(f => f.StartsWith("docs/", StringComparison.Ordinal) && !Decisions.Contains(f) && !linked.Contains(f)),
            "Link the page in the README, where somebody who needs it looks:");
    }

    [Fact]
    public void What_the_pages_tell_to_type_is_a_command_of_the_script()
    {
        var script = Repository.Read("cowork");
        var known = Label().Matches(script[script.IndexOf("\ncase $command in", StringComparison.Ordinal)..])
            .SelectMany(label => label.Groups["names"].Value.Split(" | ")).ToHashSet();
        Rule.Holds(
            from document in Repository.Documents.Except(Decisions)
            from typed in Typed().Matches(Repository.Read(document))
            where !known.Contains(typed.Groups["name"].Value)
            select $"{document}: {typed.Value}",
            "Add the command to the script cowork:");
        Rule.Holds(
            from command in ProgramCommand().Matches(Repository.Read("src/Cowork.Cli/Program.cs"))
            where !known.Contains(command.Groups["name"].Value)
            select command.Groups["name"].Value,
            "A command of the program is one of the script cowork:");
    }

    [Fact]
    public void Decisions_are_numbered_without_a_gap()
    {
        var numbers = Decisions.Select(f => Path.GetFileName(f)[..4]);
        Assert.Equal(numbers, Decisions.Select((_, i) => (i + 1).ToString("0000")));
    }

    [Fact]
    public void A_decision_says_context_decision_and_consequences() => Rule.Holds(
        Decisions.Where(f => !new[] { "## Context", "## Decision", "## Consequences" }.All(Repository.Lines(f).Contains)),
        "A decision record has the headings Context, Decision and Consequences, on one page:");

    [Fact]
    public void Every_error_code_is_in_the_table()
    {
        var table = Repository.Read("docs/errors.md");
        Rule.Holds(
            from file in Repository.Sources
            where file.StartsWith("src/", StringComparison.Ordinal)
            from code in ErrorCode().Matches(Repository.Read(file))
            where !table.Contains($"`{code.Groups["code"].Value}`", StringComparison.Ordinal)
            select $"{file}: {code.Groups["code"].Value}",
            "Add a row to docs/errors.md: clients go by the code:");
    }

    static IReadOnlyList<string> Decisions => [.. Repository.Documents.Where(f => f.StartsWith("docs/decisions/", StringComparison.Ordinal))];

    [GeneratedRegex("""
        (Refusal\.(Conflict|Invalid|TooMany)\(|\bGiveUp\(|\bFail\(claim, |\bFail\(claim\.Epoch, |\bnew( Problem| Refusal)?\((\d{3}|status), |\bcode = )"(?<code>[a-z_]+)"
        """)]
    private static partial Regex ErrorCode();

    [GeneratedRegex(@"^    (?<names>[a-z-]+( \| [a-z-]+)*)\)", RegexOptions.Multiline)]
    private static partial Regex Label();

    [GeneratedRegex(@"\./cowork (?<name>[a-z][a-z-]*)")]
    private static partial Regex Typed();

    [GeneratedRegex("""^    \["(?<name>[a-z-]+)", \.\.""", RegexOptions.Multiline)]
    private static partial Regex ProgramCommand();

    [GeneratedRegex(@"(?<!!)\[[^\]\n]*\]\((?<target>[^)\s]+)\)")]
    private static partial Regex Link();
}
