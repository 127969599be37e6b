using System.Collections.Frozen;

namespace Cowork.Domain;

/// <summary>Checks the text of a cron expression and says in words what is wrong with it. What passes here, the Cronos library reads (a spec holds the two together).</summary>
static class CronText
{
    static readonly CronField Minute = new("minute", 0, 59, []);
    static readonly CronField Hour = new("hour", 0, 23, []);
    static readonly CronField DayOfMonth = new("day of month", 1, 31, []);
    static readonly CronField Month = new("month", 1, 12, ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]);

    /// <summary>0 and 7 are both Sunday.</summary>
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
        var bare = text.Trim(' ', '\t');
        if (bare.StartsWith('@') && !Macros.ContainsKey(bare))
        {
            return (null, $"There is no {bare}; there are {string.Join(", ", Macros.Keys.Order(StringComparer.Ordinal))}.");
        }
        var parts = Macros.GetValueOrDefault(bare, bare).Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
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

/// <param name="Names">Of the values from <paramref name="First"/> on.</param>
sealed record CronField(string Name, int First, int Last, IReadOnlyList<string> Names);

/// <summary>One field of an expression, read from left to right. What is read after a fault means nothing.</summary>
sealed class CronFieldText(CronField field, string text)
{
    const int NameChars = 3;

    int at;

    /// <summary>What is wrong with it, first of all.</summary>
    public string? Fault { get; private set; }

    /// <summary>A star, a range or a step stands in it.</summary>
    public bool IsInterval { get; private set; }

    public void Read()
    {
        if (!Star())
        {
            Value();
            List();
        }
        End();
    }

    public void ReadDaysOfMonth()
    {
        if (Take('L'))
        {
            if (Take('-'))
            {
                Number(0, field.Last - 1);
            }
            Take('W');
        }
        else if (!Star())
        {
            Value();
            if (!Take('W'))
            {
                List();
            }
        }
        End();
    }

    public void ReadDaysOfWeek()
    {
        if (!Star())
        {
            Value();
            if (Take('#'))
            {
                Number(1, 5);
            }
            else if (!Take('L'))
            {
                List();
            }
        }
        End();
    }

    /// <summary>A star with its step; false: there is none.</summary>
    bool Star()
    {
        if (!Take('*') && !Take('?'))
        {
            return false;
        }
        IsInterval = true;
        Step();
        return true;
    }

    /// <summary>What follows the first value of a list.</summary>
    void List()
    {
        Range();
        while (Take(','))
        {
            Value();
            Range();
        }
    }

    /// <summary>What makes a value the first one of a range or of steps.</summary>
    void Range()
    {
        if (Take('-'))
        {
            IsInterval = true;
            Value();
        }
        Step();
    }

    void Step()
    {
        if (Take('/'))
        {
            IsInterval = true;
            Number(1, field.Last);
        }
    }

    void Value()
    {
        if (at >= text.Length || !char.IsAsciiLetter(text[at]))
        {
            Number(field.First, field.Last);
        }
        else if (field.Names.Any(name => string.Compare(text, at, name, 0, NameChars, StringComparison.OrdinalIgnoreCase) == 0))
        {
            at += NameChars;
        }
        else
        {
            Wrong($"\"{text[at..]}\" is no value of this field.");
        }
    }

    void Number(int least, int most)
    {
        var end = at;
        while (end < text.Length && char.IsAsciiDigit(text[end]))
        {
            end++;
        }
        var digits = text[at..end];
        if (digits.Length == 0)
        {
            Wrong(at < text.Length ? $"a number is wanted before \"{text[at..]}\"." : "a number is wanted at its end.");
        }
        else if (digits.Length > 2 || !int.TryParse(digits, out var number) || number < least || number > most)
        {
            Wrong($"{digits} is not from {least} to {most}.");
        }
        else
        {
            at = end;
        }
    }

    /// <summary>Notes a fault; only the first one counts.</summary>
    void Wrong(string why) => Fault ??= $"{field.Name} \"{text}\": {why}";

    bool Take(char c)
    {
        if (at >= text.Length || char.ToUpperInvariant(text[at]) != c)
        {
            return false;
        }
        at++;
        return true;
    }

    void End()
    {
        if (at < text.Length)
        {
            Wrong($"\"{text[at..]}\" cannot stand there.");
        }
    }
}
