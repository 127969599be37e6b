using System.Globalization;
using System.Text.RegularExpressions;

namespace Cowork.Web.Tests;

/// <summary>
/// A strict reader of what Prometheus scrapes: text format 0.0.4 or OpenMetrics 1.0, by the letter of their documents. It fails on whatever a scraper
/// could stumble over: families that are not together, samples that do not belong to their type, buckets that do not grow, a missing or early end.
/// </summary>
sealed partial class ExpositionText
{
    readonly bool openMetrics;
    readonly Dictionary<string, Family> families = [];

    ExpositionText(bool openMetrics) => this.openMetrics = openMetrics;

    /// <summary>Values by name and labels, as they stand: <c>name{a="b"}</c>.</summary>
    public Dictionary<string, double> Values { get; } = [];

    public Dictionary<string, string> Types => families.ToDictionary(f => f.Key, f => f.Value.Type!);

    public Dictionary<string, string?> Units => families.ToDictionary(f => f.Key, f => f.Value.Unit);

    public static ExpositionText Read(string text, bool openMetrics)
    {
        var read = new ExpositionText(openMetrics);
        Assert.EndsWith("\n", text, StringComparison.Ordinal);
        Assert.DoesNotContain('\r', text);
        var lines = text[..^1].Split('\n');
        if (openMetrics)
        {
            Assert.Equal("# EOF", lines[^1]);
            lines = lines[..^1];
        }
        Family? open = null;
        foreach (var line in lines)
        {
            Assert.NotEqual("", line);
            if (line[0] == '#')
            {
                read.Comment(line, ref open);
            }
            else
            {
                read.SampleLine(line, open);
            }
        }
        foreach (var (name, family) in read.families)
        {
            Assert.True(family is { Type: not null, Help: not null }, $"{name} has no TYPE or no HELP");
            Assert.True(family.Samples.Count > 0, $"{name} has no sample");
            if (family.Type == "histogram")
            {
                Histogram(name, family);
            }
        }
        return read;
    }

    void Comment(string line, ref Family? open)
    {
        var match = CommentLine().Match(line);
        Assert.True(match.Success, $"No HELP, TYPE or UNIT: {line}");
        var (word, name, rest) = (match.Groups["word"].Value, match.Groups["name"].Value, match.Groups["rest"].Value);
        Assert.Matches(NameForm(), name);
        if (open?.Name != name)
        {
            Assert.False(families.ContainsKey(name), $"{name} is not in one place");
            families.Add(name, open = new(name));
        }
        Assert.True(open.Samples.Count == 0, $"{word} after samples of {name}");
        switch (word)
        {
            case "TYPE":
                Assert.Null(open.Type);
                Assert.Contains(rest, (string[])["counter", "gauge", "histogram"]);
                // A counter's family is named without its suffix in the one format and with it in the other.
                Assert.Equal(rest == "counter" && !openMetrics, name.EndsWith("_total", StringComparison.Ordinal));
                open.Type = rest;
                break;
            case "HELP":
                Assert.Null(open.Help);
                Assert.Matches(openMetrics ? HelpInOpenMetrics() : HelpInText(), rest);
                open.Help = rest;
                break;
            default:
                Assert.True(openMetrics, "UNIT is OpenMetrics' alone");
                Assert.Null(open.Unit);
                Assert.EndsWith($"_{rest}", name, StringComparison.Ordinal);
                open.Unit = rest;
                break;
        }
    }

    void SampleLine(string line, Family? open)
    {
        var match = Sample().Match(line);
        Assert.True(match.Success, $"No sample: {line}");
        var (name, labels, number) = (match.Groups["name"].Value, match.Groups["labels"].Value, match.Groups["value"].Value);
        Assert.True(open?.Type is not null, $"{name} before its TYPE");
        var value = number switch
        {
            "+Inf" => double.PositiveInfinity,
            "-Inf" => double.NegativeInfinity,
            _ => double.Parse(number, NumberStyles.Float, CultureInfo.InvariantCulture),
        };
        var pairs = Label().Matches(labels).Select(m => (Name: m.Groups["name"].Value, Value: m.Groups["value"].Value)).ToList();
        Assert.Equal(labels, string.Join(',', pairs.Select(p => $"{p.Name}=\"{p.Value}\"")));
        Assert.Equal(pairs.Count, pairs.Select(p => p.Name).Distinct().Count());
        var suffix = name[open.Name.Length..];
        Assert.StartsWith(open.Name, name, StringComparison.Ordinal);
        Assert.Contains(suffix, (open.Type, openMetrics) switch
        {
            ("counter", true) => ["_total"],
            ("histogram", _) => (string[])["_bucket", "_sum", "_count"],
            _ => [""],
        });
        Assert.Equal(suffix == "_bucket", pairs.Any(p => p.Name == "le"));
        Assert.True(open.Type == "gauge" || value >= 0, $"{line}: less than nothing");
        Assert.True(Values.TryAdd(labels.Length == 0 ? name : $"{name}{{{labels}}}", value), $"{line} stands twice");
        open.Samples.Add((suffix, pairs, value));
    }

    static void Histogram(string name, Family family)
    {
        Assert.Equal(["_sum", "_count"], family.Samples.TakeLast(2).Select(s => s.Suffix));
        var buckets = family.Samples[..^2].Select(s => (Le: s.Labels.Single(l => l.Name == "le").Value, s.Value)).ToList();
        Assert.Equal("+Inf", buckets[^1].Le);
        var bounds = buckets[..^1].Select(b => double.Parse(b.Le, CultureInfo.InvariantCulture)).ToList();
        Assert.Equal(bounds.Distinct().Order(), bounds);
        Assert.Equal(buckets.Select(b => b.Value).Order(), buckets.Select(b => b.Value));
        Assert.True(buckets[^1].Value == family.Samples[^1].Value, $"{name}: the last bucket is not the count");
    }

    sealed record Family(string Name)
    {
        public string? Type { get; set; }

        public string? Help { get; set; }

        public string? Unit { get; set; }

        public List<(string Suffix, List<(string Name, string Value)> Labels, double Value)> Samples { get; } = [];
    }

    [GeneratedRegex("^# (?<word>HELP|TYPE|UNIT) (?<name>[^ ]+) (?<rest>.+)$")]
    private static partial Regex CommentLine();

    [GeneratedRegex("^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
    private static partial Regex NameForm();

    [GeneratedRegex(@"^([^\\]|\\\\|\\n)*$")]
    private static partial Regex HelpInText();

    [GeneratedRegex(@"^([^\\""]|\\\\|\\n|\\"")*$")]
    private static partial Regex HelpInOpenMetrics();

    [GeneratedRegex(@"^(?<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?<labels>.+)\})? (?<value>[+-]Inf|-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?)$")]
    private static partial Regex Sample();

    [GeneratedRegex(@"(?<name>[a-zA-Z_][a-zA-Z0-9_]*)=""(?<value>([^\\""\n]|\\\\|\\n|\\"")*)""")]
    private static partial Regex Label();
}
