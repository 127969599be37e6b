using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>What is sealed of an event, and that a seal opens in its own place alone.</summary>
public sealed class EventSealSpecs
{
    const string Word = "zephyrquartz";

    static readonly EventPlace Place = new("org", "run-1", 3);

    static readonly byte[] Key = RandomNumberGenerator.GetBytes(32);

    public static TheoryData<string> Names => [.. EventTypes.ByName.Keys.Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Names))]
    public void Every_personal_text_is_sealed_and_opens_to_the_same_bytes(string name)
    {
        if (PersonalShape.Of(EventTypes.ByName[name].Shape) is not { } shape)
        {
            return;
        }
        var marked = Marked(name);
        if (!EventSeal.HasPersonal(marked, shape))
        {
            // The sample has none of the members, which are optional.
            return;
        }
        var closed = EventSeal.Seal(marked, shape, Place, "ann", Key, _ => null);
        Assert.DoesNotContain(Word, Encoding.UTF8.GetString(closed), StringComparison.Ordinal);
        Assert.Equal("ann", EventSeal.SubjectOf(closed));
        var open = EventSeal.Open(closed, name, Place, new Keys(Key));
        Assert.Equal((Encoding.UTF8.GetString(marked), "ann", false), (Encoding.UTF8.GetString(open.Data), open.Subject, open.IsErased));

        // Without the key it is what is written for a subject that was erased before, and can be read.
        var erased = EventSeal.Open(closed, name, Place, new Keys(null));
        Assert.True(erased.IsErased);
        Assert.Equal(Encoding.UTF8.GetString(EventSeal.Redact(marked, shape)), Encoding.UTF8.GetString(erased.Data));
        _ = EventJson.Read(name, erased.Data, default);

        foreach (var elsewhere in (EventPlace[])[Place with { Org = "other" }, Place with { Stream = "run-2" }, Place with { Version = 4 }])
        {
            Assert.Throws<InvalidDataException>(() => EventSeal.Open(closed, name, elsewhere, new Keys(Key)));
        }
        Assert.Throws<InvalidDataException>(() => EventSeal.Open(closed, name, Place, new Keys(RandomNumberGenerator.GetBytes(32))));
    }

    /// <summary>Who reads the JSON in a text reads it of an erased one too.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void A_text_of_JSON_is_erased_to_JSON(string name)
    {
        var type = EventTypes.ByName[name];
        if (PersonalShape.Of(type.Shape) is { } shape)
        {
            AssertJson(JsonNode.Parse(EventJson.Write(Array.Find(GoldenSpecs.Samples, e => e.GetType() == type.Shape)!))!, shape, name);
        }
    }

    [Fact]
    public async Task Readers_of_JSON_take_what_an_earlier_release_left_of_an_erased_one()
    {
        var blobs = new InMemoryBlobs();
        Assert.Equal("{}", (await blobs.JsonObject(Content.Of(PersonalAttribute.Text), default)).GetRawText());
        Assert.Equal("""{"a":1}""", (await blobs.JsonObject(Content.Of("""{"a":1}"""), default)).GetRawText());
    }

    [Fact]
    public void A_seal_that_was_moved_within_its_event_does_not_open()
    {
        var node = JsonNode.Parse(EventSeal.Seal(Marked("session_created.v1"), PersonalShape.Of(typeof(SessionEvent.SessionCreated))!, Place, "ann", Key, _ => null))!.AsObject();
        var (metadata, context) = (node["metadata"]!.DeepClone(), node["auth_context"]!.DeepClone());
        (node["metadata"], node["auth_context"]) = (context, metadata);
        Assert.Throws<InvalidDataException>(() => EventSeal.Open(Encoding.UTF8.GetBytes(node.ToJsonString()), "session_created.v1", Place, new Keys(Key)));
    }

    [Fact]
    public void Data_that_only_look_sealed_stay_as_they_are()
    {
        var plain = EventJson.Write(new RunEvent.OutputDelta("A256GCM", default));
        Assert.Equal(plain, EventSeal.Open(plain, "output_delta.v1", Place, new Keys(Key)).Data);
        Assert.Null(EventSeal.SubjectOf(plain));
    }

    /// <summary>What is not personal, and why it may stay: it names things, or says what happened to them. A new member is marked <c>[Personal]</c>, or gets a line here.</summary>
    [Fact]
    public void Every_text_of_an_event_is_classed()
    {
        var texts = EventTypes.ByName.Values.SelectMany(type => Texts(type.Shape, type.FeedType, [])).Distinct().Order(StringComparer.Ordinal).ToList();
        Assert.Equal(File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "not-personal.txt")), texts);
    }

    static void AssertJson(JsonNode node, PersonalShape shape, string at)
    {
        foreach (var (member, inner) in shape.Members)
        {
            if (node is JsonArray list)
            {
                list.OfType<JsonNode>().ToList().ForEach(item => AssertJson(item, shape, at));
                return;
            }
            if (inner.Erased is null && node[member] is { } child)
            {
                AssertJson(child, inner, $"{at}.{member}");
            }
            else if (node[member] is JsonValue value && value.TryGetValue<string>(out var text) && text is ['{' or '[', ..])
            {
                Assert.True(inner.Erased is PersonalAttribute.Object or PersonalAttribute.List, $"{at}.{member} is JSON and becomes {inner.Erased}");
            }
        }
    }

    static IEnumerable<string> Texts(Type type, string path, IEnumerable<Type> within)
    {
        foreach (var property in type.GetProperties().Where(p => p.GetIndexParameters().Length == 0 && p.GetMethod is { IsStatic: false }))
        {
            var of = property.PropertyType.IsGenericType && property.PropertyType.Namespace == "System.Collections.Immutable"
                ? property.PropertyType.GetGenericArguments()[^1]
                : Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
            if (property.GetCustomAttributes(typeof(PersonalAttribute), false).Length > 0 || typeof(Content).IsAssignableFrom(of) || of.IsEnum
                || property.GetCustomAttributes(typeof(System.Text.Json.Serialization.JsonIgnoreAttribute), false).Length > 0)
            {
                continue;
            }
            var at = $"{path}.{JsonNamingPolicy.SnakeCaseLower.ConvertName(property.Name)}";
            if (of == typeof(string))
            {
                yield return at;
            }
            else if (of.Namespace == "Cowork.Domain" && of.IsClass && !within.Contains(of))
            {
                foreach (var inner in Texts(of, at, within.Append(of)))
                {
                    yield return inner;
                }
            }
        }
    }

    /// <summary>The sample of a type with the word in each personal text.</summary>
    static byte[] Marked(string name)
    {
        var type = EventTypes.ByName[name];
        var node = JsonNode.Parse(EventJson.Write(Array.Find(GoldenSpecs.Samples, e => e.GetType() == type.Shape)!))!;
        Mark(node, PersonalShape.Of(type.Shape)!);
        return CanonicalJson.Of(Encoding.UTF8.GetBytes(node.ToJsonString()));
    }

    static void Mark(JsonNode node, PersonalShape shape)
    {
        foreach (var (member, inner) in shape.Members)
        {
            if (node is JsonArray list)
            {
                list.OfType<JsonNode>().ToList().ForEach(item => Mark(item, shape));
                return;
            }
            if (node[member] is JsonArray texts && inner.Erased is not null)
            {
                node[member] = new JsonArray([.. texts.Select(_ => (JsonNode)Word)]);
            }
            else if (inner.Erased is not null && node[member] is not null)
            {
                node[member] = Word;
            }
            else if (node[member] is { } child)
            {
                Mark(child, inner);
            }
        }
    }

    sealed class Keys(byte[]? key) : IContentKeys
    {
        public byte[]? Of(string org, string subject, string stream) => key;
    }
}
