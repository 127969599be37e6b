using System.Runtime.CompilerServices;

namespace Cowork.Application.Storage;

/// <summary>A list of an earlier moment would need more folds than <see cref="Domain.Limits.AsOfFoldsMax"/>.</summary>
public sealed class TooMuchHistoryException : Exception
{
    public TooMuchHistoryException()
        : base("Too many things have changed since then.")
    {
    }

    public TooMuchHistoryException(string message)
        : base(message)
    {
    }

    public TooMuchHistoryException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>
/// The read models' tables as they were at a position of the log: what a host would show that had stopped there. A row that has not changed since is the stored one; any
/// other is the fold of its stream up to the position. It serves one request.
/// </summary>
/// <param name="models">Those with an <see cref="IRowModel.OwnerMember"/> are read; the others have no past.</param>
/// <param name="position">Not beyond the end of the log.</param>
/// <param name="viewer">The principal who sees, of what was deleted since, its own alone; null: one who sees all.</param>
public sealed class RowsAsOf(IRows rows, CommandHandler commands, IReadOnlyList<IReadModel> models, long position, string? viewer) : IRows
{
    /// <summary>Rows that are looked at together.</summary>
    const int ChunkRows = 100;

    int folds;

    /// <summary>The tables as they are.</summary>
    public IRows Now => rows;

    public async ValueTask<Row?> Get(string org, string table, string key, CancellationToken ct) => (await Get(org, table, [key], ct)) is [var row] ? row : null;

    public async ValueTask<IReadOnlyList<Row>> Get(string org, string table, IReadOnlyList<string> keys, CancellationToken ct)
    {
        var (model, found) = (Known(table), new List<Row>(keys.Count));
        foreach (var chunk in keys.Distinct().Chunk(ChunkRows))
        {
            foreach (var past in await rows.Past(org, table, Asked(new(position, Keys: chunk, Limit: ChunkRows)), ct))
            {
                if (await Shown(org, model, past, ct) is { } shown)
                {
                    found.Add(shown.Row);
                }
            }
        }
        return found;
    }

    public async ValueTask<IReadOnlyList<Row>> List(string org, string table, RowQuery query, CancellationToken ct)
    {
        var (found, bytes) = (new List<Row>(), 0L);
        await foreach (var row in Walk(org, table, query, offset: 0, ct))
        {
            found.Add(row);
            bytes += row.Json.Length;
            if (found.Count == query.Limit || bytes > query.Bytes)
            {
                break;
            }
        }
        return found;
    }

    public async ValueTask<IReadOnlyList<IReadOnlyList<Row>>> Lists(string org, string table, IReadOnlyList<RowQuery> queries, CancellationToken ct)
    {
        var lists = new List<IReadOnlyList<Row>>(queries.Count);
        foreach (var query in queries)
        {
            lists.Add(await List(org, table, query, ct));
        }
        return lists;
    }

    public async ValueTask<RowPage> Page(string org, string table, RowQuery query, long offset, CancellationToken ct)
    {
        // Which rows had a status or a member, only their folds tell. All that were there are counted by their keys.
        var isCounted = IsWhole(query);
        var (found, bytes, passed, total) = (new List<Row>(), 0L, isCounted ? offset : 0, 0L);
        await foreach (var row in Walk(org, table, query, isCounted ? offset : 0, ct))
        {
            total++;
            if (passed < offset)
            {
                passed++;
            }
            else if (found.Count < query.Limit && bytes <= query.Bytes)
            {
                found.Add(row);
                bytes += row.Json.Length;
            }
            if (isCounted && (found.Count == query.Limit || bytes > query.Bytes))
            {
                break;
            }
        }
        return new(found, isCounted ? await rows.CountPast(org, table, Asked(new(position, query.Scope)), ct) : total);
    }

    /// <summary>Every row that was in the scope is in the list.</summary>
    static bool IsWhole(RowQuery query) => query is { Status: null, Having: null };

    public async ValueTask<MomentPage?> PageAt(string org, string table, MomentQuery query, CancellationToken ct)
    {
        if (query.Position is { } other && other != position)
        {
            throw new ArgumentException("These rows are of one position.", nameof(query));
        }
        var model = Known(table);
        var changed = new List<(ChangePlace Place, Row Row)>();
        long? before = null;
        while (true)
        {
            var chunk = await rows.Past(org, table, Asked(new(position, query.Scope, Before: before, Limit: ChunkRows) { OnlyChanged = true }), ct);
            foreach (var past in chunk)
            {
                if (await Shown(org, model, past, ct) is { Value: { Place: { } place } value, Updated: var updated } shown
                    && value.Scope == query.Scope && (query.Status ?? value.Status) == value.Status && PartsOfWords.Has(place.Text, query.Words)
                    && (query.After is not { } after || (place.At, updated).CompareTo((after.At, after.Position)) < 0))
                {
                    changed.Add((new(place.At, updated), shown.Row));
                }
            }
            if (changed.Count > 2 * query.Limit)
            {
                changed = [.. Newest(changed).Take(query.Limit + 1)];
            }
            if (chunk.Count < ChunkRows)
            {
                break;
            }
            before = chunk[^1].Created;
        }
        if (await rows.PageAt(org, table, query with { Position = position, OnlyUnchanged = true }, ct) is not { } unchanged)
        {
            return null;
        }
        var all = Newest([.. unchanged.Rows, .. changed]).ToList();
        // A row that was cut off from one of the two lists may stand before the last ones of the other.
        if (unchanged.HasMore && unchanged.Rows is [.., var (last, _)])
        {
            all.RemoveAll(r => (r.Place.At, r.Place.Position).CompareTo((last.At, last.Position)) < 0);
        }
        var (shownRows, bytes) = (new List<(ChangePlace, Row)>(), 0L);
        foreach (var row in all)
        {
            if (shownRows.Count == query.Limit || bytes > query.Bytes)
            {
                break;
            }
            shownRows.Add(row);
            bytes += row.Row.Json.Length;
        }
        return new(position, shownRows, unchanged.HasMore || shownRows.Count < unchanged.Rows.Count + changed.Count);
    }

    static IEnumerable<(ChangePlace Place, Row Row)> Newest(IEnumerable<(ChangePlace Place, Row Row)> found) =>
        found.OrderByDescending(r => r.Place.At).ThenByDescending(r => r.Place.Position);

    public ValueTask<IReadOnlyList<PastRow>> Past(string org, string table, PastQuery query, CancellationToken ct) => throw NoPast(nameof(Past));

    public ValueTask<long> CountPast(string org, string table, PastQuery query, CancellationToken ct) => throw NoPast(nameof(CountPast));

    public ValueTask<long> Count(string org, string table, string status, long atMost, RowOwner? owner, CancellationToken ct) => throw NoPast(nameof(Count));

    public ValueTask<IReadOnlyList<Row>> Search(string org, string table, string query, int limit, RowOwner? owner, string? status, RowShare? share, CancellationToken ct) =>
        throw NoPast(nameof(Search));

    public Task<long> Rebuild(IRowModel model, CancellationToken ct) => throw NoPast(nameof(Rebuild));

    public Task<string?> FindDifference(IRowModel model, CancellationToken ct) => throw NoPast(nameof(FindDifference));

    static InvalidOperationException NoPast(string method) => new($"{method} is not for an earlier moment: the endpoint must not take as_of.");

    IReadModel Known(string table) =>
        models.FirstOrDefault(m => m.Table == table && m.OwnerMember is not null) ?? throw new ArgumentException($"{table} has no past.", nameof(table));

    PastQuery Asked(PastQuery query) => query with { Viewer = viewer };

    /// <summary>The rows of a list, newest first.</summary>
    async IAsyncEnumerable<Row> Walk(string org, string table, RowQuery query, long offset, [EnumeratorCancellation] CancellationToken ct)
    {
        var model = Known(table);
        model.Check(query);
        if (query is not { Owner: null, Named: null })
        {
            throw new ArgumentException($"{table} is not listed like that as of a position.", nameof(query));
        }
        for (var before = query.Before; ;)
        {
            var limit = IsWhole(query) ? Math.Min(ChunkRows, query.Limit) : ChunkRows;
            var asked = new PastQuery(position, query.Scope, query.Status, Before: before, Limit: limit) { Offset = offset };
            var chunk = await rows.Past(org, table, Asked(asked), ct);
            foreach (var past in chunk)
            {
                if (await Shown(org, model, past, ct) is { Value: var value, Row: var row }
                    && (query.Scope ?? value.Scope) == value.Scope && (query.Status ?? value.Status) == value.Status
                    && (query.Having is not { } having || value.Member(having.Member) == having.Text))
                {
                    yield return row;
                }
            }
            if (chunk.Count < asked.Limit)
            {
                yield break;
            }
            (before, offset) = (chunk[^1].Created, 0);
        }
    }

    /// <summary>The row as it was; null: it was gone by then.</summary>
    async ValueTask<(Row Row, RowValue Value, long Updated)?> Shown(string org, IReadModel model, PastRow past, CancellationToken ct)
    {
        if (!past.IsChanged)
        {
            return (new(past.Key, past.Created, past.Version, past.Json), model.Value(model.Read(past.Json.Span)), 0);
        }
        if (++folds > Domain.Limits.AsOfFoldsMax)
        {
            throw new TooMuchHistoryException();
        }
        var (folded, version, updated) = await commands.RowsAsOf(org, model.StreamOf(past.Key, past.Json.Span), position, ct);
        return folded.Get(model, past.Key) is { } row && model.Value(row) is var value ? (new(past.Key, past.Created, version, value.Json), value, updated) : null;
    }
}
