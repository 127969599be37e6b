using Microsoft.Net.Http.Headers;

namespace Cowork.Web.Http;

/// <summary>Content negotiation by the header <c>Accept</c> (RFC 9110, 12.5.1).</summary>
static class ContentNegotiation
{
    /// <summary>
    /// The offer with the highest weight; among equals the one with the more specific range, then the first. The first offer, too, when the header is
    /// missing or accepts none. A parameter <c>version</c> must match; other parameters, such as <c>charset</c>, are ignored.
    /// </summary>
    public static MediaTypeHeaderValue Choose(HttpContext http, IReadOnlyList<MediaTypeHeaderValue> offers)
    {
        if (!MediaTypeHeaderValue.TryParseList(http.Request.Headers.Accept, out var ranges))
        {
            return offers[0];
        }
        var best = offers.Select(offer => (Offer: offer, Weight: Weight(offer, ranges))).MaxBy(o => o.Weight);
        return best.Weight.Quality > 0 ? best.Offer : offers[0];
    }

    /// <summary>The most specific range that matches the offer sets its weight.</summary>
    static (double Quality, int Exactness) Weight(MediaTypeHeaderValue offer, IEnumerable<MediaTypeHeaderValue> ranges) =>
        ranges.Where(range => Covers(range, offer))
            .Select(range => (Quality: range.Quality ?? 1, Exactness: Exactness(range)))
            .OrderByDescending(w => w.Exactness).ThenByDescending(w => w.Quality)
            .FirstOrDefault();

    static bool Covers(MediaTypeHeaderValue range, MediaTypeHeaderValue offer) =>
        (range.MatchesAllTypes || range.Type.Equals(offer.Type, StringComparison.OrdinalIgnoreCase))
        && (range.MatchesAllSubTypes || range.SubType.Equals(offer.SubType, StringComparison.OrdinalIgnoreCase))
        && (Version(range) is not { } version || version == Version(offer));

    static int Exactness(MediaTypeHeaderValue range) =>
        range.MatchesAllTypes ? 0 : range.MatchesAllSubTypes ? 1 : Version(range) is null ? 2 : 3;

    static string? Version(MediaTypeHeaderValue type) =>
        type.Parameters.FirstOrDefault(p => p.Name.Equals("version", StringComparison.OrdinalIgnoreCase)) is { } version
            ? HeaderUtilities.RemoveQuotes(version.Value).ToString()
            : null;
}
