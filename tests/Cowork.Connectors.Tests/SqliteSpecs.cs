using System.Collections.Immutable;

using Cowork.Application;
using Cowork.Testing;

using Microsoft.Data.Sqlite;

namespace Cowork.Connectors.Tests;

/// <summary>SQLite files: inside the configured folders, and nothing beyond them.</summary>
public sealed class SqliteSpecs : IDisposable
{
    readonly string root = Directory.CreateDirectory(TestPostgres.NewDirectory()).FullName;
    readonly string beside = Directory.CreateDirectory(TestPostgres.NewDirectory()).FullName;
    readonly SqliteConnector connector;

    public SqliteSpecs() => connector = new([root], TimeProvider.System);

    public void Dispose()
    {
        SqliteConnection.ClearAllPools();
        Directory.Delete(root, recursive: true);
        Directory.Delete(beside, recursive: true);
    }

    [Fact]
    public async Task A_file_is_opened_and_tells_what_it_has()
    {
        var settings = Make(root, "a.db", "CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT, at BLOB); INSERT INTO orders VALUES (1, 'tea ü', x'00ff'), (2, NULL, NULL)");
        Assert.Null((await connector.Probe(settings, default)).WhyNot);
        var schema = Assert.IsType<ConnectorAnswer.Table>(await connector.Ask(settings, new ConnectorRequest.Schema(), default));
        Assert.Equal(["orders", "table", "id INTEGER, what TEXT, at BLOB"], Assert.Single(schema.Rows));
        var sample = Assert.IsType<ConnectorAnswer.Table>(await connector.Ask(settings, new ConnectorRequest.Sample("orders", 1), default));
        Assert.Equal(["1", "tea ü", "x'00ff'"], Assert.Single(sample.Rows));
        Assert.Equal("Cut after 1 rows: there are more.", sample.Cut);
        Assert.Equal([null], Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SELECT what FROM orders WHERE id = 2; -- done")).Rows[0]);
    }

    [Fact]
    public async Task The_schema_has_generated_columns_and_tells_what_is_broken()
    {
        var settings = Make(root, "a.db", """
            CREATE TABLE g (a INTEGER, b INTEGER GENERATED ALWAYS AS (a + 1), c TEXT AS (a) STORED); CREATE VIEW broken AS SELECT * FROM missing
            """);
        var schema = Assert.IsType<ConnectorAnswer.Table>(await connector.Ask(settings, new ConnectorRequest.Schema(), default));
        Assert.Equal(["broken", "g"], schema.Rows.Select(row => row[0]));
        Assert.Equal("(broken: SQLite answered: no such table: main.missing)", schema.Rows[0][2]);
        Assert.Equal("a INTEGER, b INTEGER (generated), c TEXT (generated)", schema.Rows[1][2]);
    }

    [Fact]
    public async Task Full_text_and_spatial_tables_are_read_and_not_changed_by_a_read()
    {
        var settings = Make(root, "a.db", """
            CREATE VIRTUAL TABLE notes USING fts5(title, body); INSERT INTO notes VALUES ('tea', 'green and black');
            CREATE VIRTUAL TABLE places USING rtree(id, low, high, +label TEXT); INSERT INTO places VALUES (1, 2, 3, 'here')
            """);
        var before = await File.ReadAllBytesAsync(settings["path"]!);
        var schema = Assert.IsType<ConnectorAnswer.Table>(await connector.Ask(settings, new ConnectorRequest.Schema(), default));
        Assert.Equal("title , body ", schema.Rows.Single(row => row[0] == "notes")[2]);
        Assert.Equal(["tea"], Assert.Single(Assert.IsType<ConnectorAnswer.Table>(
            await Query(settings, "SELECT title FROM notes WHERE notes MATCH 'black' ORDER BY rank")).Rows));
        Assert.Equal(["1", "2.0", "3.0", "here"], Assert.Single(Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SELECT * FROM places WHERE low > 1")).Rows));
        Assert.Single(Assert.IsType<ConnectorAnswer.Table>(await connector.Ask(settings, new ConnectorRequest.Sample("places", 5), default)).Rows);
        foreach (var sql in (string[])
        [
            "INSERT INTO notes VALUES ('a', 'b')", "INSERT INTO notes(notes) VALUES ('optimize')", "DELETE FROM places",
            "DELETE FROM places_node", "UPDATE sqlite_master SET sql = ''",
        ])
        {
            Assert.IsType<ConnectorAnswer.Failed>(await Query(settings, sql));
        }
        Assert.Equal(before, await File.ReadAllBytesAsync(settings["path"]!));
        Assert.IsType<ConnectorAnswer.Text>(await Write(settings, "UPDATE places SET label = 'there' WHERE id = 1"));
        Assert.Equal(["there"], Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SELECT label FROM places")).Rows[0]);
    }

    [Theory]
    [InlineData("we.ird", "we.ird")]
    [InlineData("main.we.ird", "we.ird")]
    [InlineData("\"we.ird\"", "we.ird")]
    [InlineData("main.\"say \"\"hi\"\"\"", "say \"hi\"")]
    [InlineData("say \"hi\"", "say \"hi\"")]
    [InlineData("main.dot", "main.dot")]
    public async Task A_table_is_sampled_by_the_spelling_of_the_schema_and_by_that_of_SQL(string name, string value)
    {
        var settings = Make(root, "a.db", string.Join(';', ((string[])["we.ird", "say \"hi\"", "main.dot"]).Select(
            table => $"CREATE TABLE \"{table.Replace("\"", "\"\"", StringComparison.Ordinal)}\" AS SELECT '{table}' AS a")));
        Assert.Equal([value], Assert.Single(Assert.IsType<ConnectorAnswer.Table>(await connector.Ask(settings, new ConnectorRequest.Sample(name, 5), default)).Rows));
    }

    [Theory]
    [InlineData("a.db-wal")]
    [InlineData("a.db-shm")]
    [InlineData("a.db-journal")]
    public async Task A_file_that_SQLite_keeps_beside_a_database_is_none(string name)
    {
        var settings = Make(root, name, "CREATE TABLE t (a INTEGER)");
        File.CreateSymbolicLink(Path.Combine(root, "link.db"), settings["path"]!);
        foreach (var path in (string[])[settings["path"]!, "link.db"])
        {
            Assert.StartsWith("The path leads to a file that SQLite keeps", (await connector.Probe(At(path), default)).WhyNot, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("ATTACH '/tmp/other.db' AS other")]
    [InlineData("PRAGMA trusted_schema = ON")]
    public async Task A_write_that_is_refused_is_not_told_what_reads_do(string sql)
    {
        var failed = Assert.IsType<ConnectorAnswer.Failed>(await Write(Make(root, "a.db", "CREATE TABLE t (a INTEGER)"), sql));
        Assert.Equal("The statement does what no connection does: it attaches a database, loads an extension or sets a pragma.", failed.Reason);
    }

    [Theory]
    [InlineData("INSERT INTO t VALUES (9)")]
    [InlineData("DELETE FROM t")]
    [InlineData("CREATE TABLE made (a)")]
    [InlineData("PRAGMA query_only = OFF")]
    [InlineData("PRAGMA writable_schema = ON")]
    [InlineData("PRAGMA journal_mode = DELETE")]
    [InlineData("ATTACH '{beside}/made.db' AS other")]
    [InlineData("VACUUM INTO '{beside}/made.db'")]
    [InlineData("SELECT load_extension('/lib/x86_64-linux-gnu/libc.so.6')")]
    [InlineData("BEGIN IMMEDIATE")]
    [InlineData("SELECT 1; DELETE FROM t")]
    [InlineData("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x")]
    public async Task What_is_asked_for_as_a_read_changes_nothing(string sql)
    {
        var settings = Make(root, "a.db", "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)");
        var before = await File.ReadAllBytesAsync(settings["path"]!);
        Assert.IsType<ConnectorAnswer.Failed>(await Query(settings, sql.Replace("{beside}", beside, StringComparison.Ordinal)));
        Assert.Equal(before, await File.ReadAllBytesAsync(settings["path"]!));
        Assert.Empty(Directory.EnumerateFileSystemEntries(beside));
    }

    [Theory]
    [InlineData("ATTACH '{beside}/made.db' AS other")]
    [InlineData("VACUUM INTO '{beside}/made.db'")]
    [InlineData("SELECT load_extension('/lib/x86_64-linux-gnu/libc.so.6')")]
    [InlineData("PRAGMA trusted_schema = ON")]
    [InlineData("COMMIT")]
    [InlineData("DROP TABLE t")]
    [InlineData("DELETE FROM t; DELETE FROM t")]
    public async Task A_write_stays_in_its_own_database(string sql)
    {
        var settings = Make(root, "a.db", "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)");
        Assert.IsType<ConnectorAnswer.Failed>(await Write(settings, sql.Replace("{beside}", beside, StringComparison.Ordinal)));
        Assert.Equal(["1"], Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SELECT count(*) FROM t")).Rows[0]);
        Assert.Empty(Directory.EnumerateFileSystemEntries(beside));
    }

    [Fact]
    public async Task A_write_is_done_and_says_what_it_did()
    {
        var settings = Make(root, "a.db", "CREATE TABLE t (a INTEGER, b TEXT)");
        Assert.Equal("Done: 2 rows changed.", Assert.IsType<ConnectorAnswer.Text>(await Write(settings, "INSERT INTO t VALUES (1, 'x'), (2, 'y')")).Content);
        Assert.Equal(["2", "z"], Assert.IsType<ConnectorAnswer.Table>(await Write(settings, "UPDATE t SET b = 'z' WHERE a = 2 RETURNING a, b")).Rows[0]);
        Assert.Equal("Done: 0 rows changed.", Assert.IsType<ConnectorAnswer.Text>(await Write(settings, "CREATE INDEX i ON t (a)")).Content);
    }

    [Fact]
    public async Task A_path_that_leads_out_of_the_folders_is_none()
    {
        var outside = Make(beside, "b.db", "CREATE TABLE t (a INTEGER)")["path"]!;
        File.CreateSymbolicLink(Path.Combine(root, "link.db"), outside);
        Directory.CreateSymbolicLink(Path.Combine(root, "folder"), beside);
        Make(root, "inside.db", "CREATE TABLE t (a INTEGER)");
        File.CreateSymbolicLink(Path.Combine(root, "fine.db"), Path.Combine(root, "inside.db"));
        await File.WriteAllTextAsync(Path.Combine(root, "text.db"), new string('x', 5_000));
        foreach (var path in (string[])
        [
            outside, "link.db", "folder/b.db", $"../{Path.GetFileName(beside)}/b.db", "/etc/passwd", "none.db", ".", "", ":memory:", $"file:{outside}?mode=ro", "/dev/null", "/proc/self/mem",
        ])
        {
            Assert.StartsWith("The path leads to no file", (await connector.Probe(At(path), default)).WhyNot, StringComparison.Ordinal);
        }
        Assert.Equal(["folder", "fine.db", "inside.db", "link.db", "text.db"], Directory.EnumerateFileSystemEntries(root).Select(Path.GetFileName).Order(StringComparer.Ordinal).OrderBy(n => n == "folder" ? 0 : 1));
        Assert.Null((await connector.Probe(At("fine.db"), default)).WhyNot);
        Assert.Equal("The file is not a SQLite database, or it is damaged.", (await connector.Probe(At("text.db"), default)).WhyNot);
    }

    [Fact]
    public async Task What_has_no_end_or_no_bounds_is_cut()
    {
        var settings = Make(root, "a.db", "CREATE TABLE t (a INTEGER)");
        const string Endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {0} FROM n";
        Assert.Equal(1_000, Assert.IsType<ConnectorAnswer.Table>(await Query(settings, string.Format(null, Endless, "i"), 1_000)).Rows.Count);
        var huge = Assert.IsType<ConnectorAnswer.Table>(await Query(settings, "SELECT printf('%.*c', 30000000, 'x'), 'beside'"));
        Assert.Equal((ConnectorLimits.CellCharsMax + "…[cut]".Length, "beside"), (huge.Rows[0][0]!.Length, huge.Rows[0][1]));
        Assert.StartsWith("A value or a sort is too large", Assert.IsType<ConnectorAnswer.Failed>(await Query(settings, "SELECT zeroblob(1000000000)")).Reason, StringComparison.Ordinal);

        var clock = new TestClock();
        var waiting = new SqliteConnector([root], clock).Ask(settings, new ConnectorRequest.Query(string.Format(null, Endless, "max(i)"), 1), default).AsTask();
        clock.Advance(ConnectorLimits.AskTime);
        Assert.StartsWith("The statement was ended", Assert.IsType<ConnectorAnswer.Failed>(await waiting).Reason, StringComparison.Ordinal);
    }

    Task<ConnectorAnswer> Query(ConnectionSettings settings, string sql, int limit = 100) => connector.Ask(settings, new ConnectorRequest.Query(sql, limit), default).AsTask();

    Task<ConnectorAnswer> Write(ConnectionSettings settings, string sql) => connector.Ask(settings, new ConnectorRequest.Write(sql, 100, "run:1"), default).AsTask();

    static ConnectionSettings Make(string folder, string name, string sql)
    {
        var path = Path.Combine(folder, name);
        using var connection = new SqliteConnection($"Data Source={path}");
        connection.Open();
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
        return At(path);
    }

    static ConnectionSettings At(string path) => new("default", new("01kdvkjr000000000000000031"), "sqlite", ImmutableDictionary<string, string>.Empty.Add("path", path));
}
