using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Tables of an earlier release become those of this one while the node works.</summary>
public sealed partial class MartenStorageSpec
{
    const string Shape = """
        SELECT string_agg(line, ', ' ORDER BY line) FROM (
            SELECT indexdef AS line FROM pg_indexes WHERE schemaname = 'cowork' AND tablename IN ('tallies', 'marks', 'words')
            UNION ALL SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'cowork' AND table_name IN ('tallies', 'marks', 'words')) l
        """;

    [Fact]
    public async Task Indexes_and_columns_of_an_earlier_release_are_replaced_while_the_node_works()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("a pear"), None);
        await engines[0].Upkeep.Done;
        var shape = await Ask(Shape);
        await engines[0].DisposeAsync();
        await Ask("""
            DROP INDEX cowork.tallies_terms;
            UPDATE cowork.tallies SET search = 'a pear';
            ALTER TABLE cowork.tallies ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('english', coalesce(search, ''))) STORED;
            CREATE INDEX tallies_words ON cowork.tallies USING gin (words);
            ALTER TABLE cowork.marks ADD COLUMN search text, ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('english', coalesce(search, ''))) STORED;
            CREATE INDEX marks_words ON cowork.marks USING gin (words);
            CREATE INDEX marks_odd ON cowork.marks (updated); SELECT ''
            """);
        var again = await Open("b");
        await again.Log.Append(new Chain(Org, "run-2").Commit("another pear"), None);
        await engines[1].Upkeep.Done;
        Assert.Equal(shape, await Ask(Shape));
        await again.Rows.Rebuild(Chain.Tallies, None);
        Assert.Equal(["2", "1"], (await again.Rows.Search(Org, "tallies", "pears", 10, null, null, null, None)).Select(r => r.Key));
        Assert.Equal(shape, await Ask(Shape));
        await AssertLedger(again);
    }

    [Fact]
    public async Task Columns_stay_while_another_node_may_write_them()
    {
        await Open("a");
        await engines[0].Upkeep.Done;
        await Ask("ALTER TABLE cowork.marks ADD COLUMN search text, ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('english', coalesce(search, ''))) STORED; SELECT ''");
        var node = await Open("b");
        await engines[1].Upkeep.Done;
        Assert.Equal("2", await Ask("SELECT count(*)::text FROM information_schema.columns WHERE table_name = 'marks' AND column_name IN ('search', 'words')"));
        await node.Log.Append(new Chain(Org, "run-1").Commit("one=two"), None);
        await AssertLedger(node);
    }

    [Fact]
    public async Task An_index_that_was_left_unfinished_is_built_anew()
    {
        await Open("a");
        await engines[0].Upkeep.Done;
        await engines[0].DisposeAsync();
        await Ask("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'cowork.tallies_scope'::regclass; SELECT ''");
        await Open("b");
        await engines[1].Upkeep.Done;
        Assert.Equal("true", await Ask("SELECT indisvalid::text FROM pg_index WHERE indexrelid = 'cowork.tallies_scope'::regclass"));
    }

    [Fact]
    public async Task What_shares_more_words_is_found_among_many_rows_that_share_one()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-p").Commit("a pear"), None);
        await Ask("""
            INSERT INTO cowork.tallies (tenant_id, id, scope, status, created, updated, version, row, search)
                SELECT tenant_id, 'x' || n, scope, status, n + 1000, n + 1000, 1, row, search FROM cowork.tallies, generate_series(1, 20000) n WHERE id = 'p'; SELECT ''
            """);
        await node.Log.Append(new Chain(Org, "run-r").Commit("a zeppelin and a pear"), None);
        Assert.Equal("r", (await node.Rows.Search(Org, "tallies", "pears, zeppelins", 3, null, null, null, None))[0].Key);
        Assert.Equal(3, (await node.Rows.Search(Org, "tallies", "pears", 3, null, null, null, None)).Count);
        Assert.Equal(["r"], (await node.Rows.Search(Org, "tallies", "zeppelins", 3, null, null, null, None)).Select(row => row.Key));
    }
}
