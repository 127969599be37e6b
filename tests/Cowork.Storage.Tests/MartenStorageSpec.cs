using System.Collections.Concurrent;

using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Testing;

using Microsoft.Extensions.Logging;

using Npgsql;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>The contract on Marten and PostgreSQL, and what holds there beyond it.</summary>
public sealed partial class MartenStorageSpec : StorageContract
{
    readonly List<StorageEngine> engines = [];

    string ConnectionString { get; set; } = "";

    public override async ValueTask InitializeAsync() => ConnectionString = await TestPostgres.NewDatabase();

    public override async ValueTask DisposeAsync()
    {
        foreach (var engine in engines)
        {
            await engine.DisposeAsync();
        }
    }

    protected override async Task<Node> Open(string name, ICommitObserver? observer = null, params string[] dead) =>
        NodeOf(await Start(ConnectionString, name, observer, o => o with { DeadNodes = dead }));

    protected override async Task<Node> OpenNamed() =>
        NodeOf(await Start(ConnectionString, "a", change: o => o with { Models = [Chain.Tallies, Chain.Marks, Chain.Names] }));

    async Task<StorageEngine> Start(string at, string name, ICommitObserver? observer = null, Func<StorageOptions, StorageOptions>? change = null)
    {
        var (role, owner) = TestPostgres.Roles(at);
        var options = new StorageOptions(role, name, [Chain.Tallies, Chain.Marks, Chain.Cards, Chain.Lives, Chain.Words()])
        {
            OwnerConnectionString = owner,
            Lease = Lease,
            Heartbeat = Lease / 6,
            Parallel = Parallel,
        };
        var engine = StorageEngine.New(change?.Invoke(options) ?? options);
        engine.Observer = observer;
        engines.Add(engine);
        await engine.StartAsync(None);
        return engine;
    }

    [Fact]
    public async Task A_node_leaves_kinds_of_jobs_to_the_others()
    {
        var leaving = NodeOf(await Start(ConnectionString, "a", change: o => o with { KindsLeftToOthers = ["later"] }));
        await using var idle = new Worker(leaving);
        await Submit(leaving, "run-1", new Job("later", "now"));
        await Submit(leaving, "run-2", new Job("later", "then", TimeProvider.System.GetUtcNow().AddMilliseconds(500)));
        await Submit(leaving, "run-3", new Job("run", "mine"));
        Assert.Equal("mine", (await idle.Next()).Key);
        await idle.AssertNothing();
        await using var worker = new Worker(await Open("b"));
        var claims = new[] { await worker.Next(), await worker.Next() };
        Assert.Equal(["now", "then"], claims.Select(c => c.Key).Order());
        await idle.AssertNothing();
    }

    [Fact]
    public async Task The_log_has_the_columns_that_readers_were_promised()
    {
        await Open("a");
        Assert.Equal(
            """
            mt_events bdata bytea YES
            mt_events causation_id character varying YES
            mt_events correlation_id character varying YES
            mt_events data jsonb NO
            mt_events headers jsonb YES
            mt_events id uuid NO
            mt_events is_archived boolean YES false
            mt_events mt_dotnet_type character varying YES
            mt_events seq_id bigint NO
            mt_events stream_id character varying YES
            mt_events tenant_id character varying YES '*DEFAULT*'::character varying
            mt_events timestamp timestamp with time zone NO now()
            mt_events type character varying NO
            mt_events user_name character varying YES
            mt_events version bigint NO
            mt_streams compacted_version bigint NO 0
            mt_streams created timestamp with time zone NO now()
            mt_streams id character varying NO
            mt_streams is_archived boolean YES false
            mt_streams tenant_id character varying NO '*DEFAULT*'::character varying
            mt_streams timestamp timestamp with time zone NO now()
            mt_streams type character varying YES
            mt_streams version bigint YES
            """,
            await Ask("""
                SELECT string_agg(
                    trim(table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')), E'\n'
                    ORDER BY table_name, column_name)
                FROM information_schema.columns WHERE table_schema = 'cowork' AND table_name IN ('mt_streams', 'mt_events')
                """));
        Assert.Equal(
            """
            fkey_mt_events_stream_id_tenant_id FOREIGN KEY (tenant_id, stream_id) REFERENCES cowork.mt_streams(tenant_id, id)
            pk_mt_event_progression PRIMARY KEY (name)
            pkey_mt_events_seq_id PRIMARY KEY (seq_id)
            pkey_mt_streams_tenant_id_id PRIMARY KEY (tenant_id, id)
            """,
            await Ask("""
                SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), E'\n' ORDER BY conname)
                FROM pg_constraint WHERE connamespace = 'cowork'::regnamespace AND conrelid IN ('cowork.mt_streams'::regclass, 'cowork.mt_events'::regclass, 'cowork.mt_event_progression'::regclass)
                """));
        Assert.Equal(
            "CREATE UNIQUE INDEX pk_mt_events_stream_and_version ON cowork.mt_events USING btree (tenant_id, stream_id, version)",
            await Ask("SELECT indexdef FROM pg_indexes WHERE indexname = 'pk_mt_events_stream_and_version'"));
    }

    [Fact]
    public async Task An_event_is_stored_as_Marten_stores_it()
    {
        var node = await Open("a");
        var chain = new Chain(Org, "run-1", "s1", "1");
        await node.Log.Append(chain.Commit("one"), None);
        await node.Log.Append(chain.Commit("two"), None);
        Assert.Equal(
            $$"""
            2 run-1 2 {"text": "two"} output_delta.v1 2026-01-01 09:00:00.009+00 default
            Cowork.Domain.RunEvent+OutputDelta, Cowork.Domain
            4bf92f3577b34da6a3ce929d0e0e4736 cmd-1 user:ann
            {"run": "1", "hash": "{{chain.Hash}}", "session": "s1"} f
            """,
            await Ask("""
                SELECT concat_ws(E'\n',
                    concat_ws(' ', seq_id, stream_id, version, data, type, timestamp, tenant_id), mt_dotnet_type,
                    concat_ws(' ', correlation_id, causation_id, user_name), concat_ws(' ', headers, is_archived))
                FROM cowork.mt_events WHERE seq_id = 2
                """));
        Assert.Equal("default run-1 2 f", await Ask("SELECT concat_ws(' ', tenant_id, id, type, version, is_archived) FROM cowork.mt_streams"));
        Assert.Equal("2 t", await Ask("SELECT concat_ws(' ', last_value, is_called) FROM cowork.mt_events_sequence"));
        Assert.Equal("2", await Ask("SELECT gid FROM cowork.head"));
    }

    [Fact]
    public async Task A_session_that_is_not_in_UTC_changes_nothing()
    {
        var node = NodeOf(await Start(new NpgsqlConnectionStringBuilder(ConnectionString) { Timezone = "Asia/Kolkata", Options = "-c datestyle=German" }.ConnectionString, "a"));
        var chain = new Chain(Org, "run-1", "s1");
        await node.Log.Append(chain.Commit("one"), None);
        Assert.Equal(Chain.Start.AddMilliseconds(1), (await node.Log.Load(Org, "run-1", 0, 10, None)).Events[0].At);
        Assert.Equal("2026-01-01 09:00:00.008+00", await Ask("SELECT timestamp::text FROM cowork.mt_events"));
        await AssertLedger(node);
        await using var worker = new Worker(node);
        await Submit(node, "run-2", new Job("run", "1", TimeProvider.System.GetUtcNow()));
        await worker.Next();
    }

    [Fact]
    public async Task A_log_that_others_wrote_is_gone_on_with()
    {
        var first = await Start(ConnectionString, "a");
        var chain = new Chain(Org, "run-1", "s1");
        await first.Log.Append(chain.Commit("one", "two"), None);
        await first.DisposeAsync();
        await Ask("""
            UPDATE cowork.head SET gid = 0;
            SELECT setval('cowork.mt_events_sequence', 1);
            INSERT INTO cowork.mt_streams (tenant_id, id, version) VALUES ('default', 'run-2', 1);
            INSERT INTO cowork.mt_events (seq_id, id, stream_id, version, data, type, tenant_id, headers, user_name)
                VALUES (3, gen_random_uuid(), 'run-2', 1, '{"text":"by Marten"}', 'output_delta.v1', 'default', '{"hash":"00"}', 'user:ann');
            SELECT ''
            """);
        var node = await Open("b");
        Assert.Equal("3 3", await Ask("SELECT (SELECT gid FROM cowork.head) || ' ' || last_value FROM cowork.mt_events_sequence"));
        Assert.Equal(new AppendResult.Ok(4), await node.Log.Append(chain.Commit("three"), None));
        Assert.Equal([1, 2, 3, 4], (await node.Log.Feed(Org, null, 0, 10, None)).Entries.Select(e => e.Position));
        Assert.Equal([1, 2, 3], (await node.Log.Feed(Org, new("s1"), 0, 10, None)).Entries.Select(e => e.FeedId));
        Assert.Equal("4", await Ask("SELECT last_value FROM cowork.mt_events_sequence"));
    }

    [Fact]
    public async Task Hosts_that_start_at_once_make_one_schema()
    {
        var engines = await Task.WhenAll(Enumerable.Range(0, 6).Select(i => Start(ConnectionString, $"n{i}")));
        await Task.WhenAll(engines.Select(async (engine, i) => Assert.IsType<AppendResult.Ok>(await engine.Log.Append(new Chain(Org, $"run-{i}", "s1").Commit("text"), None))));
        Assert.Equal(6, (await AssertLedger(NodeOf(engines[0]))).Count);
    }

    [Fact]
    public async Task A_newer_schema_is_left_alone()
    {
        await (await Start(ConnectionString, "a")).DisposeAsync();
        await Ask("UPDATE cowork.schema_version SET version = 999; SELECT ''");
        var e = await Assert.ThrowsAsync<InvalidOperationException>(() => Start(ConnectionString, "b"));
        Assert.Contains("newer version", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_model_that_is_new_is_folded_from_the_log_at_the_start()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1", "s1").Commit("one", "two"), None);
        await engines[0].DisposeAsync();
        var late = Chain.Tallies with { Table = "late_tallies" };
        await using var engine = StorageEngine.New(new(ConnectionString, "b", [Chain.Tallies, Chain.Marks, late]));
        await engine.StartAsync(None);
        Assert.Equal(2, (await engine.Rows.Get(Org, "late_tallies", "1", None))!.Version);
        Assert.Null(await engine.Rows.FindDifference(late, None));
    }

    [Fact]
    public async Task A_model_whose_rows_take_another_form_is_folded_anew_at_the_first_start_with_it()
    {
        const string AsBefore = "UPDATE cowork.tallies SET row = '{\"Events\":9,\"Text\":\"one\",\"Session\":\"s\"}' WHERE id = '1'; SELECT ''";
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1", "s1").Commit("one", "two"), None);
        await engines[0].DisposeAsync();
        await Ask(AsBefore);
        var reshaped = Chain.Tallies with { Form = 2 };
        async Task<string?> Difference(string name)
        {
            await using var engine = StorageEngine.New(new(ConnectionString, name, [reshaped, Chain.Marks]));
            await engine.StartAsync(None);
            return await engine.Rows.FindDifference(reshaped, None);
        }
        Assert.Null(await Difference("b"));
        await Ask(AsBefore);
        Assert.Equal("default 1", await Difference("c"));
    }

    [Theory]
    [InlineData("UPDATE cowork.tallies SET row = '{\"Events\":9,\"Text\":\"one\",\"Session\":\"s\"}' WHERE id = '1'")]
    [InlineData("UPDATE cowork.tallies SET status = 'odd' WHERE id = '1'")]
    [InlineData("UPDATE cowork.tallies SET created = 7 WHERE id = '1'")]
    [InlineData("DELETE FROM cowork.tallies WHERE id = '1'")]
    [InlineData("UPDATE cowork.tallies SET id = '11' WHERE id = '1'")]
    public async Task A_row_that_is_not_what_the_log_makes_of_it_is_found_and_mended(string harm)
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1", "s1").Commit("one"), None);
        await node.Log.Append(new Chain(Org, "run-2", "s1").Commit("two"), None);
        await Ask(harm + "; SELECT ''");
        Assert.StartsWith("default 1", await node.Rows.FindDifference(Chain.Tallies, None), StringComparison.Ordinal);
        Assert.Equal(2, await node.Rows.Rebuild(Chain.Tallies, None));
        Assert.Null(await node.Rows.FindDifference(Chain.Tallies, None));
    }

    [Theory]
    [InlineData("UPDATE cowork.gone_rows SET owner = 'eve'")]
    [InlineData("UPDATE cowork.gone_rows SET scope = NULL")]
    [InlineData("UPDATE cowork.gone_rows SET created = created + 2")]
    [InlineData("UPDATE cowork.gone_rows SET until = until + 1")]
    [InlineData("UPDATE cowork.gone_rows SET id = '11' WHERE id = '1'")]
    [InlineData("DELETE FROM cowork.gone_rows")]
    [InlineData("INSERT INTO cowork.gone_rows SELECT tenant_id, model, '11', scope, owner, created, until FROM cowork.gone_rows WHERE id = '1'")]
    public async Task What_a_deleted_row_leaves_and_the_log_does_not_make_is_found_and_mended(string harm)
    {
        var node = await Open("a");
        var (first, second) = (Life("1"), Life("2"));
        await node.Log.Append(first.Commit("one"), None);
        await node.Log.Append(second.Commit("two"), None);
        await node.Log.Append(Life("3").Commit("three"), None);
        await node.Log.Append(first.Commit("gone"), None);
        await node.Log.Append(second.Commit("odd", "gone"), None);
        Assert.Null(await node.Rows.FindDifference(Chain.Lives, None));
        const string Gone = "SELECT string_agg(g::text, ' ' ORDER BY id) FROM cowork.gone_rows g";
        var was = await Ask(Gone);
        await Ask(harm + "; SELECT ''");
        Assert.StartsWith("default 1", await node.Rows.FindDifference(Chain.Lives, None), StringComparison.Ordinal);
        Assert.Equal(6, await node.Rows.Rebuild(Chain.Lives, None));
        Assert.Null(await node.Rows.FindDifference(Chain.Lives, None));
        Assert.Equal(was, await Ask(Gone));
    }

    [Fact]
    public async Task A_batch_that_failed_leaves_the_sequence_where_the_log_is()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("one"), None);
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await node.Log.Append(new Chain(Org, "run-2").Commit("\0"), None));
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await node.Log.Append(new Chain(Org, "run-\ud800").Commit("half a pair in a name"), None));
        Assert.Equal("1 1", await Ask("SELECT (SELECT gid FROM cowork.head) || ' ' || last_value FROM cowork.mt_events_sequence"));
        Assert.Equal(new AppendResult.Ok(2), await node.Log.Append(new Chain(Org, "run-3").Commit("fine"), None));
    }

    [Fact]
    public async Task What_is_remembered_is_checked_against_the_log()
    {
        var node = await Open("a");
        var chain = new Chain(Org, "run-1", "s1");
        await node.Log.Append(chain.Commit("one"), None);
        // Something that does not take the head row has changed a stream behind everybody's back.
        await Ask("UPDATE cowork.mt_streams SET version = 5; SELECT ''");
        Assert.Equal(new AppendResult.Moved("run-1"), await node.Log.Append(chain.Commit("two"), None));
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new Chain(Org, "run-2", "s1").Commit("fine"), None));
    }

    [Fact]
    public async Task A_caller_that_gives_up_while_its_commit_waits_is_not_served()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("one"), None);
        await using var blocker = new NpgsqlConnection(ConnectionString + ";Pooling=false");
        await blocker.OpenAsync();
        await using (var transaction = await blocker.BeginTransactionAsync())
        {
            await using var take = new NpgsqlCommand("SELECT gid FROM cowork.head FOR UPDATE", blocker);
            await take.ExecuteScalarAsync();
            var stuck = node.Log.Append(new Chain(Org, "run-2").Commit("under way"), None).AsTask();
            using var given = new CancellationTokenSource();
            const string Waiting =
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cowork writer' AND wait_event_type = 'Lock' AND datname = current_database()";
            await Patience.Until(async () => await Ask(Waiting) == "1", "the writer waits");
            var waiting = node.Log.Append(new Chain(Org, "run-3").Commit("waits behind it"), given.Token).AsTask();
            await given.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
            await transaction.RollbackAsync();
            Assert.Equal(new AppendResult.Ok(2), await stuck);
        }
        Assert.Equal(new AppendResult.Ok(3), await node.Log.Append(new Chain(Org, "run-4").Commit("after"), None));
        Assert.Equal(0, (await node.Log.Load(Org, "run-3", 0, 10, None)).Version);
    }

    [Fact]
    public async Task A_writer_that_holds_the_head_row_for_ever_costs_others_no_more_than_the_time_of_a_command()
    {
        var node = await Open("a");
        await using var blocker = new NpgsqlConnection(ConnectionString + ";Pooling=false");
        await blocker.OpenAsync();
        await using var transaction = await blocker.BeginTransactionAsync();
        await using var take = new NpgsqlCommand("SELECT gid FROM cowork.head FOR UPDATE", blocker);
        await take.ExecuteScalarAsync();
        await Assert.ThrowsAsync<StorageUnavailableException>(async () => await node.Log.Append(new Chain(Org, "run-2").Commit("late"), None));
        await transaction.RollbackAsync();
        Assert.Equal(new AppendResult.Ok(1), await node.Log.Append(new Chain(Org, "run-3").Commit("after"), None));
    }

    [Fact]
    public async Task A_node_that_meets_an_error_which_nobody_foresaw_lives_on_and_finds_its_jobs()
    {
        var complaints = new Complaints();
        var node = NodeOf(await Start(ConnectionString, "a", change: o => o with { Logs = complaints }));
        await using var worker = new Worker(node);
        // It is due while the tables are away.
        await Submit(node, "run-0", new Job("run", "0", TimeProvider.System.GetUtcNow().AddMilliseconds(500)));
        await Ask("ALTER TABLE cowork.jobs RENAME TO jobs_away; ALTER TABLE cowork.nodes RENAME TO nodes_away");
        await Patience.Until(
            () => Task.FromResult(complaints.Heard("sign of life") > 1 && complaints.Heard("look for jobs") > 1), "both loops have failed, and gone on to fail again");
        await Ask("ALTER TABLE cowork.jobs_away RENAME TO jobs; ALTER TABLE cowork.nodes_away RENAME TO nodes");
        var seen = await Ask("SELECT max(expires)::text FROM cowork.nodes");
        await Patience.Until(async () => await Ask($"SELECT max(expires) > '{seen}' FROM cowork.nodes") == "True", "another sign of life");
        Assert.Equal("0", (await worker.Next()).Key);
        await Submit(node, "run-1", new Job("run", "1", TimeProvider.System.GetUtcNow().AddMilliseconds(500)));
        Assert.Equal("1", (await worker.Next()).Key);
    }

    /// <summary>What an engine logs.</summary>
    sealed class Complaints : ILoggerFactory, ILogger
    {
        readonly ConcurrentQueue<string> told = new();

        public int Heard(string words) => told.Count(line => line.Contains(words, StringComparison.Ordinal));

        public ILogger CreateLogger(string categoryName) => this;

        public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException("There is one, and it is this.");

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            told.Enqueue(formatter(state, exception));

        public void Dispose()
        {
        }
    }

    Task<string> Ask(string sql) => Ask(ConnectionString, sql);

    static async Task<string> Ask(string at, string sql)
    {
        var plain = new NpgsqlConnectionStringBuilder(at) { Pooling = false, Timezone = "UTC", SearchPath = "public" };
        await using var connection = new NpgsqlConnection(plain.ConnectionString);
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        await using var reader = await command.ExecuteReaderAsync();
        var answer = "";
        do
        {
            while (await reader.ReadAsync())
            {
                answer = await reader.IsDBNullAsync(0) ? "" : Convert.ToString(reader.GetValue(0), System.Globalization.CultureInfo.InvariantCulture)!;
            }
        }
        while (await reader.NextResultAsync());
        return answer;
    }
}
