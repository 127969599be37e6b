using Cowork.Domain;

namespace Cowork.Application.Storage;

/// <summary>
/// Rows without those of data subjects that were erased a moment ago, until the job has folded these anew: from the commit of the erasure on nobody reads what they said. It asks
/// nothing of tenants in which nobody is being erased.
/// </summary>
public sealed class ErasingRows(IRows inner, SubjectKeyring keys, IReadOnlyList<IRowModel> models) : IRows
{
    readonly Dictionary<string, IRowModel> models = models.ToDictionary(model => model.Table);

    public async ValueTask<Row?> Get(string org, string table, string key, CancellationToken ct) =>
        await inner.Get(org, table, key, ct) is { } row && (await Shown(org, table, [row], ct)).Count == 1 ? row : null;

    public async ValueTask<IReadOnlyList<Row>> Get(string org, string table, IReadOnlyList<string> keys, CancellationToken ct) =>
        await Shown(org, table, await inner.Get(org, table, keys, ct), ct);

    public async ValueTask<IReadOnlyList<Row>> List(string org, string table, RowQuery query, CancellationToken ct) =>
        await Shown(org, table, await inner.List(org, table, query, ct), ct);

    public async ValueTask<IReadOnlyList<IReadOnlyList<Row>>> Lists(string org, string table, IReadOnlyList<RowQuery> queries, CancellationToken ct)
    {
        var lists = await inner.Lists(org, table, queries, ct);
        if (!keys.IsErasing(org))
        {
            return lists;
        }
        var shown = new List<IReadOnlyList<Row>>(lists.Count);
        foreach (var list in lists)
        {
            shown.Add(await Shown(org, table, list, ct));
        }
        return shown;
    }

    public async ValueTask<RowPage> Page(string org, string table, RowQuery query, long offset, CancellationToken ct)
    {
        var page = await inner.Page(org, table, query, offset, ct);
        return page with { Rows = await Shown(org, table, page.Rows, ct) };
    }

    public async ValueTask<MomentPage?> PageAt(string org, string table, MomentQuery query, CancellationToken ct)
    {
        var found = await inner.PageAt(org, table, query, ct);
        if (found is not { } page || !keys.IsErasing(org))
        {
            return found;
        }
        var shown = (await Shown(org, table, [.. page.Rows.Select(row => row.Row)], ct)).ToHashSet();
        return page with { Rows = [.. page.Rows.Where(row => shown.Contains(row.Row))] };
    }

    public async ValueTask<IReadOnlyList<PastRow>> Past(string org, string table, PastQuery query, CancellationToken ct)
    {
        var rows = await inner.Past(org, table, query, ct);
        if (!keys.IsErasing(org))
        {
            return rows;
        }
        var shown = (await Shown(org, table, [.. rows.Where(row => !row.Json.IsEmpty).Select(row => new Row(row.Key, row.Created, row.Version, row.Json))], ct))
            .Select(row => row.Key).ToHashSet();
        return [.. rows.Where(row => row.Json.IsEmpty || shown.Contains(row.Key))];
    }

    public ValueTask<long> CountPast(string org, string table, PastQuery query, CancellationToken ct) => inner.CountPast(org, table, query, ct);

    public ValueTask<long> Count(string org, string table, string status, long atMost, RowOwner? owner, CancellationToken ct) =>
        inner.Count(org, table, status, atMost, owner, ct);

    public async ValueTask<IReadOnlyList<Row>> Search(
        string org, string table, string query, int limit, RowOwner? owner, string? status, RowShare? share, CancellationToken ct) =>
        await Shown(org, table, await inner.Search(org, table, query, limit, owner, status, share, ct), ct);

    public Task<long> Rebuild(IRowModel model, CancellationToken ct) => inner.Rebuild(model, ct);

    public Task<string?> FindDifference(IRowModel model, CancellationToken ct) => inner.FindDifference(model, ct);

    async ValueTask<IReadOnlyList<Row>> Shown(string org, string table, IReadOnlyList<Row> rows, CancellationToken ct)
    {
        if (rows.Count == 0 || keys.Erasing(org) is not { Count: > 0 } erasing)
        {
            return rows;
        }
        var streams = rows.Select(row => StreamOf(table, row)).ToList();
        var hidden = await keys.Store.StreamsOf(org, erasing, [.. streams.OfType<string>()], ct);
        return [.. rows.Where((_, i) => streams[i] is not { } stream || !hidden.Contains(stream))];
    }

    /// <summary>Null: the row is no stream's, and has no words.</summary>
    string? StreamOf(string table, Row row) => models.GetValueOrDefault(table) switch
    {
        IReadModel model => model.StreamOf(row.Key, row.Json.Span),
        IAsyncProjection { Searched: true } following => following.StreamOf(row.Key),
        _ => null,
    };
}
