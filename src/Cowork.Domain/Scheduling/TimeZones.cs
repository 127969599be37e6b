using System.Security;

namespace Cowork.Domain;

/// <summary>The zones of the machine's time zone database, by their IANA names.</summary>
public static class TimeZones
{
    const int NameCharsMax = 64;

    /// <summary>Entries of the database that are not zones, or count leap seconds.</summary>
    static readonly string[] Excluded = ["localtime", "posixrules", "posix/", "right/"];

    /// <summary>Null: this machine has no such zone.</summary>
    public static TimeZoneInfo? Find(string name)
    {
        // The system uses a name as a path, so only names with safe parts reach it.
        if (name.Length > NameCharsMax || !name.Split('/').All(IsPart) || Excluded.Any(entry => name.StartsWith(entry, StringComparison.Ordinal)))
        {
            return null;
        }
        try
        {
            return TimeZoneInfo.FindSystemTimeZoneById(name);
        }
        catch (Exception e) when (e is TimeZoneNotFoundException or InvalidTimeZoneException or SecurityException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    static bool IsPart(string part) =>
        part.Length > 0 && char.IsAsciiLetter(part[0]) && part.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '+' or '-');
}
