using System.Collections.Immutable;

namespace Cowork.Domain;

/// <summary>
/// A person behind a token who is not its user: who issued it or gave it another secret knows the secret, and can act as its user. With that person come those
/// behind the token that it was done with.
/// </summary>
/// <param name="Actor">The principal, as in events; one of another tenant ends in <c>@</c> and that tenant's name.</param>
/// <param name="Operator">True: an operator's. An operator names the persons of every tenant, and what they have in common is no sign that two of them are one.</param>
public sealed record Issuer(string Actor, bool? Operator = null)
{
    /// <summary>The persons of two lists, each once, without the token's own user.</summary>
    public static ImmutableList<Issuer> Union(ImmutableList<Issuer> some, ImmutableList<Issuer> others, string user) =>
        [.. some.Concat(others).Where(i => i.Actor != user).DistinctBy(i => i.Actor)];

    /// <summary>
    /// Whether two principals may be one person: one is behind the other's token, or somebody who is no operator is behind both.
    /// </summary>
    /// <param name="behind">The persons behind the first one's token.</param>
    /// <param name="behindOther">The persons behind the second one's token.</param>
    public static bool MayBeOne(string actor, IReadOnlyCollection<Issuer> behind, string other, IReadOnlyCollection<Issuer> behindOther) =>
        actor == other || behind.Any(i => i.Actor == other) || behindOther.Any(i => i.Actor == actor)
        || behind.Any(i => i.Operator != true && behindOther.Any(o => o.Actor == i.Actor));
}
