using System.Collections.Immutable;
using System.Globalization;
using System.Text;

using Cowork.Application;
using Cowork.Domain;

namespace Cowork.Connectors;

/// <summary>Collects the rows of an answer until one of its bounds is reached.</summary>
/// <param name="limit">Rows that are wanted, at most <see cref="ConnectorLimits.RowsMax"/>.</param>
sealed class BoundedTable(ImmutableArray<string> columns, int limit)
{
    readonly List<IReadOnlyList<string?>> rows = [];
    readonly int limit = Math.Clamp(limit, 1, ConnectorLimits.RowsMax);
    int bytes;
    bool hasMore;
    bool isTooLarge;

    /// <summary>Further rows would not be kept.</summary>
    public bool IsFull => hasMore || isTooLarge;

    /// <summary>Keeps a row, unless a bound is reached.</summary>
    /// <param name="row">A text for each column; null: no value.</param>
    public void Add(IReadOnlyList<string?> row)
    {
        if (IsFull)
        {
            return;
        }
        if (rows.Count == limit)
        {
            hasMore = true;
            return;
        }
        bytes += row.Sum(cell => cell is null ? 1 : Encoding.UTF8.GetByteCount(cell));
        if (bytes > ConnectorLimits.BytesMax)
        {
            isTooLarge = true;
            return;
        }
        rows.Add(row);
    }

    public ConnectorAnswer.Table Answer() => new(
        columns, rows,
        isTooLarge ? string.Create(CultureInfo.InvariantCulture, $"Cut after {rows.Count} rows: the answer is larger than {ConnectorLimits.BytesMax} bytes.")
        : hasMore ? string.Create(CultureInfo.InvariantCulture, $"Cut after {rows.Count} rows: there are more.")
        : null);

    /// <summary>A cell as it is kept: storable, and no longer than <see cref="ConnectorLimits.CellCharsMax"/>.</summary>
    public static string Cell(string text) =>
        text.Length <= ConnectorLimits.CellCharsMax ? StorableText.Escape(text) : StorableText.Escape(FileText.Truncate(text, ConnectorLimits.CellCharsMax)) + "…[cut]";

    /// <summary>A cell of what can be read, without reading all of a long one.</summary>
    public static string Cell(TextReader from)
    {
        var start = new char[ConnectorLimits.CellCharsMax + 1];
        return Cell(new string(start, 0, from.ReadBlock(start)));
    }
}
