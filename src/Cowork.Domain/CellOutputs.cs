using System.Collections.Immutable;
using System.Diagnostics;
using System.Text;

namespace Cowork.Domain;

/// <summary>Something that a kernel says of a cell that it executes.</summary>
public abstract record OutputMessage
{
    /// <param name="Name"><c>stdout</c> or <c>stderr</c>.</param>
    public sealed record Stream(string Name, string Text) : OutputMessage;

    /// <inheritdoc cref="NotebookOutput.Display"/>
    public sealed record Display(bool IsResult, ImmutableList<MimeData> Data, string Metadata, string? DisplayId) : OutputMessage;

    /// <summary>Puts something else in the place of what is displayed under an id.</summary>
    public sealed record UpdateDisplay(ImmutableList<MimeData> Data, string Metadata, string DisplayId) : OutputMessage;

    /// <param name="Wait">The outputs go when the next one comes, so that nothing flickers.</param>
    public sealed record Clear(bool Wait) : OutputMessage;

    /// <inheritdoc cref="NotebookOutput.Error"/>
    public sealed record Error(string Name, string Value, ImmutableList<string> Traceback) : OutputMessage;
}

/// <summary>One form of something that is displayed.</summary>
/// <param name="Data">Text, Base64 of what is binary, or JSON.</param>
/// <param name="IsJson">The data is JSON and no text.</param>
public sealed record MimeData(string Mime, string Data, bool IsJson = false);

/// <summary>Something in the output of a cell.</summary>
/// <param name="Group">Numbers the outputs of an execution in the order in which they began.</param>
public abstract record NotebookOutput(int Group)
{
    /// <param name="Name"><c>stdout</c> or <c>stderr</c>.</param>
    /// <param name="Text">As a terminal shows it: what a carriage return went back over is gone.</param>
    /// <param name="Back">So many characters before the text's end the next one is written.</param>
    public sealed record Stream(int Group, string Name, string Text, int Back = 0) : NotebookOutput(Group);

    /// <param name="IsResult">It is the value of the cell's last expression.</param>
    /// <param name="Data">The same thing in one or more forms.</param>
    /// <param name="Metadata">A JSON object.</param>
    /// <param name="DisplayId">By which a later message may put something else in its place; null: none may.</param>
    public sealed record Display(int Group, bool IsResult, ImmutableList<MimeData> Data, string Metadata, string? DisplayId) : NotebookOutput(Group);

    /// <summary>The exception that ended the code.</summary>
    /// <param name="Name">Of its class.</param>
    /// <param name="Traceback">With the colours of a terminal.</param>
    public sealed record Error(int Group, string Name, string Value, ImmutableList<string> Traceback) : NotebookOutput(Group);
}

/// <summary>What a message did to the outputs, for who shows them as they come.</summary>
public abstract record OutputChange
{
    /// <summary>An output stands behind the others.</summary>
    public sealed record Added(NotebookOutput Output) : OutputChange;

    /// <param name="Output">With the text behind its end.</param>
    public sealed record Appended(NotebookOutput.Stream Output, string Text) : OutputChange;

    /// <summary>The last line of a stream is another one.</summary>
    /// <param name="Text">All that stands behind the text's last line break but those that it holds itself.</param>
    public sealed record LineReplaced(NotebookOutput.Stream Output, string Text) : OutputChange;

    /// <summary>An output stands in the place of an earlier one of its group.</summary>
    public sealed record Replaced(NotebookOutput Before, NotebookOutput Output) : OutputChange;

    public sealed record Cleared : OutputChange;
}

/// <summary>
/// The outputs of an execution as a notebook shows them: a fold of what the kernel said. Texts of one stream that follow each other are one output, a carriage return goes
/// back to the line's beginning, and what is displayed under an id is displayed once.
/// </summary>
/// <param name="ClearsNext">The outputs go when the next one comes.</param>
/// <param name="Next">Group of the next output.</param>
public sealed record CellOutputs(ImmutableList<NotebookOutput> Items, bool ClearsNext = false, int Next = 0)
{
    public static CellOutputs None { get; } = new([]);

    /// <summary>The outputs after a message, and what it changed.</summary>
    public (CellOutputs After, IReadOnlyList<OutputChange> Changes) Add(OutputMessage message)
    {
        switch (message)
        {
            case OutputMessage.Clear { Wait: true }:
                return (this with { ClearsNext = true }, []);
            case OutputMessage.Clear:
                return Items.IsEmpty ? (this with { ClearsNext = false }, []) : (this with { Items = [], ClearsNext = false }, [new OutputChange.Cleared()]);
            case OutputMessage.Stream { Text: "" }:
                return (this, []);
            case OutputMessage.UpdateDisplay update:
                return Update(update);
            case OutputMessage.Stream or OutputMessage.Display or OutputMessage.Error:
                var begin = ClearsNext ? this with { Items = [], ClearsNext = false } : this;
                IEnumerable<OutputChange> cleared = ClearsNext && !Items.IsEmpty ? [new OutputChange.Cleared()] : [];
                var (after, change) = begin.Append(message);
                return (after, [.. cleared, change]);
            default:
                throw new UnreachableException(message.GetType().Name);
        }
    }

    (CellOutputs After, OutputChange Change) Append(OutputMessage message)
    {
        if (message is OutputMessage.Stream stream)
        {
            return Write(stream);
        }
        NotebookOutput added = message switch
        {
            OutputMessage.Display d => new NotebookOutput.Display(Next, d.IsResult, d.Data, d.Metadata, d.DisplayId),
            OutputMessage.Error e => new NotebookOutput.Error(Next, e.Name, e.Value, e.Traceback),
            _ => throw new UnreachableException(message.GetType().Name),
        };
        return (this with { Items = Items.Add(added), Next = Next + 1 }, new OutputChange.Added(added));
    }

    (CellOutputs After, OutputChange Change) Write(OutputMessage.Stream said)
    {
        if (Items is not [.., NotebookOutput.Stream last] || last.Name != said.Name)
        {
            var added = Written(new(Next, said.Name, ""), said.Text).Output;
            return (this with { Items = Items.Add(added), Next = Next + 1 }, new OutputChange.Added(added));
        }
        var (output, keeps) = Written(last, said.Text);
        OutputChange change = output.Text.StartsWith(last.Text, StringComparison.Ordinal)
            ? new OutputChange.Appended(output, output.Text[last.Text.Length..])
            : new OutputChange.LineReplaced(output, output.Text[keeps..]);
        return (this with { Items = Items.SetItem(Items.Count - 1, output) }, change);
    }

    (CellOutputs After, IReadOnlyList<OutputChange> Changes) Update(OutputMessage.UpdateDisplay update)
    {
        var (items, changes) = (Items, new List<OutputChange>());
        foreach (var shown in Items.OfType<NotebookOutput.Display>().Where(d => d.DisplayId == update.DisplayId))
        {
            var output = shown with { Data = update.Data, Metadata = update.Metadata };
            items = items.Replace(shown, output);
            changes.Add(new OutputChange.Replaced(shown, output));
        }
        return (this with { Items = items }, changes);
    }

    /// <summary>A stream after more text, and how much of its earlier text is before the line that was written to.</summary>
    static (NotebookOutput.Stream Output, int Keeps) Written(NotebookOutput.Stream stream, string text)
    {
        var keeps = stream.Text.LastIndexOf('\n') + 1;
        // Runes: half of a character is never written over.
        var line = stream.Text.AsSpan(keeps).EnumerateRunes().ToList();
        var at = line.Count - stream.Back;
        var written = new StringBuilder(stream.Text, 0, keeps, stream.Text.Length + text.Length);
        foreach (var c in text.EnumerateRunes())
        {
            switch (c.Value)
            {
                case '\n':
                    Flush();
                    written.Append('\n');
                    break;
                case '\r':
                    at = 0;
                    break;
                case '\b':
                    if (at > 0)
                    {
                        line.RemoveAt(--at);
                    }
                    break;
                default:
                    if (at < line.Count)
                    {
                        line[at] = c;
                    }
                    else
                    {
                        line.Add(c);
                    }
                    at++;
                    break;
            }
        }
        var back = line.Count - at;
        Flush();
        return (stream with { Text = written.ToString(), Back = back }, keeps);

        void Flush()
        {
            Span<char> pair = stackalloc char[2];
            foreach (var rune in line)
            {
                written.Append(pair[..rune.EncodeToUtf16(pair)]);
            }
            line.Clear();
            at = 0;
        }
    }
}

static class Runes
{
    public static List<Rune> ToList(this SpanRuneEnumerator runes)
    {
        var list = new List<Rune>();
        foreach (var rune in runes)
        {
            list.Add(rune);
        }
        return list;
    }
}
