using System.Globalization;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// The table of vectors. It is there only where a host or <c>cowork migrate</c> was told the dimensions of an embedding model and the database has the extension
/// <c>vector</c> (pgvector), so that a server without it holds the same tables as ever. Names of the extension are written with its schema, wherever that is.
/// </summary>
static class VectorTable
{
    public const string Name = "vectors";

    /// <summary>The first version that goes on looking in its index when the rows of other tenants are left out.</summary>
    static readonly Version Oldest = new(0, 8);

    /// <summary>Makes what is missing: extension, table, index, view and fence. Answers why there is none, as a sentence; null: all is there.</summary>
    /// <param name="owner">Of the role that owns the schema.</param>
    /// <param name="hostRole">The role of the hosts, when it is another one.</param>
    public static async Task<string?> Ensure(NpgsqlConnection owner, string schema, int dimensions, string? hostRole, CancellationToken ct)
    {
        var (extension, why) = await Extension(owner, ct);
        if (extension is null && why is null)
        {
            why = await CreateExtension(owner, ct);
            (extension, why) = why is null ? await Extension(owner, ct) : (null, why);
        }
        if (extension is null || why is not null)
        {
            return why;
        }
        try
        {
            await using var transaction = await owner.BeginTransactionAsync(ct);
            var made = await Ask(owner, $"SELECT to_regclass('{schema}.{Fence.ViewOf(Name)}') IS NOT NULL", ct) is true;
            var fence = hostRole is not null && (!made || !(await Fence.Roles(owner, schema, Name, ct)).Contains(hostRole)) ? Fence.Around(schema, Name, hostRole) : "";
            await Run(owner, $"{(made ? "" : Table(schema, extension))}{Index(schema, extension, dimensions)}{fence}", ct);
            await transaction.CommitAsync(ct);
            return null;
        }
        catch (PostgresException e) when (!Database.IsConflict(e) && !e.SqlState.StartsWith("57", StringComparison.Ordinal))
        {
            return $"the table of vectors cannot be made: {e.MessageText}.";
        }
    }

    /// <summary>The extension's schema, quoted, when a host can work with vectors of so many dimensions; else why not.</summary>
    public static async Task<(string? Extension, string? Why)> Find(NpgsqlConnection host, string schema, int dimensions, CancellationToken ct)
    {
        var (extension, why) = await Extension(host, ct);
        if (extension is null)
        {
            return (null, why ?? "the extension \"vector\" (pgvector) is there and not created in this database: a superuser does CREATE EXTENSION vector (docs/deploy.md).");
        }
        const string Rights = "SELECT, INSERT, UPDATE, DELETE";
        var usable = await Ask(
            host,
            $"""
            SELECT coalesce(to_regclass('{schema}.{IndexOf(dimensions)}') IS NOT NULL
                AND (SELECT bool_and(has_table_privilege(to_regclass('{schema}.{Name}'), r)) FROM unnest(string_to_array('{Rights}', ', ')) r)
                AND has_table_privilege(to_regclass('{schema}.{Fence.ViewOf(Name)}'), 'SELECT'), false)
            """,
            ct) is true;
        return usable
            ? (extension, null)
            : (null, $"the tables are not there: run \"cowork migrate\" with Cowork__Embeddings__Dimensions={dimensions} and the owner's address (docs/deploy.md).");
    }

    public static string IndexOf(int dimensions) => $"{Name}_near_{dimensions.ToString(CultureInfo.InvariantCulture)}";

    /// <summary>The schema of the extension, quoted; null with null: it is there to be created; null with a reason: it is of no use.</summary>
    static async Task<(string? Schema, string? Why)> Extension(NpgsqlConnection connection, CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand(
            """
            SELECT coalesce(e.extversion, a.default_version), quote_ident(n.nspname) FROM (VALUES (0)) one
            LEFT JOIN pg_extension e ON e.extname = 'vector' LEFT JOIN pg_namespace n ON n.oid = e.extnamespace
            LEFT JOIN pg_available_extensions a ON a.name = 'vector'
            """,
            connection);
        await using var reader = await ask.ExecuteReaderAsync(ct);
        await reader.ReadAsync(ct);
        var version = await reader.IsDBNullAsync(0, ct) ? null : reader.GetString(0);
        return version is null ? (null, "the PostgreSQL server has no extension \"vector\" (pgvector).")
            : Version.TryParse(version, out var parsed) && parsed < Oldest ? (null, $"the extension \"vector\" is of version {version}, and {Oldest} is the first that does.")
            : (await reader.IsDBNullAsync(1, ct) ? null : reader.GetString(1), null);
    }

    static async Task<string?> CreateExtension(NpgsqlConnection owner, CancellationToken ct)
    {
        try
        {
            await using var transaction = await owner.BeginTransactionAsync(ct);
            // Hosts of several schemas may start at once on one database.
            await Run(owner, "SELECT pg_advisory_xact_lock(hashtextextended('cowork vector', 0)); CREATE EXTENSION IF NOT EXISTS vector SCHEMA public", ct);
            await transaction.CommitAsync(ct);
            return null;
        }
        catch (PostgresException e) when (!e.SqlState.StartsWith("57", StringComparison.Ordinal))
        {
            return $"the extension \"vector\" cannot be created ({e.MessageText}): a superuser does CREATE EXTENSION vector (docs/deploy.md).";
        }
    }

    static string Table(string schema, string extension) => $"""
        -- Vectors of chunks, by the digest of their text: one that a text has again keeps its own. They come and go with the text.
        CREATE TABLE IF NOT EXISTS {schema}.{Name} (
            tenant_id text NOT NULL,
            text_id bigint NOT NULL REFERENCES {schema}.texts ON DELETE CASCADE,
            digest bytea NOT NULL,
            model text NOT NULL,
            dimensions integer NOT NULL,
            embedding {extension}.vector NOT NULL,
            PRIMARY KEY (text_id, digest, model, dimensions)
        ) WITH ({Schema.Vacuumed});
        {Fence.SearchView(schema, Name)}
        """;

    /// <summary>One for each number of dimensions, because an index has vectors of one length.</summary>
    static string Index(string schema, string extension, int dimensions) => $"""
        CREATE INDEX IF NOT EXISTS {IndexOf(dimensions)} ON {schema}.{Name}
            USING hnsw ((embedding::{extension}.vector({dimensions.ToString(CultureInfo.InvariantCulture)})) {extension}.vector_cosine_ops)
            WHERE dimensions = {dimensions.ToString(CultureInfo.InvariantCulture)};

        """;

    static async Task<object?> Ask(NpgsqlConnection connection, string sql, CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand(sql, connection);
        return await ask.ExecuteScalarAsync(ct);
    }

    static async Task Run(NpgsqlConnection connection, string sql, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(sql, connection) { CommandTimeout = 60 };
        await command.ExecuteNonQueryAsync(ct);
    }
}
