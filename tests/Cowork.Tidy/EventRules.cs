using System.Text.RegularExpressions;

using Cowork.Domain;

using Xunit;

namespace Cowork.Tidy;

public sealed partial class EventRules
{
    const string Golden = "tests/Cowork.Application.Tests/golden";

    [Fact]
    public void Every_event_has_a_stored_name() => Rule.Holds(
        typeof(Event).Assembly.GetTypes().Where(t => !t.IsAbstract && t.IsSubclassOf(typeof(Event)) && !EventTypes.ByName.Values.Any(stored => stored.Shape == t)).Select(t => t.FullName!),
        "Add a line to EventTypes.cs, a sample to GoldenSpecs.cs and the golden file that it asks for:");

    [Fact]
    public void A_stored_name_is_snake_case_with_a_version() => Rule.Holds(
        EventTypes.ByName.Keys.Where(name => !StoredName().IsMatch(name)), "Write the name as what_happened.v1:");

    [Fact]
    public void Every_stored_name_has_a_golden_file() => Rule.Holds(
        EventTypes.ByName.Keys.Select(name => $"{Golden}/{name}.json").Except(Repository.Files),
        "Add a sample to GoldenSpecs.cs; the failing spec prints the line that belongs into the file:");

    [Fact]
    public void No_golden_file_is_without_its_event() => Rule.Holds(
        Repository.Files.Where(f => f.StartsWith(Golden, StringComparison.Ordinal) && !EventTypes.ByName.ContainsKey(Path.GetFileNameWithoutExtension(f))),
        "An event that was stored once is read for ever: put its name back into EventTypes.cs:");

    [Fact]
    public void Events_are_matched_by_type() => Rule.Holds(
        Repository.Where(
            Repository.Sources.Where(f => f.StartsWith("src/", StringComparison.Ordinal) && f != "src/Cowork.Domain/EventTypes.cs"),
            line => NameInSource().IsMatch(line)),
        "A later version would silently not be found: ask EventTypes.Is<TEvent>, NamesOf or TypeOf:");

    [Fact]
    public void Cases_of_a_closed_set_are_sealed() => Rule.Holds(
        from type in typeof(Event).Assembly.GetTypes()
        where type is { IsNested: true, IsAbstract: false, IsSealed: false } && type.BaseType == type.DeclaringType
        select type.FullName,
        "A command, an event and a state are closed sets: make the case sealed:");

    [GeneratedRegex(@"^[a-z]+(_[a-z]+)*\.v[1-9][0-9]*$")]
    private static partial Regex StoredName();

    [GeneratedRegex("""["'][a-z]+(_[a-z]+)+\.v[1-9][0-9]*["']""")]
    private static partial Regex NameInSource();
}
