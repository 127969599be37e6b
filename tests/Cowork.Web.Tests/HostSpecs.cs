using System.Net.Sockets;

using Cowork.Marten;
using Cowork.Testing;

using Microsoft.Extensions.Configuration;

using Npgsql;

namespace Cowork.Web.Tests;

/// <summary>The host as a process: starting, stopping, and what it says when it cannot.</summary>
public sealed class HostSpecs
{
    [Fact]
    public async Task The_first_line_names_url_and_data_directory()
    {
        await using var host = await HostProcess.Start(TestPostgres.NewDirectory(), await TestPostgres.NewDatabase());
        var first = host.Output.Split('\n')[0];
        Assert.Contains(host.Url, first);
        Assert.Contains(host.Data, first);
        Assert.DoesNotContain(":0", host.Url);
        Assert.Contains(File.ReadAllText(Path.Combine(host.Data, "admin-token")).Trim(), host.Output);
        Assert.Equal(0, await host.Stop());
        await using var again = await HostProcess.Start(host.Data, await TestPostgres.NewDatabase());
        Assert.DoesNotContain("cowork_", again.Output);
        using var admin = again.Admin();
        (await admin.Get("/tokens")).Is(200);
    }

    [Fact]
    public async Task A_second_start_on_the_same_directory_says_that_the_first_is_running()
    {
        var database = await TestPostgres.NewDatabase();
        await using var first = await HostProcess.Start(TestPostgres.NewDirectory(), database);
        await using var second = HostProcess.Launch(first.Data, database);
        Assert.Equal(1, await second.Exited());
        Assert.Contains(first.Url, second.Output);
        (await first.Http.Get("/health/ready")).Is(200);
        await first.Kill();
        await using var third = await HostProcess.Start(first.Data, database);
        (await third.Http.Get("/health/ready")).Is(200);
    }

    [Fact]
    public async Task A_port_that_is_taken_is_told_in_a_sentence()
    {
        using var taken = new TcpListener(System.Net.IPAddress.Loopback, 0);
        taken.Start();
        var port = ((System.Net.IPEndPoint)taken.LocalEndpoint).Port;
        await using var host = HostProcess.Launch(TestPostgres.NewDirectory(), await TestPostgres.NewDatabase(), port);
        Assert.Equal(1, await host.Exited());
        Assert.Contains($"port {port}", host.Output);
        Assert.DoesNotContain("   at ", host.Output);
    }

    [Fact]
    public async Task A_stop_ends_streams_and_waits_within_seconds()
    {
        await using var host = await HostProcess.Start(TestPostgres.NewDirectory(), await TestPostgres.NewDatabase());
        var session = await host.Http.NewSession();
        await using var reader = await EventReader.Open(host.Http, $"/sessions/{session}/events/stream");
        var turn = host.Http.Turn(session, "/sleep 60000");
        await reader.Through(4);
        Assert.Equal(0, await host.Stop(seconds: 8));
        Assert.Equal("running", (await turn).Is(202)["status"]);
    }

    [Fact]
    public async Task While_an_outside_database_is_away_the_host_is_up_and_answers_503()
    {
        var socket = Directory.CreateTempSubdirectory("cowork-test-no-").FullName;
        await using var host = HostProcess.Launch(TestPostgres.NewDirectory(), $"Host={socket};Username=nobody;Database=none;Timeout=2");
        await host.Listening();
        (await host.Http.Get("/health/live")).Is(200);
        foreach (var path in (string[])["/health/ready", "/sessions", "/runs/x", "/events/stream"])
        {
            var away = (await host.Http.Get(path)).IsProblem(503, "storage_unavailable");
            Assert.NotNull(away.Headers.RetryAfter);
        }
        (await host.Http.Get("/no/such/place")).IsProblem(404);
        Assert.Equal(0, await host.Stop());
        Directory.Delete(socket);
    }

    [Fact]
    public async Task Without_a_database_the_host_brings_its_own_and_takes_it_along()
    {
        var data = TestPostgres.NewDirectory();
        await using (var host = await HostProcess.Start(data, database: null))
        {
            await host.Http.NewSession("kept");
            Assert.NotNull(await PrivatePostgres.FindRunning(Path.Combine(data, "postgres"), CancellationToken.None));
            Assert.Equal(0, await host.Stop());
        }
        Assert.Null(await PrivatePostgres.FindRunning(Path.Combine(data, "postgres"), CancellationToken.None));
        await using var again = await HostProcess.Start(data, database: null);
        (await again.Http.Get("/sessions/kept")).Is(200);
        await again.Stop();
        Directory.Delete(data, recursive: true);
    }

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
        Assert.Equal(tokens, Read(("Cowork:Bind", bind), ("Cowork:Auth:Mode", mode)).TokenMode);

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
    [InlineData("Cowork:Auth:Mode", "open", "may be local or token")]
    [InlineData("Cowork:Log:Format", "xml", "may be text or json")]
    [InlineData("Cowork:Bind", "here", "may be an address, localhost or *")]
    public void A_setting_that_does_not_fit_is_told_in_a_sentence(string name, string value, string words) =>
        Assert.Contains(words, Assert.Throws<ArgumentException>(() => Read((name, value))).Message);

    [Fact]
    public void Local_mode_is_refused_beyond_loopback() => Assert.Throws<ArgumentException>(() => Read(("Cowork:Bind", "0.0.0.0"), ("Cowork:Auth:Mode", "local")));

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
