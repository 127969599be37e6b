using Cowork.Application;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>What a verifier has from elsewhere: keys and heads that nobody who makes up a bundle could change. A bundle must have a signed head that agrees with them.</summary>
public sealed class TrustAnchors
{
    readonly Dictionary<long, HeadLine>? heads;
    readonly HashSet<string>? kids;

    /// <param name="keys">The only keys whose signatures count, by id; null: those that signed the heads, or without heads the bundle's own.</param>
    /// <param name="heads">Heads that a witness keeps, one of which must be the bundle's; null: it need be none.</param>
    /// <exception cref="InvalidDataException">Two of the heads have the same number and are not the same.</exception>
    public TrustAnchors(IReadOnlyDictionary<string, PublicKey>? keys, IEnumerable<HeadLine>? heads = null)
    {
        Keys = keys;
        if (heads is null)
        {
            return;
        }
        (this.heads, kids) = ([], new(StringComparer.Ordinal));
        foreach (var head in heads)
        {
            if (this.heads.TryGetValue(head.Number, out var other) && other.Head != head.Head)
            {
                throw new InvalidDataException($"There are two heads {head.Number}.");
            }
            this.heads[head.Number] = head;
            kids.Add(head.Kid);
        }
    }

    public IReadOnlyDictionary<string, PublicKey>? Keys { get; }

    public bool HasHeads => heads is not null;

    /// <summary>Whether the key is one to trust. The id of a key is its thumbprint, so that a kept head vouches for the key that signed it.</summary>
    internal bool Trusts(string kid, PublicKey key) => Keys is not null ? Keys.TryGetValue(kid, out var known) && known == key : kids?.Contains(kid) == true;

    /// <summary>Why the head is none of those that are kept, as a sentence; null: it is, or none are.</summary>
    /// <param name="key">Of the head.</param>
    internal string? WhyNotKept(HeadLine head, PublicKey key) =>
        heads is null ? null
        : !heads.TryGetValue(head.Number, out var kept) ? $"Head {head.Number} is not among the heads that were kept."
        : kept.TreeSize == head.TreeSize && kept.RootHash == head.RootHash ? null
        : kept.Kid == head.Kid && HeadText.WhyWrong(kept.Head, _ => key).AsTask().GetAwaiter().GetResult() is not null
            ? $"Head {head.Number} as it was kept is not signed by its own key: what keeps the heads was changed."
        : $"Head {head.Number} is another one than the one that was kept: the log that this was taken from is another one.";
}
