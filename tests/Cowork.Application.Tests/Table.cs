using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Cases as a table that lines up: columns between bars, <c>-</c> for null, and a last column for the reader.</summary>
static class Table
{
    public static TheoryData<string, string> Pairs(string rows)
    {
        var cases = new TheoryData<string, string>();
        foreach (var columns in Rows(rows))
        {
            cases.Add(columns[0], columns[1]);
        }
        return cases;
    }

    public static TheoryData<string, string?, string> Triples(string rows)
    {
        var cases = new TheoryData<string, string?, string>();
        foreach (var columns in Rows(rows))
        {
            cases.Add(columns[0], columns[1] == "-" ? null : columns[1], columns[2]);
        }
        return cases;
    }

    static IEnumerable<string[]> Rows(string rows) => rows.Split('\n').Select(r => r.Split('|', StringSplitOptions.TrimEntries));
}
