using System.Collections.Immutable;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Testing;

using Npgsql;

namespace Cowork.Connectors.Tests;

/// <summary>Connections to PostgreSQL: a real server, one that is cut off, and ones that misbehave.</summary>
public sealed class PostgresSpecs(PostgresSpecs.Server server) : IClassFixture<PostgresSpecs.Server>
{
    const string Password = "Pa55-word-of-the-specs";

    static readonly PostgresConnector Connector = new(new OpenEgress(), TimeProvider.System);

    /// <summary>A server with passwords, for all specs.</summary>
    public sealed class Server : IAsyncLifetime
    {
        public TcpPostgres Postgres { get; private set; } = null!;

        public async ValueTask InitializeAsync() => Postgres = await TcpPostgres.Start(null, Password);

        public ValueTask DisposeAsync() => Postgres.DisposeAsync();
    }

    [Fact]
    public async Task A_database_is_reached_and_tells_what_it_has()
    {
        var settings = await Database("CREATE TABLE orders (id int PRIMARY KEY, what text, price numeric(10,2)); INSERT INTO orders VALUES (1, 'tea', 3.50), (2, NULL, NULL)");
        Assert.Null((await Connector.Probe(settings, default)).WhyNot);

        var schema = Assert.IsType<ConnectorAnswer.Table>(await Ask(settings, new ConnectorRequest.Schema()));
        Assert.Equal(["schema", "name", "kind", "columns"], schema.Columns);
        Assert.Equal(["public", "orders", "table", "id integer, what text, price numeric(10,2)"], Assert.Single(schema.Rows));

        var sample = Assert.IsType<ConnectorAnswer.Table>(await Ask(settings, new ConnectorRequest.Sample("public.orders", 1)));
        Assert.Equal(["1", "tea", "3.50"], Assert.Single(sample.Rows));
        Assert.Equal("Cut after 1 rows: there are more.", sample.Cut);

        var read = Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SELECT id, what FROM orders WHERE id > 1 -- the last\n;"));
        Assert.Equal(["2", null], Assert.Single(read.Rows));
        Assert.Null(read.Cut);
        Assert.Equal(["on"], Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SHOW transaction_read_only")).Rows[0]);
        Assert.NotEmpty(Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "EXPLAIN SELECT * FROM orders")).Rows);
    }

    [Fact]
    public async Task A_read_calls_the_servers_own_functions_whatever_search_path_the_role_has()
    {
        var settings = await Database(
            """
            CREATE SCHEMA evil; CREATE TABLE t AS SELECT 'Tea' AS a; CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS 'SELECT ''not lower''::text';
            DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = evil, pg_catalog, public', current_database()); END $$
            """);
        Assert.Equal(["tea"], Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SELECT lower(a) FROM t LIMIT 1")).Rows.Single());
        Assert.Equal(["Tea"], Assert.IsType<ConnectorAnswer.Table>(await Ask(settings, new ConnectorRequest.Sample("t", 1))).Rows.Single());
        // A database without a search path is read, too.
        var bare = await Database("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = ''''', current_database()); END $$");
        Assert.Equal(["1"], Assert.IsType<ConnectorAnswer.Table>(await Query(bare, "SELECT abs(-1) AS a")).Rows.Single());
    }

    [Fact]
    public async Task A_server_with_TLS_is_who_verify_full_says_or_gets_no_password()
    {
        using var authority = new TestAuthority();
        using var stranger = new TestAuthority("Another authority");
        await using var good = await TcpPostgres.Start(authority.Issue("localhost"), Password);
        await using var misnamed = await TcpPostgres.Start(authority.Issue("db.example"), Password);
        ConnectionSettings Settings(int port, string mode, string pem) => new("acme", ConnectionKey.New(new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero)), "postgres",
            ImmutableDictionary<string, string>.Empty.Add("host", "localhost").Add("port", port.ToString(CultureInfo.InvariantCulture)).Add("database", "postgres")
                .Add("user", "cowork").Add("password", Password).Add("sslmode", mode).Add("root_certificate", pem));
        var trusted = Settings(good.Port, "verify-full", authority.Pem);
        Assert.Null((await Connector.Probe(trusted, default)).WhyNot);
        Assert.Equal(
            ["t"], Assert.IsType<ConnectorAnswer.Table>(await Query(trusted, "SELECT ssl FROM pg_stat_ssl WHERE pid = (SELECT pg_backend_pid())")).Rows.Single());
        Assert.Null((await Connector.Probe(Settings(good.Port, "verify-full", $"{stranger.Pem}\n{authority.Pem}"), default)).WhyNot);
        Assert.Null((await Connector.Probe(Settings(misnamed.Port, "verify-ca", authority.Pem), default)).WhyNot);
        foreach (var settings in (ConnectionSettings[])
        [
            Settings(misnamed.Port, "verify-full", authority.Pem), Settings(good.Port, "verify-full", stranger.Pem), Settings(good.Port, "verify-ca", stranger.Pem),
        ])
        {
            var whyNot = (await Connector.Probe(settings, default)).WhyNot;
            Assert.Contains("certificate", whyNot, StringComparison.Ordinal);
            Assert.DoesNotContain(Password, whyNot, StringComparison.Ordinal);
            Assert.True(Assert.IsType<ConnectorAnswer.Failed>(await Query(settings, "SELECT 1")).IsUnreachable);
        }
        await using var plain = await TcpPostgres.Start(null, Password);
        Assert.NotNull((await Connector.Probe(Settings(plain.Port, "verify-full", authority.Pem), default)).WhyNot);
    }

    [Fact]
    public async Task A_table_is_sampled_by_the_spelling_of_the_schema_and_by_that_of_SQL()
    {
        var settings = await Database(
            """"
            CREATE TABLE "we.ird" AS SELECT 'dot' AS a; CREATE TABLE "say ""hi""" AS SELECT 'quote' AS a; CREATE TABLE "it's" AS SELECT 'tick' AS a;
            CREATE SCHEMA "s.t"; CREATE TABLE "s.t"."u.v" AS SELECT 'both' AS a; CREATE TABLE "Case" AS SELECT 'case' AS a
            """");
        foreach (var (name, value) in ((string, string)[])
        [
            ("public.we.ird", "dot"), ("we.ird", "dot"), ("public.\"we.ird\"", "dot"), ("\"we.ird\"", "dot"), ("\"public\".\"we.ird\"", "dot"),
            ("public.say \"hi\"", "quote"), ("public.\"say \"\"hi\"\"\"", "quote"), ("public.it's", "tick"), ("s.t.u.v", "both"), ("\"s.t\".\"u.v\"", "both"), ("Case", "case"),
        ])
        {
            Assert.Equal([value], Assert.Single(Assert.IsType<ConnectorAnswer.Table>(await Ask(settings, new ConnectorRequest.Sample(name, 5))).Rows));
        }
        foreach (var name in (string[])["no.such.table", "a\"b", "", ".", "public."])
        {
            var none = Assert.IsType<ConnectorAnswer.Failed>(await Ask(settings, new ConnectorRequest.Sample(name, 5)));
            Assert.Equal("A table is named as the schema has it: schema.name.", none.Reason);
        }
        Assert.Contains("42P01", Assert.IsType<ConnectorAnswer.Failed>(await Ask(settings, new ConnectorRequest.Sample("public.none", 5))).Reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("INSERT INTO t VALUES (9)")]
    [InlineData("SELECT 1; INSERT INTO t VALUES (9)")]
    [InlineData("SELECT 1; COMMIT; INSERT INTO t VALUES (9)")]
    [InlineData("COMMIT")]
    [InlineData("ROLLBACK; BEGIN; INSERT INTO t VALUES (9); COMMIT")]
    [InlineData("SELECT 1 INTO made")]
    [InlineData("WITH x AS (INSERT INTO t VALUES (9) RETURNING *) SELECT * FROM x")]
    [InlineData("SELECT set_config('transaction_read_only', 'off', false), grow()")]
    [InlineData("SELECT grow()")]
    [InlineData("SET TRANSACTION READ WRITE")]
    [InlineData("SELECT nextval('counter')")]
    [InlineData("EXPLAIN ANALYZE INSERT INTO t VALUES (9)")]
    [InlineData("SELECT E'\\'; INSERT INTO t VALUES (9); --'")]
    [InlineData("SELECT $a$;$a$; INSERT INTO t VALUES (9)")]
    [InlineData("COPY t FROM PROGRAM 'echo 9'")]
    [InlineData("DO $$ BEGIN INSERT INTO t VALUES (9); END $$")]
    [InlineData("CALL nothing()")]
    public async Task What_is_asked_for_as_a_read_changes_nothing(string sql)
    {
        var settings = await Database(
            "CREATE TABLE t (a int); CREATE SEQUENCE counter; CREATE FUNCTION grow() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (9) RETURNING a'");
        await Query(settings, sql);
        Assert.Equal(["0", "1"], Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SELECT count(*), (SELECT last_value FROM counter) FROM t")).Rows[0]);
    }

    [Fact]
    public async Task A_write_is_done_and_says_what_it_did()
    {
        var settings = await Database("CREATE TABLE t (a int, b text)");
        Assert.Equal("Done: 2 rows changed.", Assert.IsType<ConnectorAnswer.Text>(await Write(settings, "INSERT INTO t VALUES (1, 'x'), (2, 'y')")).Content);
        Assert.Equal(["2", "z"], Assert.IsType<ConnectorAnswer.Table>(await Write(settings, "UPDATE t SET b = 'z' WHERE a = 2 RETURNING a, b")).Rows[0]);
        Assert.Equal("Done.", Assert.IsType<ConnectorAnswer.Text>(await Write(settings, "CREATE INDEX ON t (a)")).Content);
        Assert.StartsWith("DROP, TRUNCATE", Assert.IsType<ConnectorAnswer.Failed>(await Write(settings, "DROP TABLE t")).Reason, StringComparison.Ordinal);
        Assert.StartsWith("DROP, TRUNCATE", Assert.IsType<ConnectorAnswer.Failed>(await Write(settings, "DELETE FROM t; DELETE FROM t")).Reason, StringComparison.Ordinal);
        Assert.StartsWith("The server answered 42P01: ", Assert.IsType<ConnectorAnswer.Failed>(await Write(settings, "DELETE FROM gone")).Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_million_rows_and_huge_cells_are_cut_and_said_to_be()
    {
        var settings = await Database("CREATE TABLE t (a int)");
        var watch = Stopwatch.StartNew();
        var many = Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SELECT n FROM generate_series(1, 1000000) n", 1_000));
        Assert.Equal((1_000, "Cut after 1000 rows: there are more."), (many.Rows.Count, many.Cut));

        var huge = Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SELECT repeat('x', 30000000), 'beside'"));
        Assert.Equal(ConnectorLimits.CellCharsMax + "…[cut]".Length, huge.Rows[0][0]!.Length);
        Assert.Equal("beside", huge.Rows[0][1]);

        var large = Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SELECT repeat('x', 3500) FROM generate_series(1, 1000000)", 1_000));
        Assert.StartsWith("Cut after 299 rows: the answer is larger than 1048576 bytes.", large.Cut, StringComparison.Ordinal);
        // What is cut is not read to its end.
        Assert.InRange(watch.Elapsed, TimeSpan.Zero, Patience.Stretched(TimeSpan.FromSeconds(20)));
    }

    [Fact]
    public async Task Every_type_comes_as_text()
    {
        var settings = await Database("CREATE TYPE mood AS ENUM ('glad'); CREATE TABLE t (a int)");
        var row = Assert.IsType<ConnectorAnswer.Table>(await Query(
            settings,
            """SELECT 'glad'::mood, ARRAY[1,2], '{"a":1}'::jsonb, true, 1.5::float8, '\x00ff'::bytea, DATE '2026-01-02', point(1,2), 'a'::name, ROW(1,'x'), E'ü\n', 12345678901234567890::numeric"""))
            .Rows[0];
        Assert.Equal(["glad", "{1,2}", """{"a": 1}""", "t", "1.5", "\\x00ff", "2026-01-02", "(1,2)", "a", "(1,x)", "ü\n", "12345678901234567890"], row);
    }

    [Theory]
    [InlineData("password", "wrong-Passw0rd", "The server refused the user or the password.")]
    [InlineData("user", "nobody", "The server refused the user or the password.")]
    [InlineData("database", "no_such", "The server has no database of that name.")]
    [InlineData("port", "1", "Nobody answers at that host and port.")]
    [InlineData("sslmode", "require", "The server does not speak TLS, which the connection asks for.")]
    public async Task A_wrong_setting_has_a_plain_reason(string field, string value, string reason)
    {
        var settings = With(await Database("SELECT 1"), field, value);
        Assert.Equal(reason, (await Connector.Probe(settings, default)).WhyNot);
    }

    [Fact]
    public async Task The_fence_is_asked_and_obeyed()
    {
        var settings = await Database("SELECT 1");
        var fenced = new PostgresConnector(new EgressFence([], [], TimeProvider.System), TimeProvider.System);
        Assert.Contains("Cowork:Egress:Allow", (await fenced.Probe(settings, default)).WhyNot);
        Assert.Contains("Cowork:Egress:Allow", (await fenced.Probe(With(settings, "host", "/var/run/postgresql"), default)).WhyNot);
        Assert.Contains("Cowork:Egress:Allow", (await fenced.Probe(With(settings, "host", "example.com,127.0.0.1"), default)).WhyNot);
    }

    [Fact]
    public async Task A_server_that_is_silent_or_drops_the_connection_is_given_up()
    {
        var settings = await Database("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 1000)");
        await using var proxy = new CuttingProxy(server.Postgres.UnixSocket);
        var through = With(settings, "port", proxy.Port.ToString(CultureInfo.InvariantCulture));
        Assert.Null((await Connector.Probe(through, default)).WhyNot);

        var asked = Query(through, "SELECT pg_sleep(20)");
        while (Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()")).Rows.Count == 0)
        {
            // The statement is not there yet.
        }
        proxy.Cut();
        Assert.Equal("The server closed the connection.", Assert.IsType<ConnectorAnswer.Failed>(await asked).Reason);

        using var silent = new TcpListener(IPAddress.Loopback, 0);
        silent.Start();
        var clock = new TestClock();
        var probe = new PostgresConnector(new OpenEgress(), clock).Probe(With(settings, "port", $"{((IPEndPoint)silent.LocalEndpoint).Port}"), default).AsTask();
        using var accepted = await silent.AcceptTcpClientAsync();
        clock.Advance(ConnectorLimits.ProbeTime);
        Assert.Equal("The server did not answer within 10 seconds.", (await probe).WhyNot);
    }

    [Theory]
    [InlineData("HTTP/1.1 400 Bad Request\r\n\r\n")]
    [InlineData("E\0\0\0\u0008")]
    [InlineData("R\u007f\u007f\u007f\u007f")]
    [InlineData("")]
    public async Task A_server_that_speaks_something_else_has_a_plain_reason(string answer)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var settings = With(Settings("h", 1, "d", "u", "s3cr3t-password"), "host", "127.0.0.1", "port", $"{((IPEndPoint)listener.LocalEndpoint).Port}", "sslmode", "disable");
        var probe = Connector.Probe(settings, default).AsTask();
        using (var client = await listener.AcceptTcpClientAsync())
        {
            await client.GetStream().ReadAtLeastAsync(new byte[8], 8);
            await client.GetStream().WriteAsync(answer.Select(c => (byte)c).ToArray());
        }
        var why = (await probe).WhyNot;
        Assert.True(why is "The server closed the connection." or "The server does not speak PostgreSQL's protocol as expected."
            or "The server sent something of an impossible size." or "Nobody answers at that host and port.", why);
    }

    [Fact]
    public async Task A_password_is_not_sent_in_the_clear()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var settings = With(Settings("h", 1, "d", "u", "s3cr3t-password"), "host", "127.0.0.1", "port", $"{((IPEndPoint)listener.LocalEndpoint).Port}", "sslmode", "disable");
        var probe = Connector.Probe(settings, default).AsTask();
        using var client = await listener.AcceptTcpClientAsync();
        var stream = client.GetStream();
        await PostgresMessages.Startup(stream);
        await stream.WriteAsync(new byte[] { (byte)'R', 0, 0, 0, 8, 0, 0, 0, 3 }); // AuthenticationCleartextPassword
        var sent = new MemoryStream();
        await stream.CopyToAsync(sent);
        Assert.DoesNotContain("s3cr3t", System.Text.Encoding.Latin1.GetString(sent.ToArray()), StringComparison.Ordinal);
        Assert.StartsWith("The server wants the password in the clear", (await probe).WhyNot, StringComparison.Ordinal);
    }

    static ValueTask<ConnectorAnswer> Ask(ConnectionSettings settings, ConnectorRequest request) => Connector.Ask(settings, request, default);

    static Task<ConnectorAnswer> Query(ConnectionSettings settings, string sql, int limit = 100) => Ask(settings, new ConnectorRequest.Query(sql, limit)).AsTask();

    static Task<ConnectorAnswer> Write(ConnectionSettings settings, string sql) => Ask(settings, new ConnectorRequest.Write(sql, 100, "run:1")).AsTask();

    async Task<ConnectionSettings> Database(string sql)
    {
        var of = new NpgsqlConnectionStringBuilder(await server.Postgres.NewDatabase(Password, sql));
        return Settings(of.Host!, of.Port, of.Database!, of.Username!, of.Password!);
    }

    static ConnectionSettings Settings(string host, int port, string database, string user, string password) => new(
        "default", new("01kdvkjr000000000000000031"), "postgres",
        new Dictionary<string, string>
        {
            ["host"] = host,
            ["port"] = port.ToString(CultureInfo.InvariantCulture),
            ["database"] = database,
            ["user"] = user,
            ["password"] = password,
        }.ToImmutableDictionary());

    static ConnectionSettings With(ConnectionSettings settings, params string[] fields) => new(
        settings.Org, settings.Connection, settings.Spec, settings.Fields.SetItems(fields.Chunk(2).Select(pair => KeyValuePair.Create(pair[0], pair[1]))), settings.Revision);
}
