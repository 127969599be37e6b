using Cowork.Domain;

using Cronos;

namespace Cowork.Marten;

/// <summary>Next times as the Cronos library finds them.</summary>
static class CronosTimes
{
    /// <summary>
    /// Where a zone's winter time counts as the deviation (Dublin, Casablanca), and where one leaves out a whole day, Cronos may answer with a time that is past. A
    /// schedule would go in a circle on it, so that there the domain finds the time.
    /// </summary>
    public static DateTimeOffset? Next(Cron cron, TimeZoneInfo zone, DateTimeOffset after) =>
        CronExpression.Parse(cron.Text).GetNextOccurrence(after, zone)?.ToUniversalTime() is var found && found <= after ? cron.Next(zone, after) : found;
}
