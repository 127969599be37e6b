using Xunit;

namespace Cowork.Tidy;

static class Rule
{
    /// <summary>Fails with every place that breaks the rule, and with what to do instead.</summary>
    public static void Holds(IEnumerable<string> broken, string instead)
    {
        var places = broken.ToList();
        Assert.True(places.Count == 0, $"{instead}\n{string.Join('\n', places)}");
    }
}
