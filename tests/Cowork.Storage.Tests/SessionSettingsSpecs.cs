using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Testing;

using Npgsql;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Databases, roles and addresses as operators set them up, and what every session begins with all the same.</summary>
public sealed class SessionSettingsSpecs : StorageHarness
{
    const string Emoji = "an emoji \U0001F600, a backslash \\n, a quote '";
    readonly List<StorageEngine> engines = [];

    string ConnectionString { get; set; } = "";

    /// <summary>Roles are the server's, which all specs share.</summary>
    string RoleName => $"of_{new NpgsqlConnectionStringBuilder(ConnectionString).Database}";

    string AsRole => new NpgsqlConnectionStringBuilder(ConnectionString) { Username = RoleName }.ConnectionString;

    public override async ValueTask InitializeAsync() => ConnectionString = await TestPostgres.NewDatabase();

    public override async ValueTask DisposeAsync()
    {
        foreach (var engine in engines)
        {
            await engine.DisposeAsync();
        }
    }

    protected override async Task<Node> Open(string name, ICommitObserver? observer = null, params string[] dead) => NodeOf(await Start(ConnectionString));

    [Fact]
    public async Task A_role_with_other_settings_changes_nothing()
    {
        await MakeRole();
        foreach (var setting in (string[])[
            "standard_conforming_strings = off", "bytea_output = escape", "DateStyle = 'German, DMY'", "IntervalStyle = sql_standard", "TimeZone = 'Asia/Kolkata'",
            "search_path = nowhere", "statement_timeout = 1", "lock_timeout = 1", "idle_in_transaction_session_timeout = 1", "idle_session_timeout = 1000",
            "default_transaction_isolation = serializable", "default_transaction_deferrable = on", "row_security = off", "client_encoding = LATIN1",
            "extra_float_digits = -15", "synchronous_commit = off", "quote_all_identifiers = on", "array_nulls = off", "exit_on_error = on"])
        {
            await Execute($"ALTER ROLE {RoleName} SET {setting}");
        }
        var node = NodeOf(await Start(AsRole));
        await Works(node);
        Assert.Equal(
            "on hex ISO, MDY postgres UTC pg_catalog 0 0 0 0 read committed off on UTF8 1 on off on off",
            await engines[0].Database.WithReconnect(Org, async connection => await Ask(connection, """
                SELECT concat_ws(' ', current_setting('standard_conforming_strings'), current_setting('bytea_output'), current_setting('DateStyle'), current_setting('IntervalStyle'),
                    current_setting('TimeZone'), current_setting('search_path'), current_setting('statement_timeout'), current_setting('lock_timeout'),
                    current_setting('idle_in_transaction_session_timeout'), current_setting('idle_session_timeout'), current_setting('default_transaction_isolation'),
                    current_setting('default_transaction_deferrable'), current_setting('row_security'), current_setting('client_encoding'), current_setting('extra_float_digits'),
                    current_setting('synchronous_commit'), current_setting('quote_all_identifiers'), current_setting('array_nulls'), current_setting('exit_on_error'))
                """), None));
    }

    [Fact]
    public async Task A_database_with_other_settings_changes_nothing()
    {
        var name = new NpgsqlConnectionStringBuilder(ConnectionString).Database;
        foreach (var setting in (string[])["standard_conforming_strings = off", "statement_timeout = 1", "search_path = nowhere", "DateStyle = 'SQL, DMY'", "TimeZone = 'Australia/Lord_Howe'"])
        {
            await Execute($"ALTER DATABASE {name} SET {setting}");
        }
        await Works(NodeOf(await Start(ConnectionString)));
    }

    [Fact]
    public async Task Options_of_the_address_are_kept_and_do_not_get_in_the_way()
    {
        var at = new NpgsqlConnectionStringBuilder(ConnectionString)
        {
            Options = "-c work_mem=7MB -c standard_conforming_strings=off -c statement_timeout=1",
            Timezone = "Asia/Kolkata",
            SearchPath = "nowhere",
            ClientEncoding = "LATIN1",
            Encoding = "latin1",
        };
        await Works(NodeOf(await Start(at.ConnectionString)));
        Assert.Equal("7MB", await engines[0].Database.WithReconnect(Org, async connection => await Ask(connection, "SHOW work_mem"), None));
    }

    [Fact]
    public async Task Where_no_options_can_be_sent_the_first_statement_sets_everything()
    {
        await MakeRole();
        await Execute($"ALTER ROLE {RoleName} SET standard_conforming_strings = off");
        await Execute($"ALTER ROLE {RoleName} SET default_transaction_isolation = serializable");
        await Works(NodeOf(await Start(AsRole, o => o with { StartupOptions = false })));
        Assert.Equal("on", await engines[0].Database.WithReconnect(Org, async connection => await Ask(connection, "SHOW standard_conforming_strings"), None));
    }

    [Theory]
    [InlineData("LATIN1")]
    [InlineData("SQL_ASCII")]
    public async Task A_database_of_another_encoding_is_refused_with_a_sentence(string encoding)
    {
        var name = $"{new NpgsqlConnectionStringBuilder(ConnectionString).Database}_{encoding.ToLowerInvariant()}";
        await Execute($"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        var at = new NpgsqlConnectionStringBuilder(ConnectionString) { Database = name }.ConnectionString;
        var e = await Assert.ThrowsAsync<InvalidOperationException>(() => Start(at));
        Assert.StartsWith($"The database \"{name}\" has the encoding {encoding}", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Fewer_connections_than_callers_are_waited_for()
    {
        var node = NodeOf(await Start(new NpgsqlConnectionStringBuilder(ConnectionString) { MaxPoolSize = 2, Timeout = 1 }.ConnectionString));
        Assert.Equal(2, await MostAtOnce(node));
    }

    [Fact]
    public async Task A_server_with_fewer_connections_than_the_pool_is_waited_for()
    {
        await MakeRole();
        // The writer has one, and the listener as soon as it gets it.
        await Execute($"ALTER ROLE {RoleName} CONNECTION LIMIT 5");
        Assert.InRange(await MostAtOnce(NodeOf(await Start(AsRole))), 1, 4);
    }

    [Fact]
    public void What_the_address_sets_of_pool_and_time_outs_is_kept()
    {
        var given = new NpgsqlConnectionStringBuilder(ConnectionString)
        {
            MaxPoolSize = 7,
            Timeout = 11,
            CommandTimeout = 12,
            CancellationTimeout = 1300,
            ConnectionIdleLifetime = 140,
            MaxAutoPrepare = 15,
            AutoPrepareMinUsages = 16,
            ApplicationName = "mine",
        };
        var used = SessionSettings.Pooled(new(given.ConnectionString, "a", []));
        Assert.Equal(
            (7, 11, 12, 1300, 140, 15, 16, "mine"),
            (used.MaxPoolSize, used.Timeout, used.CommandTimeout, used.CancellationTimeout, used.ConnectionIdleLifetime, used.MaxAutoPrepare, used.AutoPrepareMinUsages, used.ApplicationName));
        Assert.Equal("mine writer", SessionSettings.Apart(new(given.ConnectionString, "a", []), "writer", autoPrepare: true).ApplicationName);
        Assert.Equal(40, SessionSettings.Pooled(new(new NpgsqlConnectionStringBuilder(ConnectionString) { MinPoolSize = 40 }.ConnectionString, "a", [])).MaxPoolSize);
    }

    /// <summary>Sixteen readers at once, each of whom takes a while; none may fail.</summary>
    async Task<int> MostAtOnce(Node node)
    {
        await node.Log.Append(new Chain(Org, "run-1").Commit("text"), None);
        var (now, most) = (0, 0);
        await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => Task.Run(async () =>
            await engines[0].Database.WithReconnect(
                Org,
                async connection =>
                {
                    InterlockedMax(ref most, Interlocked.Increment(ref now));
                    await Ask(connection, "SELECT pg_sleep(0.3)::text");
                    return Interlocked.Decrement(ref now);
                },
                None))));
        return most;
    }

    static void InterlockedMax(ref int most, int value)
    {
        for (var seen = Volatile.Read(ref most); value > seen && Interlocked.CompareExchange(ref most, value, seen) != seen; seen = Volatile.Read(ref most))
        {
            // Somebody else has raised it.
        }
    }

    async Task Works(Node node)
    {
        var chain = new Chain(Org, "run-1", "s1", "1");
        Assert.Equal(new AppendResult.Ok(1), await node.Log.Append(chain.Commit(Emoji), None));
        await node.Snapshots.Save(Org, "run-1", new(1, "hash", "a", new byte[] { 0, 92, 255 }, new byte[] { 1 }), None);
        Assert.Equal([0, 92, 255], (await node.Snapshots.Load(Org, "run-1", "a", None))!.State.ToArray());
        var stored = (await node.Log.Load(Org, "run-1", 0, 10, None)).Events[0];
        Assert.Equal(Chain.Start.AddMilliseconds(1), stored.At);
        Assert.Contains("\U0001F600", System.Text.Json.JsonDocument.Parse(stored.Data).RootElement.GetProperty("text").GetString(), StringComparison.Ordinal);
        await using var worker = new Worker(node);
        await Submit(node, "run-2", new Job("run", "1", TimeProvider.System.GetUtcNow()));
        await node.Jobs.Complete(await worker.Next(), None);
        await AssertLedger(node);
    }

    async Task<StorageEngine> Start(string at, Func<StorageOptions, StorageOptions>? change = null)
    {
        var options = new StorageOptions(at, "a", [Chain.Tallies, Chain.Marks]) { Lease = Lease, Heartbeat = Lease / 6 };
        var engine = StorageEngine.New(change?.Invoke(options) ?? options);
        engines.Add(engine);
        await engine.StartAsync(None);
        return engine;
    }

    async Task MakeRole()
    {
        await Execute($"CREATE ROLE {RoleName} LOGIN");
        await Execute($"GRANT ALL ON DATABASE {new NpgsqlConnectionStringBuilder(ConnectionString).Database} TO {RoleName}");
    }

    async Task Execute(string sql)
    {
        await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(ConnectionString) { Database = "postgres", Pooling = false }.ConnectionString);
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync();
    }

    static async Task<string?> Ask(ScopedConnection connection, string sql) => (string?)await connection.Ask(new(sql), None);
}
