using System.Text;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>
/// Tokens that a provider did not report: a token for each four bytes of UTF-8, rounded up. English text has about four characters a token; the bytes of other
/// scripts weigh more, as their tokens do.
/// </summary>
static class TokenEstimate
{
    const int BytesPerToken = 4;

    /// <summary>Marks estimated usage among the counts of <see cref="UsageDetails"/>, which survive adding up.</summary>
    const string Mark = "cowork.estimated";

    public static long Of(long bytes) => (bytes + BytesPerToken - 1) / BytesPerToken;

    public static long BytesOf(ReadOnlySpan<char> text) => Encoding.UTF8.GetByteCount(text);

    public static void SetEstimated(UsageDetails usage) => usage.AdditionalCounts = new() { [Mark] = 1 };

    public static bool IsEstimated(UsageDetails? usage) => usage?.AdditionalCounts?.ContainsKey(Mark) == true;
}
