using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// The signed form of a head: a JWS (RFC 7515, compact, ES256) of the type <see cref="Typ"/>, whose payload is RFC 8785 of <c>{root_hash, timestamp, tree_size}</c>. Any
/// JOSE library checks it.
/// </summary>
public static class HeadText
{
    /// <summary>The <c>typ</c> of the JWS, so that no token of another kind is taken for a head.</summary>
    public const string Typ = "cowork-head+jws";

    /// <summary>The payload.</summary>
    public static string Payload(long treeSize, string rootHash, DateTimeOffset timestamp)
    {
        using var json = new PooledBuffer(256);
        json.Write("{\"root_hash\":"u8);
        CanonicalJson.WriteString(json, rootHash);
        json.Write(",\"timestamp\":"u8);
        CanonicalJson.WriteString(json, HashChain.Timestamp(timestamp));
        json.Write(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $",\"tree_size\":{treeSize}}}")));
        return Encoding.UTF8.GetString(json.Written);
    }

    /// <summary>Why a head is not what its signature says, as a sentence; null: its key signed it.</summary>
    /// <param name="keyOf">The public key with an id; null: it is not known.</param>
    public static async ValueTask<string?> WhyWrong(SignedHead head, Func<string, PublicKey?> keyOf)
    {
        if (head is not { RootHash: not null, Kid: not null, Signature: not null } || Jws.Read(head.Signature, Typ) is not { } read)
        {
            return "The signature is no JWS of a head.";
        }
        if (read.Kid != head.Kid)
        {
            return "The signature names another key than the head.";
        }
        if (keyOf(head.Kid) is not { } key)
        {
            return $"The key {head.Kid} is not among those that are trusted.";
        }
        if (!await Jws.IsSignedBy(read, key))
        {
            return $"The signature is not that of the key {head.Kid}.";
        }
        if (head.Signature.Split('.').Any(part => !IsStrict(part)))
        {
            return "The signature is not written as base64url has it.";
        }
        var signed = Encoding.UTF8.GetString(Base64Url.DecodeFromChars(read.Parsed.EncodedPayload));
        return signed == Payload(head.TreeSize, head.RootHash, head.Timestamp) ? null : "The signature is over another size, root or time than the head has.";
    }

    /// <summary>True: no other text stands for the same bytes.</summary>
    static bool IsStrict(string part) => Base64Url.IsValid(part) && Base64Url.EncodeToString(Base64Url.DecodeFromChars(part)) == part;
}
