using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;

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
}
