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

    readonly string text;
    readonly Shape shape;
    readonly List<Piece> pieces = [];
    readonly Dictionary<string, List<Posting>> postings = new(StringComparer.Ordinal);
    readonly List<string> terms = [];
    HashSet<string>? title;
    string[] columns = [];
    char delimiter = ',';

    TextIndex(string source, string text)
    {
        Source = source;
        this.text = text;
        var ending = Path.GetExtension(source).ToLowerInvariant();
        shape = ending switch
        {
            ".csv" or ".tsv" or ".tab" => Shape.Row,
            ".json" or ".geojson" or ".jsonl" or ".ndjson" or ".ipynb" => Shape.Json,
            _ => Shape.Lines,
        };
        switch (shape)
        {
            case Shape.Row:
                CutRows(ending);
                break;
            case Shape.Json when ending is not (".jsonl" or ".ndjson"):
                if (!CutJson())
                {
                    // Not JSON after all.
                    shape = Shape.Lines;
                    pieces.Clear();
                    postings.Clear();
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
        terms.Clear();
        terms.TrimExcess();
    }

    public string Source { get; }

    /// <summary>Passages.</summary>
    public int Count => pieces.Count;

    /// <summary>Terms in all passages.</summary>
    public long TotalLength { get; private set; }

    /// <summary>Rows of a table (its header not counted), or objects in JSON arrays; 0 for other text.</summary>
    public int Records { get; private set; }

    /// <summary>Lines of the text, an empty one after the last line break not counted.</summary>
    public int Lines { get; private set; }

    /// <summary>Names of a table's columns, in order; empty for other text.</summary>
    public IReadOnlyList<string> Columns => columns;

    /// <param name="source">A file's path or name: its ending tells how the text is cut.</param>
    public static TextIndex Of(string source, string text) => new(source, text);

    /// <summary>
    /// True for the words that a table is about as a whole: its file's name and its columns'. A question that uses them means the table, not the few rows
    /// that happen to say them.
    /// </summary>
    public bool IsAbout(string term) => Records > 0 && (title ??= Title()).Contains(term);

    public ReadOnlySpan<Posting> Postings(string term) => postings.TryGetValue(term, out var list) ? CollectionsMarshal.AsSpan(list) : [];

    /// <summary>Terms of a passage.</summary>
    public int Length(int passage) => pieces[passage].Terms;

    public bool IsRecord(int passage) => pieces[passage].IsRecord;

    public Passage Passage(int passage)
    {
        var piece = pieces[passage];
        var text = shape == Shape.Lines
            ? Slice(piece).TrimEnd().ToString()
            : string.Join(", ", Fields(passage).Select(f => f.Name.Length == 0 ? f.Value : $"{f.Name}={f.Value}"));
        return new(Source, piece.FirstLine, piece.LastLine, text);
    }

    /// <summary>A record's values with the names of their columns; none for plain text.</summary>
    public IReadOnlyList<(string Name, string Value)> Fields(int passage)
    {
        var piece = pieces[passage];
        switch (shape)
        {
            case Shape.Row:
                var at = piece.Start;
                var values = NextRow(ref at, out _);
                return [.. values.Take(FieldsMax).Select((v, i) => (i < columns.Length ? columns[i] : $"column {i + 1}", v.Trim())).Where(f => f.Item2.Length > 0)];
            case Shape.Json:
                return Flatten(Slice(piece));
            default:
                return [];
        }
    }

    HashSet<string> Title()
    {
        var words = new List<string>();
        Stemmer.Collect(Path.GetFileNameWithoutExtension(Source), words);
        foreach (var column in columns)
        {
            Stemmer.Collect(column, words);
        }
        return new(words, StringComparer.Ordinal);
    }

    ReadOnlySpan<char> Slice(Piece piece) => text.AsSpan(piece.Start, piece.Length);

    void Add(int start, int length, int firstLine, int lastLine, bool isRecord)
    {
        var passage = pieces.Count;
        foreach (var term in terms)
        {
            ref var list = ref CollectionsMarshal.GetValueRefOrAddDefault(postings, term, out _);
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
        pieces.Add(new(start, length, firstLine, lastLine, terms.Count, isRecord));
        TotalLength += terms.Count;
        Records += isRecord ? 1 : 0;
        terms.Clear();
    }

    // ---- Plain text ----

    void CutLines()
    {
        var (start, first, line, last) = (0, 1, 1, 1);
        var filled = false;
        for (var i = 0; i < text.Length;)
        {
            var end = text.IndexOf('\n', i);
            var next = end < 0 ? text.Length : end + 1;
            // A line of a minified file is cut by itself, under its one number.
            while (next - i > PassageChars)
            {
                Close(i);
                var cut = i + PassageChars;
                var space = text.LastIndexOf(' ', cut - 1, PassageChars / 2);
                cut = space > i ? space + 1 : char.IsLowSurrogate(text[cut]) ? cut + 1 : cut;
                filled = true;
                last = line;
                i = Math.Min(cut, next);
                Close(i);
            }
            var blank = text.AsSpan(i, next - i).IsWhiteSpace();
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
        Close(text.Length);

        void Close(int end)
        {
            if (filled)
            {
                Stemmer.Collect(text.AsSpan(start, end - start), terms);
                Add(start, end - start, first, last, isRecord: false);
            }
            filled = false;
            (start, first) = (end, line);
        }
    }

    // ---- Tables ----

    void CutRows(string ending)
    {
        var head = text.AsSpan(0, Math.Max(0, text.AsSpan().IndexOf('\n') is var n && n < 0 ? text.Length : n));
        delimiter = ending == ".csv" ? Commonest(head) : '\t';
        var (at, line) = (0, 1);
        var isFirst = true;
        while (at < text.Length)
        {
            var start = at;
            var values = NextRow(ref at, out var lines);
            var last = line + lines - 1;
            if (values.Count > 1 || values[0].Length > 0)
            {
                if (isFirst && values.TrueForAll(v => v.Trim().Length > 0 && !double.TryParse(v, out _)))
                {
                    columns = [.. values.Select(v => v.Trim())];
                }
                else
                {
                    foreach (var value in values)
                    {
                        Stemmer.Collect(value, terms);
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
            if (at < text.Length && text[at] == '"' && Quoted(at) is var (value, next))
            {
                lines += text.AsSpan(at, next - at).Count('\n');
                values.Add(value);
                at = next;
            }
            else
            {
                var end = text.AsSpan(at).IndexOfAny(delimiter, '\n');
                end = end < 0 ? text.Length : at + end;
                values.Add(text[at..end].TrimEnd('\r'));
                at = end;
            }
            if (at >= text.Length)
            {
                return values;
            }
            if (text[at++] == '\n')
            {
                return values;
            }
        }
    }

    (string Value, int Next)? Quoted(int at)
    {
        var value = new StringBuilder();
        for (var i = at + 1; i < text.Length && i - at < QuotedCharsMax; i++)
        {
            if (text[i] != '"')
            {
                value.Append(text[i]);
            }
            else if (i + 1 < text.Length && text[i + 1] == '"')
            {
                value.Append('"');
                i++;
            }
            else
            {
                // What stands between the closing quote and the delimiter belongs to the value, if anything does.
                var rest = text.AsSpan(i + 1).IndexOfAny(delimiter, '\n');
                var next = rest < 0 ? text.Length : i + 1 + rest;
                return (value.Append(text.AsSpan(i + 1, next - i - 1).TrimEnd('\r')).ToString(), next);
            }
        }
        return null;
    }

    // ---- JSON ----

    bool CutJson()
    {
        var utf8 = Encoding.UTF8.GetBytes(text);
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
            Lines = text.EndsWith('\n') ? line - 1 : line;
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
                Stemmer.Collect(label, terms);
                foreach (var (name, value) in Flatten(text.AsSpan(from, chars - from)))
                {
                    if (!isRecord)
                    {
                        Stemmer.Collect(name, terms);
                    }
                    Stemmer.Collect(value, terms);
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
        for (var i = 0; i < text.Length; line++)
        {
            var end = text.IndexOf('\n', i);
            var next = end < 0 ? text.Length : end + 1;
            var slice = text.AsSpan(i, next - i);
            if (!slice.IsWhiteSpace())
            {
                foreach (var (_, value) in Flatten(slice))
                {
                    Stemmer.Collect(value, terms);
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
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
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
