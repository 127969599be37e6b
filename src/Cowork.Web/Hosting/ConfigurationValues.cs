using System.Globalization;
using System.Numerics;

namespace Cowork.Web;

/// <summary>
/// Reads one value of the configuration. A value that does not fit ends in a sentence that names the setting, the value and what it may be: the binder of
/// Microsoft.Extensions.Configuration would name a CLR type instead (decision 29). Blank counts as not set.
/// </summary>
static class ConfigurationValues
{
    public static string? Text(this IConfiguration section, string name) => string.IsNullOrWhiteSpace(section[name]) ? null : section[name]!.Trim();

    /// <exception cref="ArgumentException">The value is no number from <paramref name="min"/> to <paramref name="max"/>.</exception>
    public static T? Number<T>(this IConfiguration section, string name, T min, T max)
        where T : struct, IBinaryInteger<T> => section.Text(name) switch
        {
            null => null,
            { } text when T.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= min && number <= max => number,
            _ => throw section.InvalidValue(name, $"{min}…{max}"),
        };

    /// <exception cref="ArgumentException">The value is no time from <paramref name="min"/> to <paramref name="max"/>.</exception>
    public static TimeSpan? Time(this IConfiguration section, string name, TimeSpan min, TimeSpan max) => section.Text(name) switch
    {
        null => null,
        { } text when TimeSpan.TryParse(text, CultureInfo.InvariantCulture, out var time) && time >= min && time <= max => time,
        _ => throw section.InvalidValue(name, $"a time from {min:c} to {max:c}, written as days.hours:minutes:seconds"),
    };

    /// <exception cref="ArgumentException">The value is neither true (1) nor false (0).</exception>
    public static bool? Switch(this IConfiguration section, string name) => section.Text(name)?.ToLowerInvariant() switch
    {
        null => null,
        "true" or "1" => true,
        "false" or "0" => false,
        _ => throw section.InvalidValue(name, "true or false"),
    };

    /// <exception cref="ArgumentException">The value is none of <paramref name="words"/>.</exception>
    public static string? OneOf(this IConfiguration section, string name, params string[] words) => section.Text(name) switch
    {
        null => null,
        { } text when words.Contains(text) => text,
        _ => throw section.InvalidValue(name, string.Join(" or ", words)),
    };

    /// <param name="allowed">What the value may be: the end of a sentence.</param>
    public static ArgumentException InvalidValue(this IConfiguration section, string name, string allowed) =>
        new($"{section.PathOf(name)} is \"{section.Text(name)}\"; it may be {allowed}.");

    /// <summary>For example <c>Cowork:Runs:Parallel</c>.</summary>
    public static string PathOf(this IConfiguration section, string name) => section is IConfigurationSection { Path: var path } ? ConfigurationPath.Combine(path, name) : name;
}
