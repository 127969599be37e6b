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
        if (head is not { RootHash: not null, Kid: not null, Signature: not null })
        {
            return "The signature is no JWS of a head.";
        }
        return await WhyWrong(head.Signature, Typ, Payload(head.TreeSize, head.RootHash, head.Timestamp), head.Kid, keyOf(head.Kid));
    }

    /// <summary>Why a signature is not that of a key over a payload, as a sentence; null: it is.</summary>
    /// <param name="key">Null: it is not known.</param>
    public static async ValueTask<string?> WhyWrong(string signature, string typ, string payload, string kid, PublicKey? key)
    {
        if (Jws.Read(signature, typ) is not { } read)
        {
            return typ == Typ ? "The signature is no JWS of a head." : "The signature is no JWS of this kind.";
        }
        if (read.Kid != kid)
        {
            return "The signature names another key than the head.";
        }
        if (key is null)
        {
            return $"The key {kid} is not among those that are trusted.";
        }
        if (!await Jws.IsSignedBy(read, key))
        {
            return $"The signature is not that of the key {kid}.";
        }
        if (signature.Split('.').Any(part => !IsStrict(part)))
        {
            return "The signature is not written as base64url has it.";
        }
        var signed = Encoding.UTF8.GetString(Base64Url.DecodeFromChars(read.Parsed.EncodedPayload));
        return signed == payload ? null
            : typ == Typ ? "The signature is over another size, root or time than the head has."
            : "The signature is over something else than what is here.";
    }

    /// <summary>True: no other text stands for the same bytes.</summary>
    static bool IsStrict(string part) => Base64Url.IsValid(part) && Base64Url.EncodeToString(Base64Url.DecodeFromChars(part)) == part;
}
