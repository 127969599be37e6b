using System.Globalization;
using System.Text;

namespace Cowork.Application;

/// <summary>
/// Text of others, such as a file's name, in a line that people or models read: characters that move what is shown, hide in it or begin a line of their own are written
/// out as <c>\u202e</c> (CWE-150; Unicode TR 36, section 2.5, on reordering).
/// </summary>
public static class VisibleText
{
    /// <summary>The text with controls, line and paragraph separators, and invisible formatting characters written out. Joiners stay: names in many scripts need them.</summary>
    public static string Of(string text)
    {
        var isClear = true;
        foreach (var rune in text.EnumerateRunes())
        {
            isClear &= IsVisible(rune);
        }
        if (isClear)
        {
            return text;
        }
        var written = new StringBuilder(text.Length + 16);
        foreach (var rune in text.EnumerateRunes())
        {
            _ = IsVisible(rune) ? written.Append(rune.ToString())
                : written.Append(CultureInfo.InvariantCulture, $"{(rune.IsBmp ? "\\u" : "\\U")}{rune.Value.ToString(rune.IsBmp ? "x4" : "x8", CultureInfo.InvariantCulture)}");
        }
        return written.ToString();
    }

    /// <summary>A JSON text with the same characters escaped, so that it means the same and shows what it is.</summary>
    public static string OfJson(string json)
    {
        var written = new StringBuilder(json.Length);
        foreach (var rune in json.EnumerateRunes())
        {
            if (IsVisible(rune))
            {
                written.Append(rune.ToString());
                continue;
            }
            foreach (var unit in rune.ToString())
            {
                written.Append(CultureInfo.InvariantCulture, $"\\u{(int)unit:x4}");
            }
        }
        return written.ToString();
    }

    static bool IsVisible(Rune rune) => rune.IsAscii ? rune.Value is >= ' ' and < 0x7f : rune.Value is 0x200c or 0x200d || Rune.GetUnicodeCategory(rune) is not (
        UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator);
}
