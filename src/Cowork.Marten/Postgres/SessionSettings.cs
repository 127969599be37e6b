using System.Text;

using Cowork.Application.Storage;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// The connections as this program wants them, whatever the role, the database, the server or libpq's variables say: every session begins with the settings that
/// the statements rely on. What the address itself sets of the pool and of time-outs is kept.
/// </summary>
static class SessionSettings
{
    /// <summary>
    /// Known to every version of PostgreSQL that Cowork runs on. They are sent with the connection's first message, so that they hold before the first statement:
    /// a role may have a <c>statement_timeout</c> of a millisecond.
    /// </summary>
    static readonly (string Name, string Value)[] Common =
    [
        ("client_encoding", "UTF8"), ("standard_conforming_strings", "on"), ("DateStyle", "ISO, MDY"), ("IntervalStyle", "postgres"), ("TimeZone", "UTC"),
        ("search_path", "pg_catalog"), ("bytea_output", "hex"), ("extra_float_digits", "1"), ("quote_all_identifiers", "off"), ("array_nulls", "on"),
        ("transform_null_equals", "off"), ("gin_fuzzy_search_limit", "0"), ("exit_on_error", "off"), ("row_security", "on"), ("statement_timeout", "0"), ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"), ("default_transaction_isolation", "read committed"), ("default_transaction_deferrable", "off"),
    ];

    /// <summary>
    /// Those, and what only newer versions know. Whether commits wait for the disk is nobody's to switch off: an answer that was given must not be lost. Other
    /// values of that setting are stricter than "on", or an operator's decision about replicas.
    /// </summary>
    static readonly string Begin = $"""
        SELECT pg_catalog.set_config(w.name, w.value, false)
        FROM (VALUES {string.Join(", ", Common.Select(setting => $"('{setting.Name}', '{setting.Value}')"))},
            ('idle_session_timeout', '0'), ('transaction_timeout', '0'), ('synchronous_commit', 'on')) w (name, value)
        JOIN pg_catalog.pg_settings s ON s.name = w.name
        WHERE s.setting <> w.value AND (w.name <> 'synchronous_commit' OR s.setting = 'off')
        """;

    static readonly string Startup = string.Join(' ', Common.Select(setting => $"-c {setting.Name}={Escape(setting.Value)}"));

    /// <summary>The pool's address. Its settings are kept, but for those that the product does not work without.</summary>
    public static NpgsqlConnectionStringBuilder Pooled(StorageOptions options)
    {
        var given = new NpgsqlConnectionStringBuilder(options.ConnectionString);
        var ours = new NpgsqlConnectionStringBuilder(options.ConnectionString) { NoResetOnClose = true, Multiplexing = false, Enlist = false };
        Own(ours, options.StartupOptions);
        void Unless(string keyword, Action set)
        {
            if (!given.ShouldSerialize(keyword))
            {
                set();
            }
        }

        // Asking for GSS encryption can look up names, for a minute where no name server answers, and none of Npgsql's time-outs ends it.
        Unless("GSS Encryption Mode", () => ours.GssEncryptionMode = GssEncryptionMode.Disable);
        Unless("Application Name", () => ours.ApplicationName = "cowork");
        Unless("Max Auto Prepare", () => ours.MaxAutoPrepare = 50);
        Unless("Auto Prepare Min Usages", () => ours.AutoPrepareMinUsages = 2);
        Unless("Timeout", () => ours.Timeout = 3);
        Unless("Command Timeout", () => ours.CommandTimeout = (int)Math.Ceiling(options.CommandTimeout.TotalSeconds));
        // A server that does not answer does not answer a cancel request either.
        Unless("Cancellation Timeout", () => ours.CancellationTimeout = -1);
        // A connection that has been idle for long may have been cut by something in between.
        Unless("Connection Idle Lifetime", () => ours.ConnectionIdleLifetime = Math.Max(60, given.ConnectionPruningInterval));
        Unless("Maximum Pool Size", () => ours.MaxPoolSize = Math.Max(32, given.MinPoolSize));
        return ours;
    }

    /// <summary>The address of a connection outside the pool.</summary>
    public static NpgsqlConnectionStringBuilder Apart(StorageOptions options, string purpose, bool autoPrepare)
    {
        var pooled = Pooled(options);
        return new(pooled.ConnectionString)
        {
            Pooling = false,
            MinPoolSize = 0,
            MaxAutoPrepare = autoPrepare ? Math.Max(pooled.MaxAutoPrepare, 50) : 0,
            ApplicationName = $"{pooled.ApplicationName} {purpose}",
        };
    }

    /// <summary>The same settings for a single connection that asks what a server is.</summary>
    public static NpgsqlConnectionStringBuilder Once(string connectionString, bool startupOptions)
    {
        var once = new NpgsqlConnectionStringBuilder(connectionString) { Pooling = false, MinPoolSize = 0, Enlist = false };
        Own(once, startupOptions);
        return once;
    }

    /// <summary>Connections that begin with the settings.</summary>
    /// <param name="more">A statement more to begin with.</param>
    public static NpgsqlDataSource Source(NpgsqlConnectionStringBuilder address, string? more = null)
    {
        var statements = more is null ? Begin : $"{Begin}; {more}";
        var builder = new NpgsqlDataSourceBuilder(address.ConnectionString);
        builder.UsePhysicalConnectionInitializer(
            connection =>
            {
                using var begin = new NpgsqlCommand(statements, connection);
                begin.ExecuteNonQuery();
            },
            async connection =>
            {
                await using var begin = new NpgsqlCommand(statements, connection);
                await begin.ExecuteNonQueryAsync();
            });
        return builder.Build();
    }

    /// <param name="startup">False: something in between takes no options with a connection's first message, so that the first statement sets everything.</param>
    static void Own(NpgsqlConnectionStringBuilder address, bool startup)
    {
        (address.ClientEncoding, address.Encoding, address.Timezone, address.SearchPath) = ("UTF8", "UTF8", "UTC", null);
        // Npgsql would take the variable only where the address has no options. Of two values for one setting the last one counts.
        var others = address.Options ?? Environment.GetEnvironmentVariable("PGOPTIONS");
        address.Options = startup ? string.IsNullOrWhiteSpace(others) ? Startup : $"{others} {Startup}" : null;
        // Of several servers the one that takes writes; which that is may have changed a second ago.
        if (address.Host?.Contains(',', StringComparison.Ordinal) == true)
        {
            if (address.TargetSessionAttributes is null || address.TargetSessionAttributes.Equals("any", StringComparison.OrdinalIgnoreCase))
            {
                address.TargetSessionAttributes = "read-write";
            }
            if (!address.ShouldSerialize("Host Recheck Seconds"))
            {
                address.HostRecheckSeconds = 1;
            }
        }
    }

    /// <summary>As a value stands in startup options, where a space begins the next one.</summary>
    static string Escape(string value) => new StringBuilder(value).Replace("\\", "\\\\").Replace(" ", "\\ ").ToString();
}
