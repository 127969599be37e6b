using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Testing;

using Npgsql;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>What the hosts' role may do, and what nobody may.</summary>
public sealed partial class MartenStorageSpec
{
    const string Other = "other";

    string AsHost => TestPostgres.Roles(ConnectionString).Host;

    [Theory]
    [InlineData("UPDATE cowork.mt_events SET type = 'x'")]
    [InlineData("DELETE FROM cowork.mt_events")]
    [InlineData("TRUNCATE cowork.mt_events CASCADE")]
    [InlineData("UPDATE cowork.mt_events SET is_archived = true WHERE false")]
    [InlineData("SET session_replication_role = replica; DELETE FROM cowork.mt_events")]
    public async Task Nobody_changes_the_log(string sql)
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("text"), None);
        foreach (var role in (string[])[AsHost, ConnectionString])
        {
            var refused = await Assert.ThrowsAsync<PostgresException>(() => Execute(role, sql));
            Assert.Equal(PostgresErrorCodes.InsufficientPrivilege, refused.SqlState);
        }
        await AssertLedger(node);
    }

    [Theory]
    [InlineData("UPDATE cowork.feed SET gid = 7")]
    [InlineData("DELETE FROM cowork.feed")]
    [InlineData("DELETE FROM cowork.mt_streams")]
    [InlineData("UPDATE cowork.mt_streams SET tenant_id = 'other'")]
    [InlineData("DELETE FROM cowork.head")]
    [InlineData("UPDATE cowork.schema_version SET version = 99")]
    [InlineData("DROP TABLE cowork.tallies")]
    [InlineData("TRUNCATE cowork.tallies")]
    [InlineData("CREATE TABLE cowork.mine (i int)")]
    [InlineData("ALTER TABLE cowork.mt_events DISABLE TRIGGER keep_log")]
    [InlineData("ALTER TABLE cowork.mt_events DISABLE ROW LEVEL SECURITY")]
    [InlineData("DROP POLICY readers ON cowork.mt_events")]
    public async Task A_host_does_no_more_than_it_has_to(string sql)
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("text"), None);
        var refused = await Assert.ThrowsAsync<PostgresException>(() => Execute(AsHost, sql));
        Assert.Equal(PostgresErrorCodes.InsufficientPrivilege, refused.SqlState);
        await AssertLedger(node);
    }

    [Fact]
    public async Task A_statement_sees_the_rows_of_its_scope_only_whatever_it_asks_for()
    {
        var node = await Open("a");
        foreach (var org in (string[])[Org, Other])
        {
            await node.Log.Append(new(org, [new Chain(org, "run-1", "s1").Next("text")], [new Job("later", org, TimeProvider.System.GetUtcNow().AddHours(1))], null, Chain.By), None);
            await node.Snapshots.Save(org, "run-1", new(1, "hash", "a", new byte[] { 1 }, new byte[] { 1 }), None);
            await node.TokenUses.Put([new(org, new("t"), TimeProvider.System.GetUtcNow())], None);
            await node.Groups.PutMarks(org, new("s1"), [new(1, 1)], None);
            await node.Groups.PutConnections("a", [new(org, new("s1"), "ann", TimeProvider.System.GetUtcNow())], None);
        }
        var (projector, _) = Projector(node, Chain.Words());
        await projector.CatchUp(None);
        string[] tables = ["mt_events", "mt_streams", "feed", "jobs", "snapshots", "token_uses", "group_marks", "group_connections", "tallies", "words", "words_searched"];
        var database = engines[0].Database;
        foreach (var table in tables)
        {
            Task<long> Count(string scope) => database.WithReconnect(
                scope, async connection => (long)(await connection.Ask(new($"SELECT count(*) FROM cowork.{table}"), None))!, None).AsTask();
            Assert.Equal((table, 1L, 1L, 2L, 0L), (table, await Count(Org), await Count(Other), await Count(ScopedConnection.Everyone), await Count("nobody")));
            // One that forgets to say whose rows it wants gets none.
            Assert.Equal("0", await Ask(AsHost, $"SELECT count(*)::text FROM cowork.{table}"));
            Assert.Equal(table == "words_searched" ? "0" : "2", await Ask(ConnectionString, $"SELECT count(*)::text FROM cowork.{table}"));
        }
        var written = await Assert.ThrowsAsync<StorageUnavailableException>(() => database.WithReconnect(
            Org, async connection => await connection.Execute([new("INSERT INTO cowork.feed VALUES ('other', 's', 1, 1, null)")], None), None).AsTask());
        Assert.True(written.IsDenied);

        // The tables that a rebuild makes stand behind the same fence.
        await node.Rows.Rebuild(Chain.Tallies, None);
        await node.Rows.Rebuild(Chain.Words(), None);
        foreach (var table in (string[])["tallies", "words", "words_searched"])
        {
            Assert.Equal("0", await Ask(AsHost, $"SELECT count(*)::text FROM cowork.{table}"));
        }
        Assert.NotNull(await node.Rows.Get(Other, "tallies", "1", None));
        Assert.Single(await node.Rows.Search(Org, "words", "run-1", 10, null, null, null, None));
        await AssertLedger(node);
    }

    [Fact]
    public async Task A_word_is_looked_up_in_the_index_behind_the_fence()
    {
        await Open("a");
        var plan = await Ask(AsHost, $"""
            SET cowork.tenant = 'default'; SET enable_seqscan = off; SET search_path = pg_catalog;
            EXPLAIN (FORMAT YAML) SELECT row FROM cowork.words_searched WHERE {SearchTerms.Column} @> ARRAY['a:b']
            """);
        Assert.Contains("words_terms", plan, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_host_that_knows_no_owner_works_on_tables_of_its_release_and_refuses_others_with_a_sentence()
    {
        Task<StorageEngine> Alone() => Start(AsHost, "b", change: o => o with { OwnerConnectionString = null });
        var none = await Assert.ThrowsAsync<InvalidOperationException>(Alone);
        Assert.Contains("CREATE SCHEMA cowork AUTHORIZATION \"cowork_host\"", none.Message, StringComparison.Ordinal);

        await Open("a");
        var node = NodeOf(await Alone());
        Assert.Equal(new AppendResult.Ok(1), await node.Log.Append(new Chain(Org, "run-1").Commit("text"), None));
        await AssertLedger(NodeOf(engines[0]));

        await Ask("UPDATE cowork.schema_version SET version = version - 1; SELECT ''");
        var stale = await Assert.ThrowsAsync<InvalidOperationException>(Alone);
        Assert.Contains("cowork migrate", stale.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rights_that_are_missing_are_named()
    {
        await Open("a");
        await Ask("REVOKE INSERT ON cowork.mt_events FROM cowork_host; REVOKE UPDATE (version) ON cowork.mt_streams FROM cowork_host; SELECT ''");
        var refused = await Assert.ThrowsAsync<InvalidOperationException>(() => Start(AsHost, "b", change: o => o with { OwnerConnectionString = null }));
        Assert.Contains("INSERT on cowork.mt_events, UPDATE (version) on cowork.mt_streams", refused.Message, StringComparison.Ordinal);
        // A start that knows the owner gives them back.
        await Open("c");
        NodeOf(await Start(AsHost, "b", change: o => o with { OwnerConnectionString = null }));
    }

    [Fact]
    public async Task Tables_of_one_role_are_fenced_when_the_hosts_get_one_of_their_own()
    {
        var node = NodeOf(await Start(ConnectionString, "a", change: o => o with { ConnectionString = ConnectionString, OwnerConnectionString = null }));
        await node.Log.Append(new Chain(Org, "run-1").Commit("text"), None);
        Assert.Equal("f", await Ask("SELECT CASE WHEN relrowsecurity THEN 't' ELSE 'f' END FROM pg_class WHERE oid = 'cowork.mt_events'::regclass"));
        var fenced = await Open("b");
        await fenced.Log.Append(new Chain(Org, "run-2").Commit("text"), None);
        Assert.Equal("0", await Ask(AsHost, "SELECT count(*)::text FROM cowork.mt_events"));
        await AssertLedger(fenced);
    }

    static async Task Execute(string at, string sql)
    {
        await using var connection = new NpgsqlConnection(at + ";Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync();
    }
}
