namespace Cowork.Domain;

/// <summary>Amounts of US dollars: whole millionths in the log, so that sums are exact, and decimal dollars where they are shown.</summary>
public static class Money
{
    const decimal MicroPerUnit = 1_000_000m;

    public static decimal Usd(long microUsd) => microUsd / MicroPerUnit;

    public static decimal? Usd(long? microUsd) => microUsd / MicroPerUnit;

    /// <summary>What is beyond a millionth is cut off.</summary>
    public static long MicroUsd(decimal usd) => (long)(usd * MicroPerUnit);
}
