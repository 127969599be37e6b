using System.Net;

using Cowork.Testing;

using Npgsql;

namespace Cowork.Kill.Tests;

/// <summary>Hosts on databases, roles and addresses as operators give them.</summary>
public sealed class GivenDatabaseSpecs : IAsyncLifetime
{
    readonly string data = TestPostgres.NewDirectory();
    NpgsqlConnectionStringBuilder database = new();

    string Role => $"of_{database.Database}";

    string AsRole => new NpgsqlConnectionStringBuilder(database.ConnectionString) { Username = Role }.ConnectionString;

    public async ValueTask InitializeAsync() => database = new(await TestPostgres.NewDatabase());

    public ValueTask DisposeAsync()
    {
        if (Directory.Exists(data))
        {
            Directory.Delete(data, recursive: true);
        }
        return default;
    }

    [Theory]
    [InlineData("LATIN1")]
    [InlineData("SQL_ASCII")]
    public async Task A_database_of_another_encoding_ends_the_start_with_a_sentence(string encoding)
    {
        var name = $"{database.Database}_{encoding.ToLowerInvariant()}";
        await Execute($"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        await EndsWith($"has the encoding {encoding}", new NpgsqlConnectionStringBuilder(database.ConnectionString) { Database = name }.ConnectionString);
    }

    [Fact]
    public async Task A_role_that_may_not_make_the_schema_ends_the_start_with_a_sentence()
    {
        await Execute($"CREATE ROLE {Role} LOGIN");
        await EndsWith($"CREATE SCHEMA cowork AUTHORIZATION \"{Role}\"", AsRole);
    }

    [Fact]
    public async Task A_schema_of_somebody_else_ends_the_start_with_a_sentence()
    {
        await Execute($"CREATE ROLE {Role} LOGIN; CREATE SCHEMA cowork");
        await EndsWith($"CREATE SCHEMA cowork AUTHORIZATION \"{Role}\"", AsRole);
    }

    [Fact]
    public async Task A_database_that_does_not_exist_ends_the_start_with_a_sentence() =>
        await EndsWith("database \"nowhere\" does not exist", new NpgsqlConnectionStringBuilder(database.ConnectionString) { Database = "nowhere" }.ConnectionString);

    [Fact]
    public async Task A_schema_that_was_given_is_enough_and_rights_that_are_taken_away_are_told_and_missed_until_they_are_back()
    {
        await Execute($"CREATE ROLE {Role} LOGIN; CREATE SCHEMA cowork AUTHORIZATION {Role}; REVOKE CREATE ON DATABASE {database.Database} FROM PUBLIC");
        await using var host = await HostProcess.Start(data, AsRole);
        await host.Http.NewSession("s1");
        (await host.Http.Turn("s1", "one")).Is(200);

        await Execute($"REVOKE ALL ON ALL TABLES IN SCHEMA cowork FROM {Role}");
        for (var i = 0; i < 3; i++)
        {
            (await host.Http.Turn("s1", "two")).IsProblem(503, "storage_denied");
        }
        (await host.Http.Get("/sessions/s1/events")).IsProblem(503, "storage_denied");
        await host.Http.Until("/health/ready", got => got.Status == HttpStatusCode.ServiceUnavailable);
        (await host.Http.Get("/health/live")).Is(200);

        await Execute($"GRANT ALL ON ALL TABLES IN SCHEMA cowork TO {Role}");
        await host.Http.Until("/health/ready", got => got.Status == HttpStatusCode.OK);
        (await host.Http.Turn("s1", "three")).Is(200);

        // One read model only: everything that writes it is refused, and the node goes on.
        await Execute($"REVOKE ALL ON cowork.runs FROM {Role}");
        (await host.Http.Turn("s1", "four")).IsProblem(503, "storage_denied");
        await Execute($"GRANT ALL ON cowork.runs TO {Role}");
        await host.Http.Until("/health/ready", got => got.Status == HttpStatusCode.OK);
        (await host.Http.Turn("s1", "three")).Is(200);
    }

    [Fact]
    public async Task Hosts_work_as_a_role_of_their_own_on_what_the_owner_has_migrated()
    {
        var owner = new NpgsqlConnectionStringBuilder(database.ConnectionString) { Username = $"{Role}_owner" }.ConnectionString;
        await Execute($"CREATE ROLE {Role}_owner LOGIN; CREATE ROLE {Role} LOGIN; CREATE SCHEMA cowork AUTHORIZATION {Role}_owner");
        await EndsWith("USAGE on the schema cowork", AsRole);

        var (code, said) = await CoworkCli.Run(AsRole, ["migrate"], ("ConnectionStrings__CoworkOwner", owner));
        Assert.True(code == 0, said);
        await using (var host = await HostProcess.Start(data, AsRole))
        {
            await host.Http.NewSession("s1");
            (await host.Http.Turn("s1", "one")).Is(200);
            // The owner's work is refused to the hosts' role with a sentence, and done by the owner's while the host works.
            var (refused, why) = await CoworkCli.Run(AsRole, ["rebuild"]);
            Assert.Equal(1, refused);
            Assert.Contains("permission denied", why, StringComparison.Ordinal);
            Assert.DoesNotContain("   at ", why, StringComparison.Ordinal);
            var (rebuilt, of) = await CoworkCli.Run(AsRole, ["rebuild"], ("ConnectionStrings__CoworkOwner", owner));
            Assert.True(rebuilt == 0, of);
            (await host.Http.Turn("s1", "two")).Is(200);
        }
        var (compared, differences) = await CoworkCli.Run(AsRole, ["rebuild", "--check"], ("ConnectionStrings__CoworkOwner", owner));
        Assert.True(compared == 0, differences);

        await Execute("UPDATE cowork.schema_version SET version = version - 1");
        await EndsWith("cowork migrate", AsRole);
    }

    [Fact]
    public async Task A_pooler_by_transaction_ends_the_start_with_a_sentence()
    {
        await using var pooler = new TransactionPooler(Path.Combine(database.Host!, ".s.PGSQL.5432"));
        await EndsWith("pool_mode = session", new NpgsqlConnectionStringBuilder(database.ConnectionString) { Host = "127.0.0.1", Port = pooler.Port }.ConnectionString);
    }

    [Fact]
    public async Task Variables_of_libpq_in_the_hosts_environment_change_nothing()
    {
        await using var host = await HostProcess.Start(
            data, database.ConnectionString, 0, ("PGCLIENTENCODING", "LATIN1"), ("PGTZ", "Asia/Kolkata"), ("PGDATESTYLE", "German"), ("PGOPTIONS", "-c standard_conforming_strings=off"));
        await host.Http.NewSession("s1");
        (await host.Http.Turn("s1", "an emoji \U0001F600")).Is(200);
        Assert.Contains("\U0001F600", (await host.Http.Events("s1"))[0].GetRawText() + (await host.Http.Get("/sessions/s1/events")).Json.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Host=127.0.0.1;Username=cowork;Password=geheim;wahrlich=1;Database=x")]
    [InlineData("Host=127.0.0.1;Username=cowork;Password=geheim;wahrlich")]
    [InlineData("Host=127.0.0.1;Port=geheim-wahrlich;Username=cowork")]
    [InlineData("Host=127.0.0.1;SSL Mode=geheim-wahrlich;Username=cowork")]
    [InlineData("postgres://cowork:geheim-wahrlich@127.0.0.1:port/x")]
    [InlineData("postgres://cowork:geheim-wahrlich@127.0.0.1/x?sslmode=geheim-wahrlich")]
    [InlineData("postgres://cowork:ge/heim-wahrlich@127.0.0.1:1/x")]
    public async Task Nothing_of_an_address_that_cannot_be_read_is_printed(string address)
    {
        await using var host = HostProcess.Launch(data, address);
        Assert.Equal(2, await host.Exited());
        await host.Said("cannot be read");
        Assert.DoesNotContain("geheim", host.Output, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("wahrlich", host.Output, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public async Task Nothing_of_an_address_is_printed_but_host_and_port_and_database_and_user()
    {
        await using var host = HostProcess.Launch(data, "Host=127.0.0.1;Port=1;Username=ann;Database=x;Password=\"geheim;wahrlich\"");
        await host.Said("does not answer");
        Assert.DoesNotContain("geheim", host.Output, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("wahrlich", host.Output, StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>The host says it and ends, without a stack trace.</summary>
    async Task EndsWith(string sentence, string address)
    {
        await using var host = HostProcess.Launch(data, address);
        Assert.Equal(1, await host.Exited());
        await host.Said(sentence);
        Assert.DoesNotContain("   at ", host.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("Exception", host.Output, StringComparison.Ordinal);
    }

    /// <summary>As an administrator.</summary>
    async Task Execute(string sql)
    {
        await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(database.ConnectionString) { Pooling = false }.ConnectionString);
        await connection.OpenAsync();
        foreach (var statement in sql.Split("; "))
        {
            await using var command = new NpgsqlCommand(statement, connection);
            await command.ExecuteNonQueryAsync();
        }
    }
}
