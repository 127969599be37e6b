using System.Collections.Frozen;

namespace Cowork.Domain;

/// <summary>Reads the text of a cron expression.</summary>
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
        var (minutes, hours, months) = (fields[0].Set(), fields[1].Set(), fields[3].Set());
        var (daysOfMonth, daysOfWeek) = (fields[2].DaysOfMonth(), fields[4].DaysOfWeek());
        return fields.Select(f => f.Fault).FirstOrDefault(fault => fault is not null) is { } fault
            ? (null, fault)
            : (new(text, minutes, hours, daysOfMonth, months, daysOfWeek, fields[0].IsInterval || fields[1].IsInterval), null);
    }
}

/// <param name="Names">Of the values from <paramref name="First"/> on.</param>
sealed record CronField(string Name, int First, int Last, IReadOnlyList<string> Names)
{
    /// <summary>The last value before the first one comes again: a week has no eighth day.</summary>
    public int Turn => Names.Count > 0 ? First + Names.Count - 1 : Last;
}

/// <summary>One field of an expression, read from left to right. What is read after a fault means nothing.</summary>
sealed class CronFieldText(CronField field, string text)
{
    const int NameChars = 3;

    int at;

    /// <summary>What is wrong with it, first of all.</summary>
    public string? Fault { get; private set; }

    /// <summary>A star, a range or a step stands in it.</summary>
    public bool IsInterval { get; private set; }

    public ulong Set() => Ended(Star() ?? List(Value()));

    public Cron.DaysOfMonth DaysOfMonth()
    {
        if (Star() is { } all)
        {
            return new(Ended(all));
        }
        if (Take('L'))
        {
            var back = Take('-') ? Number(0, field.Last - 1) : 0;
            return Ended(new Cron.DaysOfMonth(0, back, Take('W')));
        }
        var day = Value();
        return Ended(Take('W') ? new Cron.DaysOfMonth(1UL << day, NearestWeekday: true) : new(List(day)));
    }

    public Cron.DaysOfWeek DaysOfWeek()
    {
        if (Star() is { } all)
        {
            return new(Ended(all));
        }
        var day = Value();
        var one = Values(day, day, 1);
        return Ended(Take('L') ? new Cron.DaysOfWeek(one, Last: true) : Take('#') ? new(one, Nth: Number(1, 5)) : new(List(day)));
    }

    /// <summary>A star with its step; null: there is none.</summary>
    ulong? Star()
    {
        if (!Take('*') && !Take('?'))
        {
            return null;
        }
        IsInterval = true;
        return Values(field.First, field.Last, Take('/') ? Number(1, field.Last) : 1);
    }

    ulong List(int first)
    {
        var set = Range(first);
        while (Take(','))
        {
            set |= Range(Value());
        }
        return set;
    }

    ulong Range(int low)
    {
        if (Take('-'))
        {
            IsInterval = true;
            var high = Value();
            return Values(low, high, Take('/') ? Number(1, field.Last) : 1);
        }
        if (Take('/'))
        {
            IsInterval = true;
            return Values(low, field.Last, Number(1, field.Last));
        }
        return Values(low, low, 1);
    }

    /// <summary>The values from one to another; when that is less, through the field's end and on from its beginning, the steps going on.</summary>
    ulong Values(int low, int high, int step)
    {
        var set = 0UL;
        var length = field.Turn - field.First + 1;
        // A Sunday that is called 7 lies behind the week's end: as in Cronos, steps of more than one day begin there and leave it out.
        for (var value = low > field.Turn && high < low && step > 1 ? low + step : low; value <= (high < low ? high + length : high); value += step)
        {
            set |= 1UL << (value > field.Turn ? value - length : value);
        }
        return set;
    }

    int Value()
    {
        if (at < text.Length && char.IsAsciiLetter(text[at]))
        {
            for (var i = 0; i < field.Names.Count; i++)
            {
                if (string.Compare(text, at, field.Names[i], 0, NameChars, StringComparison.OrdinalIgnoreCase) == 0)
                {
                    at += NameChars;
                    return field.First + i;
                }
            }
            return Wrong($"\"{text[at..]}\" is no value of this field.");
        }
        return Number(field.First, field.Last);
    }

    int Number(int least, int most)
    {
        var end = at;
        while (end < text.Length && char.IsAsciiDigit(text[end]))
        {
            end++;
        }
        var digits = text[at..end];
        if (digits.Length == 0)
        {
            return Wrong(at < text.Length ? $"a number is wanted before \"{text[at..]}\"." : "a number is wanted at its end.");
        }
        if (digits.Length > 2 || !int.TryParse(digits, out var number) || number < least || number > most)
        {
            return Wrong($"{digits} is not from {least} to {most}.");
        }
        at = end;
        return number;
    }

    /// <summary>Notes a fault. Answers what any field could hold, also as a step.</summary>
    int Wrong(string why)
    {
        Fault ??= $"{field.Name} \"{text}\": {why}";
        return 1;
    }

    bool Take(char c)
    {
        if (at >= text.Length || char.ToUpperInvariant(text[at]) != c)
        {
            return false;
        }
        at++;
        return true;
    }

    T Ended<T>(T read)
    {
        if (at < text.Length && Fault is null)
        {
            Wrong($"\"{text[at..]}\" cannot stand there.");
        }
        return read;
    }
}
