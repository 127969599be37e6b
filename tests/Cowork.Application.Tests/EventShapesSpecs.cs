using System.Collections.Immutable;
using System.Text;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application.Storage;
using Cowork.Domain;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>The console checks bundles in the browser. It reads events by a table that this spec makes of the shapes that the host stores them in.</summary>
public sealed class EventShapesSpecs
{
    static string File { get; } = Path.Combine(Root(AppContext.BaseDirectory), "src/Cowork.Web/Console/js/verify/shapes.js");

    [Fact]
    public void The_console_reads_events_by_the_shapes_that_the_host_stores_them_in()
    {
        var expected = Table();
        if (Environment.GetEnvironmentVariable("COWORK_WRITE_SHAPES") is not null)
        {
            System.IO.File.WriteAllText(File, expected);
        }
        Assert.True(expected == System.IO.File.ReadAllText(File), $"{File} is not what the events' shapes make. COWORK_WRITE_SHAPES=1 writes it anew.");
    }

    static string Root(string below) => System.IO.File.Exists(Path.Combine(below, "Cowork.sln")) ? below : Root(Path.GetDirectoryName(below)!);

    static string Table()
    {
        var shapes = new SortedDictionary<string, SortedDictionary<string, string>>(StringComparer.Ordinal);
        var erased = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var events = EventTypes.ByName.Values.OrderBy(type => type.Name, StringComparer.Ordinal).ToList();
        var text = new StringBuilder("// The shapes of events, made of the host's own types by EventShapesSpecs: COWORK_WRITE_SHAPES=1 writes this file anew.\n");
        text.Append("\n/** The shape of each stored event. */\nexport const EVENTS = {\n");
        foreach (var type in events)
        {
            text.Append($"    \"{type.Name}\": \"{NameOf(type.Shape, shapes, erased)}\",\n");
        }
        text.Append("};\n\n/** The events of a run's own stream. */\nexport const RUN_EVENTS = [\n");
        foreach (var type in events.Where(type => typeof(RunEvent).IsAssignableFrom(type.Type)))
        {
            text.Append($"    \"{type.Name}\",\n");
        }
        text.Append("];\n\n/** Members by name: `!` is never null, `[` a list, `{` members of any name, `@` another shape, `=` one of the words. */\nexport const SHAPES = {\n");
        foreach (var (name, members) in shapes)
        {
            text.Append(members.Count == 0 ? $"    {name}: {{}},\n" : $"    {name}: {{\n");
            foreach (var (member, kind) in members)
            {
                text.Append($"        {member}: \"{kind}\",\n");
            }
            text.Append(members.Count == 0 ? "" : "    },\n");
        }
        text.Append("};\n\n/** What stands in the place of a personal text that was erased, by shape and member. */\nexport const ERASED = {\n");
        foreach (var (member, stands) in erased)
        {
            text.Append($"    \"{member}\": \"{stands}\",\n");
        }
        return text.Append("};\n").ToString();
    }

    static string NameOf(Type shape, SortedDictionary<string, SortedDictionary<string, string>> shapes, SortedDictionary<string, string> erased)
    {
        var name = shape.Name;
        if (shapes.TryAdd(name, new(StringComparer.Ordinal)))
        {
            foreach (var (member, of) in PersonalShape.Of(shape)?.Members ?? ImmutableDictionary<string, PersonalShape>.Empty)
            {
                if (of.Erased is { } stands)
                {
                    erased[$"{name}.{member}"] = stands;
                }
            }
            foreach (var property in EventJson.Options.GetTypeInfo(shape).Properties.Where(property => property.Name != "at" || !typeof(Event).IsAssignableFrom(shape)))
            {
                shapes[name][property.Name] = KindOf(property.PropertyType, shapes, erased);
            }
        }
        return name;
    }

    static string KindOf(Type type, SortedDictionary<string, SortedDictionary<string, string>> shapes, SortedDictionary<string, string> erased)
    {
        if (Nullable.GetUnderlyingType(type) is { } optional)
        {
            return KindOf(optional, shapes, erased).TrimEnd('!');
        }
        if (type.IsEnum)
        {
            return $"={string.Join('|', Enum.GetNames(type).Select(System.Text.Json.JsonNamingPolicy.SnakeCaseLower.ConvertName))}!";
        }
        if (type.IsGenericType)
        {
            var parts = type.GetGenericArguments();
            return typeof(System.Collections.IDictionary).IsAssignableFrom(type) || type.GetGenericTypeDefinition() == typeof(ImmutableDictionary<,>)
                ? "{" + KindOf(parts[^1], shapes, erased)
                : "[" + KindOf(parts[0], shapes, erased);
        }
        if (type.GetInterfaces().Any(one => one.IsGenericType && one.GetGenericTypeDefinition() == typeof(IKey<>)))
        {
            return "id!";
        }
        return type switch
        {
            _ when type == typeof(string) => "text",
            _ when type == typeof(int) => "int!",
            _ when type == typeof(long) => "long!",
            _ when type == typeof(bool) => "bool!",
            _ when type == typeof(DateTimeOffset) => "time!",
            _ when type == typeof(decimal) || type == typeof(double) => "number!",
            _ when type == typeof(Content) => "content",
            _ when EventJson.Options.GetTypeInfo(type) is { Kind: JsonTypeInfoKind.Object, PolymorphismOptions: null } => "@" + NameOf(type, shapes, erased),
            _ => "any",
        };
    }
}
