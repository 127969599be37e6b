using System.Collections.Frozen;

namespace Cowork.Domain;

/// <summary>Checks the text of a cron expression. The Cronos library reads each text that passes; a spec proves that.</summary>
static class CronText
{
    static readonly CronField Minute = new("minute", 0, 59, []);
    static readonly CronField Hour = new("hour", 0, 23, []);
    static readonly CronField DayOfMonth = new("day of month", 1, 31, []);
    static readonly CronField Month = new("month", 1, 12, ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]);

    /// <summary>Sunday is 0 and 7.</summary>
    static readonly CronField DayOfWeek = new("day of week", 0, 7, ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]);

    static readonly FrozenDictionary<string, string> Macros = new Dictionary<string, string>
    {
        ["@yearly"] = "0 0 1 1 *",
        ["@annually"] = "0 0 1 1 *",
        ["@monthly"] = "0 0 1 * *",
        ["@weekly"] = "0 0 * * 0",
        ["@daily"] = "0 0 * * *",
        ["@midnight"] = "0 0 * * *",
        ["@hourly"] = "0 * * * *",
        ["@every_minute"] = "* * * * *",
    }.ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);

    public static (Cron? Cron, string? Fault) Read(string text)
    {
        if (text.Length > Limits.CronCharsMax)
        {
            return (null, $"An expression has at most {Limits.CronCharsMax} characters.");
        }
        var trimmed = text.Trim(' ', '\t');
        if (trimmed.StartsWith('@') && !Macros.ContainsKey(trimmed))
        {
            return (null, $"There is no {trimmed}; there are {string.Join(", ", Macros.Keys.Order(StringComparer.Ordinal))}.");
        }
        var parts = Macros.GetValueOrDefault(trimmed, trimmed).Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length != 5)
        {
            return (null, $"An expression has five fields, minute, hour, day of month, month and day of week; this one has {parts.Length}.");
        }
        var fields = parts.Zip([Minute, Hour, DayOfMonth, Month, DayOfWeek], (part, field) => new CronFieldText(field, part)).ToArray();
        fields[0].Read();
        fields[1].Read();
        fields[2].ReadDaysOfMonth();
        fields[3].Read();
        fields[4].ReadDaysOfWeek();
        return fields.Select(f => f.Fault).FirstOrDefault(fault => fault is not null) is { } fault
            ? (null, fault)
            : (new(text, fields[0].IsInterval || fields[1].IsInterval), null);
    }
}

/// <summary>The values of a field.</summary>
/// <param name="Names">Names of the values from <paramref name="First"/> on.</param>
sealed record CronField(string Name, int First, int Last, IReadOnlyList<string> Names);

/// <summary>Parses one field of an expression from left to right. After the first fault the result is not valid.</summary>
sealed class CronFieldText(CronField field, string text)
{
    const int NameChars = 3;

    int at;

    /// <summary>The first fault; null: none.</summary>
    public string? Fault { get; private set; }

    /// <summary>The field has a star, a range or a step.</summary>
    public bool IsInterval { get; private set; }

    public void Read()
    {
        if (!ReadStar())
        {
            ReadValue();
            ReadList();
        }
        ReadEnd();
    }

    public void ReadDaysOfMonth()
    {
        if (Take('L'))
        {
            if (Take('-'))
            {
                ReadNumber(0, field.Last - 1);
            }
            Take('W');
        }
        else if (!ReadStar())
        {
            ReadValue();
            if (!Take('W'))
            {
                ReadList();
            }
        }
        ReadEnd();
    }

    public void ReadDaysOfWeek()
    {
        if (!ReadStar())
        {
            ReadValue();
            if (Take('#'))
            {
                ReadNumber(1, 5);
            }
            else if (!Take('L'))
            {
                ReadList();
            }
        }
        ReadEnd();
    }

    /// <summary>Reads a star and its step; false: there is no star.</summary>
    bool ReadStar()
    {
        if (!Take('*') && !Take('?'))
        {
            return false;
        }
        IsInterval = true;
        ReadStep();
        return true;
    }

    /// <summary>Reads the rest of a list after its first value.</summary>
    void ReadList()
    {
        ReadRange();
        while (Take(','))
        {
            ReadValue();
            ReadRange();
        }
    }

    /// <summary>Reads the range or step after a value.</summary>
    void ReadRange()
    {
        if (Take('-'))
        {
            IsInterval = true;
            ReadValue();
        }
        ReadStep();
    }

    void ReadStep()
    {
        if (Take('/'))
        {
            IsInterval = true;
            ReadNumber(1, field.Last);
        }
    }

    void ReadValue()
    {
        if (at >= text.Length || !char.IsAsciiLetter(text[at]))
        {
            ReadNumber(field.First, field.Last);
        }
        else if (field.Names.Any(name => string.Compare(text, at, name, 0, NameChars, StringComparison.OrdinalIgnoreCase) == 0))
        {
            at += NameChars;
        }
        else
        {
            SetFault($"\"{text[at..]}\" is no value of this field.");
        }
    }

    void ReadNumber(int min, int max)
    {
        var end = at;
        while (end < text.Length && char.IsAsciiDigit(text[end]))
        {
            end++;
        }
        var digits = text[at..end];
        if (digits.Length == 0)
        {
            SetFault(at < text.Length ? $"a number is wanted before \"{text[at..]}\"." : "a number is wanted at its end.");
        }
        else if (digits.Length > 2 || !int.TryParse(digits, out var number) || number < min || number > max)
        {
            SetFault($"{digits} is not from {min} to {max}.");
        }
        else
        {
            at = end;
        }
    }

    void SetFault(string reason) => Fault ??= $"{field.Name} \"{text}\": {reason}";

    bool Take(char c)
    {
        if (at >= text.Length || char.ToUpperInvariant(text[at]) != c)
        {
            return false;
        }
        at++;
        return true;
    }

    void ReadEnd()
    {
        if (at < text.Length)
        {
            SetFault($"\"{text[at..]}\" cannot stand there.");
        }
    }
}
