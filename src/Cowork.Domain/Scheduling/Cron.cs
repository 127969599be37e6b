namespace Cowork.Domain;

/// <summary>
/// Finds the first time after <c>after</c> at which an expression is due in a zone, in UTC. Null: there is none before the calendar ends with the year 9999. The
/// domain has no calendar; the host passes this function in.
/// </summary>
public delegate DateTimeOffset? NextTime(Cron cron, TimeZoneInfo zone, DateTimeOffset after);

/// <summary>
/// A valid cron expression of five fields (minute, hour, day of month, month, day of week) or a macro like <c>@daily</c>. Every field must match, including
/// both day fields (docs/schedules.md has the grammar). This type does not evaluate it.
/// </summary>
public sealed record Cron
{
    internal Cron(string text, bool isInterval) => (Text, IsInterval) = (text, isInterval);

    /// <summary>The expression as the client wrote it.</summary>
    public string Text { get; }

    /// <summary>
    /// True: minutes or hours have a star, a range or a step, so that the expression is a frequency. False: it names times of the day, each of which is due
    /// once a day, even if the clock shows it twice.
    /// </summary>
    public bool IsInterval { get; }

    /// <summary>Answers the expression, or a sentence that says what is wrong.</summary>
    public static (Cron? Cron, string? Fault) Parse(string text) => CronText.Read(text);
}
