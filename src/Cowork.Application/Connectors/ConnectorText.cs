using System.Globalization;
using System.Text;

namespace Cowork.Application;

/// <summary>What a source answered, as a model gets it.</summary>
static class ConnectorText
{
    /// <summary>Characters of an answer for the model: with more, little of its context would be left.</summary>
    const int CharsMax = 128 * 1024;

    public static ToolOutcome Of(ConnectorAnswer answer) => answer switch
    {
        ConnectorAnswer.Table table => ToolOutcome.Ok(Table(table)),
        ConnectorAnswer.Text text => ToolOutcome.Ok(Bounded(text.Content, text.Cut)),
        ConnectorAnswer.Failed failed => ToolOutcome.Error(failed.Reason),
        _ => throw new System.Diagnostics.UnreachableException(answer.GetType().Name),
    };

    /// <summary>A line for each row, and what is missing in the last one.</summary>
    public static string Table(ConnectorAnswer.Table table)
    {
        var text = new StringBuilder();
        Line(text, table.Columns);
        var shown = 0;
        foreach (var row in table.Rows)
        {
            var before = text.Length;
            Line(text, row);
            if (text.Length > CharsMax)
            {
                text.Length = before;
                break;
            }
            shown++;
        }
        var cut = shown < table.Rows.Count ? string.Create(CultureInfo.InvariantCulture, $"Cut after {shown} rows: more do not fit the answer.") : table.Cut;
        return text.Append(cut is null ? string.Create(CultureInfo.InvariantCulture, $"[{table.Rows.Count} rows.]") : $"[{cut}]").ToString();
    }

    /// <summary>Cells between bars, each on one line.</summary>
    static void Line(StringBuilder text, IEnumerable<string?> cells) => text.AppendJoin(
        " | ",
        cells.Select(cell => cell is null ? "NULL" : VisibleText.Of(cell.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("|", "\\|", StringComparison.Ordinal)
            .Replace("\r", "\\r", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal).Replace("\t", "\\t", StringComparison.Ordinal))))
        .Append('\n');

    static string Bounded(string text, string? cut) => text.Length > CharsMax
        ? $"{FileText.Truncate(text, CharsMax)}\n[Cut: the answer is longer than {CharsMax} characters.]"
        : cut is null ? text : $"{text}\n[{cut}]";
}
