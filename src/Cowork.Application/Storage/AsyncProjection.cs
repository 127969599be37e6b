using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Cowork.Application.Storage;

/// <summary>Names a row within its table.</summary>
public readonly record struct RowKey(string Org, string Key);

/// <summary>
/// A table that follows the log, a little behind it: its rows are folded from the events of any number of streams, in the order of the log, and written
/// together with the position up to which they were folded, so that every event is counted once whoever folds it and whatever is killed. For what is too
/// heavy, or spans too many streams, to be written in the transaction that appends.
/// </summary>
public interface IAsyncProjection : IRowModel
{
    /// <summary>Stored names of the events that are folded; others are not even read.</summary>
    IReadOnlyCollection<string> Types { get; }

    /// <summary>The stream whose words a row has; null: it has none.</summary>
    string? StreamOf(string key) => null;

    /// <summary>The rows that the event may look at or change; none: it does not concern the model.</summary>
    IReadOnlyList<RowKey> KeysOf(RecordedEvent e);

    /// <summary>
    /// True: it folds <see cref="Tombstone"/>s, because what it tells is not lost with the data of events. For others these events have never been, and their rows go with the
    /// data (<see cref="OwnedBy"/>).
    /// </summary>
    bool TakesTombstones => false;

    /// <summary>True: the model counts the bytes of its events and of the blobs that they name.</summary>
    bool CountsStored => false;

    /// <summary>Rows that show the data of this event's stream alone, and go with it.</summary>
    IReadOnlyList<RowKey> OwnedBy(RecordedEvent e) => [];

    /// <summary>The rows that the event changes, as they are after it; null: no row.</summary>
    /// <param name="before">A row that <see cref="KeysOf"/> named, as it is before the event.</param>
    IReadOnlyList<(RowKey Key, object? Row)> Evolve(Func<RowKey, object?> before, RecordedEvent e);
}

/// <param name="Evolve">A pure fold: time comes from the event.</param>
/// <param name="Scope">What a row is listed under.</param>
/// <param name="Search">Text by which a row is found.</param>
public sealed record AsyncProjection<TRow>(
    string Table,
    IReadOnlyCollection<string> Types,
    JsonTypeInfo<TRow> Json,
    Func<RecordedEvent, IReadOnlyList<RowKey>> Keys,
    Func<Func<RowKey, TRow?>, RecordedEvent, IReadOnlyList<(RowKey Key, TRow? Row)>> Evolve,
    Func<TRow, string?>? Scope = null,
    Func<TRow, string?>? Status = null,
    Func<TRow, string?>? Search = null) : IAsyncProjection
    where TRow : class
{
    public RowLists Lists { get; init; } = RowLists.All;

    public IReadOnlyList<string> ListedStatuses { get; init; } = [];

    public int Form { get; init; } = 1;

    public bool TakesTombstones { get; init; }

    public bool CountsStored { get; init; }

    /// <summary>See <see cref="IAsyncProjection.OwnedBy"/>; null: none.</summary>
    public Func<RecordedEvent, IReadOnlyList<RowKey>>? Owned { get; init; }

    public bool Searched => Search is not null;

    public bool ByParts { get; init; }

    /// <summary>The stream whose words a row has, by the row's key; null: rows have none.</summary>
    public Func<string, string>? Stream { get; init; }

    public string? StreamOf(string key) => Stream?.Invoke(key);

    IReadOnlyList<RowKey> IAsyncProjection.OwnedBy(RecordedEvent e) => Owned?.Invoke(e) ?? [];

    public IReadOnlyList<RowKey> KeysOf(RecordedEvent e) => Keys(e);

    IReadOnlyList<(RowKey Key, object? Row)> IAsyncProjection.Evolve(Func<RowKey, object?> before, RecordedEvent e) =>
        [.. Evolve(key => (TRow?)before(key), e).Select(changed => (changed.Key, (object?)changed.Row))];

    public RowValue Value(object row) => Value((TRow)row);

    public RowValue Value(TRow row) =>
        new(Scope?.Invoke(row), Status?.Invoke(row), Search?.Invoke(row), JsonSerializer.SerializeToUtf8Bytes(row, Json));

    object IRowModel.Read(ReadOnlySpan<byte> json) => Read(json);

    public TRow Read(ReadOnlySpan<byte> json) =>
        JsonSerializer.Deserialize(json, Json) ?? throw new JsonException($"A row of {Table} is null.");
}

/// <summary>A following model's row as a batch of events leaves it.</summary>
/// <param name="Created">Position of the event that made it.</param>
/// <param name="Updated">Position of the last event that changed it; what <see cref="Row.Version"/> shows.</param>
/// <param name="Value">Null: gone.</param>
/// <param name="IsNew">Made within the batch, perhaps where another had been.</param>
public sealed record ProjectedRow(RowKey Key, long Created, long Updated, RowValue? Value, bool IsNew)
{
    /// <summary>Folds events that follow what the rows were folded from.</summary>
    /// <param name="load">The rows of some keys, as they are before the events.</param>
    /// <exception cref="FoldException">The model cannot fold one of the events.</exception>
    public static async ValueTask<IReadOnlyList<ProjectedRow>> Fold(
        IAsyncProjection model, IReadOnlyList<RecordedEvent> events, Func<IReadOnlyCollection<RowKey>, ValueTask<IReadOnlyDictionary<RowKey, Row>>> load)
    {
        if (!model.TakesTombstones && events.Any(e => e.Event is Tombstone))
        {
            events = [.. events.Where(e => e.Event is not Tombstone)];
        }
        HashSet<RowKey> keys = [.. events.SelectMany(e => Of(e, () => model.KeysOf(e)))];
        if (keys.Count == 0)
        {
            return [];
        }
        var loaded = await load(keys);
        var rows = keys.ToDictionary(
            key => key, key => loaded.TryGetValue(key, out var row) ? new InHand(model.Read(row.Json.Span), row.Created, 0, false) : new InHand(null, 0, 0, false));
        foreach (var e in events)
        {
            foreach (var (key, row) in Of(e, () => model.Evolve(key => rows[key].Row, e)))
            {
                var before = rows[key];
                var made = before.Row is null && row is not null;
                rows[key] = new(row, made ? e.Position : before.Created, e.Position, made || before.IsNew);
            }
        }
        return [.. rows.Where(r => r.Value.Updated > 0)
            .Select(r => new ProjectedRow(r.Key, r.Value.Created, r.Value.Updated, r.Value.Row is { } row ? model.Value(row) : null, r.Value.IsNew))];
    }

    /// <summary>Whatever a model throws is about the event.</summary>
    static T Of<T>(RecordedEvent e, Func<T> fold)
    {
        try
        {
            return fold();
        }
        catch (Exception failure)
        {
            throw new FoldException(e, failure);
        }
    }

    sealed record InHand(object? Row, long Created, long Updated, bool IsNew);
}

/// <summary>A model cannot fold an event.</summary>
public sealed class FoldException : Exception
{
    public FoldException(RecordedEvent e, Exception inner)
        : base($"Event {e.Position} ({e.Type} {e.Id} in {e.Stream}) cannot be folded: {inner.Message}", inner) => Position = e.Position;

    /// <summary>Of the event.</summary>
    public long Position { get; }
}

/// <summary>How far a following model has come.</summary>
/// <param name="Position">All events up to it are folded, and none after it.</param>
/// <param name="At">When it came there. No two checkpoints of a model have both in common.</param>
public sealed record Checkpoint(long Position, DateTimeOffset At);

/// <summary>An event that a model could not fold: the model is parked before it.</summary>
/// <param name="Type">The stored name.</param>
public sealed record Poison(long Position, string Org, string Stream, Guid EventId, string Type, string Error, DateTimeOffset At)
{
    public static Poison Of(RecordedEvent e, string error, DateTimeOffset at) => new(e.Position, e.Org, e.Stream, e.Id, e.Type, error, at);
}

/// <param name="Parked">What stands in the way, until some host or a rebuild has got past it.</param>
public sealed record Followed(string Table, Checkpoint Checkpoint, Poison? Parked);

/// <param name="Head">The log's last position.</param>
/// <param name="Models">By their table's name.</param>
public sealed record Progress(long Head, IReadOnlyList<Followed> Models)
{
    public Followed Of(string table) => Models.Single(m => m.Table == table);
}

/// <summary>A stretch of the log, by some types of events.</summary>
/// <param name="Through">There is nothing of these types up to here but <paramref name="Events"/>.</param>
/// <param name="Unreadable">What follows right after <paramref name="Through"/>, and is not of the shape that its name promises.</param>
public sealed record LogPage(IReadOnlyList<RecordedEvent> Events, long Through, Poison? Unreadable = null);

/// <summary>
/// What following models need of an engine. Their rows lie in tables like those of the read models: <see cref="IRows"/> reads, rebuilds and compares them.
/// Any number of nodes may fold the same model at once: <see cref="Advance"/> lets one of them through.
/// </summary>
public interface IAsyncProjectionStore
{
    /// <summary>How far each model of this engine has come.</summary>
    ValueTask<Progress> Progress(CancellationToken ct);

    /// <summary>Events of all tenants after a position, oldest first, no more than <paramref name="max"/>, and up to the log's end no more than there are.</summary>
    ValueTask<LogPage> Read(IReadOnlyCollection<string> types, long after, int max, CancellationToken ct);

    /// <summary>The rows of these keys that are there.</summary>
    ValueTask<IReadOnlyDictionary<RowKey, Row>> Load(string table, IReadOnlyCollection<RowKey> keys, CancellationToken ct);

    /// <summary>
    /// Writes rows and checkpoint, both or neither, if the model still is at <paramref name="from"/>; it is no longer parked then. Null: it is not, somebody
    /// else was first.
    /// </summary>
    /// <exception cref="InvalidOperationException">The engine cannot hold the rows: nothing has changed.</exception>
    ValueTask<Checkpoint?> Advance(string table, Checkpoint from, long to, IReadOnlyList<ProjectedRow> rows, CancellationToken ct);

    /// <summary>Keeps what stands in the model's way, if it still is at <paramref name="at"/>. False: it is not.</summary>
    ValueTask<bool> Park(string table, Checkpoint at, Poison poison, CancellationToken ct);
}
