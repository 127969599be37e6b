using System.Collections.Immutable;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// The settings under which a host drives runs, as far as its loop decides by them. A run names their digest (<see cref="RunEvent.RunStarted"/>), so that a replay judges and asks
/// by the same ones, whatever the host has by then.
/// </summary>
/// <param name="Tools">Names of the host's own tools, ordered.</param>
/// <param name="ApprovalTime">How long a call waits for a decision.</param>
public sealed record RunSettings(RunLimits Limits, Policy Policy, ImmutableList<string> Tools, TimeSpan ApprovalTime)
{
    /// <summary>The largest integer that every reader of JSON has exactly.</summary>
    const long IntegerMax = (1L << 53) - 1;

    /// <summary>
    /// RFC 8785: <c>{approval_ms, limits: {rounds, time_ms, tokens, tool_calls}, policy: {rules: […], show_thinking}, tools: [NAME]}</c>. The policy has the form of its file
    /// (docs/policy.md).
    /// </summary>
    public byte[] ToJson() => CanonicalJson.Of(Encoding.UTF8.GetBytes(new JsonObject
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
        ["tools"] = new JsonArray([.. Tools.Select(tool => (JsonNode?)tool)]),
    }.ToJsonString()));

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
                [.. root.GetProperty("tools").EnumerateArray().Select(tool => tool.GetString() ?? throw new FormatException("A tool has no name."))],
                TimeSpan.FromMilliseconds(root.GetProperty("approval_ms").GetInt64()));
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or OverflowException)
        {
            throw new FormatException($"They are no settings of runs: {e.Message}", e);
        }
    }
}

/// <summary>Keeps this host's settings in the blob store before a run names them: once for each process.</summary>
public sealed class RecordedSettings(Toolbox toolbox, Policy policy, RunOptions options, ApprovalOptions approvals, IBlobs blobs)
{
    readonly byte[] json = new RunSettings(options.Limits, policy, [.. toolbox.Tools.Select(tool => tool.Name)], approvals.ExpireAfter).ToJson();
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
