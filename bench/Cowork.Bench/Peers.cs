using System.Diagnostics;
using System.Text.Json;

using Npgsql;

namespace Cowork.Bench;

/// <summary>A level of a peer's measurement.</summary>
sealed record PeerLevel(string Peer, string Version, int InFlight, double PerSecond, double P50Ms, double P99Ms);

/// <summary>
/// Durable runs of three steps on other servers, by the Node programs in <c>bench/peers</c>: Restate, with its own log, and DBOS, on the PostgreSQL that all else is
/// measured on. Their packages come from npm.
/// </summary>
static class Peers
{
    static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <param name="server">Npgsql's connection string of a server on which a database may be made.</param>
    public static async Task<IReadOnlyList<PeerLevel>> Run(string peer, string server, TimeSpan time, IReadOnlyList<int> levels, string temporary)
    {
        var directory = Folder(peer);
        if (!Directory.Exists(Path.Combine(directory, "node_modules")))
        {
            await Output("npm", ["ci", "--silent"], directory, new Dictionary<string, string>(), Console.Error.WriteLine);
        }
        var address = new NpgsqlConnectionStringBuilder(server);
        Dictionary<string, string> settings = new()
        {
            ["TMPDIR"] = temporary,
            ["DBOS_SYSTEM_DATABASE_URL"] = address.Host!.StartsWith('/')
                ? $"postgresql://{address.Username}@localhost:{address.Port}/{address.Database}?host={Uri.EscapeDataString(address.Host)}"
                : $"postgresql://{address.Username}:{Uri.EscapeDataString(address.Password ?? "")}@{address.Host}:{address.Port}/{address.Database}",
        };
        var lines = new List<string>();
        await Output("node", [$"{peer}.mjs", $"{time.TotalSeconds:0}", string.Join(',', levels)], directory, settings, lines.Add);
        return [.. lines.Select(line => JsonSerializer.Deserialize<PeerLevel>(line, Json)!)];
    }

    /// <summary>The folder of a peer's program, in the sources that this was built from.</summary>
    public static string Folder(string peer)
    {
        for (var directory = AppContext.BaseDirectory; directory is not null; directory = Path.GetDirectoryName(directory))
        {
            var folder = Path.Combine(directory, "bench", "peers", peer);
            if (Directory.Exists(folder))
            {
                return folder;
            }
        }
        throw new DirectoryNotFoundException($"There is no bench/peers/{peer} above {AppContext.BaseDirectory}.");
    }

    public static async Task Output(string program, string[] arguments, string directory, IReadOnlyDictionary<string, string> settings, Action<string> line)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = directory, RedirectStandardOutput = true };
        foreach (var (name, value) in settings)
        {
            start.Environment[name] = value;
        }
        using var process = Process.Start(start)!;
        while (await process.StandardOutput.ReadLineAsync() is { } text)
        {
            line(text);
        }
        await process.WaitForExitAsync();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}.");
        }
    }
}
