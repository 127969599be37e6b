using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// What stands in place of an event's data that expired. The event's place, type, time, actor and hash stay.
/// </summary>
/// <param name="By">Position of the event that let it expire.</param>
/// <param name="Bytes">That the event counted for in its tenant's usage.</param>
/// <param name="Blobs">The same of blobs.</param>
/// <param name="IsCounterfactual">It was the first event of a run that goes off from another one, of which figures count the costs alone.</param>
/// <param name="InputTokens">What a model's answer had used, so that the tenant's figures stay; the same for the next two.</param>
public sealed record Tombstone(
    long By, long Bytes, long Blobs, long InputTokens, long OutputTokens, long CostMicroUsd, DateTimeOffset At, bool IsCounterfactual = false) : Event(At);

/// <summary>
/// What stands in the log in place of data that expired: <c>{"tombstone":{"by":42,…}}</c>, with numbers only. The database checks the same (docs/retention.md).
/// </summary>
public static class Tombstones
{
    static ReadOnlySpan<byte> Begin => "{\"tombstone\":"u8;

    /// <summary>True: the stored data is a tombstone. No event of ours has such a member.</summary>
    public static bool Is(ReadOnlySpan<byte> data) => data.StartsWith(Begin);

    /// <param name="at">Time of the event.</param>
    /// <exception cref="JsonException">It has other members than a tombstone, or another than a number from 0.</exception>
    public static Tombstone Read(ReadOnlySpan<byte> data, DateTimeOffset at)
    {
        var (by, bytes, blobs, input, output, cost, counterfactual) = (0L, 0L, 0L, 0L, 0L, 0L, 0L);
        var whole = JsonElement.Parse(data);
        if (whole.EnumerateObject().Count() != 1 || whole.GetProperty("tombstone") is not { ValueKind: JsonValueKind.Object } stone)
        {
            throw new JsonException("It is no tombstone.");
        }
        foreach (var member in stone.EnumerateObject())
        {
            if (member.Value.ValueKind != JsonValueKind.Number || !member.Value.TryGetInt64(out var number) || number < 0)
            {
                throw new JsonException("A tombstone has numbers only.");
            }
            _ = member.Name switch
            {
                "by" => by = number,
                "bytes" => bytes = number,
                "blobs" => blobs = number,
                "input_tokens" => input = number,
                "output_tokens" => output = number,
                "cost_micro_usd" => cost = number,
                "counterfactual" when number == 1 => counterfactual = number,
                _ => throw new JsonException("A tombstone has no such member."),
            };
        }
        return by > 0 ? new(by, bytes, blobs, input, output, cost, at, counterfactual > 0) : throw new JsonException("A tombstone names the event that let the data expire.");
    }

    /// <summary>The form that is stored, in canonical form. Figures that are zero are left out.</summary>
    public static byte[] Write(Tombstone stone)
    {
        using var output = new PooledBuffer(160);
        using (var json = new Utf8JsonWriter(output))
        {
            json.WriteStartObject();
            json.WriteStartObject("tombstone");
            Figure(json, "blobs", stone.Blobs);
            json.WriteNumber("by", stone.By);
            Figure(json, "bytes", stone.Bytes);
            Figure(json, "cost_micro_usd", stone.CostMicroUsd);
            Figure(json, "counterfactual", stone.IsCounterfactual ? 1 : 0);
            Figure(json, "input_tokens", stone.InputTokens);
            Figure(json, "output_tokens", stone.OutputTokens);
            json.WriteEndObject();
            json.WriteEndObject();
        }
        return output.Written.ToArray();
    }

    /// <summary>The tombstone of an event.</summary>
    /// <param name="by">Position of the event that let it expire.</param>
    /// <param name="isCounted">Its bytes count for the tenant's usage.</param>
    public static Tombstone Of(RecordedEvent e, long by, bool isCounted)
    {
        var (blobs, bytes) = isCounted ? StoredBytes.Of(e.Data.Span) : (0, 0);
        var used = e.Event switch
        {
            RunEvent.LlmResponse { Source: null } l => (l.InputTokens, l.OutputTokens, Cost: l.CostMicroUsd ?? 0),
            RunEvent.ModelRetried { Usage: { } u } => (u.InputTokens, u.OutputTokens, Cost: u.CostMicroUsd ?? 0),
            RunEvent.RunFailed { Usage: { } u } => (u.InputTokens, u.OutputTokens, Cost: u.CostMicroUsd ?? 0),
            _ => default,
        };
        return new(by, bytes, blobs, used.InputTokens, used.OutputTokens, used.Cost, e.At, e.Event is RunEvent.RunCreated { Counterfactual: not null });
    }

    static void Figure(Utf8JsonWriter json, string name, long value)
    {
        if (value > 0)
        {
            json.WriteNumber(name, value);
        }
    }
}

/// <summary>
/// SHA-256 over what stays of events whose data expired: a line of canonical JSON for each, <c>{actor, gid, hash, id, stream_id, ts, type, version}</c>.
/// </summary>
public sealed class ExpiredDigest : IDisposable
{
    readonly IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    /// <summary>Events that were added.</summary>
    public long Events { get; private set; }

    public void Add(long position, string stream, long version, Guid id, string type, DateTimeOffset at, string actor, string eventHash)
    {
        using var line = new PooledBuffer(512);
        line.Write("{\"actor\":"u8);
        CanonicalJson.WriteString(line, actor);
        var place = string.Create(CultureInfo.InvariantCulture, $",\"gid\":{position},\"hash\":\"{eventHash}\",\"id\":\"{id:D}\",\"stream_id\":");
        line.Write(System.Text.Encoding.UTF8.GetBytes(place));
        CanonicalJson.WriteString(line, stream);
        line.Write(System.Text.Encoding.UTF8.GetBytes($",\"ts\":\"{HashChain.Timestamp(at)}\",\"type\":"));
        CanonicalJson.WriteString(line, type);
        line.Write(System.Text.Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $",\"version\":{version}}}\n")));
        hash.AppendData(line.Written);
        Events++;
    }

    /// <summary>Of the events so far.</summary>
    public string Hex() => Convert.ToHexStringLower(hash.GetCurrentHash());

    public void Dispose() => hash.Dispose();
}

/// <summary>SHA-256 over tombstones in the order of their events: a line of canonical JSON for each. What they count for cannot be changed once an event has it.</summary>
public sealed class TombstoneDigest : IDisposable
{
    readonly IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    /// <summary>Tombstones that were added.</summary>
    public long Count { get; private set; }

    public void Add(Tombstone stone)
    {
        hash.AppendData(Tombstones.Write(stone));
        hash.AppendData("\n"u8);
        Count++;
    }

    /// <summary>Of the tombstones so far.</summary>
    public string Hex() => Convert.ToHexStringLower(hash.GetCurrentHash());

    public void Dispose() => hash.Dispose();
}
