using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace Cowork.Application;

/// <summary>Where a term stands: how often in which passage.</summary>
public readonly record struct Posting(int Passage, int Count);

/// <summary>
/// One text cut into passages with their line numbers, and where each term stands in them. Rows of CSV and TSV files and elements of JSON arrays are a
/// passage each and keep the names of their columns; other text goes by a few lines at a time, cut at blank lines where it can be.
/// </summary>
public sealed class TextIndex
{
    /// <summary>Lines and characters of a passage of plain text, about.</summary>
    const int PassageLines = 12;
    const int PassageChars = 1_000;

    /// <summary>A JSON value up to this many bytes is one passage; a larger one goes by its members.</summary>
    const int JsonPassageBytes = 4_096;

    /// <summary>Fields of a record that are searched and shown.</summary>
    const int FieldsMax = 256;

    /// <summary>A quoted CSV field longer than this is a stray quote.</summary>
    const int QuotedCharsMax = 64 * 1024;

    enum Shape
    {
        Lines,
        Row,
        Json,
    }

    readonly record struct Piece(int Start, int Length, int FirstLine, int LastLine, int Terms, bool IsRecord);

    readonly string _text;
    readonly Shape _shape;
    readonly List<Piece> _pieces = [];
    readonly Dictionary<string, List<Posting>> _postings = new(StringComparer.Ordinal);
    readonly List<string> _terms = [];
    string[] _columns = [];
    char _delimiter = ',';

    TextIndex(string source, string text)
    {
        Source = source;
        _text = text;
        var ending = Path.GetExtension(source).ToLowerInvariant();
        _shape = ending switch
        {
            ".csv" or ".tsv" or ".tab" => Shape.Row,
            ".json" or ".geojson" or ".jsonl" or ".ndjson" or ".ipynb" => Shape.Json,
            _ => Shape.Lines,
        };
        switch (_shape)
        {
            case Shape.Row:
                CutRows(ending);
                break;
            case Shape.Json when ending is not (".jsonl" or ".ndjson"):
                if (!CutJson())
                {
                    // Not JSON after all.
                    _shape = Shape.Lines;
                    _pieces.Clear();
                    _postings.Clear();
                    TotalLength = 0;
                    CutLines();
                }
                break;
            case Shape.Json:
                CutJsonLines();
                break;
            default:
                CutLines();
                break;
        }
        _terms.Clear();
        _terms.TrimExcess();
    }

    public string Source { get; }

    /// <summary>Passages.</summary>
    public int Count => _pieces.Count;

    /// <summary>Terms in all passages.</summary>
    public long TotalLength { get; private set; }

    /// <summary>Rows of a table (its header not counted), or objects in JSON arrays; 0 for other text.</summary>
    public int Records { get; private set; }

    /// <summary>Lines of the text, an empty one after the last line break not counted.</summary>
    public int Lines { get; private set; }

    /// <summary>Names of a table's columns, in order; empty for other text.</summary>
    public IReadOnlyList<string> Columns => _columns;

    /// <param name="source">A file's path or name: its ending tells how the text is cut.</param>
    public static TextIndex Of(string source, string text) => new(source, text);

    public ReadOnlySpan<Posting> Postings(string term) => _postings.TryGetValue(term, out var list) ? CollectionsMarshal.AsSpan(list) : [];

    /// <summary>Terms of a passage.</summary>
    public int Length(int passage) => _pieces[passage].Terms;

    public bool IsRecord(int passage) => _pieces[passage].IsRecord;

    public Passage Passage(int passage)
    {
        var piece = _pieces[passage];
        var text = _shape == Shape.Lines
            ? Slice(piece).TrimEnd().ToString()
            : string.Join(", ", Fields(passage).Select(f => f.Name.Length == 0 ? f.Value : $"{f.Name}={f.Value}"));
        return new(Source, piece.FirstLine, piece.LastLine, text);
    }

    /// <summary>A record's values with the names of their columns; none for plain text.</summary>
    public IReadOnlyList<(string Name, string Value)> Fields(int passage)
    {
        var piece = _pieces[passage];
        switch (_shape)
        {
            case Shape.Row:
                var at = piece.Start;
                var values = NextRow(ref at, out _);
                return [.. values.Take(FieldsMax).Select((v, i) => (i < _columns.Length ? _columns[i] : $"column {i + 1}", v.Trim())).Where(f => f.Item2.Length > 0)];
            case Shape.Json:
                return Flatten(Slice(piece));
            default:
                return [];
        }
    }

    ReadOnlySpan<char> Slice(Piece piece) => _text.AsSpan(piece.Start, piece.Length);

    void Add(int start, int length, int firstLine, int lastLine, bool isRecord)
    {
        var passage = _pieces.Count;
        foreach (var term in _terms)
        {
            ref var list = ref CollectionsMarshal.GetValueRefOrAddDefault(_postings, term, out _);
            list ??= [];
            if (list.Count > 0 && list[^1].Passage == passage)
            {
                list[^1] = new(passage, list[^1].Count + 1);
            }
            else
            {
                list.Add(new(passage, 1));
            }
        }
        _pieces.Add(new(start, length, firstLine, lastLine, _terms.Count, isRecord));
        TotalLength += _terms.Count;
        Records += isRecord ? 1 : 0;
        _terms.Clear();
    }

    // ---- Plain text ----

    void CutLines()
    {
        var (start, first, line, last) = (0, 1, 1, 1);
        var filled = false;
        for (var i = 0; i < _text.Length;)
        {
            var end = _text.IndexOf('\n', i);
            var next = end < 0 ? _text.Length : end + 1;
            // A line of a minified file is cut by itself, under its one number.
            while (next - i > PassageChars)
            {
                Close(i);
                var cut = i + PassageChars;
                var space = _text.LastIndexOf(' ', cut - 1, PassageChars / 2);
                cut = space > i ? space + 1 : char.IsLowSurrogate(_text[cut]) ? cut + 1 : cut;
                filled = true;
                last = line;
                i = Math.Min(cut, next);
                Close(i);
            }
            var blank = _text.AsSpan(i, next - i).IsWhiteSpace();
            if (filled && (line - first >= PassageLines || next - start > PassageChars || (blank && line - first >= PassageLines / 3)))
            {
                Close(i);
            }
            if (!blank)
            {
                if (!filled)
                {
                    (start, first) = (i, line);
                }
                filled = true;
                last = line;
            }
            Lines = i < next || end >= 0 ? line : Lines;
            i = next;
            line++;
        }
        Close(_text.Length);

        void Close(int end)
        {
            if (filled)
            {
                Words.Collect(_text.AsSpan(start, end - start), _terms);
                Add(start, end - start, first, last, isRecord: false);
            }
            filled = false;
            (start, first) = (end, line);
        }
    }

    // ---- Tables ----

    void CutRows(string ending)
    {
        var head = _text.AsSpan(0, Math.Max(0, _text.AsSpan().IndexOf('\n') is var n && n < 0 ? _text.Length : n));
        _delimiter = ending == ".csv" ? Commonest(head) : '\t';
        var (at, line) = (0, 1);
        var isFirst = true;
        while (at < _text.Length)
        {
            var start = at;
            var values = NextRow(ref at, out var lines);
            var last = line + lines - 1;
            if (values.Count > 1 || values[0].Length > 0)
            {
                if (isFirst && values.TrueForAll(v => v.Trim().Length > 0 && !double.TryParse(v, out _)))
                {
                    _columns = [.. values.Select(v => v.Trim())];
                }
                else
                {
                    foreach (var value in values)
                    {
                        Words.Collect(value, _terms);
                    }
                    Add(start, at - start, line, last, isRecord: true);
                }
                isFirst = false;
            }
            Lines = last;
            line = last + 1;
        }
    }

    static char Commonest(ReadOnlySpan<char> head)
    {
        var best = ',';
        foreach (var c in ";\t|")
        {
            best = head.Count(c) > head.Count(best) ? c : best;
        }
        return best;
    }

    /// <summary>The row that begins at a place (RFC 4180), and how many lines it takes. Moves the place to the next row.</summary>
    List<string> NextRow(ref int at, out int lines)
    {
        var values = new List<string>();
        lines = 1;
        while (true)
        {
            if (at < _text.Length && _text[at] == '"' && Quoted(at) is var (value, next))
            {
                lines += _text.AsSpan(at, next - at).Count('\n');
                values.Add(value);
                at = next;
            }
            else
            {
                var end = _text.AsSpan(at).IndexOfAny(_delimiter, '\n');
                end = end < 0 ? _text.Length : at + end;
                values.Add(_text[at..end].TrimEnd('\r'));
                at = end;
            }
            if (at >= _text.Length)
            {
                return values;
            }
            if (_text[at++] == '\n')
            {
                return values;
            }
        }
    }

    (string Value, int Next)? Quoted(int at)
    {
        var value = new StringBuilder();
        for (var i = at + 1; i < _text.Length && i - at < QuotedCharsMax; i++)
        {
            if (_text[i] != '"')
            {
                value.Append(_text[i]);
            }
            else if (i + 1 < _text.Length && _text[i + 1] == '"')
            {
                value.Append('"');
                i++;
            }
            else
            {
                // What stands between the closing quote and the delimiter belongs to the value, if anything does.
                var rest = _text.AsSpan(i + 1).IndexOfAny(_delimiter, '\n');
                var next = rest < 0 ? _text.Length : i + 1 + rest;
                return (value.Append(_text.AsSpan(i + 1, next - i - 1).TrimEnd('\r')).ToString(), next);
            }
        }
        return null;
    }

    // ---- JSON ----

    bool CutJson()
    {
        var utf8 = Encoding.UTF8.GetBytes(_text);
        // Offsets of the reader are bytes; passages go by characters and lines, counted on from the last place asked for.
        var (bytes, chars, line) = (0, 0, 1);
        try
        {
            var reader = new Utf8JsonReader(utf8, new JsonReaderOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
            if (!reader.Read())
            {
                return false;
            }
            Walk(ref reader, "", 0, inArray: false);
            To(utf8.Length);
            Lines = _text.EndsWith('\n') ? line - 1 : line;
            return !reader.Read();
        }
        catch (JsonException)
        {
            return false;
        }
        catch (InvalidOperationException)
        {
            return false; // a string with half a surrogate pair
        }

        void To(int offset)
        {
            var between = utf8.AsSpan(bytes, offset - bytes);
            chars += Encoding.UTF8.GetCharCount(between);
            line += between.Count((byte)'\n');
            bytes = offset;
        }

        void Walk(ref Utf8JsonReader reader, string label, int depth, bool inArray)
        {
            var start = (int)reader.TokenStartIndex;
            var ahead = reader;
            ahead.Skip();
            var isSmall = (int)ahead.BytesConsumed - start <= JsonPassageBytes;
            var isRecord = inArray && reader.TokenType == JsonTokenType.StartObject;
            var isContainer = reader.TokenType is JsonTokenType.StartObject or JsonTokenType.StartArray;
            if (!isContainer || isRecord || depth >= 6 || (isSmall && depth > 0 && !HoldsObjects(reader)))
            {
                To(start);
                var (from, first) = (chars, line);
                reader = ahead;
                To((int)reader.BytesConsumed);
                Words.Collect(label, _terms);
                foreach (var (name, value) in Flatten(_text.AsSpan(from, chars - from)))
                {
                    if (!isRecord)
                    {
                        Words.Collect(name, _terms);
                    }
                    Words.Collect(value, _terms);
                }
                Add(from, chars - from, first, line, isRecord);
                return;
            }
            var array = reader.TokenType == JsonTokenType.StartArray;
            while (reader.Read() && reader.TokenType is not (JsonTokenType.EndArray or JsonTokenType.EndObject))
            {
                var name = "";
                if (reader.TokenType == JsonTokenType.PropertyName)
                {
                    name = reader.GetString()!;
                    reader.Read();
                }
                Walk(ref reader, name, depth + 1, array);
            }
        }
    }

    static bool HoldsObjects(Utf8JsonReader reader) =>
        reader.TokenType == JsonTokenType.StartArray && reader.Read() && reader.TokenType == JsonTokenType.StartObject;

    void CutJsonLines()
    {
        var line = 1;
        for (var i = 0; i < _text.Length; line++)
        {
            var end = _text.IndexOf('\n', i);
            var next = end < 0 ? _text.Length : end + 1;
            var slice = _text.AsSpan(i, next - i);
            if (!slice.IsWhiteSpace())
            {
                foreach (var (_, value) in Flatten(slice))
                {
                    Words.Collect(value, _terms);
                }
                Add(i, next - i, line, line, isRecord: true);
            }
            Lines = line;
            i = next;
        }
    }

    static List<(string Name, string Value)> Flatten(ReadOnlySpan<char> json)
    {
        var fields = new List<(string, string)>();
        try
        {
            using var document = JsonDocument.Parse(json.ToString(), new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
            Leaves(document.RootElement, "");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            fields.Add(("", json.Trim().ToString()));
        }
        return fields;

        void Leaves(JsonElement value, string name)
        {
            if (fields.Count >= FieldsMax)
            {
                return;
            }
            switch (value.ValueKind)
            {
                case JsonValueKind.Object:
                    foreach (var member in value.EnumerateObject())
                    {
                        Leaves(member.Value, name.Length == 0 ? member.Name : $"{name}.{member.Name}");
                    }
                    break;
                case JsonValueKind.Array:
                    foreach (var element in value.EnumerateArray())
                    {
                        Leaves(element, name);
                    }
                    break;
                case JsonValueKind.Null:
                    break;
                default:
                    fields.Add((name, value.ToString()));
                    break;
            }
        }
    }
}
