using System.Collections.Immutable;

using Xunit;

using static Cowork.Domain.OutputMessage;

namespace Cowork.Domain.Tests;

/// <summary>What a kernel says becomes outputs as Jupyter shows them.</summary>
public sealed class CellOutputsSpec
{
    static readonly ImmutableList<MimeData> Chart = [new("image/png", "aVZCT1I="), new("text/plain", "<Figure>")];

    static CellOutputs Said(params OutputMessage[] messages) => messages.Aggregate(CellOutputs.None, (outputs, message) => outputs.Add(message).After);

    /// <summary>The outputs on one line: streams by name and text, displays by the text of their last form.</summary>
    static string Shown(CellOutputs outputs) => string.Join(" | ", outputs.Items.Select(output => output switch
    {
        NotebookOutput.Stream s => $"{s.Name}:{s.Text}",
        NotebookOutput.Display d => $"{(d.IsResult ? "result" : "display")}:{d.Data[^1].Data}",
        NotebookOutput.Error e => $"error:{e.Name}",
        _ => "?",
    }));

    static Display Display(string text, string? id = null) => new(IsResult: false, [new("text/plain", text)], "{}", id);

    [Theory]
    [InlineData("a|b", "ab")]
    [InlineData("a\n|b", "a\nb")]
    [InlineData("10%\r20%\r|100%", "100%")] // a progress bar
    [InlineData("done\n10%\r|20%", "done\n20%")] // only its own line
    [InlineData("100%|\r50%", "50%%")] // what is not written over stays
    [InlineData("abc\r|\nd", "abc\nd")] // the line's end keeps the line
    [InlineData("a\r\nb|\r\n", "a\nb\n")] // line ends of Windows
    [InlineData("abc|\b\bX", "aX")]
    [InlineData("|\b\bX", "X")]
    [InlineData("😀😀\r|X", "X😀")] // never half of a character
    [InlineData("abc\rX|Y", "XYc")] // it goes on where it was
    public void Text_is_shown_as_a_terminal_shows_it(string pieces, string shown) =>
        Assert.Equal($"stdout:{shown}", Shown(Said([.. pieces.Split('|').Select(piece => new OutputMessage.Stream("stdout", piece))])));

    [Fact]
    public void Texts_of_one_stream_that_follow_each_other_are_one_output()
    {
        Assert.Equal("stdout:ab | stderr:c | stdout:d", Shown(Said(new OutputMessage.Stream("stdout", "a"), new OutputMessage.Stream("stdout", "b"), new OutputMessage.Stream("stderr", "c"), new OutputMessage.Stream("stdout", "d"))));
        Assert.Equal("stdout:a | display:x | stdout:b", Shown(Said(new OutputMessage.Stream("stdout", "a"), Display("x"), new OutputMessage.Stream("stdout", "b"))));
        Assert.Equal("", Shown(Said(new OutputMessage.Stream("stdout", ""))));
    }

    [Fact]
    public void Clearing_removes_everything_at_once_or_when_the_next_output_comes()
    {
        Assert.Equal("stdout:b", Shown(Said(new OutputMessage.Stream("stdout", "a"), new Clear(Wait: false), new OutputMessage.Stream("stdout", "b"))));
        var waiting = Said(new OutputMessage.Stream("stdout", "a"), new Clear(Wait: true));
        Assert.Equal("stdout:a", Shown(waiting));
        Assert.Equal("display:x", Shown(waiting.Add(Display("x")).After));
        Assert.Equal("stdout:a", Shown(waiting.Add(new UpdateDisplay([new("text/plain", "y")], "{}", "none")).After));
        Assert.Equal("", Shown(waiting.Add(new Clear(Wait: false)).After));
        Assert.Equal("stdout:bc", Shown(waiting.Add(new OutputMessage.Stream("stdout", "b")).After.Add(new OutputMessage.Stream("stdout", "c")).After));
    }

    [Fact]
    public void What_is_displayed_under_an_id_is_put_into_its_place()
    {
        var outputs = Said(Display("1", "a"), Display("2"), Display("3", "a"), new UpdateDisplay([new("text/plain", "new")], "{}", "a"));
        Assert.Equal("display:new | display:2 | display:new", Shown(outputs));
        Assert.Equal([0, 1, 2], outputs.Items.Select(output => output.Group));
        Assert.Equal(2, outputs.Add(new UpdateDisplay(Chart, "{}", "a")).Changes.Count);
    }

    [Fact]
    public void A_result_an_exception_and_a_chart_are_outputs_of_their_own() => Assert.Equal(
        "display:<Figure> | result:3 | error:NameError",
        Shown(Said(
            new Display(IsResult: false, Chart, "{}", null), new Display(IsResult: true, [new("text/plain", "3")], "{}", null),
            new Error("NameError", "x", []))));
}
