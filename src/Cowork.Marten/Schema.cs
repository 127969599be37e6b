using System.Runtime.ExceptionServices;
using System.Text;
using System.Text.RegularExpressions;

using Cowork.Application.Storage;
using Cowork.Domain;

using JasperFx;

using Marten;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// The tables. Those of the log are Marten's, which makes and migrates them itself; ours stand beside them without the <c>mt_</c> prefix.
/// </summary>
static partial class Schema
{
    /// <summary>Raised by every change of what is below.</summary>
    public const int Version = 14;

    /// <summary>The tenant that has the signed heads.</summary>
    const string Operators = "default";

    /// <summary>Marten looks for what is to be migrated once for each of its versions: the look takes a fifth of a second.</summary>
    static readonly string MartenVersion = typeof(IDocumentStore).Assembly.GetName().Version!.ToString();

    /// <summary>
    /// Rows that are written several times in a second are cleared away, and counted for the planner, long before a fifth of a large table is dead.
    /// </summary>
    public const string Vacuumed =
        "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 500";

    /// <summary>
    /// Views over all columns of Marten's tables. PostgreSQL refuses to drop or to change a column that a view shows, so that no other program's migration can, whose
    /// configuration knows nothing of the columns with the hashes.
    /// </summary>
    static readonly (string View, string Table)[] Guards = [("log_events", "mt_events"), ("log_streams", "mt_streams")];

    /// <summary>The head row is not where the writer thought: another node wrote.</summary>
    public const string HeadMoved = "CW001";

    /// <summary>A stream is not at the version that the writer thought.</summary>
    public const string StreamMoved = "CW002";

    /// <summary>A job is not held as the writer thought.</summary>
    public const string JobMoved = "CW003";

    /// <summary>
    /// Makes what is missing and brings head row and sequence in step with the log. Answers the inline models whose tables are new, or hold rows of an earlier form,
    /// while the log is not new; those that follow the log begin at its beginning by themselves.
    /// </summary>
    /// <param name="connection">Of the role that owns the schema, or may make it.</param>
    /// <param name="hostRole">The role of the hosts, when it is another one.</param>
    public static async Task<IReadOnlyList<IReadModel>> Ensure(
        NpgsqlConnection connection, string schema, IReadOnlyList<IRowModel> models, IDocumentStore store, string? hostRole, CancellationToken ct)
    {
        foreach (var model in models)
        {
            if (!TableName().IsMatch(model.Table) || Ours.Contains(model.Table))
            {
                throw new ArgumentException($"A read model cannot be called \"{model.Table}\".", nameof(models));
            }
        }
        await ServerFacts.Require(connection, ct);
        // Two hosts may start at once; IF NOT EXISTS alone does not keep them apart. The lock is the session's, because Marten migrates on a connection of its own.
        await Run(connection, $"SET client_min_messages = warning; SET statement_timeout = '60s'; SELECT pg_advisory_lock(hashtextextended('cowork schema {schema}', 0))", ct);
        var there = await Tables(connection, schema, ct);
        var made = there.Contains("schema_version") ? await Made(connection, schema, ct) : default;
        if (made.Version > Version)
        {
            throw new InvalidOperationException(
                $"The schema \"{schema}\" was made by a newer version of Cowork (schema {made.Version}, this one knows {Version}). Start that version, or a newer one.");
        }
        if (made.Marten != MartenVersion)
        {
            await Run(connection, string.Concat(Guards.Select(g => $"DROP VIEW IF EXISTS {schema}.{g.View};")), ct);
            there.ExceptWith(Guards.Select(g => g.View));
            await Migrate(store);
        }
        await using var transaction = await connection.BeginTransactionAsync(ct);
        var missing = models.Where(m => !there.Contains(m.Table)).ToList();
        var viewless = models.Where(m => Fence.HasView(m) && (made.Version < Version || !there.Contains(Fence.ViewOf(m.Table)))).ToList();
        if (made.Version < Version || made.Marten != MartenVersion || missing.Count > 0)
        {
            var old = models.Where(m => there.Contains(m.Table)).Select(m => $"ALTER TABLE {schema}.{m.Table} SET ({Vacuumed});");
            var fresh = string.Concat(missing.Select(m => Table(schema, m.Table, m) + Past(schema, m) + Begin(schema, m)));
            await Run(connection, Own(schema) + Fence.Trigger(schema) + ExpirySchema.Sql(schema, Operators) + string.Concat(old) + fresh, ct);
        }
        if (viewless.Count > 0)
        {
            await Run(connection, string.Concat(viewless.Select(m => Fence.SearchView(schema, m.Table))), ct);
        }
        if (hostRole is not null && !await Fence.Stands(connection, schema, models, hostRole, ct))
        {
            await Run(connection, Fence.Around(schema, models, hostRole), ct);
        }
        if (!Guards.All(g => there.Contains(g.View)))
        {
            await Run(connection, string.Concat(Guards.Select(g => $"CREATE OR REPLACE VIEW {schema}.{g.View} AS SELECT * FROM {schema}.{g.Table};")), ct);
        }
        var earlier = await OfEarlierForm(connection, schema, [.. models.Except(missing)], ct);
        foreach (var model in earlier.OfType<IAsyncProjection>())
        {
            await Run(connection, $"TRUNCATE {schema}.{model.Table}; COMMENT ON TABLE {schema}.{model.Table} IS '{Comment(model.Form)}'; {Begin(schema, model)}", ct);
        }
        var empty = await KeepInStep(connection, schema, ct);
        await transaction.CommitAsync(ct);
        return empty ? [] : [.. missing.Concat(earlier).OfType<IReadModel>()];
    }

    /// <summary>
    /// For a role that does not own the schema, and has no address of the owner: refuses what the owner has to do first, and brings head row and sequence in step.
    /// </summary>
    /// <exception cref="InvalidOperationException">The tables are not those of this release.</exception>
    public static async Task Require(NpgsqlConnection connection, string schema, IReadOnlyList<IRowModel> models, CancellationToken ct)
    {
        await ServerFacts.Require(connection, ct);
        var there = await Tables(connection, schema, ct);
        var made = there.Contains("schema_version") ? await Made(connection, schema, ct) : default;
        var stale = made.Version != Version || made.Marten != MartenVersion ? "the schema is of another release"
            : models.FirstOrDefault(m => !there.Contains(m.Table)) is { } missing ? $"the table {missing.Table} is missing"
            : await OfEarlierForm(connection, schema, models, ct) is [var earlier, ..] ? $"the table {earlier.Table} holds rows of an earlier form"
            : null;
        if (stale is not null)
        {
            throw new InvalidOperationException(
                $"The tables in the schema \"{schema}\" are not those of this release ({stale}), and this host's role does not own them. Run \"cowork migrate\" with the owner's "
                + "address in ConnectionStrings__CoworkOwner, or give it to the host (docs/deploy.md).");
        }
        await using var transaction = await connection.BeginTransactionAsync(ct);
        await KeepInStep(connection, schema, ct);
        await transaction.CommitAsync(ct);
    }

    /// <summary>True: the schema is there, and the session's role is not its owner.</summary>
    public static async Task<bool> IsOthers(NpgsqlConnection connection, string schema, CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand("SELECT NOT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = $1", connection)
        {
            Parameters = { Parameter.Text(schema) },
        };
        return await ask.ExecuteScalarAsync(ct) is true;
    }

    /// <summary>What every row of a read model has, and those that were in its place.</summary>
    const string Columns =
        "tenant_id text NOT NULL, id text NOT NULL, scope text, status text, created bigint NOT NULL, updated bigint NOT NULL, version bigint NOT NULL, row json NOT NULL";

    /// <summary>A read model's table: the same shape for every model, with the indexes that its lists need.</summary>
    public static string Table(string schema, string table, IRowModel model) => $"""
        CREATE TABLE {schema}.{table} (
            {Columns},
            {(model.Searched ? "search text," : "")}
            {(model.KeepsHistory ? "at bigint NOT NULL, text text NOT NULL, pieces bigint[] NOT NULL," : "")}
            CONSTRAINT {table}_pkey PRIMARY KEY (tenant_id, id)
        ) WITH (fillfactor = 80, {Vacuumed});
        {string.Concat(Indexes(model).Select(index => $"CREATE INDEX {table}_{index.Name} ON {schema}.{table} {index.On};"))}
        {(model.Form is > 1 and var form ? $"COMMENT ON TABLE {schema}.{table} IS '{Comment(form)}';" : "")}

        """;

    /// <summary>
    /// The rows of a model that were replaced or deleted, for pages of an earlier moment: each with the position from which on another one stood in its place. It is filled in
    /// the transaction that replaces the row, a rebuild leaves it as it is, and none of it is a fact.
    /// </summary>
    static string Past(string schema, IRowModel model) => !model.KeepsHistory ? "" : $"""
        CREATE TABLE IF NOT EXISTS {schema}.{PastOf(model.Table)} (
            {Columns},
            at bigint NOT NULL,
            text text NOT NULL,
            until bigint NOT NULL,
            until_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (tenant_id, id, updated)
        ) WITH ({Vacuumed});
        CREATE INDEX IF NOT EXISTS {PastOf(model.Table)}_moments ON {schema}.{PastOf(model.Table)} (tenant_id, scope, at DESC, updated DESC);
        CREATE INDEX IF NOT EXISTS {PastOf(model.Table)}_until ON {schema}.{PastOf(model.Table)} (until_at);

        """;

    /// <summary>
    /// The table of what rows leave when they are deleted: their key, scope and owner, and the positions between which they were there. It is written in the transaction that
    /// deletes the row, and by a rebuild.
    /// </summary>
    public const string GoneRows = "gone_rows";

    public static string PastOf(string table) => $"{table}_past";

    /// <summary>Tells a table's form. The table that a rebuild swaps in brings its own, so that a rebuild which a crash cut short is done again.</summary>
    static string Comment(int form) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"rows of form {form}");

    /// <summary>The models whose tables hold rows of an earlier form.</summary>
    static async Task<IReadOnlyList<IRowModel>> OfEarlierForm(NpgsqlConnection connection, string schema, IReadOnlyList<IRowModel> models, CancellationToken ct)
    {
        var comments = new Dictionary<string, string?>();
        const string Comments = "SELECT relname::text, obj_description(oid, 'pg_class') FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'";
        await using var ask = new NpgsqlCommand(Comments, connection) { Parameters = { new() { Value = schema } } };
        await using (var reader = await ask.ExecuteReaderAsync(ct))
        {
            while (await reader.ReadAsync(ct))
            {
                comments.Add(reader.GetString(0), await reader.IsDBNullAsync(1, ct) ? null : reader.GetString(1));
            }
        }
        return [.. models.Where(m => m.Form > 1 && comments.GetValueOrDefault(m.Table) != Comment(m.Form))];
    }

    /// <summary>The indexes of a read model's table beside its primary key, without the table's name.</summary>
    public static IEnumerable<(string Name, string On)> Indexes(IRowModel model)
    {
        if (model.Lists.HasFlag(RowLists.OfTenant))
        {
            yield return ("created", "(tenant_id, created DESC)");
        }
        if (model.Lists.HasFlag(RowLists.ByScope))
        {
            yield return ("scope", "(tenant_id, scope, created DESC)");
        }
        if (model.Lists.HasFlag(RowLists.ByStatus))
        {
            // A partial index holds only rows that are soon gone from it again, and no plan for another status can go through it. Its name tells the statuses, so that
            // it is made anew when they change.
            yield return model.ListedStatuses is { Count: > 0 } statuses
                ? ($"listed_{Ids.KeyOf(string.Join(' ', statuses))[..6]}", $"(tenant_id, status, created DESC) WHERE status IN ({string.Join(", ", statuses.Select(Literal))})")
                : ("status", "(tenant_id, status, created DESC)");
        }
        if (model.Lists.HasFlag(RowLists.ByScopeAndStatus))
        {
            yield return ("both", "(tenant_id, scope, status, created DESC)");
        }
        if (model.Searched)
        {
            yield return ("terms", $"USING gin ({SearchTerms.Column})");
        }
        if (model.KeepsHistory)
        {
            yield return ("moments", "(tenant_id, scope, at DESC, updated DESC)");
            yield return ("moments_both", "(tenant_id, scope, status, at DESC, updated DESC)");
            yield return ("pieces", "USING gin (pieces)");
        }
    }

    /// <summary>A status, or a member of rows, as it stands in a statement: it is a word of ours.</summary>
    public static string Literal(string word) =>
        word.All(c => char.IsAsciiLetter(c) || c == '_') ? $"'{word}'" : throw new ArgumentException($"\"{word}\" is no word of ours.", nameof(word));

    /// <summary>Gives a table that was built beside the live one the live one's name.</summary>
    /// <param name="hostRoles">The roles that the live table is fenced against.</param>
    public static string Swap(string schema, string next, IRowModel model, IReadOnlyList<string> hostRoles)
    {
        var table = model.Table;
        var sql = new StringBuilder(Fence.HasView(model) ? $"DROP VIEW IF EXISTS {schema}.{Fence.ViewOf(table)};" : "");
        sql.Append($"DROP TABLE {schema}.{table}; ALTER TABLE {schema}.{next} RENAME TO {table};");
        foreach (var index in Indexes(model).Select(index => index.Name).Prepend("pkey"))
        {
            sql.Append($"ALTER INDEX {schema}.{next}_{index} RENAME TO {table}_{index};");
        }
        if (Fence.HasView(model))
        {
            sql.Append(Fence.SearchView(schema, table));
        }
        return sql.Append(string.Concat(hostRoles.Select(role => Fence.Around(schema, model, role)))).ToString();
    }

    /// <summary>Marten's own migration. It wraps what the server says into exceptions of its own.</summary>
    static async Task Migrate(IDocumentStore store)
    {
        try
        {
            await store.Storage.ApplyAllConfiguredChangesToDatabaseAsync(AutoCreate.CreateOrUpdate);
        }
        catch (Exception e) when (e is not NpgsqlException && Inner(e) is { } said)
        {
            ExceptionDispatchInfo.Throw(said);
        }
    }

    static NpgsqlException? Inner(Exception e) => e as NpgsqlException ?? (e.InnerException is { } inner ? Inner(inner) : null);

    /// <summary>What made the tables. Columns that a later release added are not there in those of an earlier one.</summary>
    static async Task<(int Version, string? Marten)> Made(NpgsqlConnection connection, string schema, CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand($"SELECT version, to_jsonb(v)->>'marten' FROM {schema}.schema_version v", connection);
        await using var reader = await ask.ExecuteReaderAsync(ct);
        return await reader.ReadAsync(ct) ? (reader.GetInt32(0), reader.IsDBNull(1) ? null : reader.GetString(1)) : default;
    }

    /// <summary>A following model's checkpoint, before the first event: its table is new.</summary>
    static string Begin(string schema, IRowModel model) => model is not IAsyncProjection ? "" : $"""
        INSERT INTO {schema}.mt_event_progression (name, last_seq_id, last_updated) VALUES ('{AsyncProjectionStore.NameOf(model.Table)}', 0, clock_timestamp())
            ON CONFLICT (name) DO UPDATE SET last_seq_id = 0, last_updated = excluded.last_updated;
        DELETE FROM {schema}.parked WHERE name = '{AsyncProjectionStore.NameOf(model.Table)}';

        """;

    static readonly string[] Ours =
    [
        .. Guards.Select(g => g.View), "schema_version", "head", "feed", "jobs", "nodes", "snapshots", "parked", "token_uses", "group_marks",
        "group_connections", "subject_keys", "subject_streams", "subject_blobs", "merkle_tiles", "head_deliveries", GoneRows,
        ExpirySchema.Blobs, ExpirySchema.Times, ExpirySchema.Rules, "texts", "passages", "texts_searched", "passages_searched", VectorTable.Name,
        Fence.ViewOf(VectorTable.Name),
    ];

    static async Task<HashSet<string>> Tables(NpgsqlConnection connection, string schema, CancellationToken ct)
    {
        const string Names = "SELECT tablename::text FROM pg_tables WHERE schemaname = $1 UNION ALL SELECT viewname::text FROM pg_views WHERE schemaname = $1";
        await using var ask = new NpgsqlCommand(Names, connection) { Parameters = { new() { Value = schema } } };
        await using var reader = await ask.ExecuteReaderAsync(ct);
        var tables = new HashSet<string>();
        while (await reader.ReadAsync(ct))
        {
            tables.Add(reader.GetString(0));
        }
        return tables;
    }

    /// <summary>True: the log is empty.</summary>
    static async Task<bool> KeepInStep(NpgsqlConnection connection, string schema, CancellationToken ct)
    {
        await using var step = new NpgsqlBatch(connection)
        {
            BatchCommands =
            {
                new($"SELECT gid FROM {schema}.head FOR UPDATE"),
                new($"""
                    WITH log AS (SELECT coalesce(max(seq_id), 0) AS last FROM {schema}.mt_events),
                         moved AS (UPDATE {schema}.head SET gid = log.last FROM log WHERE gid <> log.last)
                    SELECT last, CASE WHEN last > 0 AND (SELECT last_value <> last OR NOT is_called FROM {schema}.mt_events_sequence)
                        THEN setval('{schema}.mt_events_sequence', last) END FROM log
                    """),
            },
        };
        await using var reader = await step.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        await reader.ReadAsync(ct);
        return reader.GetInt64(0) == 0;
    }

    static async Task Run(NpgsqlConnection connection, string sql, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(sql, connection) { CommandTimeout = 60 };
        await command.ExecuteNonQueryAsync(ct);
    }

    static string Own(string s) => $"""
        CREATE TABLE IF NOT EXISTS {s}.schema_version (version integer NOT NULL);
        ALTER TABLE {s}.schema_version ADD COLUMN IF NOT EXISTS marten text;
        DELETE FROM {s}.schema_version;
        INSERT INTO {s}.schema_version VALUES ({Version}, '{MartenVersion}');

        -- Marten quotes the expression, and the time of the migration would be every later row's default.
        ALTER TABLE {s}.mt_events ALTER COLUMN timestamp SET DEFAULT now();
        ALTER TABLE {s}.mt_streams ALTER COLUMN timestamp SET DEFAULT now(), ALTER COLUMN created SET DEFAULT now();

        -- One row: the position of the last event. Whoever writes events takes it first.
        CREATE TABLE IF NOT EXISTS {s}.head (gid bigint NOT NULL) WITH (fillfactor = 10);
        INSERT INTO {s}.head SELECT 0 WHERE NOT EXISTS (SELECT FROM {s}.head);

        CREATE TABLE IF NOT EXISTS {s}.feed (
            tenant_id text NOT NULL,
            session_id text NOT NULL,
            feed_id bigint NOT NULL,
            gid bigint NOT NULL,
            run_id text,
            PRIMARY KEY (tenant_id, session_id, feed_id)
        );

        -- By position, for what follows the log. A table that has rows gets it in the background (TableUpkeep).
        DROP INDEX IF EXISTS {s}.feed_gid;
        DO $body$ BEGIN
            IF NOT EXISTS (SELECT FROM {s}.feed) THEN
                CREATE INDEX IF NOT EXISTS feed_position ON {s}.feed (gid);
            END IF;
        END $body$;

        -- The Merkle tree over the log (docs/audit.md), 32 hashes to a row. It can be made anew from the log.
        CREATE TABLE IF NOT EXISTS {s}.merkle_tiles (
            level integer NOT NULL,
            number bigint NOT NULL,
            hashes bytea NOT NULL,
            least_id uuid,
            greatest_id uuid,
            PRIMARY KEY (level, number)
        ) WITH (fillfactor = 90, {Vacuumed});
        CREATE INDEX IF NOT EXISTS merkle_tiles_ids ON {s}.merkle_tiles USING brin (least_id, greatest_id) WITH (pages_per_range = 16, autosummarize = on);
        INSERT INTO {s}.mt_event_progression (name, last_seq_id, last_updated) VALUES ('{MerkleStore.ProgressName}', 0, clock_timestamp()) ON CONFLICT DO NOTHING;

        -- Number of the last signed head that each place outside was sent.
        CREATE TABLE IF NOT EXISTS {s}.head_deliveries (target text PRIMARY KEY, number bigint NOT NULL);

        CREATE TABLE IF NOT EXISTS {s}.nodes (id text PRIMARY KEY, expires timestamptz NOT NULL) WITH (fillfactor = 10);

        -- holder null: free. again: it was asked for anew while somebody was at it.
        CREATE TABLE IF NOT EXISTS {s}.jobs (
            tenant_id text NOT NULL,
            kind text NOT NULL,
            key text NOT NULL,
            due timestamptz NOT NULL,
            holder text,
            epoch bigint NOT NULL,
            again timestamptz,
            PRIMARY KEY (tenant_id, kind, key)
        );
        ALTER TABLE {s}.jobs SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.02);
        -- Failures since the job was asked for, and the last of them. letter: the job was given up, and lies far in the future.
        ALTER TABLE {s}.jobs ADD COLUMN IF NOT EXISTS attempts integer NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS error_type text,
            ADD COLUMN IF NOT EXISTS error text, ADD COLUMN IF NOT EXISTS failed_at timestamptz, ADD COLUMN IF NOT EXISTS letter uuid;
        CREATE UNIQUE INDEX IF NOT EXISTS jobs_letter ON {s}.jobs (letter) WHERE letter IS NOT NULL;
        -- What nobody is at: by time, and by tenant, so that a tenant's jobs are found behind another's thousands. A job that is held from its commit on is in neither.
        DROP INDEX IF EXISTS {s}.jobs_due;
        CREATE INDEX IF NOT EXISTS jobs_free ON {s}.jobs (due) WHERE holder IS NULL AND letter IS NULL;
        CREATE INDEX IF NOT EXISTS jobs_free_of ON {s}.jobs (kind, tenant_id, due) WHERE holder IS NULL AND letter IS NULL;
        UPDATE {s}.jobs SET letter = gen_random_uuid(), failed_at = now(), error_type = '', error = 'An earlier release gave the job up.'
            WHERE due > now() + interval '182500 days' AND letter IS NULL;
        -- Epochs grow for ever, over all jobs: one that comes back never has an epoch that somebody held it under before.
        CREATE SEQUENCE IF NOT EXISTS {s}.job_epochs;

        CREATE TABLE IF NOT EXISTS {s}.snapshots (
            tenant_id text NOT NULL,
            stream_id text NOT NULL,
            version bigint NOT NULL,
            schema text NOT NULL,
            hash text NOT NULL,
            state bytea NOT NULL,
            rows bytea NOT NULL,
            PRIMARY KEY (tenant_id, stream_id)
        );

        -- When a token was used last, to the minute: no fact of the log.
        CREATE TABLE IF NOT EXISTS {s}.token_uses (
            tenant_id text NOT NULL,
            token_id text NOT NULL,
            used timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, token_id)
        ) WITH (fillfactor = 70);

        -- Places in the feeds of groups: the messages that a feed shows up to an event. No fact of the log: any host counts the same.
        CREATE TABLE IF NOT EXISTS {s}.group_marks (
            tenant_id text NOT NULL,
            session_id text NOT NULL,
            feed_id bigint NOT NULL,
            seq bigint NOT NULL,
            PRIMARY KEY (tenant_id, session_id, feed_id)
        );
        CREATE INDEX IF NOT EXISTS group_marks_seq ON {s}.group_marks (tenant_id, session_id, seq DESC, feed_id DESC);
        -- Who is connected to a group through which node: for as long as that lives.
        CREATE TABLE IF NOT EXISTS {s}.group_connections (
            tenant_id text NOT NULL,
            session_id text NOT NULL,
            user_id text NOT NULL,
            node text NOT NULL,
            since timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, session_id, user_id, node)
        ) WITH ({Vacuumed});
        -- Rows that were deleted, of the models that are read as of an earlier position.
        CREATE TABLE IF NOT EXISTS {s}.{GoneRows} (
            tenant_id text NOT NULL,
            model text NOT NULL,
            id text NOT NULL,
            scope text,
            owner text,
            created bigint NOT NULL,
            until bigint NOT NULL,
            PRIMARY KEY (tenant_id, model, id)
        );
        CREATE INDEX IF NOT EXISTS {GoneRows}_created ON {s}.{GoneRows} (tenant_id, model, created DESC);
        CREATE INDEX IF NOT EXISTS {GoneRows}_scope ON {s}.{GoneRows} (tenant_id, model, scope, created DESC);

        -- Keys of data subjects. They are no facts of the log, which cannot forget: erased is the number of the erasure, and wrapped is gone then. pending: copies of what
        -- the key opened are still being removed from read models, indexes and blobs.
        CREATE TABLE IF NOT EXISTS {s}.subject_keys (
            tenant_id text NOT NULL,
            subject text NOT NULL,
            key_id text NOT NULL,
            master_id text,
            wrapped text,
            erased bigint NOT NULL DEFAULT 0,
            pending boolean NOT NULL DEFAULT false,
            PRIMARY KEY (tenant_id, subject)
        );
        CREATE SEQUENCE IF NOT EXISTS {s}.subject_erasures;
        CREATE INDEX IF NOT EXISTS subject_keys_erased ON {s}.subject_keys (tenant_id, erased);
        CREATE INDEX IF NOT EXISTS subject_keys_pending ON {s}.subject_keys (tenant_id) WHERE pending;
        -- The streams with sealed texts of a subject.
        CREATE TABLE IF NOT EXISTS {s}.subject_streams (
            tenant_id text NOT NULL,
            subject text NOT NULL,
            stream_id text NOT NULL,
            PRIMARY KEY (tenant_id, subject, stream_id)
        );
        CREATE INDEX IF NOT EXISTS subject_streams_stream ON {s}.subject_streams (tenant_id, stream_id);
        -- Blobs of a subject by the digests of what they are (sha256) and of the ciphertexts that the blob store has (stored).
        CREATE TABLE IF NOT EXISTS {s}.subject_blobs (
            tenant_id text NOT NULL,
            subject text NOT NULL,
            sha256 text NOT NULL,
            stored text NOT NULL,
            PRIMARY KEY (tenant_id, subject, sha256, stored)
        );
        CREATE INDEX IF NOT EXISTS subject_blobs_sha256 ON {s}.subject_blobs (sha256);

        -- What stands in the way of a model that follows the log.
        CREATE TABLE IF NOT EXISTS {s}.parked (
            name text PRIMARY KEY,
            gid bigint NOT NULL,
            tenant_id text NOT NULL,
            stream_id text NOT NULL,
            event_id uuid NOT NULL,
            type text NOT NULL,
            error text NOT NULL,
            at timestamptz NOT NULL
        );

        -- The full-text index of what lies outside the log. None of it is a fact: what is lost is read and put again.
        CREATE TABLE IF NOT EXISTS {s}.texts (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant_id text NOT NULL,
            owner text NOT NULL,
            name text NOT NULL,
            version text NOT NULL,
            sha256 text,
            left_out text,
            scopes text[] NOT NULL,
            title bigint[] NOT NULL,
            passages integer NOT NULL,
            length bigint NOT NULL,
            UNIQUE (tenant_id, owner, name)
        ) WITH ({Vacuumed});
        CREATE INDEX IF NOT EXISTS texts_scopes ON {s}.texts USING gin (scopes);
        -- fields: a record's names and values, in place of its text. terms: hashes that differ by scope, so that a search costs nothing for other scopes' passages.
        CREATE TABLE IF NOT EXISTS {s}.passages (
            tenant_id text NOT NULL,
            text_id bigint NOT NULL REFERENCES {s}.texts ON DELETE CASCADE,
            nr integer NOT NULL,
            first_line integer NOT NULL,
            last_line integer NOT NULL,
            length integer NOT NULL,
            body text,
            fields json,
            terms bigint[] NOT NULL,
            counts integer[] NOT NULL,
            PRIMARY KEY (text_id, nr)
        ) WITH ({Vacuumed});
        CREATE INDEX IF NOT EXISTS passages_terms ON {s}.passages USING gin (terms);
        {Fence.SearchView(s, "texts")}
        {Fence.SearchView(s, "passages")}

        -- The write of one batch of commits, numbered by the caller. It raises, and so undoes, what does not stand where the caller thought.
        CREATE OR REPLACE FUNCTION {s}.append_{Version}(
            head_was bigint, head_is bigint,
            new_tenant text[], new_id text[], new_version bigint[], new_created timestamptz[], new_at timestamptz[],
            old_tenant text[], old_id text[], old_was bigint[], old_version bigint[], old_at timestamptz[],
            ev_tenant text[], ev_stream text[], ev_version bigint[], ev_id uuid[], ev_type text[], ev_dotnet text[], ev_data jsonb[], ev_at timestamptz[],
            ev_correlation text[], ev_causation text[], ev_user text[], ev_headers jsonb[], ev_session text[], ev_feed bigint[], ev_run text[],
            done_tenant text[], done_kind text[], done_key text[], done_epoch bigint[], done_holder text[],
            job_tenant text[], job_kind text[], job_key text[], job_due timestamptz[], job_holder text[], job_epoch bigint[])
        RETURNS TABLE (tenant text, kind text, key text, epoch bigint, holder text)
        LANGUAGE plpgsql AS $body$
        #variable_conflict use_column
        DECLARE
            touched bigint;
            n bigint;
        BEGIN
            UPDATE {s}.head SET gid = head_is WHERE gid = head_was;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'another node wrote' USING ERRCODE = '{HeadMoved}';
            END IF;
            IF cardinality(new_id) > 0 THEN
                INSERT INTO {s}.mt_streams (tenant_id, id, version, created, timestamp)
                    SELECT * FROM unnest(new_tenant, new_id, new_version, new_created, new_at)
                    ON CONFLICT DO NOTHING;
                GET DIAGNOSTICS touched = ROW_COUNT;
                IF touched <> cardinality(new_id) THEN
                    RAISE EXCEPTION 'a stream is there already' USING ERRCODE = '{StreamMoved}';
                END IF;
            END IF;
            IF cardinality(old_id) > 0 THEN
                UPDATE {s}.mt_streams s SET version = o.version, timestamp = o.at
                    FROM unnest(old_tenant, old_id, old_was, old_version, old_at) o (tenant_id, id, was, version, at)
                    WHERE s.tenant_id = o.tenant_id AND s.id = o.id AND s.version = o.was;
                GET DIAGNOSTICS touched = ROW_COUNT;
                IF touched <> cardinality(old_id) THEN
                    RAISE EXCEPTION 'a stream has moved' USING ERRCODE = '{StreamMoved}';
                END IF;
            END IF;
            IF cardinality(ev_id) > 0 THEN
                INSERT INTO {s}.mt_events
                        (seq_id, tenant_id, stream_id, version, id, type, mt_dotnet_type, data, timestamp, correlation_id, causation_id, user_name, headers)
                    SELECT head_was + e.nr, e.tenant, e.stream, e.version, e.id, e.type, e.dotnet, e.data, e.at, e.correlation, e.causation, e.usr, e.headers
                    FROM unnest(ev_tenant, ev_stream, ev_version, ev_id, ev_type, ev_dotnet, ev_data, ev_at, ev_correlation, ev_causation, ev_user, ev_headers)
                        WITH ORDINALITY e (tenant, stream, version, id, type, dotnet, data, at, correlation, causation, usr, headers, nr);
                INSERT INTO {s}.feed (tenant_id, session_id, feed_id, gid, run_id)
                    SELECT e.tenant, e.session, e.feed, head_was + e.nr, e.run
                    FROM unnest(ev_tenant, ev_session, ev_feed, ev_run) WITH ORDINALITY e (tenant, session, feed, run, nr)
                    WHERE e.session IS NOT NULL;
            END IF;
            IF cardinality(done_key) > 0 THEN
                DELETE FROM {s}.jobs j USING unnest(done_tenant, done_kind, done_key, done_epoch, done_holder) d (tenant, kind, key, epoch, holder)
                    WHERE j.tenant_id = d.tenant AND j.kind = d.kind AND j.key = d.key AND j.epoch = d.epoch AND j.holder = d.holder AND j.again IS NULL;
                GET DIAGNOSTICS touched = ROW_COUNT;
                IF touched <> cardinality(done_key) THEN
                    UPDATE {s}.jobs j SET due = j.again, again = NULL, holder = NULL
                        FROM unnest(done_tenant, done_kind, done_key, done_epoch, done_holder) d (tenant, kind, key, epoch, holder)
                        WHERE j.tenant_id = d.tenant AND j.kind = d.kind AND j.key = d.key AND j.epoch = d.epoch AND j.holder = d.holder AND j.again IS NOT NULL;
                    GET DIAGNOSTICS n = ROW_COUNT;
                    IF touched + n <> cardinality(done_key) THEN
                        RAISE EXCEPTION 'a job was taken over' USING ERRCODE = '{JobMoved}';
                    END IF;
                END IF;
            END IF;
            IF cardinality(job_key) > 0 THEN
                RETURN QUERY
                INSERT INTO {s}.jobs AS j (tenant_id, kind, key, due, holder, epoch)
                    SELECT n.tenant, n.kind, n.key, coalesce(n.due, now()), n.holder,
                        CASE WHEN n.holder IS NULL THEN 0 ELSE coalesce(n.epoch, nextval('{s}.job_epochs')) END
                    FROM unnest(job_tenant, job_kind, job_key, job_due, job_holder, job_epoch) n (tenant, kind, key, due, holder, epoch)
                    ON CONFLICT (tenant_id, kind, key) DO UPDATE SET
                        attempts = CASE WHEN j.letter IS NULL THEN j.attempts ELSE 0 END,
                        letter = NULL,
                        due = CASE WHEN j.holder IS NULL THEN least(j.due, excluded.due) ELSE j.due END,
                        again = CASE WHEN j.holder IS NULL THEN NULL ELSE least(coalesce(j.again, excluded.due), excluded.due) END
                    RETURNING j.tenant_id, j.kind, j.key, j.epoch, CASE WHEN j.again IS NULL THEN j.holder END;
            END IF;
        END
        $body$;

        """;

    [GeneratedRegex("^[a-z][a-z0-9_]{0,40}$")]
    private static partial Regex TableName();
}
