using System.Collections.Immutable;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>
/// The settings under which a host drives runs, as far as its loop decides by them. A run names their digest (<see cref="RunEvent.RunStarted"/>), so that a replay judges and asks
/// by the same ones, whatever the host has by then.
/// </summary>
/// <param name="Tools">Names of the host's own tools, ordered.</param>
/// <param name="ApprovalTime">How long a call waits for a decision.</param>
/// <param name="Prices">Of the models that have one, by name; null: those of an earlier release, which did not record them.</param>
/// <param name="NotesByModel">Names of the models that are asked for notes on their runs, ordered; of others notes are made by rule. Null: as of <paramref name="Prices"/>.</param>
public sealed record RunSettings(
    RunLimits Limits, Policy Policy, ImmutableList<string> Tools, TimeSpan ApprovalTime, ImmutableSortedDictionary<string, ModelPrice>? Prices = null,
    ImmutableList<string>? NotesByModel = null)
{
    /// <summary>The largest integer that every reader of JSON has exactly.</summary>
    const long IntegerMax = (1L << 53) - 1;

    /// <summary>
    /// RFC 8785: <c>{approval_ms, limits: {rounds, time_ms, tokens, tool_calls}, notes_by_model: [NAME], policy: {rules: […], show_thinking}, prices: {NAME: {input, output,
    /// cached}}, tools: [NAME]}</c>. The policy has the form of its file (docs/policy.md); prices are decimal numbers as text, in micro-USD per token.
    /// </summary>
    public byte[] ToJson()
    {
        var json = new JsonObject
        {
            ["approval_ms"] = (long)ApprovalTime.TotalMilliseconds,
            ["limits"] = new JsonObject
            {
                ["rounds"] = Limits.Rounds,
                ["time_ms"] = (long)Limits.Time.TotalMilliseconds,
                ["tokens"] = Math.Min(Limits.Tokens, IntegerMax),
                ["tool_calls"] = Limits.ToolCalls,
            },
            ["policy"] = PolicyFile.Write(Policy),
            ["tools"] = Names(Tools),
        };
        if (Prices is not null)
        {
            json["prices"] = new JsonObject(Prices.Select(price => KeyValuePair.Create(price.Key, (JsonNode?)Shape(price.Value))));
        }
        if (NotesByModel is not null)
        {
            json["notes_by_model"] = Names(NotesByModel);
        }
        return CanonicalJson.Of(Encoding.UTF8.GetBytes(json.ToJsonString()));
    }

    /// <summary>What a model costs; null: nothing, or the settings do not say.</summary>
    public ModelPrice? PriceOf(string model) => Prices?.GetValueOrDefault(model);

    static JsonArray Names(ImmutableList<string> names) => new([.. names.Select(name => (JsonNode?)name)]);

    static JsonObject Shape(ModelPrice price)
    {
        var shape = new JsonObject { ["input"] = Text(price.Input), ["output"] = Text(price.Output) };
        if (price.Cached is { } cached)
        {
            shape["cached"] = Text(cached);
        }
        return shape;
    }

    static string Text(decimal number) => number.ToString(CultureInfo.InvariantCulture);

    static ModelPrice Price(JsonElement shape) => new(
        Number(shape.GetProperty("input")), Number(shape.GetProperty("output")), shape.TryGetProperty("cached", out var cached) ? Number(cached) : null);

    static decimal Number(JsonElement text) =>
        decimal.Parse(text.GetString() ?? throw new FormatException("A price is no text."), NumberStyles.Float, CultureInfo.InvariantCulture);

    static ImmutableList<string> Names(JsonElement names) =>
        [.. names.EnumerateArray().Select(name => name.GetString() ?? throw new FormatException("A model or a tool has no name."))];

    /// <exception cref="FormatException">The text is none of <see cref="ToJson"/>.</exception>
    public static RunSettings Read(ReadOnlySpan<byte> json)
    {
        try
        {
            var root = JsonElement.Parse(json, new JsonDocumentOptions { MaxDepth = 16 });
            var limits = root.GetProperty("limits");
            return new(
                new(
                    limits.GetProperty("tokens").GetInt64(), limits.GetProperty("tool_calls").GetInt32(), limits.GetProperty("rounds").GetInt32(),
                    TimeSpan.FromMilliseconds(limits.GetProperty("time_ms").GetInt64())),
                PolicyFile.Parse(JsonMarshal.GetRawUtf8Value(root.GetProperty("policy"))),
                Names(root.GetProperty("tools")), TimeSpan.FromMilliseconds(root.GetProperty("approval_ms").GetInt64()),
                root.TryGetProperty("prices", out var prices)
                    ? prices.EnumerateObject().ToImmutableSortedDictionary(price => price.Name, price => Price(price.Value), StringComparer.Ordinal)
                    : null,
                root.TryGetProperty("notes_by_model", out var asked) ? Names(asked) : null);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or OverflowException)
        {
            throw new FormatException($"They are no settings of runs: {e.Message}", e);
        }
    }
}

/// <summary>Keeps this host's settings in the blob store before a run names them: once for each process.</summary>
public sealed class RecordedSettings(
    Toolbox toolbox, Policy policy, RunOptions options, ApprovalOptions approvals, MemoryOptions memory, IReadOnlyDictionary<string, IChatClient> models, IBlobs blobs)
{
    readonly byte[] json = new RunSettings(
        options.Limits, policy, [.. toolbox.Tools.Select(tool => tool.Name)], approvals.ExpireAfter,
        models.Select(model => (model.Key, Budgets.TermsOf(model.Value).Price)).Where(model => model.Price is not null)
            .ToImmutableSortedDictionary(model => model.Key, model => model.Price!, StringComparer.Ordinal),
        [.. models.Where(model => RunNotes.IsAsked(memory, model.Value)).Select(model => model.Key).Order(StringComparer.Ordinal)]).ToJson();
    string? kept;

    /// <summary>Their digest; null: the blob store cannot take them now. A run does not wait for that: it starts without.</summary>
    public async ValueTask<string?> Digest(CancellationToken ct)
    {
        if (kept is not null)
        {
            return kept;
        }
        try
        {
            var sha256 = Convert.ToHexStringLower(SHA256.HashData(json));
            await blobs.Put(json, ct);
            await blobs.Keep([sha256], ct);
            return kept = sha256;
        }
        catch (Exception e) when (e is IOException or StorageUnavailableException or InvalidDataException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
