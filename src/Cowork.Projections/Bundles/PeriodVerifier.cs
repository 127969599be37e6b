using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>The summary of a sound export of a period. The texts are what the file says: escape them where they are shown.</summary>
/// <param name="After">The events have positions above this one.</param>
/// <param name="Through">And are all of the tenant's up to this one.</param>
/// <param name="Digest">SHA-256 of the file up to its last line.</param>
public sealed record PeriodReport(string Format, string TenantId, long Events, int Streams, long After, long Through, string Digest);

/// <summary>
/// Checks an export of a period: each line's form, each event's hash, that positions ascend, that no stream has a gap once it has begun, which is at version 1 where the
/// export begins with the log, and the count and digest at the end. It does not read what the events say, so that an export of a later release is checked too. Memory grows
/// with the number of streams, which is bounded, and with the longest line alone.
/// </summary>
static class PeriodVerifier
{
    /// <summary>Streams of one file: about 100 bytes each. A day with half a million runs has fewer.</summary>
    public const int StreamsMax = 2_000_000;

    static readonly string[] HeaderMembers = ["after", "from", "tenant_id", "to"];

    static readonly string[] EventMembers = TraceVerifier.RelatedMembers;

    static readonly string[] EndMembers = ["count", "last", "sha256", "through"];

    public static async Task<PeriodReport> Check(LineReader lines, JsonElement first, CancellationToken ct)
    {
        var header = BundleLines.Header(first, HeaderMembers);
        const string headerAt = "line 1.header";
        var (tenant, after) = (Text(header, "tenant_id", headerAt), Number(header, "after", headerAt));
        Require(after >= 0, $"{headerAt}.after", "Positions begin at 1.");
        BundleLines.RequireTimeOrNull(header, "from", headerAt);
        BundleLines.RequireTimeOrNull(header, "to", headerAt);
        var heads = new Dictionary<UInt128, (long Version, UInt128 Hash)>();
        var (last, count) = (after, 0L);
        while (await lines.Next(ct) is { } line)
        {
            if (line.Kind == "end")
            {
                var (at, end) = ($"{line.At}.end", line.Of);
                RequireMembers(end, at, EndMembers);
                Require(Number(end, "count", at) == count, $"{at}.count", $"The file has {count} events.");
                Require(Number(end, "last", at) == last, $"{at}.last", $"The last event has position {last}.");
                Require(Number(end, "through", at) >= last || count == 0, $"{at}.through", $"The last event has position {last}.");
                Require(Text(end, "sha256", at) == line.Before, $"{at}.sha256", "It is not the digest of the lines before it.");
                await BundleLines.RequireEnd(lines, ct);
                return new(PeriodExport.Format, tenant, count, heads.Count, after, Number(end, "through", at), line.Before!);
            }
            Require(line.Kind == "event", line.At, $"An export has no {Quoted(line.Kind)}.");
            CheckEvent($"{line.At}.event", line.Of);
            count++;
        }
        throw Fault("end", $"The file ends before its last line: it is cut. What is behind position {last} is missing.");

        void CheckEvent(string at, JsonElement e)
        {
            var members = BundleLines.WithOptional(e, EventMembers, "run_id", "session_id");
            var hashed = HashedEvent.Check(at, e, members);
            Require(hashed.Org == tenant, $"{at}.tenant_id", $"The export is of {Quoted(tenant)}.");
            Require(hashed.Position > last, $"{at}.gid", last == after ? $"The export begins behind position {after}." : $"The event before it has position {last}.");
            last = hashed.Position;
            var (stream, hash) = (Short(SHA256.HashData(Encoding.UTF8.GetBytes(hashed.Stream))), Short(Convert.FromHexString(hashed.Hash)));
            if (heads.TryGetValue(stream, out var before))
            {
                Require(
                    hashed.Version - 1 == before.Version, at, $"The event before it in {Quoted(hashed.Stream)} has version {before.Version}: one is missing, or was put in.");
                Require(Short(Convert.FromHexString(hashed.Previous)) == before.Hash, $"{at}.prev_hash", "It is not the hash of the event before it.");
            }
            else
            {
                Require(after > 0 || hashed.Version == 1, at, $"The export begins with the log, and {Quoted(hashed.Stream)} with version {hashed.Version}: one is missing.");
            }
            Require(before.Version > 0 || heads.Count < StreamsMax, at, $"The file has more than {StreamsMax} streams. Export shorter periods.");
            heads[stream] = (hashed.Version, hash);
        }
    }

    /// <summary>Half of a digest, which nobody finds twice.</summary>
    static UInt128 Short(byte[] digest) => BinaryPrimitives.ReadUInt128BigEndian(digest);
}

/// <summary>What the kinds of bundles in lines have in common.</summary>
static class BundleLines
{
    /// <summary>The header of a bundle whose format was looked at.</summary>
    public static JsonElement Header(JsonElement first, string[] members)
    {
        RequireMembers(first, "line 1", ["format", "header"]);
        var header = Object(Member(first, "header", "line 1"), "line 1.header");
        RequireMembers(header, "line 1.header", members);
        return header;
    }

    public static void RequireTimeOrNull(JsonElement o, string name, string at)
    {
        if (Member(o, name, at).ValueKind != JsonValueKind.Null)
        {
            Require(DateTimeOffset.TryParse(Text(o, name, at), System.Globalization.CultureInfo.InvariantCulture, out _), $"{at}.{name}", "It is not a time.");
        }
    }

    /// <summary>Nothing follows the last line.</summary>
    public static async ValueTask RequireEnd(LineReader lines, CancellationToken ct) =>
        Require(await lines.Next(ct) is null, "end", "Something follows the last line.");

    /// <summary>The members, with those of the optional ones that an object has, which must be texts.</summary>
    public static string[] WithOptional(JsonElement e, string[] members, params ReadOnlySpan<string> optional)
    {
        List<string> all = [.. members];
        foreach (var name in optional)
        {
            if (e.ValueKind == JsonValueKind.Object && e.TryGetProperty(name, out var value))
            {
                Require(value.ValueKind == JsonValueKind.String, name, "It is not a string.");
                all.Add(name);
            }
        }
        return [.. all];
    }
}
