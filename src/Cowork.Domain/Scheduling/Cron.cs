namespace Cowork.Domain;

/// <summary>
/// Finds the first time after another at which an expression comes due in a zone; null: none follows in the calendar, which ends with the year 9999. The
/// answer is UTC and later than the question. The domain knows no calendar of its own: the host passes this in.
/// </summary>
public delegate DateTimeOffset? NextTime(Cron cron, TimeZoneInfo zone, DateTimeOffset after);

/// <summary>
/// A cron expression of five fields (minute, hour, day of month, month, day of week) or a macro like <c>@daily</c>, checked and not evaluated. Every field
/// must match, both day fields too (docs/schedules.md has the grammar).
/// </summary>
public sealed record Cron
{
    internal Cron(string text, bool isInterval) => (Text, IsInterval) = (text, isInterval);

    /// <summary>The expression as it was written.</summary>
    public string Text { get; }

    /// <summary>
    /// Minutes or hours are given as a star, a range or a step, so that the expression sets a pace. The others name times of the day, each of which comes
    /// once a day, also when the clock shows it twice.
    /// </summary>
    public bool IsInterval { get; }

    /// <summary>The expression that a text is, or what is wrong with it, in words.</summary>
    public static (Cron? Cron, string? Fault) Parse(string text) => CronText.Read(text);
}
