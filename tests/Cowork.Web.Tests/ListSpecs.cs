using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>Lists whose rows name long texts.</summary>
public sealed class ListSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_list_of_long_templates_is_bounded_by_bytes()
    {
        var template = "/say " + new string('t', 250_000);
        for (var i = 0; i < 40; i++)
        {
            (await http.Post("/skills", JsonSerializer.Serialize(new { name = $"long-{i}", prompt_template = template }))).Is(201);
        }
        var list = (await http.Get("/skills?limit=1000")).Is(200);
        var names = list.Json.GetProperty("skills").EnumerateArray().Select(skill => skill.GetProperty("name").GetString()).ToList();
        Assert.Equal(Enumerable.Range(0, names.Count).Select(i => $"long-{39 - i}"), names);
        Assert.InRange(list.Text.Length, 8_000_000, 9_000_000);
    }
}
