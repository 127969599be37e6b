using Cowork.Application;
using Cowork.Marten;
using Cowork.Testing;

using Npgsql;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>The vectors of texts, on a server that has pgvector, and what is promised on one that has not.</summary>
public sealed partial class MartenStorageSpec
{
    static readonly VectorKind Five = new("m", 5);

    [Fact]
    public async Task Vectors_are_kept_by_the_digest_found_by_their_angle_and_gone_with_their_text()
    {
        if (await StartWithVectors() is not { } engine)
        {
            return;
        }
        var (texts, vectors, store) = (engine.Texts, engine.Vectors, (VectorStore)engine.Vectors);
        var random = new Random(Seeds.One(4));
        foreach (var (org, text) in ((string, string)[])[(Org, "a"), (Org, "b"), (Other, "a")])
        {
            await PutText(org, text, random);
            await Embed(org, text, Five);
        }
        Assert.Equal(new[] { (Org, Owner("a")), (Org, Owner("b")), (Other, Owner("a")) }.Order(), (await vectors.Owners(None)).Order());
        Assert.Empty(await vectors.Missing(Org, Owner("a"), Five, default, 100, None));
        Assert.NotEmpty(await vectors.Missing(Org, Owner("a"), Five with { Model = "n" }, default, 100, None));

        // Compared one by one and through the index: the same chunks, and nobody else's.
        var query = VectorOf("1 2 3");
        var exact = await vectors.Nearest(Org, ["a"], Five, query, 10, None);
        store.Compared = 0;
        var indexed = await vectors.Nearest(Org, ["a"], Five, query, 10, None);
        Assert.Equal(10, exact.Count);
        Assert.All(exact.Concat(indexed), hit => Assert.Equal((Owner("a"), "a"), (hit.Owner, hit.Passage.Source)));
        Assert.Equal(exact.Select(hit => hit.Passage.FirstLine).Order(), indexed.Select(hit => hit.Passage.FirstLine).Order());
        Assert.Empty(await vectors.Nearest(Org, ["c"], Five, query, 10, None));
        Assert.Empty(await vectors.Nearest(Org, ["a"], Five with { Model = "n" }, query, 10, None));
        Assert.Contains((await Host("EXPLAIN SELECT text_id FROM cowork.vectors_searched v WHERE v.dimensions = 5 ORDER BY v.embedding::public.vector(5) OPERATOR(public.<=>) "
            + "'[1,2,3,4,5]'::public.vector(5) LIMIT 5")), line => line.Contains("vectors_near_5", StringComparison.Ordinal));

        // The hosts' role sees its scope, as everywhere.
        Assert.Equal(["0"], await Host("SELECT count(*)::text FROM cowork.vectors"));
        Assert.NotEqual(["0"], await Host($"SET cowork.tenant = '{Other}'; SELECT count(*)::text FROM cowork.vectors"));
        Assert.Equal(["0"], await Host($"SET cowork.tenant = '{Other}'; SELECT count(*)::text FROM cowork.vectors WHERE tenant_id <> '{Other}'"));

        // A chunk that is there again keeps its vector; what is left of others goes, and so do those of another model.
        var kept = await Ask("SELECT count(*)::text FROM cowork.vectors");
        await PutText(Org, "a", new Random(Seeds.One(4)), extra: "one line more");
        Assert.InRange((await vectors.Missing(Org, Owner("a"), Five, default, 100, None)).Count, 1, 2);
        await vectors.RemoveStale(Org, Owner("a"), Five, None);
        await Embed(Org, "a", Five);
        Assert.InRange(int.Parse(await Ask("SELECT count(*)::text FROM cowork.vectors")), int.Parse(kept), int.Parse(kept) + 1);
        await Embed(Org, "b", Five with { Model = "n" });
        await vectors.RemoveStale(Org, Owner("b"), Five with { Model = "n" }, None);
        Assert.Equal("0", await Ask($"SELECT count(*)::text FROM cowork.vectors v JOIN cowork.texts t ON t.id = v.text_id WHERE t.name = 'b' AND v.model = 'm'"));
        await texts.Remove(Org, Owner("a"), null, None);
        await texts.Remove(Org, Owner("b"), null, None);
        Assert.Equal("0", await Ask($"SELECT count(*)::text FROM cowork.vectors WHERE tenant_id = '{Org}'"));

        // What has lost its text meanwhile is passed over.
        await vectors.Put(Org, Five, [(new UnembeddedChunk(new(1_000_000, 0), new byte[32], "x"), VectorOf("1"))], None);

        // A model of other dimensions has an index of its own; one that the host was not told of has none.
        var other = await Start(ConnectionString, "b", change: o => o with { VectorDimensions = 7 });
        Assert.Null(other.Vectors.WhyNot);
        Assert.Equal("2", await Ask("SELECT count(*)::text FROM pg_indexes WHERE schemaname = 'cowork' AND indexname LIKE 'vectors_near_%'"));
        await Execute(ConnectionString, "DROP EXTENSION vector CASCADE");
        await Assert.ThrowsAsync<VectorsLostException>(async () => await vectors.Nearest(Other, ["a"], Five, query, 10, None));

        async Task PutText(string org, string name, Random words, string extra = "") => await texts.Put(
            org,
            [
                new(new(Owner(name), name), new(name, "1", "1", null), [name], TextIndex.OfChunks(name, string.Concat(
                    Enumerable.Range(0, 800).Select(_ => string.Join(' ', Enumerable.Range(0, 10).Select(_ => words.Next(1, 6))) + "\n")) + extra)),
            ],
            None);

        async Task Embed(string org, string name, VectorKind kind)
        {
            for (var after = default(ChunkPlace); await vectors.Missing(org, Owner(name), kind, after, 7, None) is [.., var last] chunks; after = last.Place)
            {
                await vectors.Put(org, kind, [.. chunks.Select(chunk => (chunk, VectorOf(chunk.Text)))], None);
            }
        }
    }

    [Fact]
    public async Task A_host_that_owns_no_table_says_what_is_to_be_done_for_vectors()
    {
        if (await StartWithVectors() is null)
        {
            return;
        }
        var host = await Start(AsHost, "b", change: o => o with { OwnerConnectionString = null, VectorDimensions = 9 });
        Assert.Equal("the tables are not there: run \"cowork migrate\" with Cowork__Embeddings__Dimensions=9 and the owner's address (docs/deploy.md).", host.Vectors.WhyNot);
        Assert.Null((await Start(AsHost, "c", change: o => o with { OwnerConnectionString = null, VectorDimensions = 5 })).Vectors.WhyNot);
        Assert.NotNull((await Start(AsHost, "d", change: o => o with { OwnerConnectionString = null })).Vectors.WhyNot);
    }

    [Fact]
    public async Task The_private_server_creates_the_extension_where_it_has_it_because_its_owner_may_not()
    {
        await using var server = await PrivatePostgres.Start(
            new(TestPostgres.NewDirectory()) { Ephemeral = true, Vectors = true }, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance, None);
        var engine = await Start(server.ConnectionString, "a", change: o => o with { OwnerConnectionString = server.OwnerConnectionString, VectorDimensions = 5 });
        var has = await Ask("SELECT count(*)::text FROM pg_available_extensions WHERE name = 'vector'") == "1";
        Assert.Equal(has ? null : "the PostgreSQL server has no extension \"vector\" (pgvector).", engine.Vectors.WhyNot);
        await engine.DisposeAsync();
        engines.Remove(engine);
    }

    /// <summary>Null, with the reason and without a trace in the database: the server has no pgvector.</summary>
    async Task<StorageEngine?> StartWithVectors()
    {
        var engine = await Start(ConnectionString, "a", change: o => o with { VectorDimensions = 5 });
        if (await Ask("SELECT count(*)::text FROM pg_available_extensions WHERE name = 'vector'") == "1")
        {
            Assert.Null(engine.Vectors.WhyNot);
            return engine;
        }
        Assert.Equal("the PostgreSQL server has no extension \"vector\" (pgvector).", engine.Vectors.WhyNot);
        Assert.Equal("0", await Ask("SELECT count(*)::text FROM pg_class WHERE relname LIKE 'vectors%'"));
        return null;
    }

    async Task<List<string>> Host(string sql)
    {
        await using var connection = new NpgsqlConnection($"{AsHost};Pooling=false");
        await connection.OpenAsync(None);
        await using var ask = new NpgsqlCommand(sql, connection);
        await using var reader = await ask.ExecuteReaderAsync(None);
        var rows = new List<string>();
        while (await reader.ReadAsync(None))
        {
            rows.Add(reader.GetString(0));
        }
        return rows;
    }

    static string Owner(string text) => TextKey.OfGrant($"/{text}");

    static float[] VectorOf(string text) => [.. Enumerable.Range(1, 5).Select(digit => (float)text.Count(c => c == (char)('0' + digit)) + 0.5f)];
}
