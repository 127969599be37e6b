using System.Collections.Immutable;
using System.Data;
using System.Data.Common;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.RegularExpressions;

using Cowork.Application;

using Npgsql;

namespace Cowork.Connectors;

/// <summary>
/// Any database that speaks PostgreSQL's protocol. Each use has a connection of its own, to the address that the fence judged. Reads are executed in a read-only transaction
/// through a cursor, so that a million rows are never sent.
/// </summary>
public sealed partial class PostgresConnector(IEgress egress, TimeProvider clock) : IConnector
{
    /// <summary>Rows that are fetched at once.</summary>
    const int FetchRows = 100;

    /// <summary>Columns that the schema names of one table.</summary>
    const int ColumnsShown = 200;

    /// <summary>The server's own limit, a little earlier than ours, so that it can say so itself.</summary>
    static readonly TimeSpan StatementTime = ConnectorLimits.AskTime - TimeSpan.FromSeconds(5);

    static readonly string[] TlsModes = ["disable", "prefer", "require", "verify-ca", "verify-full"];

    /// <summary>Statements that can be prepared, and so bring rows.</summary>
    static readonly string[] Preparable = ["INSERT", "UPDATE", "DELETE", "MERGE", "SELECT", "VALUES", "WITH", "TABLE"];

    public ConnectorSpec Spec { get; } = new(
        "postgres", "PostgreSQL", "Connect to any PostgreSQL-compatible database.", ConnectorAuth.Credentials,
        [
            new("host", "Host"), new("port", "Port"), new("database", "Database"), new("user", "User"), new("password", "Password", IsSecret: true),
            new("sslmode", "TLS mode (disable, prefer, require, verify-ca, verify-full; default prefer)", IsRequired: false),
            new("root_certificate", "Certificates of the authority (PEM), when it is not a public one", IsRequired: false),
        ]);

    public IEnumerable<FieldFault> Check(ConnectionSettings settings)
    {
        if (PortOf(settings) is null)
        {
            yield return new("port", "A port is a whole number from 1 to 65535.");
        }
        if (settings["sslmode"] is { } mode && !TlsModes.Contains(mode))
        {
            yield return new("sslmode", $"Must be one of {string.Join(", ", TlsModes)}.");
        }
        if (settings["root_certificate"] is { } pem && Roots(pem) is null)
        {
            yield return new("root_certificate", "Must be certificates in PEM.");
        }
    }

    public async ValueTask<Probe> Probe(ConnectionSettings settings, CancellationToken ct)
    {
        var answer = await Use(settings, ConnectorLimits.ProbeTime, async (connection, _, token) =>
        {
            await Execute(connection, "SELECT 1", token);
            return new ConnectorAnswer.Text("");
        }, ct);
        return Application.Probe.Of(answer);
    }

    public ValueTask<ConnectorEffect> Judge(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct) => new(SqlText.EffectOf(request, SqlDialect.Postgres));

    public ValueTask<ConnectorAnswer> Ask(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct) => request switch
    {
        ConnectorRequest.Schema => Use(settings, ConnectorLimits.AskTime, Schema, ct),
        ConnectorRequest.Sample sample => Use(settings, ConnectorLimits.AskTime, (connection, close, token) => Sample(connection, sample, close, token), ct),
        ConnectorRequest.Query query => Use(
            settings, ConnectorLimits.AskTime,
            (connection, close, token) => Read(connection, SqlText.Judge(query.Text, SqlDialect.Postgres), query.Limit, close, token), ct),
        ConnectorRequest.Write write => Use(
            settings, ConnectorLimits.AskTime,
            (connection, _, token) => Write(connection, SqlText.Judge(write.Text, SqlDialect.Postgres), write.Limit, token), ct),
        _ => throw new System.Diagnostics.UnreachableException(request.GetType().Name),
    };

    static async Task<ConnectorAnswer> Schema(NpgsqlConnection connection, AbandonReader abandon, CancellationToken ct)
    {
        await BeginRead(connection, ct);
        var sql = string.Create(CultureInfo.InvariantCulture, $$"""
            SELECT n.nspname AS schema, c.relname AS name,
                   CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind,
                   (SELECT pg_catalog.string_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
                      FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum BETWEEN 1 AND {{ColumnsShown}} AND NOT a.attisdropped) AS columns
              FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_%'
               AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
             ORDER BY 1, 2
            """);
        return await Cursor(connection, sql, ConnectorLimits.RowsMax, abandon, ct);
    }

    static async Task<ConnectorAnswer> Sample(NpgsqlConnection connection, ConnectorRequest.Sample sample, AbandonReader abandon, CancellationToken ct)
    {
        var spelt = TableName().Match(sample.Name);
        await BeginRead(connection, ct);
        if (await Find(connection, sample.Name, spelt, ct) is not { } name)
        {
            if (!spelt.Success)
            {
                return new ConnectorAnswer.Failed("A table is named as the schema has it: schema.name.");
            }
            // The server says what it has not.
            name = $"{(spelt.Groups["schema"].Success ? Identifier(spelt.Groups["schema"].Value) + "." : "")}{Identifier(spelt.Groups["name"].Value)}";
        }
        return await Cursor(connection, $"SELECT * FROM {name}", sample.Limit, abandon, ct);
    }

    /// <summary>
    /// The table that is meant, quoted for SQL; null: there is none. Schemas and tables may have dots and quotes in their names, so the server is asked which table has the text
    /// as its schema and name, or as its name alone, or the names that the text has as SQL quotes them.
    /// </summary>
    static async Task<string?> Find(NpgsqlConnection connection, string text, Match spelt, CancellationToken ct)
    {
        if (text.Contains('\0', StringComparison.Ordinal))
        {
            return null;
        }
        var quoted = !spelt.Success ? "false" : spelt.Groups["schema"].Success
            ? $"n.nspname = {Literal(Plain(spelt.Groups["schema"].Value))} AND c.relname = {Literal(Plain(spelt.Groups["name"].Value))}"
            : $"c.relname = {Literal(Plain(spelt.Groups["name"].Value))} AND pg_catalog.pg_table_is_visible(c.oid)";
        await using var find = new NpgsqlCommand(
            $"""
            SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
              FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
               AND (n.nspname || '.' || c.relname = {Literal(text)} OR (c.relname = {Literal(text)} AND pg_catalog.pg_table_is_visible(c.oid)) OR ({quoted}))
             ORDER BY n.nspname || '.' || c.relname = {Literal(text)} DESC, c.relname = {Literal(text)} DESC, pg_catalog.length(n.nspname) LIMIT 1
            """,
            connection)
        { AllResultTypesAreUnknown = true };
        return await find.ExecuteScalarAsync(ct) as string;
    }

    /// <summary>A name, or a schema and a name; each may be quoted as in SQL.</summary>
    [GeneratedRegex("""^(?:(?<schema>"(?:[^"]|"")+"|[^".]+)\.)?(?<name>"(?:[^"]|"")+"|[^".]+)$""", RegexOptions.ExplicitCapture)]
    private static partial Regex TableName();

    /// <summary>The name that is spelt, without its quotes.</summary>
    static string Plain(string spelt) => spelt is ['"', .., '"'] ? spelt[1..^1].Replace("\"\"", "\"", StringComparison.Ordinal) : spelt;

    static string Identifier(string spelt) => $"\"{Plain(spelt).Replace("\"", "\"\"", StringComparison.Ordinal)}\"";

    /// <summary>A text in SQL, whose strings have no escapes but a doubled quote in these transactions.</summary>
    static string Literal(string text) => $"'{text.Replace("'", "''", StringComparison.Ordinal)}'";

    static async Task<ConnectorAnswer> Read(NpgsqlConnection connection, SqlText sql, int limit, AbandonReader abandon, CancellationToken ct)
    {
        await BeginRead(connection, ct);
        return sql.FirstWord is "SHOW" or "EXPLAIN"
            ? await Rows(Single(connection, sql.Statement), limit, abandon, ct)
            : await Cursor(connection, sql.Statement, limit, abandon, ct);
    }

    static async Task<ConnectorAnswer> Write(NpgsqlConnection connection, SqlText sql, int limit, CancellationToken ct)
    {
        if (sql.Effect == ConnectorEffect.Alter)
        {
            return new ConnectorAnswer.Failed("DROP, TRUNCATE, ALTER and several statements in one are never executed.");
        }
        await Begin(connection, "BEGIN", ct);
        var (table, affected) = ((ConnectorAnswer.Table?)null, -1L);
        if (Preparable.Contains(sql.FirstWord))
        {
            // Prepared by the server, which takes exactly one statement there, and executed so that every type comes as text.
            await using (var prepare = Single(connection, $"PREPARE cowork_write AS {sql.Statement}"))
            {
                await prepare.ExecuteNonQueryAsync(ct);
            }
            await using var execute = new NpgsqlCommand("EXECUTE cowork_write", connection) { AllResultTypesAreUnknown = true };
            await using var reader = await execute.ExecuteReaderAsync(CommandBehavior.SequentialAccess, ct);
            table = reader.FieldCount > 0 ? await Collect(reader, limit, ct) : null;
            await reader.CloseAsync();
            affected = reader.RecordsAffected;
        }
        else
        {
            await using var command = Single(connection, sql.Statement);
            await command.ExecuteNonQueryAsync(ct);
        }
        try
        {
            await Execute(connection, "COMMIT", ct);
        }
        catch (PostgresException)
        {
            throw;
        }
        catch (Exception e) when (e is NpgsqlException or IOException or OperationCanceledException)
        {
            return new ConnectorAnswer.Failed("The connection was lost while the write was committed: it may have happened or not. Look before it is repeated.");
        }
        return table is { Columns.Length: > 0 } ? table
            : new ConnectorAnswer.Text(affected >= 0 ? string.Create(CultureInfo.InvariantCulture, $"Done: {affected} rows changed.") : "Done.");
    }

    /// <summary>The rows of a query, fetched until a bound is reached.</summary>
    static async Task<ConnectorAnswer> Cursor(NpgsqlConnection connection, string query, int limit, AbandonReader abandon, CancellationToken ct)
    {
        await using (var declare = Single(connection, $"DECLARE cowork_read NO SCROLL CURSOR WITHOUT HOLD FOR {query}"))
        {
            await declare.ExecuteNonQueryAsync(ct);
        }
        BoundedTable? table = null;
        while (true)
        {
            var some = string.Create(CultureInfo.InvariantCulture, $"FETCH FORWARD {FetchRows} FROM cowork_read");
            var fetch = new NpgsqlCommand(some, connection) { AllResultTypesAreUnknown = true };
            var reader = await fetch.ExecuteReaderAsync(CommandBehavior.SequentialAccess, ct);
            table ??= new(Columns(reader), limit);
            var fetched = 0;
            while (!table.IsFull && await reader.ReadAsync(ct))
            {
                table.Add(await Row(reader, ct));
                fetched++;
            }
            if (table.IsFull)
            {
                // What is left of this fetch may be large: nobody waits for it.
                abandon(reader);
                return table.Answer();
            }
            await reader.DisposeAsync();
            await fetch.DisposeAsync();
            if (fetched < FetchRows)
            {
                return table.Answer();
            }
        }
    }

    static async Task<ConnectorAnswer> Rows(NpgsqlBatch command, int limit, AbandonReader abandon, CancellationToken ct)
    {
        var reader = await command.ExecuteReaderAsync(CommandBehavior.SequentialAccess, ct);
        var table = await Collect(reader, limit, ct, stopWhenFull: true);
        abandon(reader);
        return table;
    }

    static async Task<ConnectorAnswer.Table> Collect(DbDataReader reader, int limit, CancellationToken ct, bool stopWhenFull = false)
    {
        var table = new BoundedTable(Columns(reader), limit);
        while (!(stopWhenFull && table.IsFull) && await reader.ReadAsync(ct))
        {
            if (!table.IsFull)
            {
                table.Add(await Row(reader, ct));
            }
        }
        return table.Answer();
    }

    static ImmutableArray<string> Columns(DbDataReader reader) =>
        [.. Enumerable.Range(0, reader.FieldCount).Select(i => BoundedTable.Cell(reader.GetName(i)))];

    static async Task<IReadOnlyList<string?>> Row(DbDataReader reader, CancellationToken ct)
    {
        var row = new string?[reader.FieldCount];
        for (var i = 0; i < row.Length; i++)
        {
            if (!await reader.IsDBNullAsync(i, ct))
            {
                using var text = await reader.GetFieldValueAsync<TextReader>(i, ct);
                row[i] = BoundedTable.Cell(text);
            }
        }
        return row;
    }

    /// <summary>
    /// Begins a transaction that changes nothing. A text is judged by the names of functions, so that the server's own come first, also where the role or the database has a
    /// search path that puts others before them.
    /// </summary>
    static async Task BeginRead(NpgsqlConnection connection, CancellationToken ct)
    {
        await Begin(connection, "BEGIN TRANSACTION READ ONLY", ct);
        const string Path = """
            SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'pg_catalog', NULLIF(pg_catalog.current_setting('search_path'), '')), true)
            """;
        await Execute(connection, Path, ct);
    }

    static async Task Begin(NpgsqlConnection connection, string begin, CancellationToken ct)
    {
        var ms = ((long)StatementTime.TotalMilliseconds).ToString(CultureInfo.InvariantCulture);
        // The way in which strings are written is the one by which the text was judged.
        await Execute(connection, $"{begin}; SET LOCAL statement_timeout = {ms}; SET LOCAL lock_timeout = {ms}; SET LOCAL standard_conforming_strings = on", ct);
    }

    /// <summary>A text of others as one statement: Npgsql refuses a second one, and so does the server.</summary>
    static NpgsqlBatch Single(NpgsqlConnection connection, string sql) => new(connection) { BatchCommands = { new NpgsqlBatchCommand(sql) } };

    static async Task Execute(NpgsqlConnection connection, string sql, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync(ct);
    }

    /// <summary>Closes a reader, and its connection, without anybody waiting for what is still to come.</summary>
    delegate void AbandonReader(DbDataReader reader);

    async ValueTask<ConnectorAnswer> Use(
        ConnectionSettings settings, TimeSpan time, Func<NpgsqlConnection, AbandonReader, CancellationToken, Task<ConnectorAnswer>> work, CancellationToken ct)
    {
        var (host, port) = (settings["host"]!, PortOf(settings) ?? 0);
        using var late = new CancellationTokenSource(time, clock);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(late.Token, ct);
        try
        {
            var verdict = await egress.Check(host, port, linked.Token);
            if (verdict.WhyNot is { } whyNot)
            {
                return new ConnectorAnswer.Failed(whyNot, IsUnreachable: true);
            }
            for (var i = 0; ; i++)
            {
                var source = Source(settings, host, verdict.Addresses[i], port, time);
                var connection = source.CreateConnection();
                var abandoned = false;
                var opening = connection.OpenAsync(linked.Token);
                try
                {
                    // Npgsql hears of a cancellation only after the server's first answer.
                    await opening.WaitAsync(linked.Token);
                    return await work(connection, reader =>
                    {
                        abandoned = true;
                        _ = Task.Run(() => Close(connection, source, opening, reader), CancellationToken.None);
                    }, linked.Token);
                }
                catch (NpgsqlException e) when (i + 1 < verdict.Addresses.Count && e.InnerException is SocketException)
                {
                    // The name has another address.
                }
                finally
                {
                    if (!abandoned)
                    {
                        // Closing says good-bye to the server, which may not listen any more.
                        _ = Task.Run(() => Close(connection, source, opening, null), CancellationToken.None);
                    }
                }
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            throw;
        }
        catch (Exception e) when (e is DbException or OperationCanceledException or TimeoutException or IOException or SocketException or AuthenticationException
            or NotSupportedException or InvalidOperationException or InvalidCastException or FormatException or OutOfMemoryException or OverflowException)
        {
            return late.IsCancellationRequested
                ? new ConnectorAnswer.Failed(string.Create(CultureInfo.InvariantCulture, $"The server did not answer within {time.TotalSeconds:0} seconds."), IsUnreachable: true)
                : Failed(e);
        }
    }

    static async Task Close(NpgsqlConnection connection, NpgsqlDataSource source, Task opening, DbDataReader? reader)
    {
        try
        {
            await opening;
            if (reader is not null)
            {
                using var now = new CancellationTokenSource();
                await now.CancelAsync();
                // A cancelled read breaks the connection; disposing of the reader would read all that is left.
                await reader.ReadAsync(now.Token);
            }
        }
#pragma warning disable CA1031 // What became of it was told, or nobody waits for it any more.
        catch (Exception)
#pragma warning restore CA1031
        {
            // That is how it breaks.
        }
        try
        {
            await connection.DisposeAsync();
            await source.DisposeAsync();
        }
        catch (Exception e) when (e is DbException or IOException or SocketException or InvalidOperationException)
        {
            // It is closed whether the server heard of it or not.
        }
    }

    static NpgsqlDataSource Source(ConnectionSettings settings, string host, IPAddress address, int port, TimeSpan time)
    {
        var mode = settings["sslmode"] ?? "prefer";
        var isProtected = mode is "require" or "verify-ca" or "verify-full";
        var seconds = (int)time.TotalSeconds;
        var builder = new NpgsqlDataSourceBuilder(new NpgsqlConnectionStringBuilder
        {
            Host = address.AddressFamily == AddressFamily.InterNetworkV6 ? $"[{address}]" : address.ToString(),
            Port = port,
            Database = settings["database"],
            Username = settings["user"],
            Password = settings["password"],
            SslMode = mode switch
            {
                "disable" => SslMode.Disable,
                "require" => SslMode.Require,
                "verify-ca" => SslMode.VerifyCA,
                "verify-full" => SslMode.VerifyFull,
                _ => SslMode.Prefer,
            },
            // In the clear, a password goes over TLS that was asked for, and over nothing else.
            RequireAuth = isProtected ? "ScramSHA256,MD5,Password" : "ScramSHA256,MD5",
            GssEncryptionMode = GssEncryptionMode.Disable,
            // This host's own files and variables are no one's credentials.
            Passfile = "/dev/null",
            Pooling = false,
            Enlist = false,
            Timeout = seconds,
            CommandTimeout = seconds,
            CancellationTimeout = -1,
            ApplicationName = "cowork",
            MaxAutoPrepare = 0,
        }.ConnectionString)
        {
            // Names metrics, which would have the connection string otherwise.
            Name = "connector",
        };
        // The types of the server are not asked for: everything is read as text.
        builder.ConfigureTypeLoading(types => types.EnableTypeLoading(false));
        builder.UseSslClientAuthenticationOptionsCallback(tls =>
        {
            // The address is connected to, and the name is what the certificate must be for.
            tls.TargetHost = host;
            tls.ClientCertificates = null;
            tls.LocalCertificateSelectionCallback = null;
        });
        if (settings["root_certificate"] is { } pem && Roots(pem) is { } roots)
        {
            builder.UseRootCertificates(roots);
        }
        return builder.Build();
    }

    /// <summary>Null: there is no certificate in it.</summary>
    static X509Certificate2Collection? Roots(string pem)
    {
        try
        {
            var roots = new X509Certificate2Collection();
            roots.ImportFromPem(pem);
            return roots.Count > 0 ? roots : null;
        }
        catch (CryptographicException)
        {
            return null;
        }
    }

    static int? PortOf(ConnectionSettings settings) =>
        int.TryParse(settings["port"], NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port is > 0 and <= IPEndPoint.MaxPort ? port : null;

    static ConnectorAnswer.Failed Failed(Exception e) => e switch
    {
        PostgresException { SqlState: "28P01" or "28000" } => new("The server refused the user or the password.", IsUnreachable: true),
        PostgresException { SqlState: "3D000" } => new("The server has no database of that name.", IsUnreachable: true),
        PostgresException { SqlState: "53300" } => new("The server has no connection to spare.", IsUnreachable: true),
        PostgresException { SqlState: "57P03" } => new("The server is starting or stopping.", IsUnreachable: true),
        PostgresException { SqlState: "25006" } => new("A read changes nothing, and this would. Ask for it with the action write."),
        PostgresException { SqlState: "57014" } => new(
            string.Create(CultureInfo.InvariantCulture, $"The server ended the statement after {StatementTime.TotalSeconds:0} seconds.")),
        PostgresException { SqlState: "55P03" } => new("Somebody else holds a lock on it."),
        PostgresException server => new($"The server answered {server.SqlState}: {server.MessageText}"),
        { InnerException: SocketException } or SocketException => new("Nobody answers at that host and port.", IsUnreachable: true),
        { InnerException: AuthenticationException } or AuthenticationException => new(
            "TLS could not be agreed on with the server, or its certificate is not for that host.", IsUnreachable: true),
        { InnerException: TimeoutException } or TimeoutException => new("The server did not answer in time.", IsUnreachable: true),
        { InnerException: IOException } or IOException => new("The server closed the connection.", IsUnreachable: true),
        NotSupportedException => new("One statement at a time."),
        NpgsqlException when e.Message.Contains("SSL", StringComparison.Ordinal) => new("The server does not speak TLS, which the connection asks for.", IsUnreachable: true),
        NpgsqlException when e.Message.Contains("authentication method", StringComparison.OrdinalIgnoreCase)
            || e.Message.Contains("RequireAuth", StringComparison.OrdinalIgnoreCase) => new(
                "The server wants the password in the clear, and the connection is not over TLS. Set the TLS mode to require or stricter.", IsUnreachable: true),
        OutOfMemoryException or OverflowException => new("The server sent something of an impossible size.", IsUnreachable: true),
        _ => new("The server does not speak PostgreSQL's protocol as expected.", IsUnreachable: true),
    };
}
