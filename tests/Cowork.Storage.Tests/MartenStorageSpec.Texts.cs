using Cowork.Application;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>The index of texts.</summary>
public sealed partial class MartenStorageSpec
{
    static readonly string[] Vocabulary = ["barrow", "airport", "alaska", "needle", "hay", "flight", "report", "2026", "Größe", "報告"];

    [Fact]
    public async Task The_index_finds_what_a_search_in_memory_finds_in_any_scopes()
    {
        var random = new Random(Seeds.One(4));
        var (texts, model) = ((await Start(ConnectionString, "a")).Texts, new TextsInMemory());
        string[] scopes = ["folder:1", "folder:2", "project:1"];
        for (var i = 0; i < 60; i++)
        {
            var key = new TextKey($"file:{random.Next(20)}", $"{random.Next(3)}{random.GetItems([".md", ".csv", ".json"], 1)[0]}");
            var entry = new TextEntry(key.Name, $"{i}", $"{i}", null);
            var text = TextIndex.Of(key.Name, Content(key.Name));
            string[] into = [.. scopes.Where(_ => random.Next(2) == 0)];
            foreach (var index in (ITexts[])[texts, model])
            {
                await index.Put(Org, key, entry, into, text, None);
            }
        }
        await texts.Put(Other, new("file:1", "x.md"), new("x.md", "1", "1", null), scopes, TextIndex.Of("x.md", "needle barrow"), None);
        for (var i = 0; i < 60; i++)
        {
            var question = string.Join(' ', random.GetItems([.. Vocabulary, "city", "unheard"], random.Next(1, 5)));
            string[] within = [.. scopes.Where(_ => random.Next(2) == 0)];
            var (found, wanted) = (await TextSearch.Find(texts, Org, within, question, 20, None), await TextSearch.Find(model, Org, within, question, 20, None));
            Assert.Equal(wanted.UnknownTerms, found.UnknownTerms);
            Assert.Equal(wanted.Hits.Select(hit => Math.Round(hit.Score, 6)), found.Hits.Select(hit => Math.Round(hit.Score, 6)));
            var last = wanted.Hits.Count == 20 ? wanted.Hits[^1].Score : 0;
            Assert.Equal(
                wanted.Hits.Where(hit => hit.Score > last + 1e-6).Select(hit => hit.Passage.ToString()).Order(),
                found.Hits.Where(hit => hit.Score > last + 1e-6).Select(hit => hit.Passage.ToString()).Order());
        }
        Assert.Equal(["x.md"], (await TextSearch.Find(texts, Other, ["folder:1"], "needle", 20, None)).Hits.Select(hit => hit.Passage.Source));

        string Content(string name) => name[^1] switch
        {
            'v' => "city,kind\n" + string.Concat(Enumerable.Range(0, random.Next(8)).Select(_ => $"{Words(1)},{Words(2)}\n")),
            'n' => $"[{string.Join(',', Enumerable.Range(0, random.Next(8)).Select(_ => $$"""{"city":"{{Words(1)}}","note":"{{Words(3)}}"}"""))}]",
            _ => string.Concat(Enumerable.Range(0, random.Next(40)).Select(_ => Words(6) + (random.Next(4) == 0 ? "\n\n" : "\n"))),
        };

        string Words(int n) => string.Join(' ', random.GetItems(Vocabulary, n));
    }

    [Fact]
    public async Task A_text_is_replaced_touched_and_removed_as_a_whole()
    {
        var texts = (await Start(ConnectionString, "a")).Texts;
        await Put("a.md", "1", "first needle");
        await Put("b.md", "1", string.Concat(Enumerable.Repeat("another needle\n\n\n\n\n\n", 3_000)));
        await texts.Put(Org, new("session:s", "c.bin"), new("c.bin", "1", "c1", "not text"), ["s"], null, None);
        Assert.Equal(["a.md", "b.md"], (await Found("needle")).Distinct().Order());
        await Put("b.md", "2", "thread\0 with \ud800 what PostgreSQL cannot hold");
        Assert.Equal(["a.md"], await Found("needle"));
        Assert.Equal(["b.md"], await Found("thread"));
        await texts.Touch(Org, "session:s", [new("a.md", "3", "a1", null), new("gone.md", "3", null, null)], None);
        Assert.Equal(
            [new("a.md", "3", "a.md1", null), new("b.md", "2", "b.md2", null), new("c.bin", "1", "c1", "not text")],
            (await texts.Of(Org, "session:s", None)).OrderBy(entry => entry.Name, StringComparer.Ordinal));
        Assert.Empty(await texts.Of(Other, "session:s", None));
        await texts.Remove(Org, "session:s", ["a.md"], None);
        Assert.Empty(await Found("needle"));
        await Put("b.md", "4", "needle");
        await Execute(ConnectionString, """
            CREATE TABLE cowork.sessions (tenant_id text, id text, row json); GRANT SELECT ON cowork.sessions TO PUBLIC;
            INSERT INTO cowork.sessions VALUES ('default', 's', '{"workspace_path":"/w"}'),
                ('default', 'g', '{"workspace_path":"/g","grants":[{"path":"/g"},{"path":"/h"}]}'), ('other', 't', '{"workspace_path":"/x"}')
            """);
        await texts.Put(
            Org,
            [
                .. ((string[])["/w", "/g", "/h", "/x"]).Select(folder => new NewText(
                    new(TextKey.OfGrant(folder), "g.md"), new("g.md", "1", "1", null), [$"of {folder}"], TextIndex.OfChunks("g.md", "needle"))),
                new NewText(new(TextKey.OfGrant("/w"), "g.bin"), new("g.bin", "1", "1", "not text"), ["of /w"], null),
            ],
            None);
        await texts.Put(Org, new("session:gone", "a.md"), new("a.md", "1", "1", null), ["s"], TextIndex.Of("a.md", "needle"), None);
        await texts.Put(Org, new("file:gone", "f.md"), new("f.md", "1", "1", null), ["s"], TextIndex.Of("f.md", "needle"), None);
        // A folder of another tenant's session is none of this one's.
        Assert.Equal(2, await texts.Sweep(None));
        foreach (var (folder, hits) in ((string, int)[])[("/w", 1), ("/g", 1), ("/h", 1), ("/x", 0)])
        {
            Assert.Equal((folder, hits), (folder, (await TextSearch.Find(texts, Org, [$"of {folder}"], "needle", 5, None)).Hits.Count));
        }
        Assert.Equal(["g.bin", "g.md"], (await texts.Of(Org, TextKey.OfGrant("/w"), None)).Select(entry => entry.Name).Order(StringComparer.Ordinal));
        Assert.Equal(["b.md", "f.md"], await Found("needle"));
        await texts.Remove(Org, "session:s", null, None);
        await texts.Remove(Org, "file:gone", null, None);
        Assert.Empty(await Found("needle"));

        async Task Put(string name, string version, string text) =>
            await texts.Put(Org, new("session:s", name), new(name, version, name + version, null), ["s"], TextIndex.Of(name, text), None);

        async Task<string[]> Found(string question) => [.. (await TextSearch.Find(texts, Org, ["s"], question, 50, None)).Hits.Select(hit => hit.Passage.Source)];
    }

    [Fact]
    public async Task Files_whose_text_the_index_has_lost_are_found_in_their_order()
    {
        var texts = (await Start(ConnectionString, "a")).Texts;
        await Execute(ConnectionString, $"""
            CREATE TABLE cowork.files (tenant_id text, id text, row jsonb); GRANT SELECT ON cowork.files TO PUBLIC;
            INSERT INTO cowork.files VALUES ('{Org}', '3', '{TextOf("c")}'), ('{Org}', '1', '{TextOf("a")}'), ('{Org}', '2', '{TextOf("b")}'), ('{Org}', '4', '[]'), ('{Other}', '2', '{TextOf("d")}')
            """);
        await texts.Put(Org, new("file:2", "b.md"), new("b.md", "1", "1", null), ["s"], TextIndex.Of("b.md", "needle"), None);
        var (lost, last) = (new List<MissingText>(), (MissingText?)null);
        while (await texts.Missing(last, 1, None) is [var one])
        {
            lost.Add(last = one);
        }
        Assert.Equal(new[] { (Org, "1"), (Org, "3"), (Other, "2") }.Order(), lost.Select(text => (text.Org, text.File.Value)).Order());
        Assert.Empty(await texts.Missing(last, 1, None));

        static string TextOf(string digest) => $$"""{ "Text": { "Sha256": "{{digest}}" } }""";
    }

    [Fact]
    public async Task Hosts_that_put_the_same_text_at_once_leave_one_of_them_whole()
    {
        ITexts[] hosts = [(await Start(ConnectionString, "a")).Texts, (await Start(ConnectionString, "b")).Texts];
        await Task.WhenAll(Enumerable.Range(0, 40).Select(i => hosts[i % 2].Put(
            Org, new("session:s", "a.md"), new("a.md", $"{i}", $"{i}", null), ["s"],
            TextIndex.Of("a.md", string.Concat(Enumerable.Repeat($"needle n{i}\n\n\n\n\n\n", i + 1))), None).AsTask()));
        var entry = Assert.Single(await hosts[0].Of(Org, "session:s", None));
        var found = await TextSearch.Find(hosts[1], Org, ["s"], "needle", 50, None);
        Assert.All(found.Hits, hit => Assert.Contains($"n{entry.Version}\n", hit.Passage.Text + "\n", StringComparison.Ordinal));
    }
}
