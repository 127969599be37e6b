using System.Text;
using System.Text.Json;

namespace Cowork.Application.Models;

/// <summary>How many members and elements of an answer are kept that only its provider understands.</summary>
sealed class OpaqueBudget
{
    /// <summary>More than any answer has; a provider that sends more is broken.</summary>
    const int ValuesMax = 50_000;

    int left = ValuesMax;

    /// <exception cref="ModelException">There are too many.</exception>
    public void Take()
    {
        if (left-- == 0)
        {
            throw new ModelException(ModelException.Failed, $"The model's answer has more than {ValuesMax} members that only its provider understands.");
        }
    }
}

/// <summary>
/// JSON that only its provider understands, put together from the pieces of a stream, so that it can be sent back as it came. Texts grow by their pieces, objects
/// by their members, lists by their elements; of anything else the last piece counts. Half surrogate pairs survive as escapes.
/// </summary>
sealed class OpaqueJson(OpaqueBudget budget)
{
    /// <summary>Members whose pieces are joined. The pieces of any other text replace each other.</summary>
    static readonly HashSet<string> Joined = new(StringComparer.Ordinal) { "reasoning_content", "reasoning", "reasoning_text", "text", "summary", "thinking" };

    /// <summary>More elements than any answer has in a list; a provider that sends more is broken.</summary>
    const int ItemsMax = 10_000;

    StringBuilder? text;
    string? raw;
    OrderedDictionary<string, OpaqueJson>? members;
    List<OpaqueJson>? items;

    /// <summary>The last element of each index and type.</summary>
    Dictionary<(string Index, string Type), OpaqueJson>? byIndex;

    /// <summary>It holds a value other than an empty text.</summary>
    public bool HasValue => raw is not null || text is { Length: > 0 } || items is { Count: > 0 } || members?.Values.Any(m => m.HasValue) == true;

    /// <summary>Nothing came yet.</summary>
    public bool IsAbsent => raw is null && text is null && members is null && items is null;

    /// <summary>Adds a member's piece to an object.</summary>
    public void Add(string name, JsonElement piece)
    {
        if (piece.ValueKind is not (JsonValueKind.Undefined or JsonValueKind.Null))
        {
            Member(name).Add(piece, Joined.Contains(name));
        }
    }

    /// <summary>Adds an object's members, or what else the piece is.</summary>
    public void Add(JsonElement piece) => Add(piece, joins: false);

    /// <summary>Adds to a text member of an object.</summary>
    public void Append(string name, string piece)
    {
        var member = Member(name);
        (member.text ??= new()).Append(piece);
    }

    /// <summary>The member is this text.</summary>
    public bool Is(string name, string value) => members is not null && members.TryGetValue(name, out var member) && member.text?.Equals(value) == true;

    /// <summary>The text of a member; empty: it has none.</summary>
    public string TextOf(string name) => members is not null && members.TryGetValue(name, out var member) ? member.text?.ToString() ?? "" : "";

    public override string ToString()
    {
        var json = new StringBuilder();
        Write(json);
        return json.ToString();
    }

    public void Write(StringBuilder json)
    {
        if (members is not null)
        {
            var separator = '{';
            foreach (var (name, member) in members)
            {
                json.Append(separator);
                Quote(json, name);
                json.Append(':');
                member.Write(json);
                separator = ',';
            }
            json.Append(members.Count == 0 ? "{}" : "}");
        }
        else if (items is not null)
        {
            json.Append('[');
            for (var i = 0; i < items.Count; i++)
            {
                json.Append(i > 0 ? "," : "");
                items[i].Write(json);
            }
            json.Append(']');
        }
        else if (text is not null)
        {
            Quote(json, text.ToString());
        }
        else
        {
            json.Append(raw ?? "null");
        }
    }

    OpaqueJson Member(string name)
    {
        members ??= [];
        if (!members.TryGetValue(name, out var member))
        {
            budget.Take();
            members.Add(name, member = new(budget));
        }
        return member;
    }

    void Add(JsonElement piece, bool joins)
    {
        switch (piece.ValueKind)
        {
            case JsonValueKind.Undefined or JsonValueKind.Null:
                break;
            case JsonValueKind.String:
                text = joins && text is not null ? text : new();
                text.Append(piece.Text());
                break;
            case JsonValueKind.Object:
                members ??= [];
                foreach (var member in piece.EnumerateObject())
                {
                    Add(member.Name, member.Value);
                }
                break;
            case JsonValueKind.Array:
                items ??= [];
                foreach (var item in piece.EnumerateArray())
                {
                    AddItem(item);
                }
                break;
            default:
                raw = piece.GetRawText();
                break;
        }
    }

    /// <summary>An element that continues one of the same type and index is joined to it.</summary>
    void AddItem(JsonElement item)
    {
        var type = item.Member("type").Text();
        var index = item.Member("index") is { ValueKind: JsonValueKind.Number } number ? number.GetRawText() : null;
        var before = index is not null
            ? (type is not null ? byIndex?.GetValueOrDefault((index, type)) : null)
            : items!.LastOrDefault() is { } last && last.Raw("index") is null && last.TextOf("type") is { Length: > 0 } same && same == type ? last : null;
        if (before is null || !before.IsContinuedBy(item))
        {
            if (items!.Count == ItemsMax)
            {
                throw new ModelException(ModelException.Failed, $"The model's answer has a list of more than {ItemsMax} elements.");
            }
            budget.Take();
            items.Add(before = new(budget));
            if (index is not null)
            {
                (byIndex ??= [])[(index, type ?? "")] = before;
            }
        }
        before.Add(item);
    }

    /// <summary>A signature ends a text, and what is encrypted comes whole.</summary>
    bool IsContinuedBy(JsonElement item)
    {
        var addsText = Joined.Any(name => item.Member(name).ValueKind is JsonValueKind.String or JsonValueKind.Array && !IsBlank(item.Member(name)));
        return item.Member("data").ValueKind is JsonValueKind.Undefined or JsonValueKind.Null
            && !(addsText && TextOf("signature").Length > 0)
            && (TextOf("id") is not { Length: > 0 } id || item.Member("id").Text() is not { Length: > 0 } other || id == other);
    }

    static bool IsBlank(JsonElement json) => json.ValueKind == JsonValueKind.String && json.Text() is "";

    string? Raw(string name) => members is not null && members.TryGetValue(name, out var member) ? member.raw : null;

    /// <summary>Writes a JSON string. Halves of surrogate pairs are escaped, because a writer of the base library refuses or replaces them.</summary>
    public static void Quote(StringBuilder json, string value)
    {
        json.Append('"');
        for (var i = 0; i < value.Length; i++)
        {
            var c = value[i];
            if (char.IsHighSurrogate(c) && i + 1 < value.Length && char.IsLowSurrogate(value[i + 1]))
            {
                json.Append(c).Append(value[++i]);
            }
            else if (c is '"' or '\\')
            {
                json.Append('\\').Append(c);
            }
            else if (c < ' ' || char.IsSurrogate(c))
            {
                json.Append("\\u").Append(((int)c).ToString("x4", System.Globalization.CultureInfo.InvariantCulture));
            }
            else
            {
                json.Append(c);
            }
        }
        json.Append('"');
    }
}
