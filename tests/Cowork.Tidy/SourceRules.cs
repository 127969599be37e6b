using System.Text.RegularExpressions;

using Xunit;

namespace Cowork.Tidy;

public sealed partial class SourceRules
{
    /// <summary>What fits a screen beside its diff.</summary>
    const int LineMax = 180;

    /// <summary>These files spell out what they forbid.</summary>
    static IEnumerable<string> Others => Repository.Sources.Where(f => f != "tests/Cowork.Tidy/SourceRules.cs");

    /// <summary>Interfaces that have one implementation, and why.</summary>
    static readonly Dictionary<string, string> WithOneImplementation = new()
    {
        ["IReadModel"] = "ReadModel<TRow> is one for each type of row; whoever writes rows of all types needs a name for them together.",
        ["IConnectionSecrets"] = "The specs of OAuth have the other one.",
        ["IFileQueries"] = "Application asks, Projections answers, and the one arrow does not let the one name the other.",
        ["IScratchpadQueries"] = "Application asks, Projections answers, and the one arrow does not let the one name the other.",
        ["IRetentionQueries"] = "Application asks, Projections answers, and the one arrow does not let the one name the other.",
        ["IRunQueries"] = "Application asks, Projections answers, and the one arrow does not let the one name the other.",
    };

    /// <summary>Types by what they are said to be derived from.</summary>
    static readonly ILookup<string, (string Name, bool IsInterface)> Bases = (
        from file in Repository.Sources
        from type in TypeWithBases().Matches(Repository.Read(file))
        from word in Word().Matches(type.Groups["bases"].Value)
        select (Of: word.Value, Name: type.Groups["name"].Value, IsInterface: type.Groups["kind"].Value == "interface"))
        .ToLookup(t => t.Of, t => (t.Name, t.IsInterface));

    static IEnumerable<string> Tests => Others.Where(f => f.StartsWith("tests/", StringComparison.Ordinal));

    /// <summary>The command line sends ids over HTTP, as any client does.</summary>
    static bool IsInTheHost(string file) => file.StartsWith("src/", StringComparison.Ordinal) && !file.StartsWith("src/Cowork.Cli/", StringComparison.Ordinal);

    [Fact]
    public void Types_are_named_for_what_they_are() => Rule.Holds(
        Repository.Where(Others, line => VagueName().IsMatch(line)),
        "Manager, Helper, Service, Util and Impl name nothing. Say what it does: RunDriver, FeedHub, KeyLease:");

    [Fact]
    public void A_key_is_no_string() => Rule.Holds(
        Repository.Where(Others.Where(IsInTheHost), line => KeyAsText().IsMatch(line)), "Take the noun's key: RunKey, SessionKey, … (src/Cowork.Domain/Ids):");

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
    public void An_interface_has_two_implementations() => Rule.Holds(
        from file in Repository.Sources
        where file.StartsWith("src/", StringComparison.Ordinal)
        from name in Interface().Matches(Repository.Read(file)).Select(m => m.Groups["name"].Value)
        let implementations = Implementations(name).Distinct().ToList()
        where implementations.Count < 2 != WithOneImplementation.ContainsKey(name)
        select $"{file}: {name}, implemented by {(implementations.Count == 0 ? "nobody" : string.Join(", ", implementations))}",
        "Use the class itself, or write the second one: another way to do it, or a fake that works. (SourceRules.WithOneImplementation has those that are right with one.)");

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

    [Fact]
    public void A_random_search_takes_its_seed_from_one_place() => Rule.Holds(
        Repository.Where(Tests.Where(f => f != "tests/Cowork.Testing/Seeds.cs"), line => OwnSeed().IsMatch(line)),
        "Write Seeds.One or Seeds.Many, so that --chaos draws the seed and COWORK_SEED names it:");

    /// <summary>Types that implement an interface, also by one that extends it; tests' fakes are among them.</summary>
    static IEnumerable<string> Implementations(string of) =>
        from type in Bases[of]
        from implementation in type.IsInterface ? Implementations(type.Name) : [type.Name]
        select implementation;

    [GeneratedRegex(@"\bstring\??\s+(run|session|skill|schedule|approval|artifact|memory)(Id|Key)?\s*[,)=]")]
    private static partial Regex KeyAsText();

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

    [GeneratedRegex(@"^\s*(\w+ )*interface (?<name>\w+)", RegexOptions.Multiline)]
    private static partial Regex Interface();

    /// <summary>Between the name and the colon a type may have parameters: brackets that hold brackets.</summary>
    [GeneratedRegex(
        @"\b(?<kind>class|record|struct|interface) (?<name>\w+)(<[^>]*>)?\s*(\((?>[^()]|(?<open>\()|(?<-open>\)))*(?(open)(?!))\))?"
        + @"\s*:(?<bases>[^{;]*?)(\bwhere\b|[{;])",
        RegexOptions.ExplicitCapture)]
    private static partial Regex TypeWithBases();

    [GeneratedRegex(@"\w+")]
    private static partial Regex Word();

    [GeneratedRegex(@"new Random\((\d|\))|COWORK_(SEED|CHAOS)|Random\(Environment")]
    private static partial Regex OwnSeed();

    [GeneratedRegex(@"Task\.Delay\((TimeSpan\.FromSeconds|TimeSpan\.FromMinutes|\d{4,}|\d_\d{3})")]
    private static partial Regex LongDelay();
}
