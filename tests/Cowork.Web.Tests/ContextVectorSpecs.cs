using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

using Npgsql;

namespace Cowork.Web.Tests;

/// <summary>
/// The project context with an embedding model. Each spec asks the server whether it has pgvector, and holds the host to what it promises in that case: vectors, or full
/// text and a sentence that says why.
/// </summary>
public sealed class ContextVectorSpecs : IAsyncDisposable
{
    const string Key = "sk-spec-0123456789abcdef";

    const string FullText = "full-text", Vectors = "full-text, vectors";

    readonly EmbeddingServer server = new();
    readonly LogCollector log = new();
    LiveHost? host;

    LiveHost Host => host!;

    EmbeddingSettings Settings => new()
    {
        Model = "spec",
        Dimensions = EmbeddingServer.Dimensions,
        BaseUrl = server.Url,
        Key = Key,
        Retries = new(2, TimeSpan.FromMilliseconds(1), TimeSpan.FromMilliseconds(1)),
        Query = TimeSpan.FromSeconds(20),
    };

    public async ValueTask DisposeAsync()
    {
        if (host is not null)
        {
            await host.DisposeAsync();
        }
        await server.DisposeAsync();
        Assert.DoesNotContain(Key, log.Text, StringComparison.Ordinal);
        log.Dispose();
    }

    [Fact]
    public async Task Without_an_embedding_model_nothing_is_asked_or_said_and_full_text_answers()
    {
        var (http, folder) = await Start(null);
        File.WriteAllText($"{folder}/ferry.md", "The ferry leaves at nine.\n");
        await Sync(http, folder);
        Assert.Equal((FullText, 1), await Found(http, "ferry"));
        Assert.Equal((FullText, 0), await Found(http, "boat"));
        Assert.Equal(0, server.Requests);
        Assert.False(log.Has("Context is searched by"));
    }

    [Fact]
    public async Task A_file_is_found_by_what_it_means_where_the_database_has_vectors_and_else_the_host_says_why_not()
    {
        var (http, folder) = await Start(Settings);
        File.WriteAllText($"{folder}/ferry.md", "The ferry leaves at nine.\n");
        File.WriteAllText($"{folder}/bank.md", "The bank gives nothing back.\n");
        await Sync(http, folder);
        if (await HasVectors())
        {
            await UntilEmbedded(http, "boat");
            var got = await Query(http, "where is a boat");
            Assert.Equal($"{folder}/ferry.md", Text(got.Json[0], "path"));
            Assert.Equal("The ferry leaves at nine.", Text(got.Json[0], "content"));
            Assert.Equal($"{folder}/bank.md", Text((await Query(http, "refund")).Json[0], "path"));
            // What both rankings have comes first.
            Assert.Equal($"{folder}/bank.md", Text((await Query(http, "bank")).Json[0], "path"));
            Assert.Equal(2 / 61.0, (await Query(http, "bank")).Json[0].GetProperty("score").GetDouble(), 5);
            Assert.True(log.Has("Context is searched by full text and by vectors of spec"));
            Assert.All(server.Asked, asked => Assert.Equal(("POST /v1/embeddings HTTP/1.1", $"Bearer {Key}"), (asked.Target, asked.Headers["Authorization"])));
            // A file that is gone is not near anything.
            File.Delete($"{folder}/ferry.md");
            Assert.Equal((Vectors, 1), await Found(http, "boat"));
            await Sync(http, folder);
            Assert.Equal((Vectors, 1), await Found(http, "boat"));
        }
        else
        {
            await Patience.Until(() => log.Has("Context is searched by full text only, though an embedding model is configured: the PostgreSQL server has no extension"));
            Assert.Equal((FullText, 1), await Found(http, "ferry"));
            Assert.Equal((FullText, 0), await Found(http, "boat"));
            Assert.Equal(0, server.Requests);
        }
    }

    [Fact]
    public async Task Chunks_that_have_not_changed_are_not_sent_again()
    {
        var (http, folder) = await Start(Settings);
        var lines = Enumerable.Range(1, 400).Select(i => $"line {i,4} of a ferry with some more words to fill it up").ToArray();
        File.WriteAllLines($"{folder}/long.txt", lines);
        File.WriteAllText($"{folder}/owl.txt", "An owl.\n");
        await Sync(http, folder);
        if (!await HasVectors())
        {
            Assert.Equal((FullText, 1), await Found(http, "owl"));
            Assert.Equal(0, server.Requests);
            return;
        }
        await UntilEmbedded(http, "owl");
        var before = Sent();
        Assert.True(before > 10);
        var requests = server.Requests;
        await Sync(http, folder);
        File.SetLastWriteTimeUtc($"{folder}/owl.txt", new(2026, 1, 1, 9, 0, 0, DateTimeKind.Utc));
        await Sync(http, folder);
        Assert.Equal(requests, server.Requests);
        // The end of the file changes: the chunks before it are the same.
        File.AppendAllText($"{folder}/long.txt", "and a path\n");
        await Sync(http, folder);
        await Patience.Until(async () => await Missing() == 0);
        Assert.InRange(Sent() - before, 1, 2);
        Assert.Contains("and a path", server.Texts[^1], StringComparison.Ordinal);

        int Sent() => server.Texts.Count(text => text.StartsWith("line", StringComparison.Ordinal));
    }

    [Fact]
    public async Task What_could_not_be_embedded_is_found_by_its_words_and_embedded_when_it_can_be()
    {
        server.Break(500, $$$"""{"error":{"message":"The key {{{Key}}} is out of order."}}""");
        var (http, folder) = await Start(Settings);
        File.WriteAllText($"{folder}/ferry.md", "The ferry leaves at nine.\n");
        await Sync(http, folder);
        Assert.Equal((FullText, 1), await Found(http, "ferry"));
        if (await HasVectors())
        {
            await Patience.Until(() => log.Has("Chunks of the context get no vectors for now, and are found by full text: The model \"spec\" answered 500"));
            Assert.True(log.Has("A query of the context was answered by full text only: The model \"spec\" answered 500"));
            server.Mend();
            // Nothing has changed, and it is tried again.
            await Patience.Until(async () =>
            {
                await Sync(http, folder);
                return await Missing() == 0;
            });
            Assert.Equal((Vectors, 1), await Found(http, "boat"));
            // Gone at the time of the query: its words find it as ever.
            server.Break(asked => Task.Run(asked.Cut));
            Assert.Equal((FullText, 1), await Found(http, "ferry"));
            Assert.Equal((FullText, 0), await Found(http, "boat"));
        }
        else
        {
            Assert.Equal(0, server.Requests);
        }
    }

    [Theory]
    [InlineData("dimensions", "vectors of 3 dimensions, where Cowork__Embeddings__Dimensions is 5")]
    [InlineData("count", "0 vectors for 1 texts")]
    [InlineData("places", "no vector for each of 1 texts")]
    [InlineData("zero", "a vector that has no direction")]
    [InlineData("page", "no list of vectors")]
    public async Task An_odd_answer_is_no_vector(string fault, string why)
    {
        server.Break(asked => EmbeddingServer.Answer(asked, 200, fault switch
        {
            "dimensions" => $$"""{"data":[{{string.Join(',', EmbeddingServer.Items(asked, _ => [1, 2, 3]))}}]}""",
            "count" => """{"data":[]}""",
            "places" => """{"data":[{"index":7,"embedding":[1,2,3,4,5]}]}""",
            "zero" => $$"""{"data":[{{string.Join(',', EmbeddingServer.Items(asked, _ => new float[EmbeddingServer.Dimensions]))}}]}""",
            _ => "<html>Log in</html>",
        }));
        var (http, folder) = await Start(Settings);
        File.WriteAllText($"{folder}/ferry.md", "The ferry leaves at nine.\n");
        await Sync(http, folder);
        Assert.Equal((FullText, 1), await Found(http, "ferry"));
        if (await HasVectors())
        {
            await Patience.Until(() => log.Has($"A chunk of the context gets no vector, and is found by full text: The model \"spec\" answered {why}."));
            Assert.True(log.Has($"A query of the context was answered by full text only: The model \"spec\" answered {why}."));
            Assert.Equal(1, await Missing());
        }
    }

    [Fact]
    public async Task A_slow_model_does_not_hold_a_query_up()
    {
        var (http, folder) = await Start(Settings with { Query = TimeSpan.FromMilliseconds(50) });
        server.Break(asked => asked.Gone());
        File.WriteAllText($"{folder}/ferry.md", "The ferry leaves at nine.\n");
        await Sync(http, folder);
        var since = TimeProvider.System.GetTimestamp();
        Assert.Equal((FullText, 1), await Found(http, "ferry"));
        // The model's answer never comes, and would be waited for by itself for a minute.
        Assert.True(TimeProvider.System.GetElapsedTime(since) < Patience.Stretched(TimeSpan.FromSeconds(20)));
        if (await HasVectors())
        {
            Assert.True(log.Has("A query of the context was answered by full text only: The model did not start to answer within 00:00:00.0500000.")
                || log.Has("A query of the context was answered by full text only: The model's answer took longer than 00:00:00.0500000."));
        }
    }

    [Fact]
    public async Task Nobody_is_near_what_another_tenant_has()
    {
        var (http, folder) = await Start(Settings);
        using var other = Host.Client(await Host.Token("other", "member"));
        await other.NewSession("theirs");
        var theirs = Directory.CreateDirectory(Path.Combine(Host.Data, "workspaces", "@other", "theirs")).FullName;
        File.WriteAllText($"{folder}/ferry.md", "The ferry leaves at nine.\n");
        File.WriteAllText($"{theirs}/owl.md", "The owl leaves at ten.\n");
        await Sync(http, folder);
        await Sync(other, theirs);
        if (!await HasVectors())
        {
            Assert.Equal((FullText, 0), await Found(other, "boat"));
            return;
        }
        await UntilEmbedded(http, "boat");
        await UntilEmbedded(other, "boat");
        Assert.Equal([$"{theirs}/owl.md"], (await Query(other, "boat")).Json.EnumerateArray().Select(item => Text(item, "path")));
        Assert.Equal([$"{folder}/ferry.md"], (await Query(http, "bird")).Json.EnumerateArray().Select(item => Text(item, "path")));
        // With the session goes the grant, and with it what is near.
        (await http.Send(HttpMethod.Delete, "/sessions/mine", null)).Is(204);
        Assert.Equal((FullText, 0), await Found(http, "boat"));
        Assert.True(await Host.Services.GetRequiredService<ITexts>().Sweep(default) >= 1);
        Assert.Equal("1", await Ask("SELECT count(*)::text FROM cowork.vectors"));
    }

    [Fact]
    public async Task Where_the_owner_may_not_create_the_extension_the_log_says_who_may()
    {
        var (http, folder) = await Start(Settings, async settings =>
        {
            var owner = new NpgsqlConnectionStringBuilder(settings.Database!) { Username = "cowork_owner" }.ConnectionString;
            await Run(settings.Database!, $"ALTER DATABASE {new NpgsqlConnectionStringBuilder(owner).Database} OWNER TO cowork_owner");
            return settings with { Database = new NpgsqlConnectionStringBuilder(owner) { Username = "cowork_host" }.ConnectionString, DatabaseOwner = owner };
        });
        File.WriteAllText($"{folder}/ferry.md", "The ferry leaves at nine.\n");
        await Sync(http, folder);
        Assert.Equal((FullText, 1), await Found(http, "ferry"));
        var why = await HasVectors() ? "a superuser does CREATE EXTENSION vector (docs/deploy.md)." : "the PostgreSQL server has no extension \"vector\" (pgvector).";
        await Patience.Until(() => log.Has("Context is searched by full text only, though an embedding model is configured: ") && log.Has(why));
        Assert.Equal(0, server.Requests);
    }

    [Fact]
    public async Task Migrating_makes_the_index_for_the_dimensions_that_hosts_are_told()
    {
        await Start(null);
        var index = "SELECT count(*)::text FROM pg_indexes WHERE schemaname = 'cowork' AND indexname = 'vectors_near_7'";
        Assert.Equal("0", await Ask(index));
        var (code, output) = await CoworkCli.Run(AdministratorOf(Host.Database), ["migrate"], ("Cowork__Embeddings__Dimensions", "7"));
        Assert.True(code == 0, output);
        Assert.Equal(await HasVectors() ? "1" : "0", await Ask(index));
        (code, output) = await CoworkCli.Run(AdministratorOf(Host.Database), ["migrate"], ("Cowork__Embeddings__Dimensions", "many"));
        Assert.Equal(1, code);
        Assert.Contains("Cowork__Embeddings__Dimensions must be 1 to 2000.", output, StringComparison.Ordinal);
    }

    async Task<(HttpClient Http, string Folder)> Start(EmbeddingSettings? model, Func<HostSettings, Task<HostSettings>>? prepare = null)
    {
        host = await LiveHost.Start(
            settings => (prepare ?? Task.FromResult)(settings with { Embeddings = model }), logging => logging.Services.AddSingleton<ILoggerFactory>(log));
        var http = Host.Client(await Host.Token("mine", "member"));
        await http.NewSession("mine");
        return (http, Directory.CreateDirectory(Path.Combine(Host.Data, "workspaces", "@mine", "mine")).FullName);
    }

    /// <summary>True: the server has the extension.</summary>
    async Task<bool> HasVectors() => await Ask("SELECT count(*)::text FROM pg_available_extensions WHERE name = 'vector'") == "1";

    async Task<int> Missing() => int.Parse(
        await Ask("""
            SELECT count(*)::text FROM cowork.passages p WHERE NOT EXISTS (
                SELECT FROM cowork.vectors v WHERE v.text_id = p.text_id AND v.digest = sha256(convert_to(p.body, 'UTF8')))
            """),
        System.Globalization.CultureInfo.InvariantCulture);

    async Task<string> Ask(string sql)
    {
        await using var connection = new NpgsqlConnection($"{AdministratorOf(Host.Database)};Pooling=false");
        await connection.OpenAsync();
        await using var ask = new NpgsqlCommand(sql, connection);
        return (string)(await ask.ExecuteScalarAsync())!;
    }

    static async Task Run(string at, string sql)
    {
        await using var connection = new NpgsqlConnection($"{at};Pooling=false");
        await connection.OpenAsync();
        await using var run = new NpgsqlCommand(sql, connection);
        await run.ExecuteNonQueryAsync();
    }

    static string AdministratorOf(string database) => new NpgsqlConnectionStringBuilder(database) { Username = "cowork" }.ConnectionString;

    async Task UntilEmbedded(HttpClient http, string query)
    {
        await Patience.Until(async () => await Missing() == 0);
        Assert.Equal(Vectors, (await Query(http, query)).Headers.GetValues("Cowork-Search").Single());
    }

    static async Task Sync(HttpClient http, string folder) => (await http.Post("/api/cowork/context/sync", JsonSerializer.Serialize(new { files = (string[])[folder] }))).Is(200);

    static async Task<Got> Query(HttpClient http, string query) => (await http.Post("/api/cowork/context/query", JsonSerializer.Serialize(new { query, topK = 50 }))).Is(200);

    static async Task<(string Searched, int Items)> Found(HttpClient http, string query)
    {
        var got = await Query(http, query);
        return (got.Headers.GetValues("Cowork-Search").Single(), got.Json.GetArrayLength());
    }

    static string Text(JsonElement json, string member) => json.GetProperty(member).GetString()!;
}
