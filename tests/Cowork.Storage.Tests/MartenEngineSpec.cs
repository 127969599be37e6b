using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Domain;

using JasperFx;
using JasperFx.Events;
using JasperFx.MultiTenancy;

using Marten;

using Npgsql;

using Weasel.Core;
using Weasel.Postgresql;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>The engine on Marten, and what a database goes through between the two engines.</summary>
public sealed partial class MartenEngineSpec : PostgresStorageContract
{
    protected override IEngine New(EngineOptions options) => new MartenEngine(options);

    [Fact]
    public async Task Marten_finds_nothing_to_alter_in_a_database_that_the_other_engine_made()
    {
        var other = await StartOther("a");
        await other.Log.Append(new Chain(Org, "run-1", "s1").Commit("one"), None);
        await other.DisposeAsync();
        const string Ours = """
            SELECT md5(string_agg(concat_ws(' ', table_name, ordinal_position, column_name, data_type, is_nullable, column_default), E'\n' ORDER BY table_name, ordinal_position))
            FROM information_schema.columns WHERE table_schema = 'cowork' AND table_name IN
                ('mt_streams', 'mt_events', 'mt_event_progression', 'head', 'feed', 'jobs', 'nodes', 'snapshots', 'schema_version', 'parked', 'tallies', 'marks', 'words')
            """;
        var before = await Ask(Ours);

        await using var engine = new MartenEngine(new(ConnectionString, "b", [Chain.Tallies, Chain.Marks, Chain.Words()]));
        var database = engine.Store.Storage.Database;
        var migration = await database.CreateMigrationAsync();
        var sql = new StringWriter();
        migration.WriteAllUpdates(sql, new PostgresqlMigrator(), AutoCreate.All);
        var harm = sql.ToString().Split('\n').Where(line =>
            (line.Contains("alter ", StringComparison.OrdinalIgnoreCase) || line.Contains("drop ", StringComparison.OrdinalIgnoreCase))
            && !line.Contains("function", StringComparison.OrdinalIgnoreCase));
        Assert.Empty(harm);
        await engine.StartAsync(None);

        await database.AssertDatabaseMatchesConfigurationAsync();
        Assert.Equal(before, await Ask(Ours));
        Assert.Equal(1, (await engine.Log.Load(Org, "run-1", 0, 10, None)).Version);
    }

    [Fact]
    public async Task A_database_goes_from_one_engine_to_the_other_and_back()
    {
        var chains = Enumerable.Range(0, 4).Select(i => new Chain(i < 2 ? Org : "other", $"run-{i}", $"s{i % 2}", $"{i}")).ToList();
        List<string>? feed = null;
        for (var round = 0; round < 4; round++)
        {
            var engine = await (round % 2 == 0 ? StartOther($"n{round}") : Start(ConnectionString, $"n{round}"));
            Assert.Equal(feed, feed is null ? null : await FeedOf(engine));
            foreach (var chain in chains)
            {
                var before = (chain.Version, chain.Hash);
                await chain.Reload(engine.Log);
                Assert.Equal(before, (chain.Version, chain.Hash));
                Assert.IsType<AppendResult.Ok>(await engine.Log.Append(chain.Commit($"round {round}", "zwei – \"drei\" 😀 \\ \u0001"), None));
                Assert.IsType<AppendResult.Ok>(await engine.Log.Append(chain.Commit("more"), None));
            }
            Assert.Equal((round + 1) * 12, (await AssertLedger(NodeOf(engine))).Count);
            Assert.Equal((round + 1) * 12, await engine.Rows.Rebuild(Chain.Tallies, None));
            Assert.Null(await engine.Rows.FindDifference(Chain.Tallies, None));
            feed = await FeedOf(engine);
            await engine.DisposeAsync();
        }
    }

    [Fact]
    public async Task A_node_of_each_engine_write_one_log_at_the_same_time()
    {
        var (heard, heardToo) = (new Heard(), new Heard());
        var marten = NodeOf(await Start(ConnectionString, "a", heard));
        var npgsql = NodeOf(await Start(options => new NpgsqlEngine(options), ConnectionString, "b", heardToo));
        await Task.WhenAll(Enumerable.Range(0, 16).Select(w => AppendWithRetries(w % 2 == 0 ? marten : npgsql, w < 4 ? "run-hot" : $"run-{w}", $"s{w % 3}", 20, w)));
        var log = await AssertLedger(marten);
        Assert.Equal(16 * 20, log.Count);
        Assert.Equal(log.Select(e => e.Id), (await AssertLedger(npgsql)).Select(e => e.Id));
        Assert.Equal(log.Count, heard.Entries.Concat(heardToo.Entries).Select(e => e.Position).Distinct().Count());
        Assert.True(heard.Others > 0 && heardToo.Others > 0);
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
        Assert.Equal([7], (await engine.Log.Feed(Org, "s1", 0, 10, None)).Entries.Select(e => e.Position));
        Assert.Null(await engine.Rows.FindDifference(Chain.Tallies, None));
        await engine.DisposeAsync();

        var other = await StartOther("b");
        await chain.Reload(other.Log);
        Assert.Equal(new AppendResult.Ok(8), await other.Log.Append(chain.Commit("by the other engine"), None));
        Assert.Equal(8, (await other.Log.Feed(Org, null, 0, 10, None)).Entries.Count);
    }

    [Fact]
    public async Task What_fails_leaves_no_tombstone()
    {
        var node = await Start(ConnectionString, "a");
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
        await node.DisposeAsync();
        Assert.Equal("run-0 run-4 run-5", await Ask("SELECT string_agg(id, ' ' ORDER BY id) FROM cowork.mt_streams"));
        Assert.Equal("1 2", await Ask("SELECT string_agg(seq_id::text, ' ' ORDER BY seq_id) FROM cowork.mt_events"));
    }

    [Fact]
    public async Task Nobody_appends_past_the_port()
    {
        var engine = (MartenEngine)await Start(ConnectionString, "a");
        await using var session = engine.Store.LightweightSession(Org);
        session.Events.StartStream("run-1", new RunEvent.OutputDelta("past the head row", Chain.Start));
        await Assert.ThrowsAsync<InvalidOperationException>(() => session.SaveChangesAsync());
        Assert.Equal("0", await Ask("SELECT count(*) FROM cowork.mt_events"));
    }

    Task<IEngine> StartOther(string name) => Start(options => new NpgsqlEngine(options), ConnectionString, name);

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

    static async Task<List<string>> FeedOf(IEngine engine)
    {
        var lines = new List<string>();
        foreach (var (org, session) in new[] { (Org, "s0"), (Org, "s1"), ("other", "s0"), ("other", "s1"), (Org, null), ("other", null) })
        {
            var page = await engine.Log.Feed(org, session, 0, 1_000, None);
            lines.AddRange(page.Entries.Select(e => $"{e with { Data = default }} {System.Text.Encoding.UTF8.GetString(e.Data.Span)}"));
        }
        return lines;
    }
}

public sealed class MartenFaultSpec : PostgresFaultContract
{
    protected override IEngine New(EngineOptions options) => new MartenEngine(options);
}
