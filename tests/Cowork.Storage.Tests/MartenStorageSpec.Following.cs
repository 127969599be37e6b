using Cowork.Application.Storage;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Following models on PostgreSQL, beyond the contract.</summary>
public sealed partial class MartenStorageSpec
{
    [Theory]
    [InlineData("words")] // between the checkpoint and the rows
    [InlineData("parked")] // after the rows, before the commit
    public async Task A_projector_that_dies_in_the_middle_of_a_batch_counts_nothing_twice(string table)
    {
        var node = await Open("a");
        var (projector, _) = Projector(node, Chain.Words());
        await node.Log.Append(new Chain(Org, "run-1").Commit("same", "same"), None);
        await projector.CatchUp(None);
        await node.Log.Append(new Chain(Org, "run-2").Commit("same", "new"), None);
        var before = (await node.AsyncProjections.Progress(None)).Models[0].Checkpoint;
        await Ask($$"""
            CREATE FUNCTION cowork.die() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
            CREATE TRIGGER die AFTER INSERT OR UPDATE OR DELETE ON cowork.{{table}} FOR EACH STATEMENT EXECUTE FUNCTION cowork.die();
            SELECT ''
            """);
        await Assert.ThrowsAsync<StorageUnavailableException>(() => projector.CatchUp(None));
        Assert.Equal(before, (await node.AsyncProjections.Progress(None)).Models[0].Checkpoint);
        Assert.Equal(2, (await Count(node, Org, "same"))!.Times);
        Assert.Null(await Count(node, Org, "new"));

        await Ask($"DROP TRIGGER die ON cowork.{table}; SELECT ''");
        await projector.CatchUp(None);
        Assert.Equal(3, (await Count(node, Org, "same"))!.Times);
        await AssertFollowed(node);
    }

    [Fact]
    public async Task What_this_node_committed_is_folded_without_being_read_back_and_what_another_did_is_read()
    {
        var node = await Open("a");
        var (projector, _) = Projector(node, Chain.Words());
        await node.Log.Append(new Chain(Org, "run-1").Commit("one", "two", "one"), None);
        projector.Committed((await node.Log.Feed(Org, null, 0, 100, None)).Entries);
        await Ask(Tamper("data = '[]'"));
        await projector.CatchUp(None);
        Assert.Equal((2, 1), ((await Count(node, Org, "one"))!.Times, (await Count(node, Org, "two"))!.Times));

        // Event 4 is another node's, and 5 was heard of.
        await node.Log.Append(new Chain(Org, "run-2").Commit("two"), None);
        await node.Log.Append(new Chain(Org, "run-3").Commit("one"), None);
        projector.Committed((await node.Log.Feed(Org, null, 4, 100, None)).Entries);
        await projector.CatchUp(None);
        Assert.Equal((3, 2), ((await Count(node, Org, "one"))!.Times, (await Count(node, Org, "two"))!.Times));
    }

    [Fact]
    public async Task A_following_model_whose_rows_take_another_form_begins_at_the_logs_beginning()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("one", "two"), None);
        await Projector(node, Chain.Words()).Projector.CatchUp(None);
        await engines[0].DisposeAsync();
        await Ask("UPDATE cowork.words SET row = '{\"Times\":9,\"Last\":\"run-1\",\"By\":\"run-1\"}' WHERE id = 'one'; SELECT ''");
        var reshaped = Chain.Words() with { Form = 2 };
        var again = NodeOf(await Start(ConnectionString, "b", change: o => o with { Models = [Chain.Tallies, Chain.Marks, reshaped] }));
        Assert.Null(await Count(again, Org, "one"));
        await Projector(again, reshaped).Projector.CatchUp(None);
        Assert.Equal(1, (await Count(again, Org, "one"))!.Times);
        await AssertFollowed(again);
        await Start(ConnectionString, "c", change: o => o with { Models = [Chain.Tallies, Chain.Marks, reshaped] });
        Assert.Equal(1, (await Count(again, Org, "one"))!.Times);
    }

    [Fact]
    public async Task An_event_that_cannot_be_read_parks_the_models_that_want_it()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("fine", "odd", "fine"), None);
        await Ask(Tamper("data = '[]'"));
        var (projector, alerts) = Projector(node, Chain.Words());
        await projector.CatchUp(None);
        var stands = (await node.AsyncProjections.Progress(None)).Models[0];
        Assert.Equal((1L, 2L, "run-1", "output_delta.v1"), (stands.Checkpoint.Position, stands.Parked!.Position, stands.Parked.Stream, stands.Parked.Type));
        Assert.NotEmpty(stands.Parked.Error);
        Assert.Single(alerts);
        var refused = await Assert.ThrowsAsync<InvalidOperationException>(() => node.Rows.Rebuild(Chain.Words(), None));
        Assert.Contains("Event 2 (output_delta.v1", refused.Message, StringComparison.Ordinal);

        await Ask(Tamper("data = '{\"text\":\"odd\"}'"));
        var (restarted, _) = Projector(node, Chain.Words());
        await restarted.CatchUp(None);
        await AssertFollowed(node);
    }

    /// <summary>Changes the second event as somebody does who first switches the log's trigger off.</summary>
    static string Tamper(string change) =>
        $"ALTER TABLE cowork.mt_events DISABLE TRIGGER keep_log; UPDATE cowork.mt_events SET {change} WHERE seq_id = 2; "
        + "ALTER TABLE cowork.mt_events ENABLE ALWAYS TRIGGER keep_log; SELECT ''";

    [Fact]
    public async Task Checkpoints_are_kept_where_Marten_keeps_them()
    {
        var node = await Open("a");
        Assert.Equal("words:All 0", await Ask("SELECT concat_ws(' ', name, last_seq_id) FROM cowork.mt_event_progression WHERE name LIKE 'words%'"));
        await node.Log.Append(new Chain(Org, "run-1").Commit("one", "two"), None);
        await Projector(node, Chain.Words()).Projector.CatchUp(None);
        Assert.Equal(
            "words:All 2 t",
            await Ask("SELECT concat_ws(' ', name, last_seq_id, last_updated <= clock_timestamp()) FROM cowork.mt_event_progression WHERE name LIKE 'words%'"));
    }

    [Fact]
    public async Task A_schema_of_the_version_before_gets_what_is_new_and_a_new_model_begins_at_the_logs_beginning()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("one"), None);
        await engines[0].DisposeAsync();
        await Ask("DROP VIEW cowork.words_searched; DROP TABLE cowork.parked, cowork.words, cowork.expired_blobs; DROP FUNCTION cowork.keep_expired() CASCADE; "
            + "DELETE FROM cowork.mt_event_progression; UPDATE cowork.schema_version SET version = 1; SELECT ''");
        var again = await Open("b");
        Assert.Equal("14", await Ask("SELECT version::text FROM cowork.schema_version"));
        Assert.Equal("1", await Ask("SELECT count(*)::text FROM pg_trigger WHERE tgname = 'keep_expired' AND tgenabled = 'A' AND to_regclass('cowork.expired_blobs') IS NOT NULL"));
        await again.Log.Append(new Chain(Org, "run-2").Commit("one"), None);
        await Projector(again, Chain.Words()).Projector.CatchUp(None);
        Assert.Equal(2, (await Count(again, Org, "one"))!.Times);
        await AssertFollowed(again);
    }

    [Theory]
    [InlineData("UPDATE cowork.words SET row = '{\"Times\":9,\"Last\":\"run-1\",\"By\":\"run-1\"}' WHERE id = 'one'")]
    [InlineData("UPDATE cowork.words SET search = 'odd' WHERE id = 'one'")]
    [InlineData("UPDATE cowork.words SET status = NULL WHERE id = 'one'")]
    [InlineData("DELETE FROM cowork.words WHERE id = 'one'")]
    [InlineData("UPDATE cowork.words SET id = 'one more' WHERE id = 'one'")]
    public async Task A_followed_row_that_is_not_what_the_log_makes_of_it_is_found_and_mended(string harm)
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("one", "two"), None);
        await Projector(node, Chain.Words()).Projector.CatchUp(None);
        // What comes after the checkpoint is no difference.
        await node.Log.Append(new Chain(Org, "run-2").Commit("one"), None);
        Assert.Null(await node.Rows.FindDifference(Chain.Words(), None));
        await Ask(harm + "; SELECT ''");
        Assert.StartsWith("default one", await node.Rows.FindDifference(Chain.Words(), None), StringComparison.Ordinal);
        Assert.Equal(3, await node.Rows.Rebuild(Chain.Words(), None));
        await AssertFollowed(node);
    }

    [Fact]
    public async Task A_long_stretch_without_events_of_interest_is_crossed_a_stretch_at_a_time()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("one"), None);
        await Ask("""
            INSERT INTO cowork.mt_events (seq_id, id, stream_id, version, data, type, tenant_id)
                SELECT n, gen_random_uuid(), 'run-1', n, '{}', 'run_cancelled.v1', 'default' FROM generate_series(2, 30000) n;
            UPDATE cowork.head SET gid = 30000; SELECT ''
            """);
        Assert.Equal((1, 20_000L), await Page(0));
        Assert.Equal((0, 30_000L), await Page(20_000));
        await Projector(node, Chain.Words()).Projector.CatchUp(None);
        Assert.Equal(0, await Lag(node));

        async Task<(int, long)> Page(long after) =>
            await node.AsyncProjections.Read(Texts, after, 10, None) is var page ? (page.Events.Count, page.Through) : default;
    }
}
