using System.Security;

namespace Cowork.Domain;

/// <summary>The zones of the machine's time zone database, by their IANA names.</summary>
public static class TimeZones
{
    const int NameCharsMax = 64;

    /// <summary>What lies beside the zones without being one of them, or counts leap seconds.</summary>
    static readonly string[] Others = ["localtime", "posixrules", "posix/", "right/"];

    /// <summary>Null: there is no such zone here.</summary>
    public static TimeZoneInfo? Find(string name)
    {
        // Names are paths to the system: one that is none is not even looked for.
        if (name.Length > NameCharsMax || !name.Split('/').All(IsPart) || Others.Any(other => name.StartsWith(other, StringComparison.Ordinal)))
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
