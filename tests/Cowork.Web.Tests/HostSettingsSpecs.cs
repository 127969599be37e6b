using Cowork.Application;

using Microsoft.Extensions.Configuration;

using Npgsql;

namespace Cowork.Web.Tests;

/// <summary>How a host is configured, and what it says of a setting that it does not take.</summary>
public sealed class HostSettingsSpecs
{
    [Theory]
    [InlineData("--port", "65536")]
    [InlineData("--port", "x")]
    [InlineData("--engine", "sqlite")]
    [InlineData("--colour", "red")]
    [InlineData("--data")]
    public void A_wrong_option_is_told_in_a_sentence(params string[] args) =>
        Assert.Throws<ArgumentException>(() => HostSettings.Read(args, new ConfigurationBuilder().Build()));

    [Theory]
    //          Bind         Mode     token mode
    [InlineData(null, null, false)]
    [InlineData("127.0.0.2", "local", false)]
    [InlineData("::1", "", false)]
    [InlineData("localhost", "token", true)]
    [InlineData("0.0.0.0", null, true)]
    [InlineData("*", "token", true)]
    public void Any_binding_but_loopback_wants_tokens(string? bind, string? mode, bool tokens) =>
        Assert.Equal(tokens, Read(("Cowork:Bind", bind), ("Cowork:Auth:Mode", mode), ("Cowork:Tls:Mode", "none")).TokenMode);

    [Fact]
    public void An_embedding_model_is_configured_like_a_model()
    {
        Assert.Null(Read().Embeddings);
        var model = Read(
            ("Cowork:Embeddings:Model", "e"), ("Cowork:Embeddings:Dimensions", "768"), ("Cowork:Embeddings:BaseUrl", "http://localhost:11434/v1"),
            ("Cowork:Embeddings:KeyVariable", "MINE"), ("MINE", "sk-2"), ("OPENAI_API_KEY", "sk-1"), ("Cowork:Embeddings:QueryTimeout", "00:00:01"),
            ("Cowork:Embeddings:Request:dimensions", "768")).Embeddings!;
        Assert.Equal(
            ("e", 768, "http://localhost:11434/v1", "sk-2", TimeSpan.FromSeconds(1), 3, "768"),
            (model.Model, model.Dimensions, $"{model.BaseUrl}", model.Key, model.Query, model.Retries.Attempts, model.Request["dimensions"].GetRawText()));
        Assert.Equal("e (768 dimensions, at localhost:11434)", $"{model}");
        // A key goes to the address only that it was configured for.
        (string, string?)[] named = [("Cowork:Embeddings:Model", "e"), ("Cowork:Embeddings:Dimensions", "768"), ("OPENAI_API_KEY", "sk-1")];
        Assert.Equal("sk-1", Read(named).Embeddings!.Key);
        Assert.Null(Read([.. named, ("Cowork:Embeddings:BaseUrl", "http://localhost:1/v1")]).Embeddings!.Key);
    }

    [Theory]
    [InlineData("Cowork:Embeddings:Model", "e", "Cowork:Embeddings has no Dimensions")]
    [InlineData("Cowork:Embeddings:Dimensions", "768", "Cowork:Embeddings has no Model")]
    [InlineData("Cowork:Embeddings:Colour", "red", "Cowork:Embeddings has no setting Colour")]
    public void Half_of_an_embedding_model_is_told_in_a_sentence(string setting, string value, string why) =>
        Assert.StartsWith(why, Assert.Throws<ArgumentException>(() => Read((setting, value))).Message, StringComparison.Ordinal);

    [Fact]
    public void Limits_of_runs_are_configured_one_by_one()
    {
        var runs = Read(("Cowork:Runs:Limits:Rounds", "3"), ("Cowork:Runs:Limits:Time", "00:10:00"), ("Cowork:Runs:Parallel", "7")).Runs;
        Assert.Equal((3, TimeSpan.FromMinutes(10), 100_000L, 60, 7), (runs.Limits.Rounds, runs.Limits.Time, runs.Limits.Tokens, runs.Limits.ToolCalls, runs.Parallel));
    }

    [Theory]
    [InlineData("Cowork:Runs:Parallel", "many", "Cowork:Runs:Parallel is \"many\"; it may be 1…100000.")]
    [InlineData("Cowork:Runs:Parallel", "0", "may be 1…100000")]
    [InlineData("Cowork:Runs:Limits:Tokens", "-1", "Cowork:Runs:Limits:Tokens is \"-1\"")]
    [InlineData("Cowork:Runs:DeltaEvery", "often", "may be a time from 00:00:00 to 1.00:00:00")]
    [InlineData("Cowork:Runs:IdempotencyKept", "0", "may be a time from 00:00:00.0010000")]
    [InlineData("Cowork:Approvals:ExpireAfter", "00:00:00", "may be a time")]
    [InlineData("Cowork:Approvals:FourEyes", "sometimes", "may be true or false")]
    [InlineData("Cowork:Jobs:RetryAfter:1", "-00:00:05", "Cowork:Jobs:RetryAfter:1 is \"-00:00:05\"")]
    [InlineData("Cowork:Http:KeepAlive", "0", "may be a time from 00:00:00.0010000")]
    [InlineData("Cowork:Http:ConnectionsMax", "3", "may be 10…1000000")]
    [InlineData("Cowork:Scheduler:IntervalMin", "0", "may be a time from 00:00:01")]
    [InlineData("Cowork:Http:WaitMax", "02:00:00", "may be a time from 00:00:00 to 01:00:00")]
    [InlineData("Cowork:Auth:Mode", "open", "may be local or token")]
    [InlineData("Cowork:Log:Format", "xml", "may be text or json")]
    [InlineData("Cowork:Files:BytesMax", "512 MiB", "Cowork:Files:BytesMax is \"512 MiB\"")]
    [InlineData("Cowork:Files:Extractions", "0", "may be 1…100")]
    [InlineData("Cowork:Blobs:S3:Region", "eu-central-1", "Cowork:Blobs:S3:Bucket is missing")]
    [InlineData("Cowork:Egress:Allow:0", "db.corp.example", "Cowork:Egress:Allow:0 is \"db.corp.example\"; it may be host:port, or a network")]
    [InlineData("Cowork:Egress:Allow:0", "0.0.0.0/0", "it may be host:port, or a network")]
    [InlineData("Cowork:Connectors:OAuth:GitLab:ClientId", "x", "is about no service with OAuth that is known here; there are google-sheets, notion, github, slack.")]
    [InlineData("Cowork:Connectors:OAuth:GitHub:ClientSecret", "x", "Cowork:Connectors:OAuth:GitHub:ClientId is missing")]
    [InlineData("Cowork:Connectors:PublicUrl", "http://cowork.example.com", "may be an address that begins with https://")]
    [InlineData("Cowork:Connectors:McpCommands:orders:Arguments:0", "x", "Cowork:Connectors:McpCommands:orders:Command is missing")]
    [InlineData("Cowork:Connectors:McpCommands:orders:Command", "bin/orders", "may be an absolute path")]
    [InlineData("Cowork:Agents:0:Nickname", "x", "Cowork:Agents:0 has no Id")]
    [InlineData("Cowork:Agents:0:Id", "a b", "Cowork:Agents:0:Id is \"a b\"; it may be 1 to 64 letters")]
    [InlineData("Cowork:Agents:0:Id", "a-", "beginning and ending with a letter or a digit")]
    [InlineData("Cowork:Agents:0:Name", "x", "Cowork:Agents:0 has no setting Name")]
    [InlineData("Cowork:Bind", "here", "may be an address, localhost or *")]
    public void A_setting_that_does_not_fit_is_told_in_a_sentence(string name, string value, string words) =>
        Assert.Contains(words, Assert.Throws<ArgumentException>(() => Read((name, value))).Message);

    [Fact]
    public void A_bucket_is_read_with_its_server_and_never_shows_its_secret()
    {
        var s3 = Read(
            ("Cowork:Blobs:S3:Bucket", "b"), ("Cowork:Blobs:S3:Endpoint", "https://minio.example:9000"), ("Cowork:Blobs:S3:AccessKey", "a"), ("Cowork:Blobs:S3:SecretKey", "hush"),
            ("Cowork:Blobs:S3:Prefix", "/cowork/"), ("Cowork:Blobs:SweepEvery", "0")).S3!;
        Assert.Equal(new("b", new("https://minio.example:9000"), null, "a", "hush", PathStyle: true, "cowork/"), s3);
        Assert.Equal("s3://b/cowork/ at https://minio.example:9000/", s3.ToString());
        Assert.Equal(new("b", null, "eu-central-1", null, null, PathStyle: false, ""), Read(("Cowork:Blobs:S3:Bucket", "b"), ("Cowork:Blobs:S3:Region", "eu-central-1")).S3);
        Assert.Null(Read(("Cowork:Blobs", "/blobs")).S3);
        foreach (var (name, value) in ((string, string)[])[("Cowork:Blobs:S3:Endpoint", "minio:9000"), ("Cowork:Blobs:S3:AccessKey", "a"), ("Cowork:Blobs", "/blobs")])
        {
            Assert.Throws<ArgumentException>(() => Read(("Cowork:Blobs:S3:Bucket", "b"), (name, value)));
        }
    }

    [Fact]
    public void Agents_are_read_in_their_order_and_have_ids_and_nicknames_of_their_own()
    {
        var agents = Read(
            ("Cowork:Agents:0:Id", "writer"), ("Cowork:Agents:0:Nickname", "Writer"), ("Cowork:Agents:0:Model", "offline"), ("Cowork:Agents:0:Instructions", "Write."),
            ("Cowork:Agents:1:Id", "critic"), ("Cowork:Agents:1:Tools:0", "read_file"), ("Cowork:Agents:1:Tools:1", "mcp__orders__find")).Agents;
        Assert.Equal([("writer", "Writer", "offline", "Write.", null), ("critic", "critic", null, null, 2)], agents.Select(a => (a.Id, a.Nickname, a.Model, a.Instructions, a.Tools?.Count)));
        Assert.Equal(["writer", "critic", "assistant"], new AgentCatalog(agents).Agents.Select(agent => agent.Id));
        // The built-in one gives way to one of its name.
        var own = Read(("Cowork:Agents:0:Id", "assistant"), ("Cowork:Agents:0:Nickname", "helper")).Agents;
        Assert.Equal("helper", Assert.Single(new AgentCatalog(own).Agents).Nickname);
        foreach (var (name, value, words) in ((string, string, string)[])
        [
            ("Cowork:Agents:1:Id", "writer", "Cowork:Agents:1:Id is \"writer\", as another agent's is"),
            ("Cowork:Agents:0:Nickname", "Assistant", "Cowork:Agents:0:Nickname is \"Assistant\", as that of assistant is"),
            ("Cowork:Agents:0:Model", "gpt", "Cowork:Agents:0:Model is \"gpt\"; it may be one of offline"),
            ("Cowork:Agents:0:Tools:0", "rm", "Cowork:Agents:0:Tools:0 is \"rm\"; it may be delete_file"),
        ])
        {
            Assert.Contains(words, Assert.Throws<ArgumentException>(() => Read(("Cowork:Agents:0:Id", "writer"), (name, value))).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_registration_takes_the_services_own_addresses_unless_it_names_others()
    {
        var settings = Read(
            ("Cowork:Connectors:OAuth:GoogleSheets:ClientId", "id"), ("Cowork:Connectors:OAuth:GoogleSheets:ClientSecret", "hush"),
            ("Cowork:Connectors:OAuth:GoogleSheets:Scopes", "a, b c"), ("Cowork:Connectors:OAuth:GoogleSheets:Token", "https://login.corp.example/token"),
            ("Cowork:Connectors:PublicUrl", "https://cowork.example.com/"), ("Cowork:Connectors:McpCommands:orders:Command", "orders-mcp"),
            ("Cowork:Connectors:McpCommands:orders:Arguments:0", "--stdio"), ("Cowork:Connectors:McpCommands:orders:Environment:URL", "https://orders"),
            ("Cowork:Connectors:McpCommands:orders:Variables:0", "TOKEN"));
        var provider = settings.OAuth.BySpec["google-sheets"];
        Assert.Equal(
            ("id", "hush", "https://accounts.google.com/o/oauth2/v2/auth", "https://login.corp.example/token", "https://sheets.googleapis.com/v4", "a b c"),
            (provider.ClientId, provider.ClientSecret, provider.Authorize.AbsoluteUri, provider.Token.AbsoluteUri, provider.Api, string.Join(' ', provider.Scopes)));
        Assert.DoesNotContain("hush", $"{provider}", StringComparison.Ordinal);
        Assert.Equal("https://cowork.example.com", settings.PublicUrl);
        var command = settings.McpCommands["orders"];
        Assert.Equal(("orders-mcp", "--stdio", "https://orders", "TOKEN"), (command.Program, command.Arguments.Single(), command.Environment["URL"], command.Variables.Single()));
    }

    [Theory]
    [InlineData("Host=db.example", "db.example:5432")]
    [InlineData("Host=db.example;Port=6543", "db.example:6543")]
    [InlineData("Host=a.example:5433,b.example;Port=6543", "a.example:5433 b.example:6543")]
    [InlineData("Host=::1", "::1:5432")]
    [InlineData("Host=[::1]:5433,[::2]", "::1:5433 ::2:5432")]
    [InlineData("Host=/run/postgresql", "")]
    public void The_servers_of_the_hosts_own_database_are_known_to_the_fence(string address, string servers) =>
        Assert.Equal(servers, string.Join(' ', Cowork.Marten.PostgresAddress.Servers(address).Select(server => $"{server.Host}:{server.Port}")));

    [Fact]
    public void Local_mode_is_refused_beyond_loopback() => Assert.Throws<ArgumentException>(() => Read(("Cowork:Bind", "0.0.0.0"), ("Cowork:Auth:Mode", "local"), ("Cowork:Tls:Mode", "none")));

    [Theory]
    [InlineData("postgres://ann:p%40ss@db.example:6543/main?sslmode=require", "db.example", 6543, "ann", "p@ss", "main")]
    [InlineData("postgresql://db.example", "db.example", 5432, null, null, null)]
    [InlineData("postgres://ann@/main?host=/run/pg&port=7", "/run/pg", 7, "ann", null, "main")]
    [InlineData("postgres://[::1]:5433/x", "::1", 5433, null, null, "x")]
    [InlineData("Host=h;Port=1;Username=u;Password=p;Database=d", "h", 1, "u", "p", "d")]
    public void An_address_is_read_in_every_usual_form(string address, string host, int port, string? user, string? password, string? database)
    {
        var read = new NpgsqlConnectionStringBuilder(Read(("DATABASE_URL", address)).Database);
        Assert.Equal((host, port, user, password, database), (read.Host, read.Port, read.Username, read.Password, read.Database));
    }

    [Fact]
    public void Libpqs_variables_are_understood_and_an_explicit_address_comes_first()
    {
        var libpq = new NpgsqlConnectionStringBuilder(Read(("PGHOST", "/run/pg"), ("PGPORT", "6000"), ("PGUSER", "u"), ("PGDATABASE", "d")).Database);
        Assert.Equal(("/run/pg", 6000, "u", "d"), (libpq.Host, libpq.Port, libpq.Username, libpq.Database));
        Assert.Contains("explicit", Read(("PGHOST", "/run/pg"), ("ConnectionStrings:Cowork", "Host=explicit")).Database);
        Assert.Null(Read().Database);
    }

    static HostSettings Read(params (string Name, string? Value)[] configuration) => HostSettings.Read(
        ["--data", "/tmp/cowork-not-made"], new ConfigurationBuilder().AddInMemoryCollection(configuration.Select(c => KeyValuePair.Create(c.Name, c.Value))).Build());
}
