using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// The roles of a private PostgreSQL. One owns the schema and nothing beyond it, and migrates; hosts add to the log and cannot change it; readers read. None is a wall
/// against somebody on the machine who may enter the socket's directory: they keep programs from harming what they were only asked to read, or to write.
/// </summary>
static class PrivateRoles
{
    public const string Owner = "cowork_owner";

    public const string Host = "cowork_host";

    public const string Reader = "cowork_reader";

    /// <summary>Makes what is missing, and gives the owner what an earlier release made as the superuser or as the hosts' role.</summary>
    const string Sql = $"""
        DO $do$
        DECLARE
            it record;
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{Owner}') THEN
                CREATE ROLE {Owner} LOGIN;
            END IF;
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{Host}') THEN
                CREATE ROLE {Host} LOGIN;
            END IF;
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{Reader}') THEN
                CREATE ROLE {Reader} LOGIN;
                ALTER ROLE {Reader} SET default_transaction_read_only = on;
            END IF;
            -- It reads all tenants' rows, with tools, too, that refuse to work under row-level security, as pg_dump does.
            IF NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = '{Reader}') THEN
                ALTER ROLE {Reader} BYPASSRLS;
            END IF;
            IF EXISTS (SELECT FROM pg_database WHERE datname = current_database() AND pg_get_userbyid(datdba) <> '{Owner}') THEN
                EXECUTE format('ALTER DATABASE %I OWNER TO {Owner}', current_database());
                REVOKE CREATE ON SCHEMA public FROM PUBLIC;
                ALTER DEFAULT PRIVILEGES FOR ROLE {Owner} GRANT USAGE ON SCHEMAS TO {Reader};
                ALTER DEFAULT PRIVILEGES FOR ROLE {Owner} GRANT SELECT ON TABLES TO {Reader};
                ALTER DEFAULT PRIVILEGES FOR ROLE {Owner} GRANT SELECT ON SEQUENCES TO {Reader};
                -- The writer leaves the foreign key's look-ups out with it. Before version 15 only a superuser can set it.
                IF current_setting('server_version_num')::integer >= 150000 THEN
                    EXECUTE 'GRANT SET ON PARAMETER session_replication_role TO {Host}';
                END IF;
                FOR it IN SELECT nspname FROM pg_namespace WHERE nspname <> 'public' AND nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema' LOOP
                    EXECUTE format('ALTER SCHEMA %I OWNER TO {Owner}', it.nspname);
                    EXECUTE format('GRANT USAGE ON SCHEMA %I TO {Reader}', it.nspname);
                END LOOP;
                FOR it IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
                        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i', 'e')
                            AND d.refclassid = 'pg_class'::regclass)
                LOOP
                    -- It takes sequences and views by this name, too.
                    EXECUTE format('ALTER TABLE %s OWNER TO {Owner}', it.name);
                    EXECUTE format('GRANT SELECT ON %s TO {Reader}', it.name);
                END LOOP;
                FOR it IN SELECT p.oid::regprocedure AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                    WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
                        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
                LOOP
                    EXECUTE format('ALTER ROUTINE %s OWNER TO {Owner}', it.name);
                END LOOP;
            END IF;
        END
        $do$
        """;

    /// <summary>Only a superuser may create the extension. Where it cannot be, the host says why when it looks for it.</summary>
    const string VectorSql = """
        DO $do$
        BEGIN
            IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') THEN
                CREATE EXTENSION IF NOT EXISTS vector SCHEMA public;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'vector: %', SQLERRM;
        END
        $do$
        """;

    /// <param name="administrator">Connection string of a superuser.</param>
    /// <param name="vectors">True: the extension for vectors is created, where the server has it.</param>
    public static async Task Ensure(string administrator, bool vectors, CancellationToken ct)
    {
        await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(administrator) { Pooling = false }.ConnectionString);
        await connection.OpenAsync(ct);
        await using var command = new NpgsqlCommand(Sql, connection);
        await command.ExecuteNonQueryAsync(ct);
        if (vectors)
        {
            await using var extension = new NpgsqlCommand(VectorSql, connection);
            await extension.ExecuteNonQueryAsync(ct);
        }
    }
}
