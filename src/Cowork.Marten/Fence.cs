using Cowork.Application.Storage;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// What a host's role may do where another role owns the schema: it inserts into the log and neither changes nor deletes what is there, and every statement sees the
/// rows of its scope only. The owner of the tables is held by neither, so that migration, rebuilds and backups are the owner's.
/// </summary>
static class Fence
{
    /// <summary>
    /// Sets the scope of the statements after it, until the transaction ends. A batch outside a transaction is one.
    /// </summary>
    public const string Enter = "SELECT set_config('cowork.tenant', $1, true)";

    /// <summary>The same for as long as a connection lasts, for connections that work for all tenants.</summary>
    public const string EnterForGood = $"SELECT pg_catalog.set_config('cowork.tenant', '{ScopedConnection.Everyone}', false)";

    /// <summary>True for rows of the scope.</summary>
    const string InScope = $"current_setting('cowork.tenant', true) IN (tenant_id, '{ScopedConnection.Everyone}')";

    const string All = "SELECT, INSERT, UPDATE, DELETE";

    /// <summary>The tables beside the read models', and what a host does with each. Those with tenants' rows are fenced.</summary>
    static readonly (string Table, string Rights, bool HasTenants)[] Tables =
    [
        ("mt_events", "SELECT, INSERT", true),
        ("mt_streams", "SELECT, INSERT, UPDATE (version, timestamp)", true),
        ("mt_event_progression", "SELECT, UPDATE", false),
        ("feed", "SELECT, INSERT", true),
        ("head", "SELECT, UPDATE", false),
        ("schema_version", "SELECT", false),
        ("nodes", All, false),
        ("jobs", All, true),
        ("snapshots", All, true),
        ("token_uses", All, true),
        ("group_marks", All, true),
        ("group_connections", All, true),
        ("subject_keys", "SELECT, INSERT, UPDATE", true),
        ("subject_streams", "SELECT, INSERT, DELETE", true),
        ("subject_blobs", "SELECT, INSERT, DELETE", true),
        ("merkle_tiles", "SELECT, INSERT, UPDATE", false),
        ("head_deliveries", "SELECT, INSERT, UPDATE", false),
        (Schema.GoneRows, "SELECT, INSERT, DELETE", true),
        (ExpirySchema.Blobs, All, true),
        (ExpirySchema.Rules, "SELECT", false),
        ("parked", All, true),
        ("texts", All, true),
        ("passages", All, true),
        ("texts_searched", "SELECT", false),
        ("passages_searched", "SELECT", false),
    ];

    /// <summary>
    /// Keeps what stands in the log from everybody, the owner too, until somebody disables the trigger by hand. It fires also where a session leaves ordinary triggers out.
    /// An update that means to put tombstones in place of data is left to the trigger of rows (<see cref="ExpirySchema"/>).
    /// </summary>
    public static string Trigger(string schema) => $"""
        CREATE OR REPLACE FUNCTION {schema}.keep_log() RETURNS trigger LANGUAGE plpgsql AS $body$
        BEGIN
            IF TG_OP = 'UPDATE' AND current_setting('{ExpirySchema.Setting}', true) = 'on' THEN
                RETURN NULL;
            END IF;
            RAISE EXCEPTION 'The log is append-only: % is refused.', TG_OP USING ERRCODE = 'insufficient_privilege',
                HINT = 'Only a person who knows why does ALTER TABLE {schema}.mt_events DISABLE TRIGGER keep_log, and enables it again: ENABLE ALWAYS TRIGGER.';
        END
        $body$;
        DROP TRIGGER IF EXISTS keep_log ON {schema}.mt_events;
        CREATE TRIGGER keep_log BEFORE UPDATE OR DELETE OR TRUNCATE ON {schema}.mt_events FOR EACH STATEMENT EXECUTE FUNCTION {schema}.keep_log();
        ALTER TABLE {schema}.mt_events ENABLE ALWAYS TRIGGER keep_log;

        """;

    /// <summary>
    /// The rows of the scope in a table that is searched. No index is used for a word where row-level security comes first, because PostgreSQL does not know that the
    /// operator keeps to itself what it sees; the owner's view filters by the same rule and is no barrier.
    /// </summary>
    public static string SearchView(string schema, string table) => $"""
        DROP VIEW IF EXISTS {schema}.{ViewOf(table)};
        CREATE VIEW {schema}.{ViewOf(table)} AS SELECT * FROM {schema}.{table} WHERE {InScope};

        """;

    public static string ViewOf(string table) => $"{table}_searched";

    /// <summary>True: the model's rows are searched through a view.</summary>
    public static bool HasView(IRowModel model) => model.Searched || model.KeepsHistory;

    /// <summary>The tables of a read model.</summary>
    static IEnumerable<string> TablesOf(IRowModel model) => model.KeepsHistory ? [model.Table, Schema.PastOf(model.Table)] : [model.Table];

    /// <summary>Fences a read model's table, and lets the host's role in.</summary>
    public static string Around(string schema, IRowModel model, string role) =>
        string.Concat(TablesOf(model).Select(table => Grant(schema, table, All, role) + Policies(schema, table, role)))
        + (HasView(model) ? Grant(schema, ViewOf(model.Table), "SELECT", role) : "");

    /// <summary>The same for a table with a view beside it.</summary>
    public static string Around(string schema, string table, string role) =>
        Grant(schema, table, All, role) + Policies(schema, table, role) + Grant(schema, ViewOf(table), "SELECT", role);

    /// <summary>Everything that the host's role lacks.</summary>
    public static string Around(string schema, IEnumerable<IRowModel> models, string role) =>
        $"""
        GRANT USAGE ON SCHEMA {schema} TO {Quoted(role)};
        GRANT SELECT, UPDATE ON SEQUENCE {schema}.mt_events_sequence TO {Quoted(role)};
        GRANT SELECT, USAGE ON SEQUENCE {schema}.job_epochs TO {Quoted(role)};
        GRANT SELECT, USAGE ON SEQUENCE {schema}.subject_erasures TO {Quoted(role)};

        """
        + string.Concat(Tables.Select(t => Grant(schema, t.Table, t.Rights, role) + (t.HasTenants ? Policies(schema, t.Table, role) : "")))
        + string.Concat(models.Select(model => Around(schema, model, role)))
        + ExpirySchema.Grant(schema, Quoted(role));

    /// <summary>The roles that a table is fenced against.</summary>
    public static async Task<IReadOnlyList<string>> Roles(NpgsqlConnection connection, string schema, string table, CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand(
            "SELECT DISTINCT unnest(roles)::text FROM pg_policies WHERE schemaname = $1 AND tablename = $2 AND permissive = 'RESTRICTIVE'", connection)
        { Parameters = { Parameter.Text(schema), Parameter.Text(table) } };
        await using var reader = await ask.ExecuteReaderAsync(ct);
        var roles = new List<string>();
        while (await reader.ReadAsync(ct))
        {
            roles.Add(reader.GetString(0));
        }
        return roles;
    }

    /// <summary>True: the role is let in and fenced everywhere.</summary>
    public static async Task<bool> Stands(NpgsqlConnection connection, string schema, IReadOnlyList<IRowModel> models, string role, CancellationToken ct)
    {
        string[] fenced = [.. Tables.Where(t => t.HasTenants).Select(t => t.Table), .. models.SelectMany(TablesOf)];
        await using var ask = new NpgsqlCommand(
            """
            SELECT count(*) FROM pg_policies p JOIN pg_class c ON c.relname = p.tablename AND c.relnamespace = to_regnamespace($1)
            WHERE p.schemaname = $1 AND p.tablename = ANY ($2) AND $3 = ANY (p.roles) AND p.permissive = 'RESTRICTIVE' AND c.relrowsecurity
            """,
            connection)
        { Parameters = { Parameter.Text(schema), Parameter.Texts(fenced), Parameter.Text(role) } };
        return (long)(await ask.ExecuteScalarAsync(ct))! == fenced.Length && await Missing(connection, schema, models, role, ct) is [];
    }

    /// <summary>The rights that a role needs and does not have, as phrases. The owner of the schema has all.</summary>
    public static async Task<IReadOnlyList<string>> Missing(
        NpgsqlConnection connection, string schema, IReadOnlyList<IRowModel> models, string role, CancellationToken ct)
    {
        var wanted = Tables.Concat(models.SelectMany(TablesOf).Select(table => (Table: table, Rights: All, true)))
            .Concat(models.Where(HasView).Select(model => (Table: ViewOf(model.Table), Rights: "SELECT", true)))
            .SelectMany(t => Split(t.Rights).Select(right => (t.Table, Right: right)))
            .Append(("mt_events_sequence", "UPDATE")).Append(("mt_events_sequence", "SELECT")).Append(("job_epochs", "USAGE"))
            .Append(("subject_erasures", "USAGE")).ToList();
        await using var ask = new NpgsqlCommand(
            """
            SELECT CASE WHEN n.oid IS NULL OR NOT has_schema_privilege($4, n.oid, 'USAGE') THEN 'USAGE on the schema ' || $1 END,
                w.privilege || ' on ' || $1 || '.' || w.name
            FROM (VALUES (0)) one LEFT JOIN pg_namespace n ON n.nspname = $1
            LEFT JOIN (SELECT * FROM unnest($2, $3) u (name, privilege)) w ON NOT coalesce((
                SELECT CASE WHEN c.relkind = 'S' THEN has_sequence_privilege($4, c.oid, w.privilege)
                    WHEN w.privilege LIKE '%(%' THEN has_column_privilege($4, c.oid, split_part(rtrim(w.privilege, ')'), '(', 2), split_part(w.privilege, ' ', 1))
                    ELSE has_table_privilege($4, c.oid, w.privilege) END
                FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = w.name), false)
            """,
            connection)
        {
            Parameters = { Parameter.Text(schema), Parameter.Texts([.. wanted.Select(w => w.Item1)]), Parameter.Texts([.. wanted.Select(w => w.Item2)]), Parameter.Text(role) },
        };
        await using var reader = await ask.ExecuteReaderAsync(ct);
        var missing = new List<string>();
        while (await reader.ReadAsync(ct))
        {
            if (!reader.IsDBNull(0))
            {
                return [reader.GetString(0)];
            }
            if (!reader.IsDBNull(1))
            {
                missing.Add(reader.GetString(1));
            }
        }
        return missing;
    }

    static string Grant(string schema, string table, string rights, string role) => $"GRANT {rights} ON {schema}.{table} TO {Quoted(role)};\n";

    /// <summary>The first policy lets in whoever has a right on the table, as without row-level security: readers. The second holds the host's role to its scope.</summary>
    static string Policies(string schema, string table, string role)
    {
        var name = Quoted($"scope of {role}");
        return $"""
            ALTER TABLE {schema}.{table} ENABLE ROW LEVEL SECURITY;
            DROP POLICY IF EXISTS readers ON {schema}.{table};
            CREATE POLICY readers ON {schema}.{table} USING (true) WITH CHECK (true);
            DROP POLICY IF EXISTS {name} ON {schema}.{table};
            CREATE POLICY {name} ON {schema}.{table} AS RESTRICTIVE TO {Quoted(role)} USING ({InScope});

            """;
    }

    /// <summary>"SELECT, UPDATE (a, b)" as SELECT, UPDATE (a), UPDATE (b).</summary>
    static IEnumerable<string> Split(string rights)
    {
        var open = rights.IndexOf('(', StringComparison.Ordinal);
        var plain = open < 0 ? rights : rights[..rights.LastIndexOf(',', open)];
        var columns = open < 0 ? [] : rights[(open + 1)..^1].Split(", ");
        return plain.Split(", ").Concat(columns.Select(column => $"UPDATE ({column})"));
    }

    static string Quoted(string name) => $"\"{name.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";
}
