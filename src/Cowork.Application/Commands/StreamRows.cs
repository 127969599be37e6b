using System.Buffers;
using System.Text.Json;

using Cowork.Application.Storage;

namespace Cowork.Application;

/// <summary>
/// The read models' rows that a stream has been folded into, as they are at a version of it. Nearly every stream has one, a run one more for each
/// approval: looking through them costs less than hashing would.
/// </summary>
public sealed class StreamRows
{
    readonly (IReadModel Model, string Key, object Row)[] rows;

    StreamRows((IReadModel Model, string Key, object Row)[] rows) => this.rows = rows;

    internal static StreamRows None { get; } = new([]);

    internal object? Get(IReadModel model, string key)
    {
        var at = Find(model, key);
        return at < 0 ? null : rows[at].Row;
    }

    /// <summary>The rows after an event.</summary>
    /// <param name="key">Of the row that the event went into; null: into none of the model's.</param>
    internal StreamRows After(IReadModel model, RecordedEvent e, out string? key)
    {
        key = model.KeyOf(e);
        if (key is null)
        {
            return this;
        }
        var at = Find(model, key);
        var before = at < 0 ? null : rows[at].Row;
        var after = model.Evolve(before, e);
        if (ReferenceEquals(before, after))
        {
            return this;
        }
        if (after is null)
        {
            return new([.. rows[..at], .. rows[(at + 1)..]]);
        }
        var copy = new (IReadModel, string, object)[at < 0 ? rows.Length + 1 : rows.Length];
        rows.CopyTo(copy, 0);
        copy[at < 0 ? rows.Length : at] = (model, key, after);
        return new(copy);
    }

    internal RowChange Change(IReadModel model, string key, long version, long made, long ended) =>
        new(model.Table, key, version, Get(model, key) is { } row ? model.Value(row) : null, made, ended);

    /// <summary>The rows as a snapshot keeps them: <c>[[table, key, row], …]</c>.</summary>
    internal ReadOnlyMemory<byte> Write()
    {
        if (rows.Length == 0)
        {
            return default;
        }
        var json = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartArray();
            foreach (var (model, key, row) in rows)
            {
                writer.WriteStartArray();
                writer.WriteStringValue(model.Table);
                writer.WriteStringValue(key);
                writer.WriteRawValue(model.Value(row).Json.Span, skipInputValidation: true);
                writer.WriteEndArray();
            }
            writer.WriteEndArray();
        }
        return json.WrittenMemory;
    }

    /// <summary>What <see cref="Write"/> wrote. The same code reads it, so that every table is known.</summary>
    internal static StreamRows Read(ReadOnlySpan<byte> json, IReadModel[] models)
    {
        if (json.IsEmpty)
        {
            return None;
        }
        var read = new List<(IReadModel, string, object)>();
        foreach (var row in JsonElement.Parse(json).EnumerateArray())
        {
            var model = models.Single(m => m.Table == row[0].GetString());
            read.Add((model, row[1].GetString()!, model.Read(System.Runtime.InteropServices.JsonMarshal.GetRawUtf8Value(row[2]))));
        }
        return new([.. read]);
    }

    int Find(IReadModel model, string key) => Array.FindIndex(rows, r => ReferenceEquals(r.Model, model) && r.Key == key);
}
