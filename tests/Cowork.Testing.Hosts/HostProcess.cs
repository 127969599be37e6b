using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;

namespace Cowork.Testing.Hosts;

/// <summary>
/// The built host as a process of its own, so that it can be killed. Two of them on one database are two nodes; one after the other on one data
/// directory are a restart.
/// </summary>
public sealed class HostProcess : IAsyncDisposable
{
    readonly Process process;
    readonly ConcurrentQueue<string> output = new();

    HostProcess(Process process, string data)
    {
        this.process = process;
        Data = data;
    }

    public string Data { get; }

    public string Url { get; private set; } = "";

    public HttpClient Http { get; private set; } = new();

    public int Pid => process.Id;

    public bool HasExited => process.HasExited;

    public int ExitCode => process.ExitCode;

    /// <summary>What it printed so far, both streams, in order.</summary>
    public string Output => string.Join('\n', output);

    /// <summary>Starts a host and waits until it is ready.</summary>
    /// <param name="data">Its data directory.</param>
    /// <param name="database">Connection string; null: a private PostgreSQL in the data directory.</param>
    /// <param name="port">0: any free one.</param>
    public static async Task<HostProcess> Start(string data, string? database, int port = 0, params (string Name, string Value)[] environment)
    {
        var host = Launch(data, database, port, environment);
        try
        {
            await host.Ready();
            return host;
        }
        catch
        {
            await host.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts a host and returns at once.</summary>
    public static HostProcess Launch(string data, string? database, int port = 0, params (string Name, string Value)[] environment) =>
        Launch([], data, database, port, environment);

    /// <summary>The same under a umask, for example <c>077</c>.</summary>
    public static HostProcess LaunchUnder(string umask, string data, string? database, params (string Name, string Value)[] environment) =>
        Launch(["sh", "-c", "umask $0; exec \"$@\"", umask], data, database, 0, environment);

    static HostProcess Launch(string[] launcher, string data, string? database, int port, (string Name, string Value)[] environment)
    {
        var dll = Path.Combine(AppContext.BaseDirectory, "Cowork.Web.dll");
        string[] command = [.. launcher, "dotnet", dll, "--port", $"{port}", "--data", data];
        var start = new ProcessStartInfo(command[0], command[1..]) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var name in (string[])["DATABASE_URL", "PGHOST", "PGHOSTADDR", "ConnectionStrings__Cowork", "ConnectionStrings__CoworkOwner"])
        {
            start.Environment.Remove(name);
        }
        if (database is not null)
        {
            (start.Environment["ConnectionStrings__Cowork"], var owner) = TestPostgres.Roles(database);
            if (owner is not null)
            {
                start.Environment["ConnectionStrings__CoworkOwner"] = owner;
            }
        }
        start.Environment["Cowork__Scheduler__IntervalMin"] = "00:00:01";
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }
        var process = new Process { StartInfo = start };
        var host = new HostProcess(process, data);
        process.OutputDataReceived += (_, line) => host.Heard(line.Data);
        process.ErrorDataReceived += (_, line) => host.Heard(line.Data);
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return host;
    }

    /// <summary>Waits until it listens, and knows its URL.</summary>
    public async Task Listening()
    {
        const string Before = "listens on ";
        await Until(() => output.Any(line => line.Contains(Before, StringComparison.Ordinal)), "listens");
        var first = output.First(line => line.Contains(Before, StringComparison.Ordinal));
        var at = first.IndexOf(Before, StringComparison.Ordinal) + Before.Length;
        Url = first[at..first.IndexOf(';', at)];
        Http.Dispose();
        Http = new HttpClient(AnyCertificate.Handler(512)) { BaseAddress = new(Url), Timeout = Patience.Limit };
    }

    /// <summary>Waits until <c>/health/ready</c> says so.</summary>
    public async Task Ready()
    {
        await Listening();
        await Until(
            async () =>
            {
                try
                {
                    using var answer = await Http.GetAsync("/health/ready");
                    return answer.StatusCode == HttpStatusCode.OK;
                }
                catch (HttpRequestException)
                {
                    return false;
                }
            },
            "is ready");
    }

    /// <summary>Waits until it has printed the text.</summary>
    public Task Said(string text) => Until(() => Output.Contains(text, StringComparison.Ordinal), $"says \"{text}\"");

    /// <summary>Calls as the operator.</summary>
    public HttpClient Admin()
    {
        var client = new HttpClient(AnyCertificate.Handler(512)) { BaseAddress = new(Url), Timeout = Patience.Limit };
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", File.ReadAllText(Path.Combine(Data, "admin-token")).Trim());
        return client;
    }

    /// <summary>kill -9, and waits until the kernel has done it. A private PostgreSQL lives on.</summary>
    public async Task Kill()
    {
        process.Kill();
        await process.WaitForExitAsync();
    }

    /// <summary>SIGTERM, and waits for the end. Answers the exit code.</summary>
    public async Task<int> Stop()
    {
        Signal("TERM");
        using var timeout = new CancellationTokenSource(Patience.Limit);
        await process.WaitForExitAsync(timeout.Token);
        return process.ExitCode;
    }

    /// <summary>SIGSTOP: the process is there and does nothing.</summary>
    public void Pause() => Signal("STOP");

    /// <summary>SIGCONT.</summary>
    public void Continue() => Signal("CONT");

    public async Task<int> Exited()
    {
        using var timeout = new CancellationTokenSource(Patience.Limit);
        await process.WaitForExitAsync(timeout.Token);
        return process.ExitCode;
    }

    /// <summary>Stops it, by force when it does not stop by itself.</summary>
    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        if (!process.HasExited)
        {
            Signal("CONT");
            try
            {
                await Stop();
            }
            catch (OperationCanceledException)
            {
                await Kill();
            }
        }
        process.Dispose();
    }

    void Heard(string? line)
    {
        if (line is not null)
        {
            output.Enqueue(line);
        }
    }

    void Signal(string name)
    {
        using var kill = Process.Start("/bin/sh", ["-c", $"kill -{name} {process.Id}"]);
        kill.WaitForExit();
    }

    Task Until(Func<bool> met, string what) => Until(() => Task.FromResult(met()), what);

    Task Until(Func<Task<bool>> met, string what) => Patience.Until(
        async () =>
        {
            // What it said before it ended may be what is waited for.
            var hasEnded = process.HasExited;
            return await met() || (hasEnded ? throw new InvalidOperationException($"The host ended with {process.ExitCode} before it {what}. It said:\n{Output}") : false);
        },
        () => $"It said:\n{Output}", $"the host {what}");
}
