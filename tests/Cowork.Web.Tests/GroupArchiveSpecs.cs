using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;


namespace Cowork.Web.Tests;

/// <summary>Archives of groups: what they hold, where they lie, and that nothing comes after them.</summary>
public sealed class GroupArchiveSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task An_archive_is_the_log_lies_where_the_answer_says_and_is_written_once()
    {
        var group = (await http.Post("/groups", """{"title":"Q2 report"}""")).Is(201)["group_id"];
        (await http.Get($"/groups/{group}/archive")).IsProblem(404);
        var archived = (await http.Post($"/groups/{group}/archive", """{"reason":"done"}""")).Is(200);
        Assert.Matches($"^groups/{group}/archives/[0-9]{{8}}T[0-9]{{9}}Z\\.json$", archived["r2_path"]);
        Assert.Equal("archived", (await http.Get($"/groups/{group}")).Is(200)["status"]);
        var again = (await http.Post($"/groups/{group}/archive", """{"reason":"once more"}""")).Is(200);
        Assert.Equal((archived["r2_path"], archived["archived_at"]), (again["r2_path"], again["archived_at"]));

        var got = (await http.Get($"/groups/{group}/archive")).Is(200);
        var file = await File.ReadAllBytesAsync(Path.Combine(tenant.Host.Data, "blobs", archived["r2_path"]));
        Assert.Equal(file, Encoding.UTF8.GetBytes(got.Text));
        Assert.Equal(file, CanonicalJson.Of(file));
        Assert.Equal($"\"{Convert.ToHexStringLower(SHA256.HashData(file))}\"", got.Headers.ETag!.ToString());
        Assert.Equal((GroupArchive.Format, group, "Q2 report", "done"), (got["format"], got["group_id"], got["title"], got["reason"]));
        await IsTheLog(got.Json, group);
    }

    /// <summary>What the archive holds is the group's feed from its first event on, with the hashes that chain its streams.</summary>
    async Task IsTheLog(JsonElement archive, string group)
    {
        var session = $"sess_{group["grp_".Length..]}";
        var through = archive.GetProperty("feed_through").GetInt64();
        var feed = (await http.Events(session)).Where(e => e.GetProperty("id").GetInt64() <= through).ToList();
        var events = archive.GetProperty("events").EnumerateArray().ToList();
        Assert.Equal(feed.Select(e => (e.GetProperty("id").GetInt64(), e.GetProperty("hash").GetString())),
            events.Select(e => (e.GetProperty("feed_id").GetInt64(), e.GetProperty("hash").GetString())));
        var last = new Dictionary<string, string>();
        foreach (var e in events)
        {
            var stream = e.GetProperty("stream_id").GetString()!;
            Assert.Equal(e.GetProperty("version").GetInt64() == 1, !last.ContainsKey(stream));
            last[stream] = HashChain.Next(
                last.GetValueOrDefault(stream, HashChain.Root), e.GetProperty("tenant_id").GetString()!, stream, e.GetProperty("version").GetInt64(), e.GetProperty("id").GetGuid(),
                e.GetProperty("type").GetString()!, e.GetProperty("ts").GetDateTimeOffset(), e.GetProperty("actor").GetString()!,
                Encoding.UTF8.GetBytes(e.GetProperty("data").GetRawText()));
            Assert.Equal(e.GetProperty("hash").GetString(), last[stream]);
        }
    }
}
