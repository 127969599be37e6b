using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A head as <c>GET /audit/heads</c> answers it, and as it is written outside the database: one to a line.</summary>
public sealed record HeadLine(long Number, long TreeSize, string RootHash, DateTimeOffset Timestamp, string Kid, string Signature)
{
    /// <summary>Characters of a line that is read: a head, and a proof over as many events as there can be.</summary>
    public const int CharsMax = 8_192;

    /// <summary>
    /// That its tree begins with that of the head before it (RFC 9162, 2.1.4), in hex, so that whoever has both needs no service; null: it is the first head, or was sent by an
    /// earlier release.
    /// </summary>
    public IReadOnlyList<string>? Consistency { get; init; }

    public static HeadLine Of(NumberedHead head) =>
        new(head.Number, head.Head.TreeSize, head.Head.RootHash, head.Head.Timestamp, head.Head.Kid, head.Head.Signature);

    /// <summary>The same head, whatever is sent with it.</summary>
    public bool Is(HeadLine other) => Number == other.Number && Head == other.Head;

    /// <summary>Whether its proof shows that its tree begins with that of an earlier head; null: it has none.</summary>
    public bool? Extends(HeadLine before)
    {
        if (Consistency is not { } proof)
        {
            return null;
        }
        try
        {
            return MerkleTree.Extends(
                before.TreeSize, Convert.FromHexString(before.RootHash), TreeSize, Convert.FromHexString(RootHash), [.. proof.Select(Convert.FromHexString)]);
        }
        catch (FormatException)
        {
            return false;
        }
    }

    [JsonIgnore]
    public SignedHead Head => new(TreeSize, RootHash, Timestamp, Kid, Signature);

    public string ToJson() => JsonSerializer.Serialize(this, HeadLineJson.Default.HeadLine);

    /// <summary>Null: it is no head.</summary>
    public static HeadLine? Parse(string json)
    {
        try
        {
            return json.Length <= CharsMax && JsonSerializer.Deserialize(json, HeadLineJson.Default.HeadLine) is
            { Number: > 0, TreeSize: > 0, RootHash: not null, Kid: not null, Signature: not null } line && line.Consistency?.Any(hash => hash is null) != true
                ? line
                : null;
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException)
        {
            return null;
        }
    }

    /// <summary>The heads of a file with one to a line, in their order.</summary>
    /// <exception cref="InvalidDataException">A line is no head. The last one may be cut short, where a writer was killed: it is left out.</exception>
    public static IReadOnlyList<HeadLine> Read(string path)
    {
        using var file = new StreamReader(path);
        return Read(file, path);
    }

    /// <summary>The heads of a file that something is compared with.</summary>
    /// <exception cref="InvalidDataException">It has none: nothing would be compared. Or a line is no head.</exception>
    public static IReadOnlyList<HeadLine> ReadSome(string path) =>
        Read(path) is { Count: > 0 } heads ? heads : throw new InvalidDataException($"{path} has no head: there is nothing to compare with.");

    /// <summary>The heads of a text with one to a line, in memory that grows with the heads alone.</summary>
    /// <exception cref="InvalidDataException">A whole line is no head.</exception>
    public static IReadOnlyList<HeadLine> Read(TextReader text, string name)
    {
        var (heads, line, number, isWrong) = (new List<HeadLine>(), new StringBuilder(), 1, false);
        for (int c; (c = text.Read()) >= 0;)
        {
            if (isWrong)
            {
                throw new InvalidDataException($"Line {number - 1} of {name} is no head.");
            }
            if (c != '\n')
            {
                if (line.Append((char)c).Length > CharsMax)
                {
                    throw new InvalidDataException($"Line {number} of {name} is no head: it has more than {CharsMax} characters.");
                }
                continue;
            }
            isWrong = !Add();
            number++;
        }
        if (isWrong)
        {
            throw new InvalidDataException($"Line {number - 1} of {name} is no head.");
        }
        // What a killed writer has begun is no head.
        Add();
        return heads;

        bool Add()
        {
            var json = line.ToString().TrimEnd('\r');
            line.Clear();
            if (json.Length == 0)
            {
                return true;
            }
            if (Parse(json) is not { } head)
            {
                return false;
            }
            heads.Add(head);
            return true;
        }
    }
}

/// <summary>Keys of heads as <c>GET /infra/jwks.json</c> answers them (JWK set, RFC 7517).</summary>
public static class HeadKeys
{
    /// <summary>Bytes of a set that is read: some ten thousand keys.</summary>
    public const int BytesMax = 4 << 20;

    /// <summary>The keys of P-256 in a set, by id, without those that say that they sign something else, and those that are no points of it.</summary>
    /// <exception cref="InvalidDataException">It is no JWK set.</exception>
    public static IReadOnlyDictionary<string, PublicKey> Parse(ReadOnlyMemory<byte> json)
    {
        try
        {
            using var set = JsonDocument.Parse(json);
            var keys = new Dictionary<string, PublicKey>();
            foreach (var key in set.RootElement.GetProperty("keys").EnumerateArray())
            {
                if ((Text(key, "purpose") ?? SigningKeys.Heads) == SigningKeys.Heads && Text(key, "kid") is { } kid && PublicJwk.Read(key) is { } read)
                {
                    keys[kid] = read;
                }
            }
            return keys;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            throw new InvalidDataException("It is no JWK set.", e);
        }
    }

    static string? Text(JsonElement of, string name) => of.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, Converters = [typeof(TimestampConverter)], DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(HeadLine))]
sealed partial class HeadLineJson : JsonSerializerContext;
