using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Projections;

namespace Cowork.Testing;

/// <summary>What a forger does to a bundle.</summary>
public static class TamperedBundles
{
    /// <summary>
    /// Tampered forms of a bundle: its bytes, a value, its events in another order, with one left out or there twice, or texts of a data subject passed off as erased; as they are,
    /// with all digests, or with all hashes computed anew.
    /// </summary>
    public static IEnumerable<byte[]> Of(byte[] bundle, Random random)
    {
        var isDisclosed = Encoding.UTF8.GetString(bundle).Contains("\"content_key\"", StringComparison.Ordinal);
        while (true)
        {
            if (isDisclosed && random.Next(6) == 0)
            {
                var share = random.Next(1, 5);
                yield return Blanked(bundle, _ => random.Next(4) < share);
                continue;
            }
            if (random.Next(4) == 0)
            {
                yield return Changed(bundle, random);
                continue;
            }
            var root = JsonNode.Parse(bundle)!.AsObject();
            if (random.Next(2) == 0)
            {
                Replace(root, random);
            }
            else
            {
                Rearrange(root["events"]!.AsArray(), random);
            }
            var canBeSealed = root["head"] is JsonObject && root["format"] is JsonValue format && format.TryGetValue<string>(out _);
            var isChained = random.Next(2) == 0 && canBeSealed && root["events"] is JsonArray events && events.All(e => e is JsonObject) && TryRechain(root);
            yield return canBeSealed && (isChained || random.Next(2) == 0) ? Sealed(root) : Canonical(root);
        }
    }

    /// <summary>Passes sealed texts off as erased: the keys of events are gone, and what was opened with them reads as if it were.</summary>
    public static byte[] Blanked(byte[] bundle, Func<JsonObject, bool> isBlanked)
    {
        var root = JsonNode.Parse(bundle)!.AsObject();
        foreach (var e in root["events"]!.AsArray().Concat(root["related"]!.AsArray()).Select(e => e!.AsObject()).Where(e => e.ContainsKey("content_key") && isBlanked(e)))
        {
            e.Remove("content_key");
            if (e.ContainsKey("payload"))
            {
                e["payload"] = JsonNode.Parse(EventSeal.Open(
                    Canonical(e["data"]), (string)e["type"]!, new((string)e["tenant_id"]!, (string)e["stream_id"]!, (long)e["version"]!), new NoKeys()).Data);
            }
        }
        return Sealed(root);
    }

    sealed class NoKeys : IContentKeys
    {
        public byte[]? Of(string org, string subject, string stream) => null;
    }

    /// <summary>Leaves an event out, swaps two, or repeats one.</summary>
    static void Rearrange(JsonArray events, Random random)
    {
        var (one, other) = (random.Next(events.Count), random.Next(events.Count));
        switch (random.Next(3))
        {
            case 0:
                events.RemoveAt(one);
                break;
            case 1:
                var (left, right) = (events[one]!.DeepClone(), events[other]!.DeepClone());
                (events[one], events[other]) = (right, left);
                break;
            default:
                events.Insert(other, events[one]!.DeepClone());
                break;
        }
    }

    /// <summary>Bytes flipped, removed, put in, repeated or moved.</summary>
    public static byte[] Changed(byte[] bundle, Random random)
    {
        var bytes = bundle.ToList();
        for (var times = random.Next(1, 4); times > 0; times--)
        {
            var (at, length) = (random.Next(bytes.Count), random.Next(1, 40));
            length = Math.Min(length, bytes.Count - at);
            switch (random.Next(5))
            {
                case 0:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 1:
                    bytes.RemoveRange(at, length);
                    break;
                case 2:
                    bytes.Insert(at, (byte)"{}[]\",:0 \\"[random.Next(10)]);
                    break;
                case 3:
                    bytes.InsertRange(at, bytes.GetRange(at, length));
                    break;
                default:
                    var moved = bytes.GetRange(at, length);
                    bytes.RemoveRange(at, length);
                    bytes.InsertRange(random.Next(bytes.Count + 1), moved);
                    break;
            }
        }
        return [.. bytes];
    }

    /// <summary>Replaces or removes one value. Answers the name of its member.</summary>
    public static string Replace(JsonObject root, Random random)
    {
        var places = new List<(JsonNode Parent, string? Name, int Index)>();
        Collect(root);
        var (parent, name, index) = places[random.Next(places.Count)];
        JsonNode? value = random.Next(9) switch
        {
            0 => null,
            1 => long.MaxValue,
            2 => long.MinValue,
            3 => 1e300,
            4 => "",
            5 => new JsonObject(),
            6 => new JsonArray(1, "a"),
            7 => new string('x', 1_000),
            _ => random.Next(100),
        };
        if (parent is JsonArray list)
        {
            list[index] = value;
            return "";
        }
        var o = parent.AsObject();
        if (random.Next(4) == 0)
        {
            o.Remove(name!);
        }
        else
        {
            o[name!] = value;
        }
        return name!;

        void Collect(JsonNode? node)
        {
            switch (node)
            {
                case JsonObject of:
                    foreach (var (member, inner) in of)
                    {
                        places.Add((of, member, 0));
                        Collect(inner);
                    }
                    break;
                case JsonArray items:
                    for (var i = 0; i < items.Count; i++)
                    {
                        places.Add((items, null, i));
                        Collect(items[i]);
                    }
                    break;
            }
        }
    }

    public static bool TryRechain(JsonObject root)
    {
        try
        {
            Rechain(root);
            return true;
        }
        catch (Exception e) when (e is InvalidOperationException or FormatException or NullReferenceException or ArgumentException or OverflowException or KeyNotFoundException)
        {
            // There is nothing to compute a hash of.
            return false;
        }
    }

    /// <summary>Numbers the run's own stream and computes all hashes anew, and the head.</summary>
    public static void Rechain(JsonObject root)
    {
        var last = new Dictionary<string, JsonObject>();
        var own = root["head"]!["stream_id"]!.GetValue<string>();
        foreach (var e in root["events"]!.AsArray().Select(e => e!.AsObject()))
        {
            var stream = e["stream_id"]!.GetValue<string>();
            if (last.TryGetValue(stream, out var before))
            {
                e["version"] = stream == own ? (long)before["version"]! + 1 : (long)e["version"]!;
                e["prev_hash"] = (string?)before["hash"];
            }
            e["payload"] = e["data"]?.DeepClone();
            Rehash(e);
            last[stream] = e;
        }
        (root["head"]!["version"], root["head"]!["hash"]) = ((long)last[own]["version"]!, (string?)last[own]["hash"]);
    }

    /// <summary>Computes the hash of an event anew.</summary>
    public static void Rehash(JsonObject e) => e["hash"] = HashChain.Next(
        (string)e["prev_hash"]!, (string)e["tenant_id"]!, (string)e["stream_id"]!, (long)e["version"]!, Guid.Parse((string)e["id"]!), (string)e["type"]!,
        DateTimeOffset.Parse((string)e["ts"]!, CultureInfo.InvariantCulture), (string)e["actor"]!, Canonical(e["data"]));

    /// <summary>A bundle of a run as it is once the memories that it was told of expired, or another event of it has something in place of its data.</summary>
    /// <param name="stone">What stands in place of the data.</param>
    /// <param name="list"><c>related</c> or <c>events</c>.</param>
    /// <param name="begin">How the streams of the events begin.</param>
    public static byte[] WithTombstones(byte[] bundle, string stone = """{"tombstone":{"by":4711,"bytes":120}}""", string list = "related", string begin = "memory-")
    {
        var root = JsonNode.Parse(bundle)!.AsObject();
        foreach (var e in root[list]!.AsArray().Where(e => ((string)e!["stream_id"]!).StartsWith(begin, StringComparison.Ordinal)))
        {
            e!["data"] = JsonNode.Parse(stone);
            if (e["payload"] is not null)
            {
                e["payload"] = JsonNode.Parse(stone);
            }
        }
        return Sealed(root);
    }

    /// <summary>Computes all digests anew.</summary>
    public static byte[] Sealed(JsonObject root)
    {
        root.Remove("digests");
        Seal(root);
        return Canonical(root);
    }

    /// <summary>Puts the digests of its parts into a bundle, and, since the format that has it, the digest of these into its head.</summary>
    public static void Seal(JsonObject root)
    {
        var hasDigestInHead = (string?)root["format"] is not (TraceBundle.SecondFormat or TraceBundle.FirstFormat);
        var digests = new JsonObject();
        foreach (var (name, part) in root)
        {
            if (name is not ("digests" or "log") && (name != "head" || !hasDigestInHead))
            {
                digests[name] = part is JsonArray items ? new JsonArray([.. items.Select(item => (JsonNode?)Digest(item))]) : Digest(part);
            }
        }
        root["digests"] = digests;
        if (hasDigestInHead)
        {
            root["head"]!["digest"] = Digest(digests);
        }
    }

    static string Digest(JsonNode? part) => Convert.ToHexStringLower(SHA256.HashData(Canonical(part)));

    public static byte[] Canonical(JsonNode? node) => CanonicalJson.Of(Encoding.UTF8.GetBytes(node?.ToJsonString() ?? "null"));
}
