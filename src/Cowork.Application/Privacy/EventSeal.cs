using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Seals the personal texts of an event's data and opens them (contracts/decisions.md, "Hash chain"): each becomes <c>{ciphertext, enc, subject}</c>, AES-256-GCM under the key
/// of its stream's contents. Tenant, stream, version and the place in the event are associated data, so that a ciphertext opens in its own place and nowhere else.
/// </summary>
public static class EventSeal
{
    /// <summary>The value of <c>enc</c>: the algorithm's name in RFC 7518.</summary>
    public const string Encryption = "A256GCM";

    const int NonceBytes = 12;

    const int TagBytes = 16;

    static readonly JsonSerializerOptions Plain = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    // A quote within a text is escaped.
    static ReadOnlySpan<byte> Mark => "\"A256GCM\""u8;

    /// <summary>False: nothing in the data is sealed.</summary>
    public static bool MayBeSealed(ReadOnlySpan<byte> data) => data.IndexOf(Mark) >= 0;

    /// <summary>The data with its personal texts sealed.</summary>
    /// <param name="data">Canonical.</param>
    /// <param name="key">Of the contents of the stream.</param>
    /// <param name="blobOf">The digest under which the blob store has what has a digest, when that is sealed; null: it is not.</param>
    /// <returns>In canonical form.</returns>
    public static byte[] Seal(
        ReadOnlySpan<byte> data, PersonalShape shape, EventPlace place, string subject, byte[] key, Func<string, string?> blobOf)
    {
        var node = JsonNode.Parse(data)!;
        using var aes = new AesGcm(key, TagBytes);
        Replace(node, shape, "", (value, at, _) =>
        {
            var plain = Encoding.UTF8.GetBytes(value.ToJsonString(Plain));
            var all = new byte[NonceBytes + plain.Length + TagBytes];
            RandomNumberGenerator.Fill(all.AsSpan(0, NonceBytes));
            aes.Encrypt(all.AsSpan(0, NonceBytes), plain, all.AsSpan(NonceBytes, plain.Length), all.AsSpan(NonceBytes + plain.Length), place.With(at));
            var made = new JsonObject { ["ciphertext"] = Convert.ToBase64String(all), ["enc"] = Encryption, ["subject"] = subject };
            if (Digest(value) is { } digest && blobOf(digest) is { } blob)
            {
                made["sha256"] = blob;
                if (value is JsonObject named)
                {
                    made["bytes"] = named["bytes"]!.GetValue<long>();
                }
            }
            return made;
        });
        return CanonicalJson.Of(JsonSerializer.SerializeToUtf8Bytes(node, Plain));
    }

    /// <summary>The data with its personal texts replaced by what stands for erased ones.</summary>
    public static byte[] Redact(ReadOnlySpan<byte> data, PersonalShape shape)
    {
        var node = JsonNode.Parse(data)!;
        Replace(node, shape, "", static (_, _, erased) => JsonValue.Create(erased));
        return CanonicalJson.Of(JsonSerializer.SerializeToUtf8Bytes(node, Plain));
    }

    /// <summary>True: the event has a text that would be sealed.</summary>
    public static bool HasPersonal(ReadOnlySpan<byte> data, PersonalShape shape)
    {
        var found = false;
        Replace(JsonNode.Parse(data)!, shape, "", (value, _, _) =>
        {
            found = true;
            return value.DeepClone();
        });
        return found;
    }

    /// <summary>The data with what is sealed in it opened.</summary>
    /// <param name="type">The stored name.</param>
    /// <returns>In canonical form.</returns>
    public static OpenedData Open(ReadOnlySpan<byte> data, string type, EventPlace place, IContentKeys keys)
    {
        if (!MayBeSealed(data))
        {
            return new(data.ToArray(), null, IsErased: false);
        }
        var node = JsonNode.Parse(CanonicalJson.Of(data))!;
        var shape = EventTypes.ByName.TryGetValue(type, out var known) ? PersonalShape.Of(known.Shape) : null;
        var opening = new Opening(place, keys);
        return new(CanonicalJson.Of(JsonSerializer.SerializeToUtf8Bytes(opening.Open(node, shape, ""), Plain)), opening.Subject, opening.IsErased);
    }

    /// <summary>The subject whose texts are sealed in the data; null: nothing is.</summary>
    public static string? SubjectOf(ReadOnlySpan<byte> data)
    {
        if (!MayBeSealed(data))
        {
            return null;
        }
        var opening = new Opening(new("", "", 0), NoContentKeys.Instance);
        opening.Open(JsonNode.Parse(data)!, null, "");
        return opening.Subject;
    }

    static string? Digest(JsonNode value) => value switch
    {
        JsonObject o => o["sha256"]?.GetValue<string>(),
        JsonValue v when v.TryGetValue<string>(out var text) && text.Length == 64 && text.All(char.IsAsciiHexDigitLower) => text,
        _ => null,
    };

    static void Replace(JsonNode node, PersonalShape shape, string path, Func<JsonNode, string, string, JsonNode?> with)
    {
        if (node is JsonArray list)
        {
            for (var i = 0; i < list.Count; i++)
            {
                if (list[i] is { } item)
                {
                    Replace(item, shape, string.Create(CultureInfo.InvariantCulture, $"{path}/{i}"), with);
                }
            }
        }
        else if (node is JsonObject parent)
        {
            foreach (var (name, member) in shape.Members)
            {
                if (parent[name] is not { } child)
                {
                    continue;
                }
                var at = $"{path}/{name}";
                if (member.Erased is not { } erased)
                {
                    Replace(child, member, at, with);
                }
                else if (child is JsonArray texts)
                {
                    for (var i = 0; i < texts.Count; i++)
                    {
                        texts[i] = with(texts[i]!, string.Create(CultureInfo.InvariantCulture, $"{at}/{i}"), erased);
                    }
                }
                else
                {
                    parent[name] = with(child, at, erased);
                }
            }
        }
    }

    sealed class Opening(EventPlace place, IContentKeys keys)
    {
        readonly Dictionary<string, byte[]?> used = [];

        public string? Subject { get; private set; }

        public bool IsErased { get; private set; }

        public JsonNode? Open(JsonNode? node, PersonalShape? shape, string path)
        {
            switch (node)
            {
                case JsonObject o when IsSealed(o):
                    return Opened(o, shape?.Erased ?? PersonalAttribute.Text, path);
                case JsonObject o:
                    foreach (var name in o.Select(member => member.Key).ToList())
                    {
                        if (o[name] is JsonObject or JsonArray)
                        {
                            var child = o[name];
                            o[name] = null;
                            o[name] = Open(child, shape?.Members.GetValueOrDefault(name), $"{path}/{name}");
                        }
                    }
                    return o;
                case JsonArray list:
                    for (var i = 0; i < list.Count; i++)
                    {
                        if (list[i] is JsonObject or JsonArray)
                        {
                            var child = list[i];
                            list[i] = null;
                            list[i] = Open(child, shape, string.Create(CultureInfo.InvariantCulture, $"{path}/{i}"));
                        }
                    }
                    return list;
                default:
                    return node;
            }
        }

        static bool IsSealed(JsonObject o) =>
            o.Count is >= 3 and <= 5 && o["enc"] is JsonValue enc && enc.TryGetValue<string>(out var name) && name == Encryption
            && o["ciphertext"] is JsonValue && o["subject"] is JsonValue;

        JsonNode? Opened(JsonObject closed, string erased, string path)
        {
            Subject = closed["subject"]!.GetValue<string>();
            if (!used.TryGetValue(Subject, out var key))
            {
                used.Add(Subject, key = keys.Of(place.Org, Subject, place.Stream));
            }
            if (key is null)
            {
                IsErased = true;
                return JsonValue.Create(erased);
            }
            var text = closed["ciphertext"]!.GetValue<string>();
            var all = new byte[text.Length];
            if (!Convert.TryFromBase64String(text, all, out var written) || written < NonceBytes + TagBytes)
            {
                throw new InvalidDataException($"{path} of version {place.Version} of {place.Stream} is not sealed as it should be.");
            }
            var plain = new byte[written - NonceBytes - TagBytes];
            try
            {
                using var aes = new AesGcm(key, TagBytes);
                aes.Decrypt(all.AsSpan(0, NonceBytes), all.AsSpan(NonceBytes, plain.Length), all.AsSpan(written - TagBytes, TagBytes), plain, place.With(path));
            }
            catch (AuthenticationTagMismatchException e)
            {
                throw new InvalidDataException($"{path} of version {place.Version} of {place.Stream} was changed, or sealed for another place.", e);
            }
            return JsonNode.Parse(plain);
        }
    }
}

/// <summary>The place of an event in the log.</summary>
public readonly record struct EventPlace(string Org, string Stream, long Version)
{
    internal byte[] With(string path) => Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"cowork content\n{Org}\n{Stream}\n{Version}\n{path}"));
}

/// <param name="Subject">The data subject whose texts are in it; null: nobody's were sealed.</param>
/// <param name="IsErased">A text is not there any more.</param>
public readonly record struct OpenedData(byte[] Data, string? Subject, bool IsErased);
