using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace Cowork.Application;

/// <summary>The number of times that a passage contains a term.</summary>
public readonly record struct Posting(int Passage, int Count);

/// <summary>
/// The inverted index of one text, split into passages with line numbers. Each row of a CSV or TSV file and each element of a JSON array is a passage with its
/// column names; other text has passages of a few lines, split at blank lines if possible.
/// </summary>
public sealed class TextIndex
{
    /// <summary>Approximate lines and characters of a passage of plain text.</summary>
    const int PassageLines = 12;
    const int PassageChars = 1_000;

    /// <summary>A JSON value up to this size in bytes is one passage; a larger one is split into its members.</summary>
    const int JsonPassageBytes = 4_096;

    /// <summary>Largest number of fields of a record that are indexed and shown.</summary>
    const int FieldsMax = 256;

    /// <summary>The quote of a longer CSV field is a stray character.</summary>
    const int QuotedCharsMax = 64 * 1024;

    enum TextFormat
    {
        Lines,
        Row,
        Json,
    }

    readonly record struct PassageSpan(int Start, int Length, int FirstLine, int LastLine, int Terms, bool IsRecord);

    readonly string text;
    readonly TextFormat format;
    readonly List<PassageSpan> passages = [];
    readonly Dictionary<string, List<Posting>> postings = new(StringComparer.Ordinal);
    readonly List<string> terms = [];
    HashSet<string>? titleTerms;
    string[] columns = [];
    char delimiter = ',';

    readonly IReadOnlySet<string>? only;
    readonly CancellationToken ct;

    TextIndex(string source, string text, IReadOnlySet<string>? only, bool inChunks, CancellationToken ct)
    {
        (this.only, this.ct) = (only, ct);
        Source = source;
        this.text = text;
        var extension = Path.GetExtension(source).ToLowerInvariant();
        format = inChunks ? TextFormat.Lines : extension switch
        {
            ".csv" or ".tsv" or ".tab" => TextFormat.Row,
            ".json" or ".geojson" or ".jsonl" or ".ndjson" or ".ipynb" => TextFormat.Json,
            _ => TextFormat.Lines,
        };
        switch (format)
        {
            case TextFormat.Row:
                SplitRows(extension);
                break;
            case TextFormat.Json when extension is not (".jsonl" or ".ndjson"):
                if (!TrySplitJson())
                {
                    // The content is not JSON.
                    format = TextFormat.Lines;
                    passages.Clear();
                    postings.Clear();
                    TotalLength = 0;
                    SplitLines();
                }
                break;
            case TextFormat.Json:
                SplitJsonLines();
                break;
            default:
                if (inChunks)
                {
                    SplitChunks();
                }
                else
                {
                    SplitLines();
                }
                break;
        }
        terms.Clear();
        terms.TrimExcess();
    }

    public string Source { get; }

    /// <summary>Number of passages.</summary>
    public int Count => passages.Count;

    /// <summary>Number of terms in all passages.</summary>
    public long TotalLength { get; private set; }

    /// <summary>Number of a table's rows without its header, or of objects in JSON arrays; 0 for other text.</summary>
    public int Records { get; private set; }

    /// <summary>Number of lines, without an empty one after the last line break.</summary>
    public int Lines { get; private set; }

    /// <summary>A table's column names in order; empty for other text.</summary>
    public IReadOnlyList<string> Columns => columns;

    /// <param name="source">A file's path or name; its extension decides how the text is split.</param>
    /// <param name="only">Terms to index: those of one question take a fraction of the memory of all. Null: all.</param>
    public static TextIndex Of(string source, string text, IReadOnlySet<string>? only = null, CancellationToken ct = default) =>
        new(source, text, only, inChunks: false, ct);

    /// <summary>
    /// The text in chunks of about 400 tokens, of which each begins with the last 40 or so of the one before, at the beginning of a line where lines are not long
    /// (contracts/decisions.md, "C, the rest"). What a file holds makes no difference.
    /// </summary>
    public static TextIndex OfChunks(string source, string text, CancellationToken ct = default) => new(source, text, null, inChunks: true, ct);

    /// <summary>Terms of a table's file name and column names; none for other text.</summary>
    public IReadOnlyCollection<string> Title => Records > 0 ? titleTerms ??= TitleTerms() : [];

    /// <summary>
    /// True for terms of a table's file name and column names. A query with such a term refers to the table, not to the few rows that contain it.
    /// </summary>
    public bool IsTitleTerm(string term) => Records > 0 && (titleTerms ??= TitleTerms()).Contains(term);

    /// <summary>The terms of each passage with their counts, in the order of passages.</summary>
    public IReadOnlyList<(string Term, int Count)>[] TermsOfPassages()
    {
        var found = new List<(string Term, int Count)>[Count];
        for (var i = 0; i < found.Length; i++)
        {
            found[i] = [];
        }
        foreach (var (term, list) in postings)
        {
            foreach (var posting in list)
            {
                found[posting.Passage].Add((term, posting.Count));
            }
        }
        return found;
    }

    public ReadOnlySpan<Posting> Postings(string term) => postings.TryGetValue(term, out var list) ? CollectionsMarshal.AsSpan(list) : [];

    /// <summary>Number of terms in a passage.</summary>
    public int Length(int passage) => passages[passage].Terms;

    public bool IsRecord(int passage) => passages[passage].IsRecord;

    public Passage Passage(int passage)
    {
        var span = passages[passage];
        var text = format == TextFormat.Lines
            ? Slice(span).TrimEnd().ToString()
            : TextOf(Fields(passage));
        return new(Source, span.FirstLine, span.LastLine, text);
    }

    /// <summary>A record as text.</summary>
    public static string TextOf(IReadOnlyList<(string Name, string Value)> fields) =>
        string.Join(", ", fields.Select(f => f.Name.Length == 0 ? f.Value : $"{f.Name}={f.Value}"));

    /// <summary>A record's values with their column names; empty for plain text.</summary>
    public IReadOnlyList<(string Name, string Value)> Fields(int passage)
    {
        var span = passages[passage];
        switch (format)
        {
            case TextFormat.Row:
                var at = span.Start;
                var values = ReadRow(ref at, out _);
                return [.. values.Take(FieldsMax).Select((v, i) => (i < columns.Length ? columns[i] : $"column {i + 1}", v.Trim())).Where(f => f.Item2.Length > 0)];
            case TextFormat.Json:
                return Flatten(Slice(span));
            default:
                return [];
        }
    }

    HashSet<string> TitleTerms()
    {
        var words = new List<string>();
        Stemmer.Collect(Path.GetFileNameWithoutExtension(Source), words);
        foreach (var column in columns)
        {
            Stemmer.Collect(column, words);
        }
        return new(words, StringComparer.Ordinal);
    }

    ReadOnlySpan<char> Slice(PassageSpan span) => text.AsSpan(span.Start, span.Length);

    void Add(int start, int length, int firstLine, int lastLine, bool isRecord)
    {
        ct.ThrowIfCancellationRequested();
        var passage = passages.Count;
        foreach (var term in terms)
        {
            if (only?.Contains(term) == false)
            {
                continue;
            }
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
        passages.Add(new(start, length, firstLine, lastLine, terms.Count, isRecord));
        TotalLength += terms.Count;
        Records += isRecord ? 1 : 0;
        terms.Clear();
    }

    // ---- Plain text ----

    void SplitLines()
    {
        var (start, first, line, last) = (0, 1, 1, 1);
        var filled = false;
        for (var i = 0; i < text.Length;)
        {
            var end = text.IndexOf('\n', i);
            var next = end < 0 ? text.Length : end + 1;
            // A long line, for example of a minified file, has several passages with the same line number.
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

    // ---- Chunks ----

    /// <summary>UTF-8 bytes of a chunk, and of what it repeats of the one before: four for each token, as tokens are estimated everywhere.</summary>
    const int ChunkBytes = 400 * 4;
    const int OverlapBytes = 40 * 4;

    /// <summary>A longer line is cut into pieces of <see cref="OverlapBytes"/>; another one is whole in each chunk that has it.</summary>
    const int WholeLineBytes = ChunkBytes / 4;

    readonly record struct Piece(int Start, int End, int Line, int Bytes);

    void SplitChunks()
    {
        var pieces = Pieces();
        for (var from = 0; from < pieces.Count;)
        {
            var (to, bytes) = (from, 0);
            while (to < pieces.Count && (to == from || bytes + pieces[to].Bytes <= ChunkBytes))
            {
                bytes += pieces[to++].Bytes;
            }
            var (start, end) = (pieces[from].Start, pieces[to - 1].End);
            if (!text.AsSpan(start, end - start).IsWhiteSpace())
            {
                Stemmer.Collect(text.AsSpan(start, end - start), terms);
                Add(start, end - start, pieces[from].Line, pieces[to - 1].Line, isRecord: false);
            }
            if (to == pieces.Count)
            {
                break;
            }
            var overlap = 0;
            var next = to;
            while (next - 1 > from && overlap < OverlapBytes)
            {
                overlap += pieces[--next].Bytes;
            }
            from = next;
        }
    }

    List<Piece> Pieces()
    {
        var pieces = new List<Piece>();
        var line = 1;
        for (var i = 0; i < text.Length; line++)
        {
            ct.ThrowIfCancellationRequested();
            var end = text.IndexOf('\n', i);
            var next = end < 0 ? text.Length : end + 1;
            var bytes = Encoding.UTF8.GetByteCount(text.AsSpan(i, next - i));
            if (bytes <= WholeLineBytes)
            {
                pieces.Add(new(i, next, line, bytes));
            }
            else
            {
                // At least a quarter of the bytes in characters, and no half of one.
                for (var at = i; at < next;)
                {
                    var cut = Math.Min(at + OverlapBytes, next);
                    while (Encoding.UTF8.GetByteCount(text.AsSpan(at, cut - at)) > OverlapBytes)
                    {
                        cut = at + ((cut - at) * 3 / 4);
                    }
                    cut = cut < next && text.LastIndexOf(' ', cut - 1, (cut - at) / 2) is > 0 and var space ? space + 1 : cut;
                    cut = cut < next && char.IsLowSurrogate(text[cut]) ? cut + 1 : cut;
                    pieces.Add(new(at, cut, line, Encoding.UTF8.GetByteCount(text.AsSpan(at, cut - at))));
                    at = cut;
                }
            }
            Lines = line;
            i = next;
        }
        return pieces;
    }

    // ---- Tables ----

    void SplitRows(string extension)
    {
        var head = text.AsSpan(0, Math.Max(0, text.AsSpan().IndexOf('\n') is var n && n < 0 ? text.Length : n));
        delimiter = extension == ".csv" ? DetectDelimiter(head) : '\t';
        var (at, line) = (0, 1);
        var isFirst = true;
        while (at < text.Length)
        {
            var start = at;
            var values = ReadRow(ref at, out var lines);
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

    static char DetectDelimiter(ReadOnlySpan<char> head)
    {
        var best = ',';
        foreach (var c in ";\t|")
        {
            best = head.Count(c) > head.Count(best) ? c : best;
        }
        return best;
    }

    /// <summary>Reads the row at an offset (RFC 4180), counts its lines, and moves the offset to the next row.</summary>
    List<string> ReadRow(ref int at, out int lines)
    {
        var values = new List<string>();
        lines = 1;
        while (true)
        {
            if (at < text.Length && text[at] == '"' && ReadQuoted(at) is var (value, next))
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

    (string Value, int Next)? ReadQuoted(int at)
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
                // Text between the closing quote and the delimiter belongs to the value.
                var rest = text.AsSpan(i + 1).IndexOfAny(delimiter, '\n');
                var next = rest < 0 ? text.Length : i + 1 + rest;
                return (value.Append(text.AsSpan(i + 1, next - i - 1).TrimEnd('\r')).ToString(), next);
            }
        }
        return null;
    }

    // ---- JSON ----

    bool TrySplitJson()
    {
        var utf8 = Encoding.UTF8.GetBytes(text);
        // The reader's offsets are bytes. Characters and lines for the passages are counted on from the last offset.
        var (bytes, chars, line) = (0, 0, 1);
        try
        {
            var reader = new Utf8JsonReader(utf8, new JsonReaderOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
            if (!reader.Read())
            {
                return false;
            }
            Walk(ref reader, "", 0, inArray: false);
            CountTo(utf8.Length);
            Lines = text.EndsWith('\n') ? line - 1 : line;
            return !reader.Read();
        }
        catch (JsonException)
        {
            return false;
        }
        catch (InvalidOperationException)
        {
            return false; // a string contains half a surrogate pair
        }

        void CountTo(int offset)
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
            if (!isContainer || isRecord || depth >= 6 || (isSmall && depth > 0 && !ContainsObjects(reader)))
            {
                CountTo(start);
                var (from, first) = (chars, line);
                reader = ahead;
                CountTo((int)reader.BytesConsumed);
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

    static bool ContainsObjects(Utf8JsonReader reader) =>
        reader.TokenType == JsonTokenType.StartArray && reader.Read() && reader.TokenType == JsonTokenType.StartObject;

    void SplitJsonLines()
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
            AddLeaves(document.RootElement, "");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
        {
            fields.Add(("", json.Trim().ToString()));
        }
        return fields;

        void AddLeaves(JsonElement value, string name)
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
                        AddLeaves(member.Value, name.Length == 0 ? member.Name : $"{name}.{member.Name}");
                    }
                    break;
                case JsonValueKind.Array:
                    foreach (var element in value.EnumerateArray())
                    {
                        AddLeaves(element, name);
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
