using System.Net.Sockets;

using Cowork.Marten;
using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>The host as a process: starting, stopping, and what it says when it cannot.</summary>
public sealed class HostProcessSpecs
{
    [Fact]
    public async Task The_first_line_names_url_and_data_directory()
    {
        await using var host = await HostProcess.Start(TestPostgres.NewDirectory(), await TestPostgres.NewDatabase());
        var first = host.Output.Split('\n')[0];
        Assert.Contains(host.Url, first);
        Assert.Contains(host.Data, first);
        Assert.DoesNotContain(":0", host.Url);
        // Its output is no terminal.
        Assert.Contains(Path.Combine(host.Data, "admin-token"), host.Output);
        Assert.DoesNotContain("cowork_", host.Output);
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
        Assert.Equal(0, await Patience.Within(TimeSpan.FromSeconds(8), host.Stop));
        Assert.Equal("running", (await turn).Is(202)["status"]);
    }

    [Fact]
    public async Task A_host_with_nothing_to_do_ends_within_seconds_of_a_stop()
    {
        await using var host = await HostProcess.Start(TestPostgres.NewDirectory(), await TestPostgres.NewDatabase());
        Assert.Equal("completed", (await host.Http.Turn(await host.Http.NewSession(), "/say done")).Is(200)["status"]);
        Assert.Equal(0, await Patience.Within(TimeSpan.FromSeconds(8), host.Stop));
    }

    [Fact]
    public async Task The_demo_asks_before_it_writes_into_the_workspace()
    {
        var (code, output) = await CoworkCli.Run(null, "demo");
        Assert.True(code == 0, output);
        var asked = output.IndexOf("approval_requested", StringComparison.Ordinal);
        var decided = output.IndexOf("approval_decided", StringComparison.Ordinal);
        Assert.True(asked > 0 && decided > asked, output);
        Assert.Contains("artifact_discovered", output);
        Assert.Contains("NOT sound. $.events[", output.Replace("NOT sound: ", "NOT sound. ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task While_an_outside_database_is_away_the_host_is_up_and_answers_503()
    {
        var socket = Directory.CreateDirectory(TestPostgres.NewDirectory()).FullName;
        await using var host = HostProcess.Launch(TestPostgres.NewDirectory(), $"Host={socket};Username=nobody;Database=none;Timeout=2");
        await host.Listening();
        (await host.Http.Get("/health/live")).Is(200);
        foreach (var path in (string[])["/health/ready", "/sessions", "/runs/x", "/events/stream"])
        {
            var away = (await host.Http.Get(path)).IsProblem(503, "starting");
            Assert.NotNull(away.Headers.RetryAfter);
        }
        (await host.Http.Get("/no/such/place")).IsProblem(503, "starting");
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
}
