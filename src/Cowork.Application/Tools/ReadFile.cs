using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Cowork.Application;

/// <summary><c>read_file {path, offset?, limit?}</c>: the text of a file, or a range of its lines.</summary>
public sealed class ReadFile(Policy policy, RunFiles uploads, IBlobs blobs) : ITool
{
    /// <summary>Characters of one answer: about 8 000 tokens, so that several files fit a run's limit of 100 000.</summary>
    public const int CharsMax = 32 * 1024;

    /// <summary>Bytes of a file in which lines are counted; a model should search a larger file instead.</summary>
    const long BytesMax = 256L << 20;

    public string Name => "read_file";

    public string Description =>
        $"Reads a text file of the session's folder, or the text of an uploaded file below {RunFiles.Folder}/, at most {CharsMax} characters at a time; "
        + "give offset and limit to read on, in lines.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """
        {"type":"object","required":["path"],"properties":{
          "path":{"type":"string","description":"The file, relative to the session's folder, or absolute in another granted one."},
          "offset":{"type":"integer","minimum":1,"description":"The first line to read, from 1."},
          "limit":{"type":"integer","minimum":1,"description":"How many lines to read."}}}
        """);

    public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(SubjectOf(context, input));

    static CallSubject SubjectOf(ToolContext context, JsonElement input)
    {
        var subject = PathArgument.SubjectOf(context, "read", input, defaultPath: null);
        Range(input, out var error);
        return subject.Invalid is null && error is not null ? subject with { Invalid = error } : subject;
    }

    public async Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var (offset, limit) = Range(input, out var invalid);
        if (invalid is not null)
        {
            return ToolOutcome.Error(invalid);
        }
        if (ToolInput.Text(input, "path", required: true, out _) is { } path && await uploads.Find(context, path, ct) is { } uploaded)
        {
            return policy.Reevaluate(Name, SubjectOf(context, input), context.Granted) ?? await Read(uploaded, offset, limit, ct);
        }
        if (PathArgument.Open(context, "read", Name, input, null, policy, out var found) is { } error)
        {
            return error;
        }
        using (found)
        {
            if (found.IsDirectory)
            {
                return ToolOutcome.Error($"{found.Shown} is a folder; list_files shows what is in it.");
            }
            if (found.WhyProtected is { } why)
            {
                return ToolOutcome.Error($"{found.Shown} is not read. {why}");
            }
            try
            {
                await using var stream = found.OpenRead();
                return await Read(found.Shown, found.Size, stream, offset, limit, ct);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return ToolOutcome.Error($"{found.Shown} cannot be read by the host.");
            }
        }
    }

    /// <summary>The text that was extracted from an uploaded file.</summary>
    async Task<ToolOutcome> Read(RunFile file, long offset, long limit, CancellationToken ct)
    {
        if (file.File.Text is not { } text)
        {
            return ToolOutcome.Error($"{file.Shown} has no text that can be read: {file.File.WhyNoText}");
        }
        await using var stream = await blobs.Open(text.Sha256, ct) ?? throw new InvalidDataException($"The blob {text.Sha256} is missing.");
        var outcome = await Read(file.Shown, text.Bytes, stream, offset, limit, ct);
        return file.File.IsCut && !outcome.IsError ? outcome with { Text = $"{outcome.Text}\n[The file has more text than was kept when it was uploaded.]" } : outcome;
    }

    /// <param name="shown">The path for the model.</param>
    static async Task<ToolOutcome> Read(string shown, long size, Stream stream, long offset, long limit, CancellationToken ct)
    {
        var probe = new byte[64 * 1024];
        var read = await stream.ReadAtLeastAsync(probe, probe.Length, throwOnEndOfStream: false, ct);
        if (FileText.DetectEncoding(probe.AsSpan(0, read), isWhole: read < probe.Length) is not { } encoding)
        {
            return ToolOutcome.Error(string.Create(CultureInfo.InvariantCulture, $"{shown} is a binary file of {size} bytes; it cannot be shown as text."));
        }
        stream.Position = 0;
        using var reader = new StreamReader(stream, encoding, detectEncodingFromByteOrderMarks: true);
        var text = new StringBuilder();
        var buffer = new char[16 * 1024];
        var (line, lastShown, cut, atStart) = (1L, 0L, false, true);
        int count;
        while (stream.Position <= BytesMax && (count = await reader.ReadBlockAsync(buffer, ct)) > 0)
        {
            for (var i = 0; i < count;)
            {
                var end = Array.IndexOf(buffer, '\n', i, count - i);
                var next = end < 0 ? count : end + 1;
                if (line >= offset && line - offset < limit && !cut)
                {
                    var room = CharsMax - text.Length;
                    cut = next - i > room;
                    var take = cut ? room - (room > 0 && char.IsHighSurrogate(buffer[i + room - 1]) ? 1 : 0) : next - i;
                    text.Append(buffer, i, take);
                    lastShown = take > 0 ? line : lastShown;
                }
                atStart = end >= 0;
                line += end >= 0 ? 1 : 0;
                i = next;
            }
        }
        var lines = atStart ? line - 1 : line;
        var isPartial = stream.Position > BytesMax;
        if (offset > Math.Max(lines, 1))
        {
            return ToolOutcome.Error(string.Create(CultureInfo.InvariantCulture,
                $"{shown} has {lines} lines{(isPartial ? $" in its first {BytesMax >> 20} MiB" : "")}; there is no line {offset}."));
        }
        if (cut || offset > 1 || lastShown < lines || isPartial)
        {
            if (text.Length > 0 && text[^1] != '\n')
            {
                text.Append('\n');
            }
            text.Append(CultureInfo.InvariantCulture, $"[Lines {offset} to {lastShown} of {lines}{(isPartial ? $" in the first {BytesMax >> 20} MiB" : "")}.");
            if (cut)
            {
                text.Append(lastShown == offset
                    ? $" Line {offset} is longer than the {CharsMax} characters that are shown; search_files finds places in it, offset {offset + 1} reads on behind it."
                    : $" Cut at {CharsMax} characters, within or after line {lastShown}: read on with offset {lastShown}.");
            }
            text.Append(']');
        }
        return ToolOutcome.Ok(text.ToString());
    }

    static (long Offset, long Limit) Range(JsonElement input, out string? error)
    {
        var offset = ToolInput.Number(input, "offset", 1, 1, int.MaxValue, out error);
        var limit = ToolInput.Number(input, "limit", int.MaxValue, 1, int.MaxValue, out var limitError);
        error ??= limitError;
        return (offset, limit);
    }
}
