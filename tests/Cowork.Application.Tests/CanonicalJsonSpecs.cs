using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>RFC 8785, by its own examples and by the edges of numbers and strings.</summary>
public sealed class CanonicalJsonSpecs
{
    [Theory]
    [InlineData("""{"b":1,"a":2}""", """{"a":2,"b":1}""")]
    [InlineData("""{ "a" : [ 1 , { "z" : null , "y" : true } ] }""", """{"a":[1,{"y":true,"z":null}]}""")]
    [InlineData("""{"€":1,"\r":2,"דּ":3,"1":4,"😀":5,"\u0080":6,"ö":7}""", """{"\r":2,"1":4,"":6,"ö":7,"€":1,"😀":5,"דּ":3}""")] // RFC 8785, 3.2.3
    [InlineData("\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\"", "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"")] // RFC 8785, 3.2.2.2
    [InlineData("""{"b":{"y":1,"x":{"d":2,"c":[{"f":3,"e":"\n"}]}},"a":{}}""", """{"a":{},"b":{"x":{"c":[{"e":"\n","f":3}],"d":2},"y":1}}""")]
    [InlineData("""{"a":1,"\u0061b":2,"aa":3}""", """{"a":1,"aa":3,"ab":2}""")]
    [InlineData("""{"\uffff":1,"😀":2}""", "{\"😀\":2,\"\uffff\":1}")] // by UTF-16 code units, not by bytes
    [InlineData("333333333.33333329", "333333333.3333333")]
    [InlineData("1E30", "1e+30")]
    [InlineData("4.50", "4.5")]
    [InlineData("2e-3", "0.002")]
    [InlineData("0.000000000000000000000000001", "1e-27")]
    [InlineData("-0", "0")]
    [InlineData("-0.0", "0")]
    [InlineData("1e21", "1e+21")]
    [InlineData("1e20", "100000000000000000000")]
    [InlineData("0.000001", "0.000001")]
    [InlineData("0.0000001", "1e-7")]
    [InlineData("9007199254740992", "9007199254740992")]
    [InlineData("9007199254740993", "9007199254740992")] // 2^53 + 1 is no double
    [InlineData("5e-324", "5e-324")]
    [InlineData("1.7976931348623157e308", "1.7976931348623157e+308")]
    [InlineData("123456.789", "123456.789")]
    [InlineData("-1.5", "-1.5")]
    public void A_value_has_one_form(string json, string expected) =>
        Assert.Equal(expected.Replace("\"\":6", "\"\u0080\":6", StringComparison.Ordinal), Encoding.UTF8.GetString(CanonicalJson.Of(Encoding.UTF8.GetBytes(json))));

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("1 2")]
    [InlineData("1e400")]
    [InlineData("""{"a":1,"a":2}""")]
    [InlineData("""{"b":1,"a":2,"b":3}""")]
    [InlineData("""{"a":1,"\u0061":2}""")]
    [InlineData("\"\\ud800\"")]
    [InlineData("{\"\\udc00\":1}")]
    public void What_is_no_I_JSON_is_refused(string json) => Assert.ThrowsAny<JsonException>(() => CanonicalJson.Of(Encoding.UTF8.GetBytes(json)));

    [Fact]
    public void What_is_no_UTF_8_is_refused() => Assert.ThrowsAny<JsonException>(() => CanonicalJson.Of([(byte)'"', 0xB5, (byte)'"']));

    /// <summary>Objects in random order within each other, compared with the plain way: sort each object, innermost first.</summary>
    [Fact]
    public void Any_value_is_what_a_plain_implementation_makes_of_it()
    {
        foreach (var seed in Seeds.Many(400, 100_000))
        {
            var random = new Random(seed);
            var json = new StringBuilder();
            Write(json, random, depth: random.Next(1, 9));
            var expected = Plain(JsonElement.Parse(json.ToString()));
            Assert.Equal(expected, Encoding.UTF8.GetString(CanonicalJson.Of(Encoding.UTF8.GetBytes(json.ToString()))));
            Assert.Equal(expected, Encoding.UTF8.GetString(CanonicalJson.Of(Encoding.UTF8.GetBytes(expected))));
        }
    }

    /// <summary>4 MB in a thousand objects within each other, each with its members in the wrong order: sorted once, not once for each level.</summary>
    [Fact]
    public void A_deep_body_in_the_wrong_order_is_sorted()
    {
        const int depth = 1_000;
        var text = new string('x', 4_000);
        var (given, expected) = (new StringBuilder(), new StringBuilder());
        for (var i = 0; i < depth; i++)
        {
            given.Append("{\"z\":\"").Append(text).Append("\",\"a\":");
            expected.Append("{\"a\":");
        }
        given.Append('1').Append('}', depth);
        expected.Append('1');
        for (var i = 0; i < depth; i++)
        {
            expected.Append(",\"z\":\"").Append(text).Append("\"}");
        }
        var started = TimeProvider.System.GetTimestamp();
        var canonical = Encoding.UTF8.GetString(CanonicalJson.Of(Encoding.UTF8.GetBytes(given.ToString())));
        TestContext.Current.TestOutputHelper?.WriteLine($"{given.Length} bytes, {depth} deep: {TimeProvider.System.GetElapsedTime(started).TotalMilliseconds:0} ms");
        Assert.True(expected.ToString() == canonical);
    }

    [Theory]
    [InlineData("""{"b":{"y":1,"x":2,"y":3},"a":1}""")]
    [InlineData("""{"b":1,"a":{"c":1},"b":2}""")]
    [InlineData("""[{"b":1,"a":2,"\u0061":3}]""")]
    public void A_member_that_stands_twice_is_refused_wherever_it_lies(string json) =>
        Assert.Contains("stands twice", Assert.Throws<JsonException>(() => CanonicalJson.Of(Encoding.UTF8.GetBytes(json))).Message, StringComparison.Ordinal);

    static readonly string[] Names = ["a", "b", "aa", "ab", "z", "", "ö", "€", "😀", "\uffff", "\\n", "\\u0001", "\\\"", "A", "10", "9", "\\u00e9", "name", "sha256"];

    static void Write(StringBuilder json, Random random, int depth)
    {
        switch (random.Next(depth == 0 ? 3 : 6))
        {
            case 0:
                json.Append(random.Next(-1_000, 1_000));
                break;
            case 1:
                json.Append('"').Append(Names[random.Next(Names.Length)]).Append('"');
                break;
            case 2:
                json.Append(((string[])["true", "false", "null"])[random.Next(3)]);
                break;
            case 3:
                json.Append('[');
                for (var i = random.Next(4); i > 0; i--)
                {
                    Write(json, random, depth - 1);
                    json.Append(i > 1 ? " , " : "");
                }
                json.Append(']');
                break;
            default:
                json.Append("{ ");
                var names = Names[..];
                random.Shuffle(names);
                for (var i = random.Next(6); i > 0; i--)
                {
                    json.Append('"').Append(names[i]).Append("\" : ");
                    Write(json, random, depth - 1);
                    json.Append(i > 1 ? "," : "");
                }
                json.Append('}');
                break;
        }
    }

    static string Plain(JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                return "{" + string.Join(',', value.EnumerateObject().OrderBy(m => m.Name, StringComparer.Ordinal).Select(m => $"{Quoted(m.Name)}:{Plain(m.Value)}")) + "}";
            case JsonValueKind.Array:
                return "[" + string.Join(',', value.EnumerateArray().Select(Plain)) + "]";
            case JsonValueKind.String:
                return Quoted(value.GetString()!);
            default:
                return value.GetRawText();
        }
    }

    static string Quoted(string text) =>
        "\"" + text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal)
            .Replace("\u0001", "\\u0001", StringComparison.Ordinal) + "\"";
}
