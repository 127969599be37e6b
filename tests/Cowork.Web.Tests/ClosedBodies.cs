namespace Cowork.Web.Tests;

/// <summary>Bodies for addresses that take no member that they do not know: what any other address is content with is refused there before anything is looked up.</summary>
static class ClosedBodies
{
    /// <param name="fromEvent">An event of the run that the address may name, by its id in the session's feed.</param>
    /// <returns>Null: the address lets unknown members pass.</returns>
    public static string? Of(string template, long fromEvent) => template switch
    {
        _ when template.EndsWith("/fork", StringComparison.Ordinal) => "{}",
        _ when template.EndsWith("/counterfactual", StringComparison.Ordinal) => $$"""{"from_event":{{fromEvent}}}""",
        _ when template.EndsWith("/hold", StringComparison.Ordinal) => """{"reason":"x"}""",
        _ => null,
    };
}
