using System.Text.Json;

using Cowork.Domain;
using Cowork.Testing;

using Xunit;

using static Cowork.Domain.OutputMessage;

namespace Cowork.Application.Tests;

/// <summary>What kernels say, and the outputs that come of it, in the form that the log and notebooks have them in.</summary>
public sealed class OutputJsonSpecs
{
    static string Written(KernelMessage message) => OutputJson.Write(OutputJson.Of(message));

    static JsonElement Json(string json) => JsonElement.Parse(json);

    [Fact]
    public void A_message_has_the_form_of_a_notebooks_output()
    {
        Assert.Equal("""[{"output_type":"stream","name":"stdout","text":"a\n"}]""", Written(new KernelMessage.Stream("stdout", "a\n")));
        Assert.Equal(
            """[{"output_type":"execute_result","data":{"text/plain":"3","application/json":{"a":[1]}},"metadata":{"k":1},"display_id":"d"}]""",
            Written(new KernelMessage.Display(true, Json("""{"text/plain":"3","application/json":{"a":[1]}}"""), Json("""{"k":1}"""), "d")));
        Assert.Equal(
            """[{"output_type":"error","ename":"E","evalue":"v","traceback":["t"]}]""", Written(new KernelMessage.Error("E", "v", ["t"])));
        Assert.Equal("""[{"output_type":"stream","name":"stderr","text":"\n[Cut.]\n"}]""", Written(new KernelMessage.Truncated("Cut.")));
        Assert.Empty(OutputJson.Of(new KernelMessage.Done(KernelOutcome.Succeeded, null, null, TimeSpan.Zero, 1, false)));
    }

    [Fact]
    public void Pictures_attached_to_a_notebooks_text_become_a_part_of_it_as_long_as_there_is_room()
    {
        static string Read(string attachments, string source)
        {
            var (cells, _, faults) = Notebook.Read(
                Json("""{"nbformat":4,"cells":[{"cell_type":"markdown","source":SOURCE,"attachments":ATTACHMENTS}]}""".Replace("SOURCE", JsonSerializer.Serialize(source)).Replace("ATTACHMENTS", attachments)),
                "$");
            Assert.Empty(faults);
            return cells.Single().Content;
        }
        Assert.Equal(
            "![](data:image/png;base64,QUJD) ![](data:image/gif;base64,R0lG) ![](attachment:c)",
            Read("""{"a":{"image/png":["QU\n","JD"]},"a.gif":{"image/gif":"R0lG","image/png":"eA=="},"b":7,"c":{"image/png":8},"d":{}}""", "![](attachment:a) ![](attachment:a.gif) ![](attachment:c)"));
        Assert.Equal("![](attachment:a)", Read($$$"""{"a":{"image/png":"{{{new string('A', Limits.CellContentBytesMax)}}}"}}""", "![](attachment:a)"));
        Assert.Equal("text", Read("[]", "text"));
    }

    [Fact]
    public void What_no_log_can_hold_is_escaped_and_what_is_no_bundle_is_empty()
    {
        Assert.Equal("""[{"output_type":"stream","name":"stdout","text":"\\u0000\\ud83d"}]""", Written(new KernelMessage.Stream("anything", "\0\ud83d")));
        Assert.Equal(
            """[{"output_type":"display_data","data":{"text/plain":"x"},"metadata":{}}]""",
            Written(new KernelMessage.Display(false, Json("""{"text/plain":"x","text/html":5,"image/png":null}"""), Json("[]"), null)));
        Assert.Equal("""[{"output_type":"display_data","data":{},"metadata":{}}]""", Written(new KernelMessage.Display(false, Json("[1]"), Json("1"), null)));
        Assert.Equal(
            """[{"output_type":"display_data","data":{"text/plain":"\\ud83d"},"metadata":{}}]""",
            Written(new KernelMessage.Display(false, Json("""{"text/plain":"\ud83d"}"""), Json("{}"), null)));
    }

    [Theory]
    [InlineData("""{"image/png\"><script>alert(2)</script>":"x"}""", "image/png\"><script>alert(2)</script> is not the name of a MIME type.")]
    [InlineData("""{"image/png":"\"><script>"}""", "image/png is not Base64.")]
    [InlineData("""{"Image/PNG":"a"}""", "Image/PNG is not Base64.")]
    [InlineData("""{"text":"x"}""", "text is not the name of a MIME type.")]
    [InlineData("""{"text/a b":"x"}""", "text/a b is not the name of a MIME type.")]
    [InlineData("""{"text/html\n":"x"}""", "text/html\n is not the name of a MIME type.")]
    public void A_form_that_cannot_be_shown_is_left_out_and_told(string data, string why)
    {
        var bundle = data[..^1] + ""","text/plain":"p"}""";
        OutputMessage note = new OutputMessage.Stream("stderr", $"[Left out: {why}]\n");
        var shown = OutputJson.Of(new KernelMessage.Display(false, Json(bundle), Json("{}"), null));
        Assert.Equal([new("text/plain", "p")], Assert.IsType<Display>(shown[0]).Data);
        Assert.Equal([note], shown.Skip(1));
        var updated = OutputJson.Of(new KernelMessage.UpdateDisplay(Json(bundle), Json("{}"), "id"));
        Assert.Equal([new("text/plain", "p")], Assert.IsType<UpdateDisplay>(updated[0]).Data);
        Assert.Equal([note], updated.Skip(1));
        // What a log of an earlier release holds is not shown either.
        var stored = Assert.Single(OutputJson.ReadMessages("[{\"output_type\":\"display_data\",\"data\":" + bundle + ",\"metadata\":{}}]"));
        Assert.Equal([new("text/plain", "p")], Assert.IsType<Display>(stored).Data);
    }

    [Fact]
    public void Images_in_Base64_SVG_and_types_of_JSON_are_shown()
    {
        var data = """{"image/png":"aVZC\nT1I=","image/svg+xml":"<svg/>","application/vnd.vega.v5+json":{"a":1}}""";
        Assert.Equal(3, Assert.IsType<Display>(Assert.Single(OutputJson.Of(new KernelMessage.Display(false, Json(data), Json("{}"), null)))).Data.Count);
    }

    /// <summary>Who is told the changes alone has the same outputs as who is told the messages.</summary>
    [Fact]
    public void The_changes_make_the_outputs()
    {
        foreach (var seed in Seeds.Many(200, 20_000))
        {
            var random = new Random(seed);
            var (outputs, told) = (CellOutputs.None, new List<NotebookOutput>());
            for (var i = 0; i < 40; i++)
            {
                OutputMessage message = random.Next(8) switch
                {
                    < 4 => new OutputMessage.Stream(random.Next(4) == 0 ? "stderr" : "stdout", string.Concat(Enumerable.Range(0, random.Next(6)).Select(_ => "ab\r\n\b😀"[random.Next(5)]))),
                    4 => new Display(random.Next(2) == 0, [new("text/plain", $"{i}"), new("application/json", "{\"a\":[1]}", IsJson: true)], "{}", random.Next(2) == 0 ? "id" : null),
                    5 => new UpdateDisplay([new("text/plain", $"u{i}")], "{}", "id"),
                    6 => new Clear(random.Next(2) == 0),
                    _ => new Error("E", $"{i}", []),
                };
                Assert.Equal(OutputJson.Write([message]), OutputJson.Write(OutputJson.ReadMessages(OutputJson.Write([message]))));
                (outputs, var changes) = outputs.Add(message);
                foreach (var change in changes)
                {
                    Tell(told, change);
                }
                var json = OutputJson.Write(outputs.Items);
                Assert.Equal(json, OutputJson.Write(told));
                Assert.Equal(json, OutputJson.Write(OutputJson.ReadOutputs(json)));
            }
        }
    }

    static void Tell(List<NotebookOutput> told, OutputChange change)
    {
        switch (change)
        {
            case OutputChange.Added added:
                told.Add(added.Output);
                break;
            case OutputChange.Appended appended:
                told[^1] = (NotebookOutput.Stream)told[^1] with { Text = ((NotebookOutput.Stream)told[^1]).Text + appended.Text };
                break;
            case OutputChange.LineReplaced line:
                var before = ((NotebookOutput.Stream)told[^1]).Text;
                told[^1] = (NotebookOutput.Stream)told[^1] with { Text = before[..(before.LastIndexOf('\n') + 1)] + line.Text };
                break;
            case OutputChange.Replaced replaced:
                told[told.FindIndex(output => output.Group == replaced.Before.Group)] = replaced.Output;
                break;
            case OutputChange.Cleared:
                told.Clear();
                break;
        }
    }
}
