using System.Collections.Immutable;
using System.Net;

namespace Cowork.Application;

/// <summary>
/// The fence around what connections reach: neither loopback, private, link-local and other special addresses nor this host's own database, unless
/// <c>Cowork:Egress:Allow</c> lists the target (contracts/decisions.md, "B, the rest").
/// </summary>
public interface IEgress
{
    /// <summary>
    /// Resolves a host name and judges every address. A caller connects to one of the answered addresses and to nothing else, because a name may resolve differently the next time;
    /// TLS keeps the name.
    /// </summary>
    /// <param name="host">A name or an address, as a user wrote it.</param>
    ValueTask<EgressVerdict> Check(string host, int port, CancellationToken ct);
}

/// <summary>The fence's verdict on a target.</summary>
/// <param name="Addresses">To be tried in this order; empty: <paramref name="WhyNot"/> says why.</param>
/// <param name="WhyNot">A sentence that tells nothing about what is inside; null: the target may be reached.</param>
public sealed record EgressVerdict(ImmutableList<IPAddress> Addresses, string? WhyNot)
{
    public static EgressVerdict Refused(string whyNot) => new([], whyNot);
}
