using System.Buffers.Text;
using System.Collections.Immutable;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.RegularExpressions;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// What a kernel said, and the outputs that come of it, as JSON: in the form that notebooks have them in (nbformat 4, "output"), with <c>group</c> and
/// <c>display_id</c> beside it. A kernel's text is escaped where a log could not hold it.
/// </summary>
public static partial class OutputJson
{
    static readonly JsonWriterOptions Writing = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>JSON in a kernel's message is nested no deeper than this.</summary>
    const int DepthMax = 64;

    /// <summary>So much of a name that is left out is told.</summary>
    const int NameShownMax = 80;

    /// <summary>A message as the fold of outputs takes it, and behind it what was left out of it; empty: it says nothing of the outputs.</summary>
    public static IReadOnlyList<OutputMessage> Of(KernelMessage message)
    {
        var leftOut = message switch
        {
            KernelMessage.Display d => WhyLeftOut(d.Data),
            KernelMessage.UpdateDisplay u => WhyLeftOut(u.Data),
            _ => [],
        };
        IEnumerable<OutputMessage> said = Said(message) is { } output ? [output] : [];
        return [.. said, .. leftOut.Select(why => new OutputMessage.Stream("stderr", $"[Left out: {why}]\n"))];
    }

    static OutputMessage? Said(KernelMessage message) => message switch
    {
        KernelMessage.Stream s => new OutputMessage.Stream(s.Name == "stderr" ? "stderr" : "stdout", StorableText.Escape(s.Text)),
        KernelMessage.Display d => new OutputMessage.Display(d.IsResult, Bundle(d.Data), Object(d.Metadata), d.DisplayId is { } id ? StorableText.Escape(id) : null),
        KernelMessage.UpdateDisplay u => new OutputMessage.UpdateDisplay(Bundle(u.Data), Object(u.Metadata), StorableText.Escape(u.DisplayId)),
        KernelMessage.ClearOutput c => new OutputMessage.Clear(c.Wait),
        KernelMessage.Error e => new OutputMessage.Error(
            StorableText.Escape(e.Name), StorableText.Escape(e.Value), [.. e.Traceback.Select(StorableText.Escape)]),
        KernelMessage.Truncated t => new OutputMessage.Stream("stderr", $"\n[{StorableText.Escape(t.Why)}]\n"),
        KernelMessage.Restarted r => new OutputMessage.Stream("stderr", $"[{StorableText.Escape(r.Why)}]\n"),
        _ => null,
    };

    /// <summary>A JSON list of messages.</summary>
    public static string Write(IReadOnlyList<OutputMessage> messages) => WriteList(messages, static (json, message) =>
    {
        switch (message)
        {
            case OutputMessage.Stream s:
                WriteStream(json, s.Name, s.Text);
                break;
            case OutputMessage.Display d:
                WriteDisplay(json, d.IsResult ? "execute_result" : "display_data", d.Data, d.Metadata, d.DisplayId);
                break;
            case OutputMessage.UpdateDisplay u:
                WriteDisplay(json, "update_display_data", u.Data, u.Metadata, u.DisplayId);
                break;
            case OutputMessage.Clear c:
                json.WriteString("output_type", "clear_output");
                json.WriteBoolean("wait", c.Wait);
                break;
            case OutputMessage.Error e:
                WriteError(json, e.Name, e.Value, e.Traceback);
                break;
        }
    });

    /// <summary>A JSON list of outputs.</summary>
    public static string Write(IReadOnlyList<NotebookOutput> outputs) => WriteList(outputs, static (json, output) =>
    {
        switch (output)
        {
            case NotebookOutput.Stream s:
                WriteStream(json, s.Name, s.Text);
                break;
            case NotebookOutput.Display d:
                WriteDisplay(json, d.IsResult ? "execute_result" : "display_data", d.Data, d.Metadata, d.DisplayId);
                break;
            case NotebookOutput.Error e:
                WriteError(json, e.Name, e.Value, e.Traceback);
                break;
        }
        json.WriteNumber("group", output.Group);
    });

    /// <summary>The messages that <see cref="Write(IReadOnlyList{OutputMessage})"/> wrote.</summary>
    public static IReadOnlyList<OutputMessage> ReadMessages(string json)
    {
        using var list = JsonDocument.Parse(json, new() { MaxDepth = DepthMax + 8 });
        return [.. list.RootElement.EnumerateArray().Select(Message)];
    }

    /// <summary>The outputs that <see cref="Write(IReadOnlyList{NotebookOutput})"/> wrote.</summary>
    public static ImmutableList<NotebookOutput> ReadOutputs(string json)
    {
        using var list = JsonDocument.Parse(json, new() { MaxDepth = DepthMax + 8 });
        return [.. list.RootElement.EnumerateArray().Select((output, i) => Output(output, output.TryGetProperty("group", out var group) ? group.GetInt32() : i))];
    }

    /// <summary>The outputs of an execution; none where there are none.</summary>
    public static async ValueTask<ImmutableList<NotebookOutput>> Outputs(this IBlobs blobs, Content? outputs, CancellationToken ct) =>
        outputs is null ? [] : ReadOutputs(await blobs.Text(outputs, ct));

    /// <summary>True for types whose data is JSON and no text.</summary>
    public static bool IsJson(string mime) => mime == "application/json" || mime.EndsWith("+json", StringComparison.Ordinal);

    static OutputMessage Message(JsonElement message) => Text(message, "output_type") switch
    {
        "stream" => new OutputMessage.Stream(Text(message, "name"), Text(message, "text")),
        "clear_output" => new OutputMessage.Clear(message.GetProperty("wait").GetBoolean()),
        "update_display_data" => new OutputMessage.UpdateDisplay(Bundle(message.GetProperty("data")), Object(message.GetProperty("metadata")), Text(message, "display_id")),
        "error" => new OutputMessage.Error(Text(message, "ename"), Text(message, "evalue"), Traceback(message)),
        var type => new OutputMessage.Display(type == "execute_result", Bundle(message.GetProperty("data")), Object(message.GetProperty("metadata")), DisplayId(message)),
    };

    static NotebookOutput Output(JsonElement output, int group) => Text(output, "output_type") switch
    {
        "stream" => new NotebookOutput.Stream(group, Text(output, "name"), Text(output, "text")),
        "error" => new NotebookOutput.Error(group, Text(output, "ename"), Text(output, "evalue"), Traceback(output)),
        var type => new NotebookOutput.Display(
            group, type == "execute_result", Bundle(output.GetProperty("data")), Object(output.GetProperty("metadata")), DisplayId(output)),
    };

    static string Text(JsonElement of, string name) => of.GetProperty(name).GetString() ?? throw new JsonException($"{name} is null.");

    static string? DisplayId(JsonElement of) => of.TryGetProperty("display_id", out var id) ? id.GetString() : null;

    static ImmutableList<string> Traceback(JsonElement of) => [.. of.GetProperty("traceback").EnumerateArray().Select(line => line.GetString()!)];

    /// <summary>
    /// Why a form cannot be shown; null: it can. Its name must be a type and a subtype of RFC 6838, section 4.2, so that it may stand in a URL and in HTML; an image
    /// becomes a data URL, and must be Base64, but for SVG, which is text.
    /// </summary>
    static string? WhyNot(JsonProperty form) =>
        !MimeName().IsMatch(form.Name) ? $"{StorableText.Escape(form.Name[..Math.Min(form.Name.Length, NameShownMax)])} is not the name of a MIME type."
        : form.Name.StartsWith("image/", StringComparison.OrdinalIgnoreCase) && !IsJson(form.Name) && form.Value.ValueKind == JsonValueKind.String
            && !form.Name.Equals("image/svg+xml", StringComparison.OrdinalIgnoreCase) && !Base64.IsValid(TextOf(form.Value)) ? $"{form.Name} is not Base64."
        : null;

    static IEnumerable<string> WhyLeftOut(JsonElement data) =>
        data.ValueKind == JsonValueKind.Object ? data.EnumerateObject().Select(WhyNot).OfType<string>() : [];

    [GeneratedRegex("^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\\z")]
    private static partial Regex MimeName();

    /// <summary>
    /// The forms of a bundle: strings as text, of types of JSON anything as JSON. Anything else is no form of it. A log of an earlier release may hold forms that
    /// cannot be shown.
    /// </summary>
    static ImmutableList<MimeData> Bundle(JsonElement data)
    {
        if (data.ValueKind != JsonValueKind.Object)
        {
            return [];
        }
        var bundle = ImmutableList.CreateBuilder<MimeData>();
        foreach (var form in data.EnumerateObject().Where(form => WhyNot(form) is null))
        {
            var mime = form.Name;
            if (IsJson(mime))
            {
                bundle.Add(new(mime, StorableText.Escape(form.Value.GetRawText()), IsJson: true));
            }
            else if (form.Value.ValueKind == JsonValueKind.String)
            {
                bundle.Add(new(mime, TextOf(form.Value)));
            }
        }
        return bundle.ToImmutable();
    }

    /// <summary>A string may hold half of a pair as an escape, which no text can hold.</summary>
    static string TextOf(JsonElement text)
    {
        try
        {
            return StorableText.Escape(text.GetString()!);
        }
        catch (InvalidOperationException)
        {
            return text.GetRawText().Trim('"');
        }
    }

    static string Object(JsonElement metadata) => metadata.ValueKind == JsonValueKind.Object ? metadata.GetRawText() : "{}";

    static string WriteList<T>(IReadOnlyList<T> items, Action<Utf8JsonWriter, T> write)
    {
        using var plain = new PooledBuffer(1024);
        using (var json = new Utf8JsonWriter(plain, Writing))
        {
            json.WriteStartArray();
            foreach (var item in items)
            {
                json.WriteStartObject();
                write(json, item);
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        return Encoding.UTF8.GetString(plain.Written);
    }

    static void WriteStream(Utf8JsonWriter json, string name, string text)
    {
        json.WriteString("output_type", "stream");
        json.WriteString("name", name);
        json.WriteString("text", text);
    }

    internal static void WriteBundle(Utf8JsonWriter json, ImmutableList<MimeData> data)
    {
        json.WriteStartObject("data");
        foreach (var form in data.DistinctBy(form => form.Mime))
        {
            json.WritePropertyName(form.Mime);
            if (form.IsJson)
            {
                json.WriteRawValue(form.Data, skipInputValidation: true);
            }
            else
            {
                json.WriteStringValue(form.Data);
            }
        }
        json.WriteEndObject();
    }

    static void WriteDisplay(Utf8JsonWriter json, string type, ImmutableList<MimeData> data, string metadata, string? displayId)
    {
        json.WriteString("output_type", type);
        WriteBundle(json, data);
        json.WritePropertyName("metadata");
        json.WriteRawValue(metadata, skipInputValidation: true);
        if (displayId is not null)
        {
            json.WriteString("display_id", displayId);
        }
    }

    internal static void WriteError(Utf8JsonWriter json, string name, string value, ImmutableList<string> traceback)
    {
        json.WriteString("output_type", "error");
        json.WriteString("ename", name);
        json.WriteString("evalue", value);
        json.WriteStartArray("traceback");
        foreach (var line in traceback)
        {
            json.WriteStringValue(line);
        }
        json.WriteEndArray();
    }
}
