using Cowork.Domain;

using Cronos;

namespace Cowork.CritterStack;

/// <summary>Next times as the Cronos library finds them.</summary>
static class CronosTimes
{
    public static DateTimeOffset? Next(Cron cron, TimeZoneInfo zone, DateTimeOffset after) =>
        CronExpression.Parse(cron.Text).GetNextOccurrence(after, zone)?.ToUniversalTime();
}
