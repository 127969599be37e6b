using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Cowork.Application.Storage;

/// <summary>Ways to list a table's rows, always newest first.</summary>
[Flags]
public enum RowLists
{
    None = 0,

    /// <summary>Those of the tenant.</summary>
    OfTenant = 1,

    /// <summary>Those of one scope, of any status or of one.</summary>
    ByScope = 2,

    /// <summary>Those of one status, in any scope.</summary>
    ByStatus = 4,

    All = OfTenant | ByScope | ByStatus,

    /// <summary>Those of one scope and one status, at no cost for the scope's others.</summary>
    ByScopeAndStatus = 8,
}

/// <summary>A table of rows that are folded from the log: it can be thrown away and folded again.</summary>
public interface IRowModel
{
    string Table { get; }

    /// <summary>True when its rows are found by full text.</summary>
    bool Searched { get; }

    /// <summary>
    /// True: its rows are found not by whole words but by any part of them (<see cref="NamedLike"/>), in lists of their scopes. Its JSON has the text, folded, as <c>text</c>.
    /// </summary>
    bool ByParts => false;

    /// <summary>How its rows are listed. Each way costs an index, and no query may go another.</summary>
    RowLists Lists => RowLists.All;

    /// <summary>The only statuses by which rows are listed or counted; empty: any.</summary>
    IReadOnlyList<string> ListedStatuses => [];

    /// <summary>
    /// True: its rows are read in pages of one moment (<see cref="IRows.PageAt"/>), the last change first, and found by parts of words. Rows that were replaced are kept
    /// for a while (<see cref="RowHistory.Kept"/>). It is listed in no other way.
    /// </summary>
    bool KeepsHistory => false;

    /// <summary>
    /// Raised when the fold writes rows of another form: a host that finds the table in an earlier form folds it anew from the log when it starts.
    /// </summary>
    int Form => 1;

    /// <summary>
    /// Null: the rows are only read as they are. Otherwise they are also read as of an earlier position (<see cref="IRows.Past"/>): a row that is deleted leaves its key, and
    /// this member of its JSON, with the principal who goes on seeing it as it was.
    /// </summary>
    /// <remarks>The scope of such a model's rows never changes, and a row that was deleted does not come back.</remarks>
    string? OwnerMember => null;

    RowValue Value(object row);

    object Read(ReadOnlySpan<byte> json);
}

/// <summary>What the engines ask before they list.</summary>
public static class RowListing
{
    /// <summary>Makes sure that a list costs no more than its rows.</summary>
    /// <exception cref="ArgumentException">The model is not listed like that.</exception>
    public static void Check(this IRowModel model, RowQuery query)
    {
        if (model.KeepsHistory)
        {
            throw new ArgumentException($"{model.Table} is read in pages of one moment.", nameof(query));
        }
        var needed = query.Scope is not null ? RowLists.ByScope : query.Status is not null ? RowLists.ByStatus : RowLists.OfTenant;
        if (!model.Lists.HasFlag(needed) || (needed == RowLists.ByStatus && model.ListedStatuses.Count > 0 && !model.ListedStatuses.Contains(query.Status!)))
        {
            throw new ArgumentException($"{model.Table} is not listed like that.", nameof(query));
        }
    }
}

/// <summary>
/// A table with rows folded from the streams of one aggregate, written in the transaction that appends the events and guarded by their expected
/// version. Most have one row for each stream; one that is <see cref="Keyed"/> has any number.
/// </summary>
public interface IReadModel : IRowModel
{
    /// <summary>Name of the aggregate whose streams it shows.</summary>
    string Aggregate { get; }

    /// <summary>True when a stream has several rows, by keys of their own.</summary>
    bool Keyed { get; }

    /// <summary>Key of the row that the event goes into: the stream's own, or what a <see cref="Keyed"/> model says; null: none. No two streams share a key.</summary>
    string? KeyOf(RecordedEvent e);

    /// <summary>The stream that a row is folded from.</summary>
    /// <param name="row">As it is stored; only a model with <see cref="IsStreamInRow"/> looks at it.</param>
    string StreamOf(string key, ReadOnlySpan<byte> row);

    /// <summary>True: a row's key does not tell its stream.</summary>
    bool IsStreamInRow { get; }

    /// <summary>The row after the event; null: no row.</summary>
    object? Evolve(object? row, RecordedEvent e);
}

/// <param name="Evolve">A pure fold: time comes from the event.</param>
/// <param name="Key">Of a keyed model: the row that an event goes into.</param>
/// <param name="Scope">What a row is listed under.</param>
/// <param name="Search">Text by which a row is found.</param>
public sealed record ReadModel<TRow>(
    string Table,
    string Aggregate,
    JsonTypeInfo<TRow> Json,
    Func<TRow?, RecordedEvent, TRow?> Evolve,
    Func<TRow, string?>? Scope = null,
    Func<TRow, string?>? Status = null,
    Func<TRow, string?>? Search = null,
    Func<RecordedEvent, string?>? Key = null) : IReadModel
    where TRow : class
{
    public RowLists Lists { get; init; } = RowLists.All;

    public IReadOnlyList<string> ListedStatuses { get; init; } = [];

    public bool Searched => Search is not null;

    public bool Keyed => Key is not null;

    public int Form { get; init; } = 1;

    /// <summary>Of a model whose rows are read in pages of one moment: the row's place among others and its text.</summary>
    public Func<TRow, RowPlace>? Place { get; init; }

    public bool KeepsHistory => Place is not null;

    public string? OwnerMember { get; init; }

    /// <summary>Of a model whose rows have other keys than their streams: the key of a row's stream.</summary>
    public Func<TRow, string>? StreamKey { get; init; }

    public bool IsStreamInRow => StreamKey is not null;

    public string StreamOf(string key, ReadOnlySpan<byte> row) => $"{Aggregate}-{StreamKey?.Invoke(Read(row)) ?? key}";

    public string? KeyOf(RecordedEvent e) => Key is null ? e.Stream[(Aggregate.Length + 1)..] : Key(e);

    object? IReadModel.Evolve(object? row, RecordedEvent e) => Evolve((TRow?)row, e);

    public RowValue Value(object row) => Value((TRow)row);

    public RowValue Value(TRow row) =>
        new(Scope?.Invoke(row), Status?.Invoke(row), Search?.Invoke(row), JsonSerializer.SerializeToUtf8Bytes(row, Json)) { Place = Place?.Invoke(row) };

    object IRowModel.Read(ReadOnlySpan<byte> json) => Read(json);

    public TRow Read(ReadOnlySpan<byte> json) =>
        JsonSerializer.Deserialize(json, Json) ?? throw new JsonException($"A row of {Table} is null.");
}
