using System.Collections.Immutable;
using System.Globalization;
using System.Text;

using Cowork.Application;

using SQLitePCL;

namespace Cowork.Connectors;

/// <summary>
/// SQLite databases in files below the folders that the administrator configured (<c>Cowork:Connectors:SqliteRoots</c>). A path is resolved with its links before it is judged,
/// and the judged file is opened by its descriptor, so that a link cannot lead elsewhere in between. An authorizer refuses what a read or a write has no business with: other
/// databases, extensions, and for reads every change.
/// </summary>
/// <param name="roots">Absolute paths; none: there is no SQLite database to connect to.</param>
public sealed class SqliteConnector(IReadOnlyList<string> roots, TimeProvider clock) : IConnector
{
    /// <summary>Instructions of SQLite's machine between two looks at the clock.</summary>
    const int InstructionsBetweenLooks = 10_000;

    /// <summary>How long a statement waits for another program's lock.</summary>
    const int BusyMs = 5_000;

    /// <summary>Memory for the pages of one connection, in KiB.</summary>
    const int CacheKiB = 8 * 1024;

    /// <summary>Bytes of memory that SQLite may have for all connections of the process: a sort that needs more fails.</summary>
    const long HeapBytesMax = 256L << 20;

    /// <summary>SQLITE_OPEN_NOFOLLOW: no part of the path may be a link.</summary>
    const int OpenNoFollow = 0x01000000;

    /// <summary>Bytes of one value that SQLite makes or reads.</summary>
    const int ValueBytesMax = 64 << 20;

    /// <summary>Pragmas that tell about a database and change nothing.</summary>
    static readonly ImmutableHashSet<string> ReadingPragmas = ["table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list"];

    /// <summary>How the names of files end that SQLite keeps beside a database.</summary>
    static readonly ImmutableList<string> Companions = ["-wal", "-shm", "-journal"];

    static SqliteConnector()
    {
        Batteries_V2.Init();
        raw.sqlite3_hard_heap_limit64(HeapBytesMax);
    }

    public ConnectorSpec Spec { get; } = new(
        "sqlite", "SQLite", "Open a SQLite database file in one of the host's configured folders.", ConnectorAuth.Credentials, [new("path", "Path of the file")]);

    public async ValueTask<Probe> Probe(ConnectionSettings settings, CancellationToken ct)
    {
        var answer = await Use(settings, ConnectorLimits.ProbeTime, isRead: true, connection => Rows(connection, "SELECT count(*) FROM sqlite_master", 1), ct);
        return Application.Probe.Of(answer);
    }

    public ValueTask<ConnectorEffect> Judge(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct) => new(SqlText.EffectOf(request, SqlDialect.Sqlite));

    public ValueTask<ConnectorAnswer> Ask(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct) => request switch
    {
        ConnectorRequest.Schema => Use(settings, ConnectorLimits.AskTime, isRead: true, Schema, ct),
        ConnectorRequest.Sample sample => Use(settings, ConnectorLimits.AskTime, isRead: true, connection => Sample(connection, sample), ct),
        ConnectorRequest.Query query => Use(settings, ConnectorLimits.AskTime, isRead: true, connection => Rows(connection, query.Text, query.Limit), ct),
        ConnectorRequest.Write write => Use(settings, ConnectorLimits.AskTime, isRead: false, connection => Write(connection, write), ct),
        _ => throw new System.Diagnostics.UnreachableException(request.GetType().Name),
    };

    static ConnectorAnswer Schema(sqlite3 connection)
    {
        var names = Rows(
            connection,
            """SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name""",
            ConnectorLimits.RowsMax);
        if (names is not ConnectorAnswer.Table listed)
        {
            return names;
        }
        var table = new BoundedTable(["name", "kind", "columns"], ConnectorLimits.RowsMax);
        foreach (var row in listed.Rows)
        {
            if (!table.IsFull)
            {
                table.Add([row[0], row[1], Columns(connection, row[0] ?? "")]);
            }
        }
        var answer = table.Answer();
        return answer with { Cut = answer.Cut ?? listed.Cut };
    }

    /// <summary>The columns of a table or view, those that are computed among them; of a broken one, why it is broken.</summary>
    static string? Columns(sqlite3 connection, string name)
    {
        // Of the hidden columns, 1 is one of a virtual table that is no content; 2 and 3 are generated.
        var columns = Rows(
            connection,
            $"""
            SELECT group_concat(c.name || ' ' || c.type || iif(c.hidden > 1, ' (generated)', ''), ', ') FROM pragma_table_xinfo({Literal(name)}) c WHERE c.hidden <> 1
            """,
            1);
        return columns switch
        {
            ConnectorAnswer.Table { Rows: [var row] } => row[0],
            ConnectorAnswer.Failed failed => BoundedTable.Cell($"(broken: {failed.Reason})"),
            _ => null,
        };
    }

    /// <summary>The rows of a table, which is named as the schema has it, with <c>main.</c> before it or not, or as SQL quotes it.</summary>
    static ConnectorAnswer Sample(sqlite3 connection, ConnectorRequest.Sample sample)
    {
        var named = sample.Name.StartsWith("main.", StringComparison.OrdinalIgnoreCase) ? sample.Name[5..] : sample.Name;
        var plain = named is ['"', .., '"'] and { Length: > 2 } ? named[1..^1].Replace("\"\"", "\"", StringComparison.Ordinal) : named;
        var name = ((string[])[sample.Name, named]).FirstOrDefault(
            candidate => Rows(connection, $"SELECT 1 FROM sqlite_master WHERE name = {Literal(candidate)}", 1) is ConnectorAnswer.Table { Rows.Count: 1 }) ?? plain;
        return Rows(connection, $"SELECT * FROM \"{name.Replace("\"", "\"\"", StringComparison.Ordinal)}\"", sample.Limit);
    }

    static string Literal(string text) => $"'{text.Replace("'", "''", StringComparison.Ordinal)}'";

    static ConnectorAnswer Write(sqlite3 connection, ConnectorRequest.Write write)
    {
        if (SqlText.Judge(write.Text, SqlDialect.Sqlite).Effect == ConnectorEffect.Alter)
        {
            return new ConnectorAnswer.Failed("DROP, TRUNCATE, ALTER and several statements in one are never executed.");
        }
        Execute(connection, "BEGIN IMMEDIATE");
        var before = raw.sqlite3_total_changes(connection);
        var answer = Rows(connection, write.Text, write.Limit, isWrite: true);
        var changed = raw.sqlite3_total_changes(connection) - before;
        if (answer is ConnectorAnswer.Failed)
        {
            return answer;
        }
        Execute(connection, "COMMIT");
        return answer is ConnectorAnswer.Table { Columns.Length: > 0 } ? answer
            : new ConnectorAnswer.Text(string.Create(CultureInfo.InvariantCulture, $"Done: {changed} rows changed."));
    }

    /// <summary>The rows of one statement.</summary>
    /// <param name="isWrite">It may change something, and is executed to its end even when no further row is kept.</param>
    static ConnectorAnswer Rows(sqlite3 connection, string sql, int limit, bool isWrite = false)
    {
        var prepared = raw.sqlite3_prepare_v2(connection, sql, out var statement, out var rest);
        using (statement)
        {
            if (prepared != raw.SQLITE_OK)
            {
                return new ConnectorAnswer.Failed(Reason(connection, prepared, isWrite));
            }
            if (statement.IsInvalid || SqlWords.Of(rest, SqlDialect.Sqlite).Exists(word => word.Text != ";"))
            {
                return new ConnectorAnswer.Failed("One statement at a time.");
            }
            var columns = Enumerable.Range(0, raw.sqlite3_column_count(statement)).Select(i => BoundedTable.Cell(raw.sqlite3_column_name(statement, i).utf8_to_string()));
            var table = new BoundedTable([.. columns], limit);
            while (true)
            {
                var step = raw.sqlite3_step(statement);
                if (step == raw.SQLITE_DONE || (step == raw.SQLITE_ROW && table.IsFull && !isWrite))
                {
                    return table.Answer();
                }
                if (step != raw.SQLITE_ROW)
                {
                    return new ConnectorAnswer.Failed(Reason(connection, step, isWrite));
                }
                if (!table.IsFull)
                {
                    table.Add(Row(statement));
                }
            }
        }
    }

    static string?[] Row(sqlite3_stmt statement)
    {
        var row = new string?[raw.sqlite3_column_count(statement)];
        for (var i = 0; i < row.Length; i++)
        {
            row[i] = raw.sqlite3_column_type(statement, i) switch
            {
                raw.SQLITE_NULL => null,
                raw.SQLITE_BLOB => BoundedTable.Cell(Hex(raw.sqlite3_column_blob(statement, i))),
                _ => BoundedTable.Cell(Text(statement, i)),
            };
        }
        return row;
    }

    /// <summary>As much of a text as a cell may have, and a little more.</summary>
    static string Text(sqlite3_stmt statement, int column)
    {
        // Asking for the text turns what is stored into UTF-8; asking for the bytes then copies none.
        _ = raw.sqlite3_column_text(statement, column);
        var bytes = raw.sqlite3_column_blob(statement, column);
        return Encoding.UTF8.GetString(bytes[..Math.Min(bytes.Length, 4 * (ConnectorLimits.CellCharsMax + 1))]);
    }

    static string Hex(ReadOnlySpan<byte> blob) => "x'" + Convert.ToHexStringLower(blob[..Math.Min(blob.Length, ConnectorLimits.CellCharsMax)]) + "'";

    static void Execute(sqlite3 connection, string sql)
    {
        var code = raw.sqlite3_exec(connection, sql);
        if (code != raw.SQLITE_OK)
        {
            throw new SqliteFault(Reason(connection, code, isWrite: true));
        }
    }

    static string Reason(sqlite3 connection, int code, bool isWrite) => (code & 0xff) switch
    {
        raw.SQLITE_AUTH when isWrite => "The statement does what no connection does: it attaches a database, loads an extension or sets a pragma.",
        raw.SQLITE_READONLY when isWrite => "The host may read that file, and not write it.",
        raw.SQLITE_AUTH => "The statement does what this connection does not allow: a read changes nothing, and neither attaches databases nor loads extensions.",
        raw.SQLITE_READONLY => "A read changes nothing, and this would. Ask for it with the action write.",
        raw.SQLITE_BUSY or raw.SQLITE_LOCKED => "Another program holds a lock on the database.",
        raw.SQLITE_INTERRUPT => string.Create(CultureInfo.InvariantCulture, $"The statement was ended after {ConnectorLimits.AskTime.TotalSeconds:0} seconds."),
        raw.SQLITE_NOTADB or raw.SQLITE_CORRUPT => "The file is not a SQLite database, or it is damaged.",
        raw.SQLITE_CANTOPEN => "The file cannot be opened.",
        raw.SQLITE_FULL => "There is no room left for the change.",
        raw.SQLITE_TOOBIG or raw.SQLITE_NOMEM => "A value or a sort is too large.",
        _ => $"SQLite answered: {raw.sqlite3_errmsg(connection).utf8_to_string()}",
    };

    async ValueTask<ConnectorAnswer> Use(ConnectionSettings settings, TimeSpan time, bool isRead, Func<sqlite3, ConnectorAnswer> work, CancellationToken ct)
    {
        using var late = new CancellationTokenSource(time, clock);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(late.Token, ct);
        // SQLite blocks its thread.
        return await Task.Run(() => Open(settings["path"] ?? "", isRead, work, linked.Token), ct);
    }

    ConnectorAnswer Open(string path, bool isRead, Func<sqlite3, ConnectorAnswer> work, CancellationToken ct)
    {
        using var file = Find(path);
        if (file is null)
        {
            return new ConnectorAnswer.Failed("The path leads to no file in a folder that the administrator configured (Cowork:Connectors:SqliteRoots).", IsUnreachable: true);
        }
        // The kernel's own word for where the judged file lies, which has no link in it.
        var real = new FileInfo($"/proc/self/fd/{file.Handle.DangerousGetHandle()}").LinkTarget!;
        // SQLite's own files beside a database are no databases; opening one as such could destroy what it holds.
        if (Companions.Exists(ending => real.EndsWith(ending, StringComparison.OrdinalIgnoreCase)))
        {
            return new ConnectorAnswer.Failed("The path leads to a file that SQLite keeps beside a database. Give the path of the database.", IsUnreachable: true);
        }
        var flags = OpenNoFollow | raw.SQLITE_OPEN_FULLMUTEX | (isRead ? raw.SQLITE_OPEN_READONLY : raw.SQLITE_OPEN_READWRITE);
        var opened = raw.sqlite3_open_v2(real, out var connection, flags, null);
        using (connection)
        {
            using var again = Find(path);
            if (opened != raw.SQLITE_OK || again?.Handle is null || Inode(again) != Inode(file))
            {
                return new ConnectorAnswer.Failed("The file cannot be opened.", IsUnreachable: true);
            }
            try
            {
                Restrict(connection, isRead, ct);
                return work(connection);
            }
            catch (SqliteFault e)
            {
                return new ConnectorAnswer.Failed(e.Message);
            }
        }
    }

    /// <summary>The file that a path leads to, open so that it cannot become another one; null: it leads out of the roots, or to no ordinary file.</summary>
    GrantedPath.Found? Find(string path)
    {
        foreach (var root in roots)
        {
            var found = GrantedPath.Open(Grant.Of(root), path);
            if (found is GrantedPath.Found { IsDirectory: false, WhyProtected: null } file)
            {
                return file;
            }
            found.Dispose();
        }
        return null;
    }

    /// <summary>Device and inode are the first three parts of the version; what follows changes with the content.</summary>
    static string Inode(GrantedPath.Found file) => string.Join(':', file.Version.Split(':').Take(3));

    static void Restrict(sqlite3 connection, bool isRead, CancellationToken ct)
    {
        raw.sqlite3_enable_load_extension(connection, 0);
        raw.sqlite3_busy_timeout(connection, BusyMs);
        raw.sqlite3_limit(connection, raw.SQLITE_LIMIT_LENGTH, ValueBytesMax);
        raw.sqlite3_limit(connection, raw.SQLITE_LIMIT_ATTACHED, 0);
        raw.sqlite3_limit(connection, raw.SQLITE_LIMIT_SQL_LENGTH, 4 * ConnectorLimits.TextCharsMax);
        // A database may hold views and triggers that call functions with effects.
        raw.sqlite3_db_config(connection, raw.SQLITE_DBCONFIG_DEFENSIVE, 1, out _);
        raw.sqlite3_db_config(connection, raw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, out _);
        Execute(connection, string.Create(CultureInfo.InvariantCulture, $"PRAGMA cache_size = -{CacheKiB}; PRAGMA temp_store = MEMORY"));
        if (isRead)
        {
            Execute(connection, "PRAGMA query_only = ON");
        }
        raw.sqlite3_progress_handler(connection, InstructionsBetweenLooks, _ => ct.IsCancellationRequested ? 1 : 0, null);
        // Full-text and R-Tree tables prepare statements on their own tables when they are first used, also such as a read never executes. They do so here, before statements
        // of others are judged, and the file is open for reading alone all the same. What fails here fails again, with its reason, when it is asked for.
        _ = raw.sqlite3_exec(connection, "PRAGMA table_list");
        raw.sqlite3_set_authorizer(
            connection,
            (object _, int action, string first, string second, string _, string _) => IsAllowed(action, first, second, isRead) ? raw.SQLITE_OK : raw.SQLITE_DENY,
            null);
    }

    static bool IsAllowed(int action, string? first, string? second, bool isRead) => action switch
    {
        raw.SQLITE_SELECT or raw.SQLITE_READ or raw.SQLITE_RECURSIVE => true,
        raw.SQLITE_FUNCTION => !string.Equals(second, "load_extension", StringComparison.OrdinalIgnoreCase),
        raw.SQLITE_PRAGMA when second is null && string.Equals(first, "data_version", StringComparison.OrdinalIgnoreCase) => true,
        raw.SQLITE_PRAGMA => ReadingPragmas.Contains((first ?? "").ToLowerInvariant()),
        raw.SQLITE_ATTACH or raw.SQLITE_DETACH => false,
        raw.SQLITE_TRANSACTION => !isRead,
        _ => !isRead,
    };

    /// <summary>An expected failure, with its plain reason.</summary>
    sealed class SqliteFault(string reason) : Exception(reason);
}
