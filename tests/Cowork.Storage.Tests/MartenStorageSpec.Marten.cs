using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Testing;

using JasperFx.Events;
using JasperFx.MultiTenancy;

using Marten;

using Npgsql;

using Weasel.Core;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>What Marten finds in a database of ours, and what becomes of one that Marten filled by itself.</summary>
public sealed partial class MartenStorageSpec
{
    [Fact]
    public async Task Marten_finds_nothing_to_migrate()
    {
        var engine = await Start(ConnectionString, "a");
        await engine.Log.Append(new Chain(Org, "run-1", "s1").Commit("one"), None);
        await engine.Store.Storage.Database.AssertDatabaseMatchesConfigurationAsync();
    }

    [Fact]
    public async Task Stock_Marten_reads_streams_raw_events_and_states()
    {
        var engine = await Start(ConnectionString, "a");
        var chain = new Chain(Org, "run-1", "s1");
        await engine.Log.Append(chain.Commit("one", "two"), None);
        await using var plain = PlainMarten();
        await using var session = plain.QuerySession(Org);
        var events = await session.Events.FetchStreamAsync("run-1");
        Assert.Equal(["one", "two"], events.Select(e => ((RunEvent.OutputDelta)e.Data).Text));
        Assert.Equal((chain.Hash, "s1", 2L), (events[^1].GetHeader("hash")?.ToString(), events[^1].GetHeader("session")?.ToString(), events[^1].Sequence));
        Assert.Equal(2, (await session.Events.FetchStreamStateAsync("run-1"))!.Version);
        Assert.Equal([1L, 2L], (await session.Events.QueryAllRawEvents().OrderBy(e => e.Sequence).ToListAsync()).Select(e => e.Sequence));
    }

    [Fact]
    public async Task A_database_that_is_not_in_UTC_changes_nothing()
    {
        var name = new NpgsqlConnectionStringBuilder(ConnectionString).Database;
        await Ask($"ALTER DATABASE \"{name}\" SET timezone = 'America/St_Johns'; SELECT ''");
        var node = await Open("a");
        var chain = new Chain(Org, "run-1", "s1");
        await node.Log.Append(chain.Commit("one"), None);
        Assert.Equal(Chain.Start.AddMilliseconds(1), (await node.Log.Load(Org, "run-1", 0, 10, None)).Events[0].At);
        Assert.Equal("2026-01-01 09:00:00.008+00", await Ask("SELECT timestamp::text FROM cowork.mt_events"));
        await AssertLedger(node);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1_000)]
    public async Task A_sequence_that_lags_or_is_ahead_makes_no_gap(long last)
    {
        var node = await Open("a");
        var chain = new Chain(Org, "run-1", "s1");
        await node.Log.Append(chain.Commit("one", "two", "three"), None);
        await Ask($"SELECT setval('cowork.mt_events_sequence', {last})");
        Assert.Equal(new AppendResult.Ok(4), await node.Log.Append(chain.Commit("four"), None));
        Assert.Equal("4", await Ask("SELECT last_value FROM cowork.mt_events_sequence"));
        await AssertLedger(node);
    }

    [Fact]
    public async Task A_log_that_plain_Marten_wrote_is_adopted()
    {
        await using (var plain = PlainMarten())
        {
            for (var i = 1; i <= 3; i++)
            {
                await using var session = plain.LightweightSession(Org);
                session.Events.StartStream($"run-{i}", new RunEvent.OutputDelta("by Marten", Chain.Start), new RunEvent.OutputDelta($"{i}", Chain.Start));
                await session.SaveChangesAsync();
            }
            // Marten alone leaves gaps.
            await Ask("SELECT nextval('cowork.mt_events_sequence')");
        }
        var engine = await Start(ConnectionString, "a");
        Assert.Equal("6 6", await Ask("SELECT (SELECT gid FROM cowork.head) || ' ' || last_value FROM cowork.mt_events_sequence"));
        var past = await engine.Log.Load(Org, "run-2", 0, 10, None);
        Assert.Equal((2L, HashChain.Root, 2), (past.Version, past.Hash, past.Events.Count));
        Assert.Equal("3 runs, 6 events", await Ask("SELECT count(*) || ' runs, ' || sum(version) || ' events' FROM cowork.tallies"));

        var chain = new Chain(Org, "run-2", "s1");
        await chain.Reload(engine.Log);
        Assert.Equal(new AppendResult.Ok(7), await engine.Log.Append(chain.Commit("by the port"), None));
        Assert.Equal(new AppendResult.Moved("run-3"), await engine.Log.Append(new Chain(Org, "run-3").Commit("too late"), None));
        Assert.Equal([7], (await engine.Log.Feed(Org, new("s1"), 0, 10, None)).Entries.Select(e => e.Position));
        Assert.Null(await engine.Rows.FindDifference(Chain.Tallies, None));
    }

    [Fact]
    public async Task What_fails_leaves_no_tombstone()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-0").Commit("one"), None);
        // The first write of each is fine, and has its positions when the second one fails.
        await Assert.ThrowsAsync<InvalidOperationException>(async () =>
            await node.Log.Append(new(Org, [new Chain(Org, "run-1").Next("fine"), new Chain(Org, "run-2").Next("\0")], [], null, Chain.By), None));
        await Ask("INSERT INTO cowork.mt_streams (tenant_id, id, version) VALUES ('default', 'run-4', 7); SELECT ''");
        Assert.Equal(
            new AppendResult.Moved("run-4"),
            await node.Log.Append(new(Org, [new Chain(Org, "run-3").Next("fine"), new Chain(Org, "run-4").Next("stale")], [], null, Chain.By), None));
        Assert.Equal(new AppendResult.Ok(2), await node.Log.Append(new Chain(Org, "run-5").Commit("fine"), None));
        // What goes on in the background ends with it.
        await node.Stop();
        Assert.Equal("run-0 run-4 run-5", await Ask("SELECT string_agg(id, ' ' ORDER BY id) FROM cowork.mt_streams"));
        Assert.Equal("1 2", await Ask("SELECT string_agg(seq_id::text, ' ' ORDER BY seq_id) FROM cowork.mt_events"));
    }

    [Fact]
    public async Task Nobody_appends_past_the_port()
    {
        var engine = await Start(ConnectionString, "a");
        await using var session = engine.Store.LightweightSession(Org);
        session.Events.StartStream("run-1", new RunEvent.OutputDelta("past the head row", Chain.Start));
        await Assert.ThrowsAsync<InvalidOperationException>(() => session.SaveChangesAsync());
        Assert.Equal("0", await Ask("SELECT count(*) FROM cowork.mt_events"));
    }

    /// <summary>Marten as a program would use it that knows nothing of us, but keeps its log in the same form.</summary>
    DocumentStore PlainMarten() => DocumentStore.For(o =>
    {
        o.Connection(ConnectionString);
        o.DatabaseSchemaName = "cowork";
        o.Events.StreamIdentity = StreamIdentity.AsString;
        o.Events.TenancyStyle = TenancyStyle.Conjoined;
        o.Events.MetadataConfig.HeadersEnabled = true;
        o.Events.MetadataConfig.CorrelationIdEnabled = true;
        o.Events.MetadataConfig.CausationIdEnabled = true;
        o.Events.MetadataConfig.UserNameEnabled = true;
        o.Events.MapEventType<RunEvent.OutputDelta>("output_delta.v1");
        o.UseSystemTextJsonForSerialization(casing: Casing.SnakeCase);
    });
}
