using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>Bodies with which probes ask every address that takes one.</summary>
static class ProbeBodies
{
    /// <summary>What almost any address is content with: members that it does not know are ignored.</summary>
    static readonly string Anything = JsonSerializer.Serialize(new
    {
        message = "hello",
        approved = true,
        title = "x",
        text = "x",
        type = "code",
        content = "x",
        prompt = "x",
        feedback = "x",
        message_id = "m",
        label = "x",
        name = "x",
        prompt_template = "/say x",
    });

    /// <param name="fromEvent">An event of the run that the address may name, by its id in the session's feed.</param>
    public static string Of(string template, long fromEvent) => OfClosed(template, fromEvent) ?? Anything;

    /// <summary>Of an address that takes no member that it does not know: it would be refused before anything is looked up. Null: the address lets such members pass.</summary>
    public static string? OfClosed(string template, long fromEvent) => template switch
    {
        _ when template.EndsWith("/fork", StringComparison.Ordinal) => "{}",
        _ when template.EndsWith("/counterfactual", StringComparison.Ordinal) => $$"""{"from_event":{{fromEvent}}}""",
        _ when template.EndsWith("/hold", StringComparison.Ordinal) => """{"reason":"x"}""",
        _ => null,
    };
}
