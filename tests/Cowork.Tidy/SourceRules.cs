using System.Text.RegularExpressions;

using Xunit;

namespace Cowork.Tidy;

public sealed partial class SourceRules
{
    /// <summary>What fits a screen beside its diff.</summary>
    const int LineMax = 180;

    /// <summary>These files spell out what they forbid.</summary>
    static IEnumerable<string> Others => Repository.Sources.Where(f => f != "tests/Cowork.Tidy/SourceRules.cs");

    static IEnumerable<string> Tests => Others.Where(f => f.StartsWith("tests/", StringComparison.Ordinal));

    [Fact]
    public void Types_are_named_for_what_they_are() => Rule.Holds(
        Repository.Where(Others, line => VagueName().IsMatch(line)),
        "Manager, Helper, Service, Util and Impl name nothing. Say what it does: RunDriver, FeedHub, KeyLease:");

    [Fact]
    public void Nothing_is_left_to_do() => Rule.Holds(
        Repository.Where(Others, line => Leftover().IsMatch(line)),
        "Do it now, or open an issue; a note in the code is read by nobody:");

    [Fact]
    public void No_code_is_commented_out() => Rule.Holds(
        Repository.Where(Others, line => DeadCode().IsMatch(line)),
        "Delete it; git remembers. (A comment is a sentence: it does not end in a semicolon or a brace.)");

    [Fact]
    public void A_warning_is_silenced_for_a_reason() => Rule.Holds(
        Repository.Where(Others, line => line.Contains("#pragma warning disable", StringComparison.Ordinal) && !line.Contains("//", StringComparison.Ordinal)),
        "Say why on the same line, after //, or settle the rule in .editorconfig:");

    [Fact]
    public void No_regions_and_no_licence_headers() => Rule.Holds(
        Repository.Where(Others, line => line.TrimStart().StartsWith("#region", StringComparison.Ordinal) || line.Contains("Copyright (c)", StringComparison.OrdinalIgnoreCase)),
        "A file that wants regions wants to be two files; the licence is in LICENSE:");

    [Fact]
    public void A_comment_says_what_the_name_does_not() => Rule.Holds(
        Repository.Where(Others, line => EmptySummary().IsMatch(line)),
        "Say why, or in what unit, or nothing:");

    [Fact]
    public void Lines_fit_a_screen() => Rule.Holds(
        Repository.Where(Repository.Sources.Except(Tests).Append("cowork"), line => line.Length > LineMax),
        $"Break it at {LineMax} characters, at a comma or before an operator:");

    /// <summary>A test may hold a whole row or answer as it is to come.</summary>
    [Fact]
    public void Lines_of_tests_nearly_fit_a_screen() => Rule.Holds(
        Repository.Where(Tests, line => line.Length > LineMax + 80), $"Break it at {LineMax + 80} characters, at a comma or before an operator:");

    [Fact]
    public void An_unknown_event_is_a_bug() => Rule.Holds(
        Repository.Where(Others.Where(f => f.StartsWith("src/Cowork.Domain/", StringComparison.Ordinal)), line => line.Contains("_ => state", StringComparison.Ordinal)),
        "Evolve is total: name every event, and throw UnreachableException for the rest:");

    [Fact]
    public void No_test_is_skipped() => Rule.Holds(
        Repository.Where(Tests, line => Skipped().IsMatch(line)), "Mend it or delete it:");

    [Fact]
    public void A_tests_name_is_a_sentence() => Rule.Holds(
        from file in Tests
        from test in TestMethod().Matches(Repository.Read(file))
        where !test.Groups["name"].Value.Contains('_', StringComparison.Ordinal)
        select $"{file}: {test.Groups["name"].Value}",
        "Write A_settled_approval_cannot_be_denied: what holds, in words:");

    [Fact]
    public void Time_is_awaited_by_a_condition() => Rule.Holds(
        Repository.Where(Tests, line => LongDelay().IsMatch(line)), "Poll for what you wait for, with a deadline; a fixed second is too long here and too short there:");

    [GeneratedRegex(@"\b(class|record|struct|interface|enum)\s+\w*(Manager|Helper|Helpers|Service|Util|Utils|Impl)\b")]
    private static partial Regex VagueName();

    [GeneratedRegex(@"//.*\b(TODO|FIXME|HACK|XXX)\b|\bNotImplementedException\b")]
    private static partial Regex Leftover();

    [GeneratedRegex(@"^\s*//(?!/).*[;{}]\s*$")]
    private static partial Regex DeadCode();

    [GeneratedRegex(@"<summary>\s*(Gets|Sets|Gets or sets|Initializes|Represents) (the|a|an) ")]
    private static partial Regex EmptySummary();

    [GeneratedRegex(@"\bSkip\s*=\s*""")]
    private static partial Regex Skipped();

    [GeneratedRegex(@"\[(Fact|Theory)[^\]]*\](\s*\[[^\n]*\])*\s*public\s+(async\s+)?[\w<>.]+\s+(?<name>\w+)\(", RegexOptions.Singleline)]
    private static partial Regex TestMethod();

    [GeneratedRegex(@"Task\.Delay\((TimeSpan\.FromSeconds|TimeSpan\.FromMinutes|\d{4,}|\d_\d{3})")]
    private static partial Regex LongDelay();
}
