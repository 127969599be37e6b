using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Testing;

/// <summary>A run's row that counts: enough to tell whether every event was folded once and in order.</summary>
public sealed record Tally(int Events, string Text, string Session);

/// <summary>How often a word was said in a tenant, by whom last and by whom at all.</summary>
public sealed record WordCount(int Times, string Last, string By);

/// <summary>What a run is called: its last text.</summary>
public sealed record Label([property: JsonPropertyName("text")] string Text);

/// <summary>One stream as its only writer sees it: builds commits that follow each other.</summary>
/// <param name="also">A model beside the usual ones, which the engine has too.</param>
public sealed class Chain(string org, string stream, string? session = null, string? run = null, ReadModel<Tally>? also = null)
{
    public static DateTimeOffset Start { get; } = new(2026, 1, 1, 9, 0, 0, 7, TimeSpan.Zero);

    /// <summary>Counts the events of every run; a run whose last text is <c>gone</c> has no row, one whose text is <c>held</c> lists under it.</summary>
    public static ReadModel<Tally> Tallies { get; } = new(
        "tallies", "run", (JsonTypeInfo<Tally>)new JsonSerializerOptions { TypeInfoResolver = new DefaultJsonTypeInfoResolver() }.GetTypeInfo(typeof(Tally)),
        (row, e) => TextOf(e.Event) == "gone" ? null : new((row?.Events ?? 0) + 1, TextOf(e.Event), row?.Session ?? "s"),
        Scope: row => row.Session,
        Status: row => row.Events > 3 ? "many" : "few",
        Search: row => row.Text);

    static readonly JsonTypeInfo<WordCount> WordCountJson =
        (JsonTypeInfo<WordCount>)new JsonSerializerOptions { TypeInfoResolver = new DefaultJsonTypeInfoResolver() }.GetTypeInfo(typeof(WordCount));

    /// <summary>Counts words over all streams of a tenant. <c>forget X</c> forgets the word X.</summary>
    /// <param name="dies">A text that this version of the code cannot fold.</param>
    public static AsyncProjection<WordCount> Words(string? dies = null) => new(
        "words", ["output_delta.v1"], WordCountJson,
        e => [new(e.Org, WordOf(e))],
        (before, e) =>
        {
            var (key, text) = (new RowKey(e.Org, WordOf(e)), TextOf(e.Event));
            if (text == dies)
            {
                throw new InvalidOperationException($"It is {text}.");
            }
            if (text != key.Key)
            {
                return [(key, null)];
            }
            var known = before(key);
            return [(key, new(
                (known?.Times ?? 0) + 1, e.Stream, string.Join(' ', ((known?.By.Split(' ') ?? []).Append(e.Stream)).Distinct().Order(StringComparer.Ordinal))))];
        },
        Status: row => row.Times == 1 ? "once" : "often",
        Search: row => row.By);

    /// <summary>The names of runs, by which tallies are found: a run whose last text is <c>gone</c> has none.</summary>
    public static AsyncProjection<Label> Names { get; } = new(
        "labels", ["output_delta.v1"], (JsonTypeInfo<Label>)new JsonSerializerOptions { TypeInfoResolver = new DefaultJsonTypeInfoResolver() }.GetTypeInfo(typeof(Label)),
        e => [new(e.Org, e.Stream)],
        (_, e) => [(new(e.Org, e.Stream), TextOf(e.Event) is var text && text == "gone" ? null : new(PartsOfWords.Fold(text)))],
        Scope: _ => "run",
        Search: row => row.Text)
    {
        Lists = RowLists.ByScope,
        ByParts = true,
    };

    public static NamedLike NamedLike(string words) => new(Names.Table, "run", PartsOfWords.Words(words));

    /// <summary>
    /// A row for each key of a run: an event whose text is <c>KEY=VALUE</c> goes into the row of that key, <c>KEY=gone</c> takes it away, and any other
    /// text concerns none.
    /// </summary>
    public static ReadModel<Tally> Marks { get; } = Tallies with
    {
        Table = "marks",
        Evolve = (row, e) => TextOf(e.Event).Split('=')[1] is var value && value == "gone" ? null : new((row?.Events ?? 0) + 1, value, "s"),
        Key = e => TextOf(e.Event).Split('=') is [var key, _] ? $"{e.Stream["run-".Length..]}.{key}" : null,
        Search = null,
    };

    /// <summary>The same rows in pages of one moment, by how many events they have, found by parts of their text.</summary>
    public static ReadModel<Tally> Cards { get; } = Tallies with
    {
        Table = "cards",
        Search = null,
        Lists = RowLists.None,
        Place = row => new(row.Events, PartsOfWords.Fold(row.Text)),
    };

    /// <summary>Rows that are also read as they were: made by their stream's first event, and gone for good with the text <c>gone</c>.</summary>
    public static ReadModel<Tally> Lives { get; } = Tallies with
    {
        Table = "lives",
        Search = null,
        Evolve = (row, e) => (row is null && e.Version > 1) || TextOf(e.Event) == "gone" ? null : new((row?.Events ?? 0) + 1, TextOf(e.Event), row?.Session ?? "s"),
        Lists = RowLists.All | RowLists.ByScopeAndStatus,
        OwnerMember = "Session",
    };

    static readonly ReadModel<Tally>[] Usual = [Tallies, Marks];

    ReadModel<Tally>[] Models { get; } = also is null ? Usual : [.. Usual, also];

    public static Origin By { get; } = new("user:ann", "4bf92f3577b34da6a3ce929d0e0e4736", "cmd-1");

    readonly Dictionary<(string Table, string Key), Tally> rows = [];

    public long Version { get; private set; }

    public string Hash { get; private set; } = HashChain.Root;

    /// <summary>The next write: one event for each text.</summary>
    public Write Next(params IReadOnlyList<string> texts)
    {
        var expected = Version;
        var events = new List<RecordedEvent>();
        var changes = new Dictionary<(string Table, string Key), RowChange>();
        foreach (var text in texts)
        {
            Version++;
            var at = Start.AddMilliseconds(Version);
            var e = new RunEvent.OutputDelta(text, at);
            var data = EventJson.Write(e);
            var id = Ids.NewEventId(at);
            Hash = HashChain.Next(Hash, org, stream, Version, id, "output_delta.v1", at, By.Actor, data);
            events.Add(new(org, stream, Version, id, "output_delta.v1", e, data, at, By.Actor, Hash, Correlation: By.Correlation, Causation: By.Causation));
            foreach (var model in Models)
            {
                Fold(model, events[^1], changes);
            }
        }
        return new(stream, expected, events, session is null ? null : new SessionKey(session), run is null ? null : new RunKey(run), [.. changes.Values]);
    }

    /// <summary>Folds an event into its row, and puts what becomes of the row with the write into the changes.</summary>
    void Fold(ReadModel<Tally> model, RecordedEvent e, Dictionary<(string Table, string Key), RowChange>? changes)
    {
        if (!stream.StartsWith("run-", StringComparison.Ordinal) || model.KeyOf(e) is not { } key)
        {
            return;
        }
        var at = (model.Table, key);
        var before = rows.GetValueOrDefault(at);
        var after = model.Evolve(before, e);
        if (after is null)
        {
            rows.Remove(at);
        }
        else
        {
            rows[at] = after;
        }
        if (changes is not null)
        {
            var made = before is null && after is not null ? e.Version : changes.GetValueOrDefault(at)?.Made ?? 0;
            var ended = before is not null && after is null ? e.Version : changes.GetValueOrDefault(at)?.Ended ?? 0;
            changes[at] = new(model.Table, key, e.Version, after is null ? null : model.Value(after), made, ended);
        }
    }

    /// <summary>The next write alone, as a commit.</summary>
    public Commit Commit(params IReadOnlyList<string> texts) => new(org, [Next(texts)], [], null, By);

    /// <summary>Goes back to what is in the log.</summary>
    public async Task Reload(IEventLog log)
    {
        var past = await log.Load(org, stream, 0, int.MaxValue, CancellationToken.None);
        (Version, Hash) = (past.Version, past.Hash);
        rows.Clear();
        foreach (var e in past.Events)
        {
            Array.ForEach(Models, model => Fold(model, e, null));
        }
    }

    static string WordOf(RecordedEvent e) => TextOf(e.Event) is var text && text.StartsWith("forget ", StringComparison.Ordinal) ? text["forget ".Length..] : text;

    static string TextOf(Event e) => ((RunEvent.OutputDelta)e).Text;
}
