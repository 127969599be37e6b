using System.Collections.Immutable;
using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A cell with its texts read.</summary>
public sealed record NotebookCell(Cell Of, string Content, ImmutableList<NotebookOutput> Outputs);

/// <summary>A cell that an imported notebook has.</summary>
/// <param name="Outputs">JSON of the outputs that it came with; null: none.</param>
public sealed record ImportedCell(string Type, string Content, string? Language, string? Outputs, CellError? Error, int? ExecutionCount, bool Truncated);

/// <summary>Notebooks of Jupyter (nbformat 4.5; older ones of format 4 are read, too).</summary>
public static class Notebook
{
    /// <summary>Of one cell.</summary>
    const int AttachmentsMax = 100;

    static readonly JsonWriterOptions Writing = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping, Indented = true, IndentSize = 1 };

    /// <summary>The notebook as a file.</summary>
    public static byte[] Write(string title, IReadOnlyList<NotebookCell> cells)
    {
        using var file = new PooledBuffer(4096);
        using (var json = new Utf8JsonWriter(file, Writing))
        {
            json.WriteStartObject();
            json.WriteStartArray("cells");
            foreach (var cell in cells)
            {
                WriteCell(json, cell);
            }
            json.WriteEndArray();
            WriteMetadata(json, title, cells);
            json.WriteNumber("nbformat", 4);
            json.WriteNumber("nbformat_minor", 5);
            json.WriteEndObject();
        }
        return [.. file.Written, (byte)'\n'];
    }

    /// <summary>The cells of a notebook. The faults are by JSON path; a notebook with faults has no cells.</summary>
    public static (IReadOnlyList<ImportedCell> Cells, string? Title, IReadOnlyList<(string Path, string Fault)> Faults) Read(JsonElement notebook, string at)
    {
        var faults = new List<(string, string)>();
        if (!(notebook.TryGetProperty("nbformat", out var format) && format.ValueKind == JsonValueKind.Number && format.TryGetInt32(out var major) && major == 4))
        {
            faults.Add(($"{at}.nbformat", "Must be 4: open the notebook with Jupyter and save it."));
            return ([], null, faults);
        }
        if (!notebook.TryGetProperty("cells", out var listed) || listed.ValueKind != JsonValueKind.Array)
        {
            faults.Add(($"{at}.cells", "Must be a list of cells."));
            return ([], null, faults);
        }
        if (listed.GetArrayLength() > Limits.ScratchpadCellsMax)
        {
            faults.Add(($"{at}.cells", $"A scratchpad has at most {Limits.ScratchpadCellsMax} cells."));
            return ([], null, faults);
        }
        var language = LanguageOf(notebook);
        var cells = new List<ImportedCell>();
        foreach (var (place, cell) in listed.EnumerateArray().Index())
        {
            var path = $"{at}.cells[{place}]";
            if (cell.ValueKind != JsonValueKind.Object || Text(cell, "cell_type") is not { } type || type is not ("code" or "markdown" or "raw"))
            {
                faults.Add(($"{path}.cell_type", "Must be code, markdown or raw."));
            }
            else if (!cell.TryGetProperty("source", out var source) || Joined(source) is not { } content)
            {
                faults.Add(($"{path}.source", "Must be a text, or a list of texts."));
            }
            else if (Encoding.UTF8.GetByteCount(content) > Limits.CellContentBytesMax)
            {
                faults.Add(($"{path}.source", $"A cell has at most {Limits.CellContentBytesMax} bytes of content."));
            }
            else
            {
                cells.Add(type == "code" ? CodeCell(cell, content, language) : new(CellTypes.Markdown, WithAttachments(cell, content), null, null, null, null, Truncated: false));
            }
        }
        return (cells, Member(notebook, "metadata") is { } metadata ? Text(metadata, "title") : null, faults);
    }

    static void WriteCell(Utf8JsonWriter json, NotebookCell cell)
    {
        json.WriteStartObject();
        json.WriteString("cell_type", cell.Of.Type);
        json.WriteString("id", cell.Of.CellId.Id);
        json.WriteStartObject("metadata");
        json.WriteEndObject();
        json.WriteString("source", cell.Content);
        if (cell.Of.IsCode)
        {
            WriteCount(json, cell.Of.Result?.ExecutionCount);
            json.WriteStartArray("outputs");
            foreach (var output in cell.Outputs)
            {
                WriteOutput(json, output, cell.Of.Result?.ExecutionCount);
            }
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    static void WriteOutput(Utf8JsonWriter json, NotebookOutput output, int? count)
    {
        json.WriteStartObject();
        switch (output)
        {
            case NotebookOutput.Stream s:
                json.WriteString("name", s.Name);
                json.WriteString("output_type", "stream");
                json.WriteString("text", s.Text);
                break;
            case NotebookOutput.Display d:
                json.WriteString("output_type", d.IsResult ? "execute_result" : "display_data");
                if (d.IsResult)
                {
                    WriteCount(json, count);
                }
                OutputJson.WriteBundle(json, d.Data);
                json.WritePropertyName("metadata");
                json.WriteRawValue(d.Metadata, skipInputValidation: true);
                break;
            case NotebookOutput.Error e:
                OutputJson.WriteError(json, e.Name, e.Value, e.Traceback);
                break;
        }
        json.WriteEndObject();
    }

    static void WriteCount(Utf8JsonWriter json, int? count)
    {
        if (count is { } number)
        {
            json.WriteNumber("execution_count", number);
        }
        else
        {
            json.WriteNull("execution_count");
        }
    }

    static void WriteMetadata(Utf8JsonWriter json, string title, IReadOnlyList<NotebookCell> cells)
    {
        var environment = cells.Select(cell => cell.Of.Result?.Environment).LastOrDefault(known => known is not null);
        var language = environment?.Language ?? cells.Select(cell => cell.Of.Language).FirstOrDefault(named => named is not null) ?? "python";
        var kernel = environment?.Kernel ?? (language == "python" ? "python3" : language);
        json.WriteStartObject("metadata");
        json.WriteStartObject("kernelspec");
        json.WriteString("display_name", kernel);
        json.WriteString("language", language);
        json.WriteString("name", kernel);
        json.WriteEndObject();
        json.WriteStartObject("language_info");
        json.WriteString("name", language);
        if (environment is not null)
        {
            json.WriteString("version", environment.Version);
        }
        json.WriteEndObject();
        json.WriteString("title", title);
        json.WriteEndObject();
    }

    static ImportedCell CodeCell(JsonElement cell, string content, string language)
    {
        var (outputs, error, bytes, isCut) = (CellOutputs.None, (CellError?)null, 0L, false);
        foreach (var output in Member(cell, "outputs") is { ValueKind: JsonValueKind.Array } listed ? listed.EnumerateArray() : default)
        {
            bytes += output.GetRawText().Length;
            isCut |= bytes > Limits.CellOutputBytesMax;
            foreach (var said in !isCut && Message(output) is { } message ? OutputJson.Of(message) : [])
            {
                error = said is OutputMessage.Error e ? new(CellErrorCodes.Exception, RunRecorder.ErrorText($"{e.Name}: {e.Value}")) : error;
                outputs = outputs.Add(said).After;
            }
        }
        var count = Member(cell, "execution_count") is { ValueKind: JsonValueKind.Number } number && number.TryGetInt32(out var executions) && executions >= 0
            ? executions
            : (int?)null;
        return new(CellTypes.Code, content, language, outputs.Items.IsEmpty ? null : OutputJson.Write(outputs.Items), error, count, isCut);
    }

    /// <summary>The text with the pictures that Jupyter keeps beside it: <c>attachment:NAME</c> becomes a data URL, as long as a cell has room for it.</summary>
    static string WithAttachments(JsonElement cell, string content)
    {
        if (Member(cell, "attachments") is not { ValueKind: JsonValueKind.Object } attachments)
        {
            return content;
        }
        // A longer name may begin as a shorter one.
        foreach (var attachment in attachments.EnumerateObject().Take(AttachmentsMax).OrderByDescending(a => a.Name.Length).Where(a => a.Value.ValueKind == JsonValueKind.Object))
        {
            foreach (var form in attachment.Value.EnumerateObject().Where(form => Joined(form.Value) is not null).Take(1))
            {
                var inline = content.Replace($"attachment:{attachment.Name}", $"data:{form.Name};base64,{Joined(form.Value)!.ReplaceLineEndings("")}", StringComparison.Ordinal);
                content = Encoding.UTF8.GetByteCount(inline) <= Limits.CellContentBytesMax ? inline : content;
            }
        }
        return content;
    }

    /// <summary>What a kernel would have said; null: nothing that is known.</summary>
    static KernelMessage? Message(JsonElement output)
    {
        if (output.ValueKind != JsonValueKind.Object)
        {
            return null;
        }
        var metadata = Member(output, "metadata") ?? JsonElement.Parse("{}");
        return Text(output, "output_type") switch
        {
            "stream" when Member(output, "text") is { } text && Joined(text) is { } joined => new KernelMessage.Stream(Text(output, "name") ?? "stdout", joined),
            "display_data" or "execute_result" when Member(output, "data") is { ValueKind: JsonValueKind.Object } data =>
                new KernelMessage.Display(Text(output, "output_type") == "execute_result", JoinedBundle(data), metadata, null),
            "error" => new KernelMessage.Error(
                Text(output, "ename") ?? "Error", Text(output, "evalue") ?? "",
                [.. (Member(output, "traceback") is { ValueKind: JsonValueKind.Array } lines ? lines.EnumerateArray() : default).Select(Joined).OfType<string>()]),
            _ => null,
        };
    }

    /// <summary>A file may have a text as a list of its lines.</summary>
    static JsonElement JoinedBundle(JsonElement data)
    {
        using var bytes = new PooledBuffer(1024);
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            foreach (var form in data.EnumerateObject())
            {
                if (OutputJson.IsJson(form.Name))
                {
                    form.WriteTo(json);
                }
                else if (Joined(form.Value) is { } text)
                {
                    json.WriteString(form.Name, StorableText.Escape(text));
                }
            }
            json.WriteEndObject();
        }
        return JsonElement.Parse(bytes.Written);
    }

    static string LanguageOf(JsonElement notebook)
    {
        var metadata = Member(notebook, "metadata");
        var named = metadata is { } known
            ? (Member(known, "kernelspec") is { } spec ? Text(spec, "language") : null) ?? (Member(known, "language_info") is { } info ? Text(info, "name") : null)
            : null;
        return named?.ToLowerInvariant() is { Length: > 0 and <= Limits.LanguageCharsMax } language && language.All(c => char.IsAsciiLetterOrDigit(c) || c is '+' or '#' or '-')
            ? language
            : "python";
    }

    static JsonElement? Member(JsonElement of, string name) => of.ValueKind == JsonValueKind.Object && of.TryGetProperty(name, out var value) ? value : null;

    static string? Text(JsonElement of, string name) => Member(of, name) is { ValueKind: JsonValueKind.String } text ? text.GetString() : null;

    /// <summary>A text, or a list of its pieces; null: neither.</summary>
    static string? Joined(JsonElement text) => text.ValueKind switch
    {
        JsonValueKind.String => text.GetString(),
        JsonValueKind.Array when text.EnumerateArray().All(piece => piece.ValueKind == JsonValueKind.String) =>
            string.Concat(text.EnumerateArray().Select(piece => piece.GetString())),
        _ => null,
    };
}
