using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Finds places in a session's feed.</summary>
public static class FeedSearch
{
    /// <summary>
    /// The feed id of the event at a position of the log. Both orders are one within a session, so that it is found by halving: 17 pages of one entry in a feed of 100 000.
    /// </summary>
    /// <exception cref="InvalidOperationException">It is in no such feed.</exception>
    public static async ValueTask<long> IdOf(IEventLog log, string org, SessionKey session, long position, CancellationToken ct)
    {
        var (low, high) = (1L, (await log.Feed(org, session, long.MaxValue, 1, ct)).Head);
        while (low <= high)
        {
            var middle = low + ((high - low) / 2);
            var found = (await log.Feed(org, session, middle - 1, 1, ct)).Entries[0].Position;
            if (found == position)
            {
                return middle;
            }
            (low, high) = found < position ? (middle + 1, high) : (low, middle - 1);
        }
        throw new InvalidOperationException($"The feed of {session} has no event at {position}.");
    }
}
