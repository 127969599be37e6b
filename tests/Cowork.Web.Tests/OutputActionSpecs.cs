using Cowork.Domain;
using Cowork.Testing;
using Cowork.Web.Endpoints.Platform;

namespace Cowork.Web.Tests;

/// <summary>Who follows <c>cell.output</c> as docs/scratchpads.md says has the entries that <c>cell.completed</c> has, in their order.</summary>
public sealed class OutputActionSpecs
{
    static readonly string[] Types = ["text/plain", "text/html", "image/png", "application/json"];

    [Fact]
    public void The_actions_make_the_outputs_whatever_the_kernel_says()
    {
        foreach (var seed in Seeds.Many(300, 20_000))
        {
            var random = new Random(seed);
            var (outputs, followed) = (CellOutputs.None, new List<OutputEntry>());
            for (var i = 0; i < 40; i++)
            {
                MimeData[] Forms() => [.. Types.OrderBy(_ => random.Next()).Take(random.Next(Types.Length + 1)).Select(type => new MimeData(type, $"{i}", type == "application/json"))];
                OutputMessage message = random.Next(9) switch
                {
                    < 3 => new OutputMessage.Stream(random.Next(3) == 0 ? "stderr" : "stdout", string.Concat(Enumerable.Range(0, random.Next(6)).Select(_ => "ab\r\n\b"[random.Next(5)]))),
                    < 5 => new OutputMessage.Display(random.Next(2) == 0, [.. Forms()], "{}", random.Next(3) > 0 ? $"{random.Next(2)}" : null),
                    < 7 => new OutputMessage.UpdateDisplay([.. Forms()], "{}", $"{random.Next(2)}"),
                    7 => new OutputMessage.Clear(random.Next(2) == 0),
                    _ => new OutputMessage.Error("E", $"{i}", []),
                };
                (outputs, var changes) = outputs.Add(message);
                foreach (var action in changes.SelectMany(OutputAction.Of))
                {
                    Follow(followed, action);
                }
                Assert.Equal(OutputEntry.Of(outputs.Items), followed);
            }
        }
    }

    [Fact]
    public void A_form_that_an_update_brings_is_added_among_those_of_its_group()
    {
        var outputs = CellOutputs.None.Add(new OutputMessage.Display(false, [new("text/plain", "1")], "{}", "d")).After
            .Add(new OutputMessage.Stream("stdout", "x")).After;
        var (_, changes) = outputs.Add(new OutputMessage.UpdateDisplay([new("text/plain", "2"), new("text/html", "<b>2</b>")], "{}", "d"));
        Assert.Equal([("replace", "text/plain", 0), ("add", "text/html", 0)], changes.SelectMany(OutputAction.Of).Select(a => (a.Name, a.Entry!.Mime, a.Entry.Group)));
    }

    /// <summary>An action as the page of users has it.</summary>
    static void Follow(List<OutputEntry> followed, OutputAction action)
    {
        var entry = action.Entry!;
        int Place() => followed.FindIndex(other => other.Group == entry.Group && other.Mime == entry.Mime) is >= 0 and var at ? at : throw new InvalidOperationException("There is no such entry.");
        switch (action.Name)
        {
            case "add":
                followed.Insert(followed.FindLastIndex(other => other.Group <= entry.Group) + 1, entry);
                break;
            case "append":
                followed[^1] = followed[^1] with { Data = followed[^1].Data + entry.Data };
                break;
            case "replace_line":
                followed[^1] = followed[^1] with { Data = followed[^1].Data[..(followed[^1].Data.LastIndexOf('\n') + 1)] + entry.Data };
                break;
            case "replace":
                followed[Place()] = entry;
                break;
            case "remove":
                followed.RemoveAt(Place());
                break;
            case "clear":
                followed.Clear();
                break;
            default:
                Assert.Fail(action.Name);
                break;
        }
    }
}
