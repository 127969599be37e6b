using System.Text.Json;

using Cowork.Application;
using Cowork.Connectors;
using Cowork.Testing;

using Npgsql;

namespace Cowork.Web.Tests;

/// <summary>A host whose connections may reach one PostgreSQL of this machine.</summary>
public sealed class ConnectorHost : IAsyncLifetime
{
    public const string Password = "Pa55-word-of-the-source";

    public TcpPostgres Postgres { get; private set; } = null!;

    public LiveHost Host { get; private set; } = null!;

    public HttpClient Http => Host.Http;

    public async ValueTask InitializeAsync()
    {
        Postgres = await TcpPostgres.Start(null, Password);
        Host = await LiveHost.Start(settings => settings with { Egress = [EgressTarget.Parse($"127.0.0.1:{Postgres.Port}")!] });
    }

    public async ValueTask DisposeAsync()
    {
        await Host.DisposeAsync();
        await Postgres.DisposeAsync();
    }

    /// <summary>The body of a connection to a new database.</summary>
    public async Task<string> Body(string sql, string? password = null, string name = "prod-db")
    {
        var of = new NpgsqlConnectionStringBuilder(await Postgres.NewDatabase(Password, sql));
        return JsonSerializer.Serialize(new
        {
            spec_id = "postgres",
            name,
            credentials = new { host = of.Host, port = of.Port, database = of.Database, user = of.Username, password = password ?? Password },
        });
    }

    public async Task<string> NewConnection(string sql) => (await Http.Post("/api/v1/connectors/connections", await Body(sql))).Is(201)["id"];
}

/// <summary>Connections over HTTP, and in runs, against a real database.</summary>
public sealed class ConnectorSpecs(ConnectorHost fixture) : IClassFixture<ConnectorHost>
{
    const string Connections = "/api/v1/connectors/connections";

    readonly HttpClient http = fixture.Http;

    Task<Got> Patch(string id, string body) => http.Send(HttpMethod.Patch, $"{Connections}/{id}", body);

    static string[] Members(JsonElement of) => [.. of.EnumerateObject().Select(member => member.Name)];

    [Fact]
    public async Task The_specs_say_what_to_ask_for()
    {
        var specs = (await http.Get("/api/v1/connectors/specs")).Is(200).Json;
        Assert.Equal("list", specs.GetProperty("object").GetString());
        var postgres = specs.GetProperty("data").EnumerateArray().Single(spec => spec.GetProperty("id").GetString() == "postgres");
        Assert.Equal(["id", "name", "description", "auth_type", "fields"], Members(postgres));
        Assert.Equal(("PostgreSQL", "credentials"), (postgres.GetProperty("name").GetString(), postgres.GetProperty("auth_type").GetString()));
        Assert.Equal(
            ["host False True", "port False True", "database False True", "user False True", "password True True"],
            postgres.GetProperty("fields").EnumerateArray().Take(5).Select(field => $"{field.GetProperty("key")} {field.GetProperty("secret")} {field.GetProperty("required")}"));
    }

    [Fact]
    public async Task A_connection_is_created_listed_tested_changed_and_deleted()
    {
        var made = (await http.Post(Connections, await fixture.Body("SELECT 1"))).Is(201);
        var id = made["id"];
        Assert.StartsWith("conn_", id, StringComparison.Ordinal);
        Assert.Equal($"{Connections}/{id}", made.Headers.Location!.ToString());
        Assert.Equal(["id", "spec_id", "name", "status", "status_detail", "checked_at", "created_at", "updated_at"], Members(made.Json));
        Assert.Equal(("postgres", "prod-db", "connected", ""), (made["spec_id"], made["name"], made["status"], made["status_detail"]));
        Assert.Equal(made.Text, (await http.Get($"{Connections}/{id}")).Is(200).Text);
        Assert.Equal(made.Text, (await http.Get($"{Connections}?spec_id=postgres")).Is(200).Json.GetProperty("data")[0].GetRawText());
        Assert.Equal("0", (await http.Get($"{Connections}?spec_id=sqlite")).Is(200)["total"]);

        Assert.Equal("connected", (await http.Post($"{Connections}/{id}/test")).Is(200)["status"]);
        Assert.Equal(("warehouse", "connected"), ((await Patch(id, """{"name":"warehouse"}""")).Is(200)["name"], (await http.Get($"{Connections}/{id}"))["status"]));
        var wrong = JsonDocument.Parse(await fixture.Body("SELECT 1", "wrong-passw0rd")).RootElement.GetProperty("credentials").GetRawText();
        var failed = (await Patch(id, $$"""{"credentials":{{wrong}}}""")).Is(200);
        Assert.Equal(("error", "The server refused the user or the password."), (failed["status"], failed["status_detail"]));
        Assert.DoesNotContain("passw0rd", failed.Text, StringComparison.Ordinal);

        (await Patch(id, """{"credentials":null}""")).IsProblem(422);
        (await Patch(id, """{"credentials":{"host":"127.0.0.1"}}""")).IsProblem(422);

        (await http.Delete($"{Connections}/{id}")).Is(204);
        foreach (var gone in (Got[])
        [
            await http.Get($"{Connections}/{id}"), await Patch(id, "{}"), await http.Post($"{Connections}/{id}/test"), await http.Delete($"{Connections}/{id}"),
        ])
        {
            gone.IsProblem(404, "not_found");
        }
    }

    [Fact]
    public async Task A_wrong_password_gives_an_error_with_a_plain_reason_and_no_secret()
    {
        var made = (await http.Post(Connections, await fixture.Body("SELECT 1", "hunter2-hunter2"))).Is(201);
        Assert.Equal(("error", "The server refused the user or the password."), (made["status"], made["status_detail"]));
        Assert.DoesNotContain("hunter2", made.Text, StringComparison.Ordinal);
        var inside = await fixture.Body("SELECT 1");
        made = (await http.Post(Connections, inside.Replace("127.0.0.1", "127.0.0.2", StringComparison.Ordinal))).Is(201);
        Assert.Equal("error", made["status"]);
        Assert.Contains("Cowork:Egress:Allow", made["status_detail"]);
    }

    [Theory]
    [InlineData("""{"spec_id":"postgres","name":"x","credentials":{}}""", "$.credentials.host $.credentials.port $.credentials.database $.credentials.user $.credentials.password")]
    [InlineData("""{"spec_id":"postgres","name":"x","credentials":{"host":"h","port":"5432","database":"d","user":"u","password":""}}""", "$.credentials.password")]
    [InlineData("""{"spec_id":"postgres","name":"x","credentials":{"host":"h","port":"x","database":"d","user":"u","password":"p"}}""", "$.credentials.port")]
    [InlineData("""{"spec_id":"postgres","name":"x","credentials":{"host":["h"],"port":1,"database":"d","user":"u","password":"p"}}""", "$.credentials.host")]
    [InlineData("""{"spec_id":"postgres","name":"x","credentials":{"host":"h","port":1,"database":"d","user":"u","password":"p","sslmod":"require"}}""", "$.credentials.sslmod")]
    [InlineData("""{"spec_id":"postgres","name":"x","credentials":{"host":"h","port":1,"database":"d","user":"u","password":"p","The secret":"x"}}""", "$.credentials")]
    [InlineData("""{"spec_id":"postgres","name":"x","credentials":"p"}""", "$.credentials")]
    [InlineData("""{"spec_id":"postgres","name":" ","credentials":null}""", "$.name $.credentials")]
    [InlineData("""{"spec_id":"oracle","name":"x","credentials":{}}""", "$.spec_id")]
    [InlineData("{}", "$.spec_id $.name $.credentials")]
    public async Task What_is_missing_or_wrong_is_named_at_once(string body, string paths)
    {
        var refused = (await http.Post(Connections, body)).IsProblem(422);
        Assert.Equal(paths.Split(' '), Members(refused.Json.GetProperty("errors")));
        Assert.DoesNotContain("secret", refused.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Unknown_members_are_ignored_beside_the_credentials_and_named_within_them()
    {
        var body = await fixture.Body("SELECT 1");
        var made = (await http.Post(Connections, body.Replace("\"spec_id\"", "\"colour\":{\"a\":[1]},\"status\":\"connected\",\"spec_id\"", StringComparison.Ordinal))).Is(201);
        Assert.Equal("connected", made["status"]);
        Assert.Equal("warehouse", (await Patch(made["id"], """{"name":"warehouse","spec_id":"sqlite","colour":null}""")).Is(200)["name"]);
        Assert.Equal("postgres", (await http.Get($"{Connections}/{made["id"]}")).Is(200)["spec_id"]);
        var refused = (await Patch(made["id"], """{"credentials":{"host":"h","port":1,"database":"d","user":"u","password":"p","colour":"x"},"colour":1}""")).IsProblem(422);
        Assert.Equal(["$.credentials.colour"], Members(refused.Json.GetProperty("errors")));
    }

    [Fact]
    public async Task A_repeat_makes_no_second_connection_and_another_password_is_another_request()
    {
        var body = await fixture.Body("SELECT 1");
        var first = (await http.Post(Connections, body, ("Idempotency-Key", "conn-1"))).Is(201);
        var again = (await http.Post(Connections, body, ("Idempotency-Key", "conn-1"))).Is(201);
        Assert.Equal(first.Text, again.Text);
        Assert.Equal("true", again.Headers.GetValues("Idempotency-Replayed").Single());
        (await http.Post(Connections, body.Replace(ConnectorHost.Password, "another-password", StringComparison.Ordinal), ("Idempotency-Key", "conn-1")))
            .IsProblem(422, "idempotency_key_reused");
        var tested = (await http.Post($"{Connections}/{first["id"]}/test", null, ("Idempotency-Key", "test-1"))).Is(200);
        Assert.Equal(tested.Text, (await http.Post($"{Connections}/{first["id"]}/test", null, ("Idempotency-Key", "test-1"))).Is(200).Text);
    }

    [Fact]
    public async Task The_agent_reads_at_once_and_asks_before_it_writes()
    {
        var connection = await fixture.NewConnection("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'one|two'), (2, NULL)");
        var session = await http.NewSession();
        Assert.Contains($"{connection} | prod-db | postgres | connected", await Result(session, new { action = "list" }));
        Assert.Contains("public | t | table | a integer, b text", await Result(session, new { action = "schema", connection_id = connection }));
        Assert.Equal("a | b\n1 | one\\|two\n[Cut after 1 rows: there are more.]", await Result(session, new { action = "sample", connection_id = connection, query = "t", limit = 1 }));
        Assert.Equal("a | b\n2 | NULL\n[1 rows.]", await Result(session, new { action = "query", connection_id = connection, query = "SELECT * FROM t WHERE a = 2" }));

        foreach (var (sql, rule) in ((string, string)[])
        [
            ("SELECT * FROM t", "connector_scan"), ("SELECT pg_terminate_backend(1)", "connector_write"), ("INSERT INTO t VALUES (3)", "connector_write"),
        ])
        {
            var asked = await Call(session, new { action = "query", connection_id = connection, query = sql });
            Assert.Equal("approval_required", asked["status"]);
            var approval = (await http.Get($"/approvals/{asked.Json.GetProperty("pending_approval_ids")[0]}")).Is(200);
            Assert.Contains("prod-db: postgres", approval["reason"]);
            Assert.Contains(rule, (await http.Get($"/runs/{asked["run_id"]}/trace")).Text);
            (await http.Post($"/approvals/{approval["approval_id"]}/decision", """{"approved":false}""")).Is(200);
            await http.Until($"/runs/{asked["run_id"]}", run => run["status"] == "completed");
        }
        foreach (var sql in (string[])["DROP TABLE t", "TRUNCATE t", "ALTER TABLE t ADD c int", "SELECT 1 FROM t WHERE true; DELETE FROM t"])
        {
            Assert.Contains("connector_alter", await Result(session, new { action = "query", connection_id = connection, query = sql }));
        }
        Assert.Contains("connector_bulk", await Result(session, new { action = "query", connection_id = connection, query = "SELECT 1", limit = 10_001 }));

        var write = await Call(session, new { action = "write", connection_id = connection, query = "INSERT INTO t VALUES (3, 'three')" });
        (await http.Post($"/approvals/{write.Json.GetProperty("pending_approval_ids")[0]}/decision", """{"approved":true}""")).Is(200);
        var written = await http.Until($"/runs/{write["run_id"]}", run => run["status"] == "completed");
        Assert.Contains("Done: 1 rows changed.", written["reply"]);
        Assert.Equal("count\n3\n[1 rows.]", await Result(session, new { action = "query", connection_id = connection, query = "SELECT count(*) FROM t LIMIT 1" }));
    }

    [Fact]
    public async Task An_approval_does_not_hold_for_other_credentials()
    {
        var connection = await fixture.NewConnection("CREATE TABLE t (a int)");
        var asked = await Call(await http.NewSession(), new { action = "write", connection_id = connection, query = "INSERT INTO t VALUES (1)" });
        var other = JsonDocument.Parse(await fixture.Body("CREATE TABLE t (a int)")).RootElement.GetProperty("credentials").GetRawText();
        (await Patch(connection, $$"""{"credentials":{{other}}}""")).Is(200);
        (await http.Post($"/approvals/{asked.Json.GetProperty("pending_approval_ids")[0]}/decision", """{"approved":true}""")).Is(200);
        var run = await http.Until($"/runs/{asked["run_id"]}", run => run["status"] == "completed");
        Assert.Contains("has changed since it was approved", run["reply"]);
        Assert.Equal("count\n0\n[1 rows.]", await Result(await http.NewSession(), new { action = "query", connection_id = connection, query = "SELECT count(*) FROM t LIMIT 1" }));
    }

    [Fact]
    public async Task A_project_that_names_connections_uses_no_others()
    {
        var (mine, other) = (await fixture.NewConnection("SELECT 1"), await fixture.NewConnection("SELECT 1"));
        var project = (await http.Post("/api/v1/projects", $$"""{"name":"x","connector_ids":["{{mine}}"]}""")).Is(201)["id"];
        var conversation = (await http.Post("/api/v1/conversations", $$"""{"project_id":"{{project}}"}""")).Is(201)["id"];
        var listed = await Result(conversation, new { action = "list" });
        Assert.Contains(mine, listed);
        Assert.DoesNotContain(other, listed, StringComparison.Ordinal);
        Assert.Contains("[1 rows.]", await Result(conversation, new { action = "query", connection_id = mine, query = "SELECT 1" }));
        Assert.Contains("does not use that connection", await Result(conversation, new { action = "query", connection_id = other, query = "SELECT 1" }));
        (await http.Send(HttpMethod.Patch, $"/api/v1/projects/{project}", """{"connector_ids":[]}""")).Is(200);
        Assert.Contains("[1 rows.]", await Result(conversation, new { action = "query", connection_id = other, query = "SELECT 1" }));
    }

    [Fact]
    public async Task Only_members_make_connections_and_everybody_of_the_tenant_sees_them()
    {
        using var auditor = fixture.Host.Client(await fixture.Host.Token("roles-of-connections", "auditor"));
        using var member = fixture.Host.Client(await fixture.Host.Token("roles-of-connections", "member"));
        var body = await fixture.Body("SELECT 1");
        (await auditor.Post(Connections, body)).IsProblem(403, "role_missing");
        var id = (await member.Post(Connections, body)).Is(201)["id"];
        Assert.Equal("1", (await auditor.Get(Connections)).Is(200)["total"]);
        (await auditor.Delete($"{Connections}/{id}")).IsProblem(403, "role_missing");
        (await http.Get($"{Connections}/{id}")).IsProblem(404, "not_found");
    }

    /// <summary>The turn of one call of the tool.</summary>
    async Task<Got> Call(string session, object input) => (await http.Turn(session, $"/tool query_connector {JsonSerializer.Serialize(input)}")).Is(200);

    /// <summary>What the model was answered.</summary>
    async Task<string> Result(string session, object input)
    {
        var run = await Call(session, input);
        Assert.Equal("completed", run["status"]);
        var result = (await http.Get($"/runs/{run["run_id"]}/trace")).Is(200).Json.GetProperty("events").EnumerateArray()
            .Last(e => e.GetProperty("event_type").GetString() == "tool_result");
        return result.GetProperty("data").GetProperty("content").GetString()!;
    }
}

/// <summary>Hosts of one database with the same and with other master keys, and the command that rotates them.</summary>
public sealed class MasterKeySpecs
{
    const string Connections = "/api/v1/connectors/connections";

    [Fact]
    public async Task A_host_with_another_master_key_is_not_ready_and_says_why()
    {
        await using var first = await LiveHost.Start();
        var id = (await first.Http.Post(Connections, Unreachable)).Is(201)["id"];
        await using var other = await LiveHost.Start(settings => settings with { Database = first.Database });
        var refused = (await other.Http.Get("/health/ready")).IsProblem(503, "secrets_unreadable");
        Assert.Contains(MasterKeyFile.Read(MasterKeyFile.In(first.Data))[0].Id, refused["detail"]);
        var (code, doctor) = await CoworkCli.Run(first.Database, "doctor", "--data", other.Data);
        Assert.True(code == 1 && doctor.Contains(refused["detail"], StringComparison.Ordinal), doctor);
        (await other.Http.Post(Connections, Unreachable)).IsProblem(503, "secrets_unreadable");
        (await other.Http.Post($"{Connections}/{id}/test")).IsProblem(503, "secrets_unreadable");
        // With the key it is as good as the first.
        MasterKeyFile.Write(MasterKeyFile.In(other.Data), MasterKeyFile.Read(MasterKeyFile.In(first.Data)));
        await other.Http.Until("/health/ready", got => (int)got.Status == 200);
        Assert.Equal("error", (await other.Http.Post($"{Connections}/{id}/test")).Is(200)["status"]);
    }

    [Fact]
    public async Task Keys_are_rotated_while_the_host_runs()
    {
        await using var host = await LiveHost.Start();
        var (code, output) = await CoworkCli.Run(host.Database, "keys", "rotate", "--data", host.Data);
        Assert.True(code == 0 && output.Contains("No secret is kept", StringComparison.Ordinal), output);
        var id = (await host.Http.Post(Connections, Unreachable, ("Idempotency-Key", "k"))).Is(201)["id"];
        var before = MasterKeyFile.Read(MasterKeyFile.In(host.Data))[0].Id;
        (code, output) = await CoworkCli.Run(host.Database, "keys", "rotate", "--data-keys", "--data", host.Data);
        Assert.True(code == 0, output);
        var keys = MasterKeyFile.Read(MasterKeyFile.In(host.Data));
        Assert.Equal((2, before), (keys.Count, keys[1].Id));
        Assert.Contains($"under the master key {keys[0].Id} now, no longer under {before}: 2 data keys of 1 tenants.", output);
        Assert.Contains("1 connections of 1 tenants", output);
        Assert.Equal("error", (await host.Http.Post($"{Connections}/{id}/test")).Is(200)["status"]);
        Assert.Equal(id, (await host.Http.Post(Connections, Unreachable, ("Idempotency-Key", "k"))).Is(201)["id"]);
        (await host.Http.Get("/health/ready")).Is(200);
        // Without the old key, too.
        MasterKeyFile.Write(MasterKeyFile.In(host.Data), [keys[0]]);
        await using var second = await LiveHost.Start(async settings =>
        {
            Directory.CreateDirectory(settings.Data, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            MasterKeyFile.Write(MasterKeyFile.In(settings.Data), [keys[0]]);
            return await Task.FromResult(settings with { Database = host.Database });
        });
        Assert.Equal("error", (await second.Http.Post($"{Connections}/{id}/test")).Is(200)["status"]);
    }

    static string Unreachable => """
        {"spec_id":"postgres","name":"x","credentials":{"host":"127.0.0.1","port":5432,"database":"d","user":"u","password":"Pa55-word-of-the-spec"}}
        """;
}
