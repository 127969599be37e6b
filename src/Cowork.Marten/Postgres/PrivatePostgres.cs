using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;

using Microsoft.Extensions.Logging;

using Npgsql;

namespace Cowork.Marten;

/// <param name="Directory">PostgreSQL's own data directory; made when missing. Nobody else's files belong in it.</param>
public sealed record PrivatePostgresOptions(string Directory)
{
    /// <summary>For tests: nothing is forced to disk, whoever reaches the socket may be any role, and the directory goes at dispose.</summary>
    public bool Ephemeral { get; init; }

    /// <summary>How long a clean stop may take before the server is told to stop at once.</summary>
    public TimeSpan StopTimeout { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>How long a server that dies at every start is tried again before the caller hears of it.</summary>
    public TimeSpan StartTimeout { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>The superuser creates the extension for vectors, where the server has it.</summary>
    public bool Vectors { get; init; }

    /// <summary>Settings beside ours, as in postgresql.conf.</summary>
    public IReadOnlyDictionary<string, string> Settings { get; init; } = new Dictionary<string, string>();
}

/// <summary>
/// A PostgreSQL of our own: made on first start, reachable over a unix socket only, started again when it dies, stopped at dispose. It
/// outlives a host that is killed, and the next one on the same directory takes it over.
/// </summary>
public sealed partial class PrivatePostgres : IAsyncDisposable
{
    /// <summary>The database, and the superuser, who makes it and the roles and does nothing else.</summary>
    const string Name = "cowork";

    /// <summary>sockaddr_un takes 107 bytes and a NUL; the directory has what <c>/.s.PGSQL.5432</c> leaves.</summary>
    const int SocketDirectoryBytesMax = 107 - 14;

    /// <summary>How long a server takes at most from its lock file's first line to the fifth.</summary>
    static readonly TimeSpan LockFileTimeout = TimeSpan.FromSeconds(5);

    /// <summary>A longer log is put aside at the next start, and the one before it forgotten.</summary>
    const long LogBytesMax = 16 << 20;

    readonly PrivatePostgresOptions _options;
    readonly string _directory;
    readonly string _socket;
    readonly ServerUser _user;
    readonly PostgresBinaries _binaries;
    readonly ILogger _log;
    readonly CancellationTokenSource _stopping = new();
    volatile Postmaster? _postmaster;
    Task _supervision = Task.CompletedTask;
    int _disposed;

    PrivatePostgres(PrivatePostgresOptions options, string directory, string socket, ServerUser user, PostgresBinaries binaries, ILogger log)
    {
        (_options, _directory, _socket, _user, _binaries, _log) = (options, directory, socket, user, binaries, log);
        ConnectionString = ConnectionStringOf(socket, PrivateRoles.Host);
        OwnerConnectionString = ConnectionStringOf(socket, PrivateRoles.Owner);
    }

    /// <summary>As the hosts' role. The same as long as this object lives, whatever happens to the server.</summary>
    public string ConnectionString { get; }

    /// <summary>As the role that owns the schema.</summary>
    public string OwnerConnectionString { get; }

    /// <summary>As the superuser, who is for tests and for repairs by hand.</summary>
    public string AdministratorConnectionString => ConnectionStringOf(_socket, Name);

    /// <summary>The postmaster's, while it runs.</summary>
    public int? ProcessId => _postmaster is { IsAlive: true } alive ? alive.Pid : null;

    /// <summary>For example <c>15.18</c>.</summary>
    public string Version => _binaries.Version;

    /// <summary>The server's log, appended to.</summary>
    public string LogFile => LogFileIn(_directory);

    /// <summary>Returns when the server answers queries.</summary>
    /// <exception cref="PostgresMissingException">There are no binaries; the message says what to install.</exception>
    /// <exception cref="PrivatePostgresException">It does not start; the message says why.</exception>
    public static async Task<PrivatePostgres> Start(PrivatePostgresOptions options, ILogger log, CancellationToken ct)
    {
        var directory = Path.TrimEndingDirectorySeparator(Path.GetFullPath(options.Directory));
        var version = Path.Combine(directory, "PG_VERSION");
        var binaries = PostgresBinaries.Choose(File.Exists(version) ? int.Parse((await File.ReadAllTextAsync(version, ct)).Trim().Split('.')[0]) : null);
        var user = await ServerUser.For(directory, ct);
        if (!File.Exists(version))
        {
            await Create(directory, binaries, user, options.Ephemeral, ct);
        }
        await user.Own(directory, ct);
        await IncludeSettings(directory, user, ct);
        var running = await Running(directory, ct);
        var socket = running?.Socket ?? (FitsSocket(directory) ? directory : await ShortDirectory(directory, user, ct));
        var postgres = new PrivatePostgres(options, directory, socket, user, binaries, log);
        try
        {
            await postgres.BringUp(ct);
        }
        catch
        {
            await postgres.DisposeAsync();
            throw;
        }
        postgres._supervision = Task.Run(() => postgres.Supervise(postgres._stopping.Token), CancellationToken.None);
        return postgres;
    }

    /// <summary>The connection string of the server that runs on a directory now; null: none does.</summary>
    public static Task<string?> FindRunning(string directory, CancellationToken ct) => FindRunning(directory, PrivateRoles.Host, ct);

    /// <summary>The same for the role that owns the schema.</summary>
    public static Task<string?> FindRunningForOwner(string directory, CancellationToken ct) => FindRunning(directory, PrivateRoles.Owner, ct);

    /// <summary>The same for a role that may read everything, and nothing else.</summary>
    public static Task<string?> FindRunningForReader(string directory, CancellationToken ct) => FindRunning(directory, PrivateRoles.Reader, ct);

    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 1)
        {
            return;
        }
        await _stopping.CancelAsync();
        await _supervision;
        if (_postmaster is { IsAlive: true } postmaster)
        {
            var stopped = await postmaster.Stop(_options.Ephemeral ? TimeSpan.Zero : _options.StopTimeout);
            LogStopped(postmaster.Pid, stopped);
        }
        if (_options.Ephemeral)
        {
            Directory.Delete(_directory, recursive: true);
        }
        if (_socket != _directory && Directory.Exists(_socket))
        {
            Directory.Delete(_socket, recursive: true);
        }
        _stopping.Dispose();
    }

    /// <summary>Removes a directory of which nothing is wanted any more. A server that works there, whoever started it and however it listens, is stopped at once.</summary>
    internal static async Task Remove(string directory, CancellationToken ct)
    {
        if (await Running(directory, ct) is { } running && Postmaster.Of(running.Pid) is { } postmaster)
        {
            await postmaster.Stop(TimeSpan.Zero);
        }
        Directory.Delete(directory, recursive: true);
    }

    /// <summary>Lets the server go as a host that is killed does: it runs on, and nobody looks after it.</summary>
    internal async Task Abandon()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            await _stopping.CancelAsync();
            await _supervision;
            _stopping.Dispose();
        }
    }

    /// <summary>Made beside and then renamed: a directory of the final name is always whole.</summary>
    static async Task Create(string directory, PostgresBinaries binaries, ServerUser user, bool ephemeral, CancellationToken ct)
    {
        if (Directory.Exists(directory) && Directory.EnumerateFileSystemEntries(directory).Any())
        {
            throw new PrivatePostgresException(
                $"{directory} is not empty and not PostgreSQL's (no PG_VERSION in it). Choose another data directory, or move those files away.");
        }
        var making = directory + ".new";
        if (Directory.Exists(making))
        {
            Directory.Delete(making, recursive: true);
        }
        await user.Own(making, ct);
        await ServerUser.Finish(
            user.Command([
                binaries.Initdb, "-D", making, "--username", Name, "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums",
                "--auth-local=peer", "--auth-host=reject", "--no-instructions", .. ephemeral ? ["--no-sync"] : Array.Empty<string>()]),
            ct);
        if (Directory.Exists(directory))
        {
            Directory.Delete(directory);
        }
        Directory.Move(making, directory);
    }

    /// <summary>Has the server read our settings, and not start without them.</summary>
    static async Task IncludeSettings(string directory, ServerUser user, CancellationToken ct)
    {
        var path = Path.Combine(directory, "postgresql.conf");
        var lines = await File.ReadAllLinesAsync(path, ct);
        if (!lines.Any(line => line.StartsWith("include = 'cowork.conf'", StringComparison.Ordinal)))
        {
            // Releases before took the file only if it was there: one that the server could not see meant its defaults.
            await user.Write(path, string.Join('\n', lines.Where(line => !line.StartsWith("include_if_exists = 'cowork.conf'", StringComparison.Ordinal)))
                + "\ninclude = 'cowork.conf'\t# written anew at every start; ALTER SYSTEM overrides it\n");
        }
    }

    /// <summary>Who gets in, and where. They are arguments of the server, which no file and no ALTER SYSTEM overrides.</summary>
    SortedDictionary<string, string> Walls() => new(StringComparer.Ordinal)
    {
        ["hba_file"] = Path.Combine(_directory, "cowork_hba.conf"),
        ["ident_file"] = Path.Combine(_directory, "cowork_ident.conf"),
        ["listen_addresses"] = "",
        ["unix_socket_directories"] = _socket,
        ["unix_socket_permissions"] = "0700",
        ["port"] = "5432",
    };

    /// <summary>Small on a small machine: the operating system's cache does the rest.</summary>
    string Settings()
    {
        var settings = new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            ["max_connections"] = "100",
            ["shared_buffers"] = "128MB",
            ["huge_pages"] = "off",
            ["max_wal_size"] = "1GB",
            ["wal_compression"] = _binaries.HasLz4 ? "lz4" : "on",
            // Tables that a benchmark, or a customer, fills within a minute are counted while they are filled.
            ["autovacuum_naptime"] = "10s",
            ["jit"] = "off",
            ["timezone"] = "UTC",
            ["log_timezone"] = "UTC",
            ["log_checkpoints"] = "off",
            ["log_line_prefix"] = "%m [%p] ",
        };
        if (_binaries.Major >= 14)
        {
            // After a kill every file is made durable before recovery begins: by one call here instead of a thousand (3.4 s, now 0.7 s on two busy cores).
            settings["recovery_init_sync_method"] = "syncfs";
        }
        if (_options.Ephemeral)
        {
            settings["fsync"] = "off";
            settings["full_page_writes"] = "off";
        }
        foreach (var (name, value) in _options.Settings)
        {
            settings[name] = value;
        }
        return string.Concat(settings.Select(s => $"{s.Key} = '{s.Value.Replace("'", "''", StringComparison.Ordinal)}'\n"));
    }

    static async Task<string?> FindRunning(string directory, string role, CancellationToken ct) =>
        await Running(Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory)), ct) is { } running ? ConnectionStringOf(running.Socket, role) : null;

    static bool FitsSocket(string directory) =>
        // A comma separates hosts for clients and directories for the server; a quotation mark quotes one.
        Encoding.UTF8.GetByteCount(directory) <= SocketDirectoryBytesMax && directory.AsSpan().IndexOfAny(",\"") < 0;

    /// <summary>Always the same for a data directory, so that a server and its clients meet again.</summary>
    static async Task<string> ShortDirectory(string directory, ServerUser user, CancellationToken ct)
    {
        var digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(directory)))[..16];
        var runtime = Environment.IsPrivilegedProcess ? "/run" : Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
        var path = Path.Combine(Directory.Exists(runtime) && FitsSocket(runtime) ? runtime : "/tmp", $"cowork-{digest}");
        var place = new DirectoryInfo(path);
        if (place.Exists && (place.LinkTarget is not null || await ServerUser.Owner(path, ct) is var owner && owner.Uid != user.Uid))
        {
            throw new PrivatePostgresException(
                $"{path} should hold the database's socket, but somebody else has put it there. Choose a data directory with a shorter path.");
        }
        await user.Own(path, ct);
        return path;
    }

    static string LogFileIn(string directory) => Path.Combine(directory, "postgres.log");

    static string ConnectionStringOf(string socket, string role, string database = Name) =>
        new NpgsqlConnectionStringBuilder { Host = socket, Port = 5432, Username = role, Database = database }.ConnectionString;

    /// <summary>The living server of the directory, told by its lock file, and whether that process really works there.</summary>
    static async Task<(int Pid, string Socket)?> Running(string directory, CancellationToken ct)
    {
        string[] lines;
        for (var waited = Stopwatch.StartNew(); ; await Task.Delay(20, ct))
        {
            try
            {
                lines = await File.ReadAllLinesAsync(Path.Combine(directory, "postmaster.pid"), ct);
            }
            catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
            {
                return null;
            }
            if (lines.Length == 0 || !int.TryParse(lines[0], out var pid) || Postmaster.Of(pid) is null)
            {
                return null;
            }
            // A server that has just been started writes its lock file in several strokes; the socket is the fifth line.
            if (lines is [_, _, _, _, { Length: > 0 } socket, ..])
            {
                return await Works(pid, directory, ct) ? (pid, socket) : null;
            }
            if (waited.Elapsed > LockFileTimeout || !await Works(pid, directory, ct))
            {
                return null;
            }
        }
    }

    /// <summary>A server's working directory is its data directory, from before it writes its lock file.</summary>
    static async Task<bool> Works(int pid, string directory, CancellationToken ct)
    {
        var (code, places) = await ServerUser.Run(ServerUser.Program("stat", "-L", "-c", "%d:%i", directory, $"/proc/{pid}/cwd"), ct);
        return code == 0 && places.Split('\n') is [var ours, var its, ..] && ours == its;
    }

    async Task Supervise(CancellationToken ct)
    {
        var delay = TimeSpan.Zero;
        while (!ct.IsCancellationRequested)
        {
            try
            {
                var up = Stopwatch.StartNew();
                var postmaster = _postmaster!;
                await postmaster.Death(ct);
                delay = up.Elapsed > TimeSpan.FromSeconds(30) ? TimeSpan.Zero : Longer(delay);
                LogDied(postmaster.Pid, Tail());
                await Task.Delay(delay, ct);
                await BringUp(ct);
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                return;
            }
#pragma warning disable CA1031 // Whatever went wrong, the next attempt is all that can be done, and without it the host would be without a database for good.
            catch (Exception e)
#pragma warning restore CA1031
            {
                LogDoesNotStart(e);
            }
        }
    }

    /// <summary>
    /// Adopts or starts, until it answers. After a kill the old server's children may hold their memory for a moment longer, so one failure
    /// says little.
    /// </summary>
    async Task BringUp(CancellationToken ct)
    {
        var since = Stopwatch.StartNew();
        var delay = TimeSpan.Zero;
        while (true)
        {
            await Admit();
            var adopted = await Running(_directory, ct) is { } running ? Postmaster.Of(running.Pid) : null;
            if (adopted is not null)
            {
                LogAdopted(adopted.Pid, _directory);
                adopted.Reload();
            }
            _postmaster = adopted ?? await Launch(ct);
            if (await Answers(_postmaster, since, ct))
            {
                if (await Breach(ct) is not { } breach)
                {
                    LogReady(_binaries.Version, _postmaster.Pid, _directory);
                    return;
                }
                if (adopted is null)
                {
                    throw new PrivatePostgresException($"PostgreSQL {_binaries.Version} on {_directory} has not taken its settings: {breach}.");
                }
                // An earlier release started it, behind other walls.
                LogRestarted(adopted.Pid, breach);
                await adopted.Stop(_options.StopTimeout);
                continue;
            }
            if (since.Elapsed > _options.StartTimeout)
            {
                throw new PrivatePostgresException($"PostgreSQL {_binaries.Version} does not start on {_directory}. The end of {LogFile}:\n{Tail()}");
            }
            await Task.Delay(delay = Longer(delay), ct);
        }
    }

    static TimeSpan Longer(TimeSpan delay) => delay == TimeSpan.Zero ? TimeSpan.FromMilliseconds(50) : TimeSpan.FromTicks(Math.Min(delay.Ticks * 2, TimeSpan.TicksPerSecond * 5));

    /// <summary>Admits this process's user and the server's own, by what the kernel says of who connects.</summary>
    async Task Admit()
    {
        var how = _options.Ephemeral ? "trust" : "peer map=cowork";
        await _user.Write(Path.Combine(_directory, "cowork_hba.conf"), $"# written anew at every start\nlocal all all {how}\nlocal replication all {how}\n");
        string[] roles = [Name, PrivateRoles.Owner, PrivateRoles.Host, PrivateRoles.Reader];
        var lines = from user in (string[])[Environment.UserName, _user.Name] from role in roles select (user, role);
        await _user.Write(
            Path.Combine(_directory, "cowork_ident.conf"),
            "# written anew at every start\n" + string.Concat(lines.Distinct().Select(line => $"cowork \"{line.user}\" {line.role}\n")));
    }

    /// <summary>The walls that the running server does not have, as a phrase; null: it has all.</summary>
    async Task<string?> Breach(CancellationToken ct)
    {
        await using var connection = new NpgsqlConnection(ConnectionStringOf(_socket, Name) + ";Pooling=false;Timeout=5");
        await connection.OpenAsync(ct);
        await using var ask = new NpgsqlCommand("SELECT name, setting FROM pg_settings WHERE name = ANY($1)", connection);
        var walls = Walls();
        ask.Parameters.Add(new() { Value = walls.Keys.ToArray() });
        var breaches = new List<string>();
        await using var reader = await ask.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            if (reader.GetString(1) != walls[reader.GetString(0)])
            {
                breaches.Add($"{reader.GetString(0)} is \"{reader.GetString(1)}\"");
            }
        }
        return breaches.Count == 0 ? null : string.Join(", ", breaches);
    }

    async Task<Postmaster> Launch(CancellationToken ct)
    {
        await _user.Write(Path.Combine(_directory, "cowork.conf"), Settings());
        var lockFile = Path.Combine(_directory, "postmaster.pid");
        if (File.Exists(lockFile) && await File.ReadAllLinesAsync(lockFile, ct) is [var first, ..] && int.TryParse(first, out var pid)
            && Directory.Exists($"/proc/{pid}") && !await Works(pid, _directory, ct))
        {
            // The number went to another process, or to a corpse that nobody buries: the server itself would take that for a running one.
            File.Delete(lockFile);
        }
        if (new FileInfo(LogFile) is { Exists: true, Length: > LogBytesMax })
        {
            File.Move(LogFile, LogFile + ".1", overwrite: true);
        }
        // A session of its own: Ctrl-C at the host's terminal is the host's to handle. The log takes the place of the host's own stdio.
        var walls = Walls().SelectMany(wall => (string[])["-c", $"{wall.Key}={wall.Value}"]);
        var start = _user.Command(
            ["sh", "-c", "umask 077; log=$1; shift; exec \"$0\" \"$@\" </dev/null >>\"$log\" 2>&1", _binaries.Postgres, LogFile, "-D", _directory, .. walls]);
        start.ArgumentList.Insert(0, start.FileName);
        start.FileName = "setsid";
        return new(Process.Start(start) ?? throw new PrivatePostgresException("PostgreSQL was not started."));
    }

    /// <summary>False: it died before it answered.</summary>
    async Task<bool> Answers(Postmaster postmaster, Stopwatch since, CancellationToken ct)
    {
        var delay = TimeSpan.FromMilliseconds(10);
        while (postmaster.IsAlive)
        {
            try
            {
                await using var connection = new NpgsqlConnection(ConnectionStringOf(_socket, Name, "postgres") + ";Pooling=false;Timeout=5");
                await connection.OpenAsync(ct);
                await using var exists = new NpgsqlCommand("select count(*) from pg_database where datname = $1", connection) { Parameters = { new() { Value = Name } } };
                if ((long)(await exists.ExecuteScalarAsync(ct))! == 0)
                {
                    await using var create = new NpgsqlCommand($"create database {Name}", connection);
                    await create.ExecuteNonQueryAsync(ct);
                }
                await PrivateRoles.Ensure(AdministratorConnectionString, _options.Vectors, ct);
                return true;
            }
            catch (PostgresException e) when (
                (e.SqlState.StartsWith("28", StringComparison.Ordinal) && since.Elapsed > _options.StartTimeout) || e.SqlState.StartsWith("3D", StringComparison.Ordinal))
            {
                throw new PrivatePostgresException(
                    $"The database in {_directory} lets nobody in as {Name}: {e.MessageText}. It was not made by this program; choose another data directory.", e);
            }
            catch (NpgsqlException)
            {
                await Task.Delay(delay, ct);
                delay = TimeSpan.FromTicks(Math.Min(delay.Ticks * 2, TimeSpan.TicksPerMillisecond * 100));
            }
        }
        return false;
    }

    string Tail()
    {
        try
        {
            return string.Join('\n', File.ReadLines(LogFile).TakeLast(8));
        }
        catch (IOException)
        {
            return "";
        }
    }

    [LoggerMessage(1, LogLevel.Information, "PostgreSQL {Version} is ready (process {Pid}, {Directory})")]
    partial void LogReady(string version, int pid, string directory);

    [LoggerMessage(2, LogLevel.Information, "A PostgreSQL left by an earlier host runs on {Directory} (process {Pid}): taken over")]
    partial void LogAdopted(int pid, string directory);

    [LoggerMessage(6, LogLevel.Information, "The PostgreSQL of an earlier release (process {Pid}) is started anew: {Why}")]
    partial void LogRestarted(int pid, string why);

    [LoggerMessage(3, LogLevel.Warning, "PostgreSQL (process {Pid}) died and is started again. The end of its log:\n{Tail}")]
    partial void LogDied(int pid, string tail);

    [LoggerMessage(4, LogLevel.Error, "PostgreSQL does not start; it is tried again")]
    partial void LogDoesNotStart(Exception e);

    [LoggerMessage(5, LogLevel.Information, "PostgreSQL (process {Pid}) stopped: {How}")]
    partial void LogStopped(int pid, string how);
}

/// <summary>A postmaster, ours or an earlier host's. The start time tells it from a later process of the same number.</summary>
sealed class Postmaster
{
    readonly Process? _child;
    readonly string? _started;

    public Postmaster(Process child)
    {
        _child = child;
        Pid = child.Id;
        _started = StartTime(Pid);
    }

    Postmaster(int pid, string started) => (Pid, _started) = (pid, started);

    public int Pid { get; }

    public bool IsAlive => _child is { HasExited: true } ? false : StartTime(Pid) is { } started && (_started ?? started) == started;

    public static Postmaster? Of(int pid) => StartTime(pid) is { } started ? new(pid, started) : null;

    /// <summary>Our own child tells; an adopted server must be looked after.</summary>
    public async Task Death(CancellationToken ct)
    {
        if (_child is not null)
        {
            await _child.WaitForExitAsync(ct);
        }
        while (IsAlive)
        {
            await Task.Delay(100, ct);
        }
    }

    /// <summary>Has it read its files again.</summary>
    public void Reload() => _ = Posix.kill(Pid, Posix.SigHup);

    /// <summary>Cleanly within the time, then at once (the next start recovers from the log), then by force.</summary>
    public async Task<string> Stop(TimeSpan clean)
    {
        (int Signal, TimeSpan Wait, string How)[] ways =
            [(Posix.SigInt, clean, "cleanly"), (Posix.SigQuit, TimeSpan.FromSeconds(5), "at once"), (Posix.SigKill, TimeSpan.FromSeconds(5), "by force")];
        foreach (var (signal, wait, how) in ways.Where(way => way.Wait > TimeSpan.Zero))
        {
            _ = Posix.kill(Pid, signal);
            using var timeout = new CancellationTokenSource(wait);
            try
            {
                await Death(timeout.Token);
                return how;
            }
            catch (OperationCanceledException)
            {
                // The next way is harder.
            }
        }
        return "not at all";
    }

    /// <summary>Null: no such process, or a dead one that its parent has not taken note of.</summary>
    static string? StartTime(int pid)
    {
        try
        {
            var stat = File.ReadAllText($"/proc/{pid}/stat");
            var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? null : fields[19];
        }
        catch (IOException)
        {
            return null;
        }
    }
}

/// <summary>The private PostgreSQL cannot be had. The message says why and what to do.</summary>
public sealed class PrivatePostgresException : Exception
{
    public PrivatePostgresException()
    {
    }

    public PrivatePostgresException(string message)
        : base(message)
    {
    }

    public PrivatePostgresException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
