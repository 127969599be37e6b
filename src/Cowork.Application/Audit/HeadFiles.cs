using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A head as <c>GET /audit/heads</c> answers it, and as it is written outside the database: one to a line.</summary>
public sealed record HeadLine(long Number, long TreeSize, string RootHash, DateTimeOffset Timestamp, string Kid, string Signature)
{
    /// <summary>Characters of a line that is read.</summary>
    public const int CharsMax = 4_096;

    public static HeadLine Of(NumberedHead head) =>
        new(head.Number, head.Head.TreeSize, head.Head.RootHash, head.Head.Timestamp, head.Head.Kid, head.Head.Signature);

    public SignedHead Head => new(TreeSize, RootHash, Timestamp, Kid, Signature);

    public string ToJson() => JsonSerializer.Serialize(this, HeadLineJson.Default.HeadLine);

    /// <summary>Null: it is no head.</summary>
    public static HeadLine? Parse(string json)
    {
        try
        {
            return json.Length <= CharsMax && JsonSerializer.Deserialize(json, HeadLineJson.Default.HeadLine) is
            { Number: > 0, TreeSize: > 0, RootHash: not null, Kid: not null, Signature: not null } line
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
        var (lines, heads) = (File.ReadAllLines(path), new List<HeadLine>());
        foreach (var (i, line) in lines.Index().Where(line => line.Item.Length > 0))
        {
            if (Parse(line) is { } head)
            {
                heads.Add(head);
            }
            else if (i < lines.Length - 1)
            {
                throw new InvalidDataException($"Line {i + 1} of {path} is no head.");
            }
        }
        return heads;
    }
}

/// <summary>Keys of heads as <c>GET /infra/jwks.json</c> answers them (JWK set, RFC 7517).</summary>
public static class HeadKeys
{
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

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, Converters = [typeof(TimestampConverter)])]
[JsonSerializable(typeof(HeadLine))]
sealed partial class HeadLineJson : JsonSerializerContext;
