using System.Buffers.Binary;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;

using Microsoft.Win32.SafeHandles;

namespace Cowork.Marten;

/// <summary>
/// Who PostgreSQL runs as. It refuses to run as root, so a host that is root drops to an unprivileged user for it; any other host runs it as
/// itself (<see cref="Drops"/> false).
/// </summary>
sealed record ServerUser(bool Drops, int Uid, int Gid, string Name)
{
    static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false);

    /// <summary>For a data directory that exists, its owner; else <c>postgres</c>, else <c>nobody</c>.</summary>
    /// <exception cref="PrivatePostgresException">The directory is another user's, or there is nobody to drop to.</exception>
    public static async Task<ServerUser> For(string directory, CancellationToken ct)
    {
        var version = Path.Combine(directory, "PG_VERSION");
        (int Uid, int Gid)? owner = Directory.Exists(directory) ? await Owner(File.Exists(version) ? version : directory, ct) : null;
        if (!Environment.IsPrivilegedProcess)
        {
            return owner is null || owner.Value.Uid == Posix.geteuid()
                ? new(false, Posix.geteuid(), Posix.getegid(), Environment.UserName)
                : throw new PrivatePostgresException(
                    $"{directory} belongs to the user with id {owner.Value.Uid}. Start as that user, or as root, or choose another data directory.");
        }
        if (owner is { Uid: not 0 } other)
        {
            return new(true, other.Uid, other.Gid, (await Users(ct)).Find(fields => fields[2] == $"{other.Uid}")?[0] ?? $"uid {other.Uid}");
        }
        var users = await Users(ct);
        var user = users.Find(fields => fields[0] == "postgres") ?? users.Find(fields => fields[0] == "nobody")
            ?? throw new PrivatePostgresException(
                "PostgreSQL does not run as root, and there is neither a user postgres nor nobody to run it as. Add one: useradd --system postgres");
        return new(true, int.Parse(user[2]), int.Parse(user[3]), user[0]);
    }

    /// <summary>A command of this user. Every link of the chain replaces itself by the next, so the process's id is the program's own.</summary>
    public ProcessStartInfo Command(params IEnumerable<string> command)
    {
        List<string> chain = Drops ? ["setpriv", $"--reuid={Uid}", $"--regid={Gid}", "--clear-groups", .. command] : [.. command];
        return Program(chain[0], chain[1..]);
    }

    /// <summary>A program with nothing in its environment but what every program needs: ours holds keys.</summary>
    public static ProcessStartInfo Program(string name, params IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(name, arguments) { WorkingDirectory = "/" };
        start.Environment.Clear();
        start.Environment["PATH"] = Environment.GetEnvironmentVariable("PATH");
        start.Environment["LC_ALL"] = "C.UTF-8";
        return start;
    }

    /// <summary>Puts a file of this user alone in the place of another, whole, whatever the umask is.</summary>
    public async Task Write(string path, string text)
    {
        var making = path + ".new";
        File.Delete(making);
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite };
        await using (var file = new FileStream(making, options))
        {
            if (Drops && Posix.fchown(file.SafeFileHandle, Uid, Gid) != 0)
            {
                throw new PrivatePostgresException($"{making} cannot be given to {Name}: {Marshal.GetLastPInvokeErrorMessage()}.");
            }
            await file.WriteAsync(Utf8.GetBytes(text));
            file.Flush(flushToDisk: true);
        }
        File.Move(making, path, overwrite: true);
    }

    /// <summary>Makes a directory only this user may enter, and lets the user come to it.</summary>
    public async Task Own(string directory, CancellationToken ct)
    {
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        if (Drops)
        {
            if ((await Owner(directory, ct)).Uid != Uid)
            {
                await Finish(Program("chown", "-R", $"{Uid}:{Gid}", directory), ct);
            }
            await LetThrough(Path.GetDirectoryName(directory)!, ct);
        }
    }

    /// <summary>Runs a command to its end and answers its output.</summary>
    /// <exception cref="PrivatePostgresException">It failed; the message has what it said.</exception>
    public static async Task<string> Finish(ProcessStartInfo start, CancellationToken ct)
    {
        var (code, said) = await Run(start, ct);
        return code == 0
            ? said
            : throw new PrivatePostgresException($"{start.FileName} {string.Join(' ', start.ArgumentList)} failed ({code}): {said.Trim()}");
    }

    /// <summary>Runs a command to its end and answers its code and all that it said.</summary>
    public static async Task<(int Code, string Said)> Run(ProcessStartInfo start, CancellationToken ct)
    {
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        start.RedirectStandardInput = true;
        using var process = Process.Start(start) ?? throw new PrivatePostgresException($"{start.FileName} did not start.");
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync(ct);
        var errors = process.StandardError.ReadToEndAsync(ct);
        await process.WaitForExitAsync(ct);
        return (process.ExitCode, await output + await errors);
    }

    public static async Task<(int Uid, int Gid)> Owner(string path, CancellationToken ct)
    {
        var ids = (await Finish(Program("stat", "-c", "%u %g", path), ct)).Trim().Split(' ');
        return (int.Parse(ids[0]), int.Parse(ids[1]));
    }

    static async Task<List<string[]>> Users(CancellationToken ct) =>
        [.. (await File.ReadAllLinesAsync("/etc/passwd", ct)).Select(line => line.Split(':')).Where(fields => fields.Length >= 4)];

    /// <summary>
    /// A data directory below /root, or below a directory that only root may enter, is out of the user's reach. The user gets the right to pass
    /// through (an ACL entry with x alone, for this user alone), which shows nobody anything and leaves the mode for all others as it is.
    /// </summary>
    async Task LetThrough(string directory, CancellationToken ct)
    {
        if ((await Run(Command("test", "-x", directory), ct)).Code == 0)
        {
            return;
        }
        if (Path.GetDirectoryName(directory) is { } parent)
        {
            await LetThrough(parent, ct);
        }
        if ((await Run(Command("test", "-x", directory), ct)).Code != 0)
        {
            AllowPassing(directory);
            if ((await Run(Command("test", "-x", directory), ct)).Code != 0)
            {
                throw Unreachable(directory, "");
            }
        }
    }

    void AllowPassing(string directory)
    {
        const string name = "system.posix_acl_access";
        const short userObj = 1, user = 2, groupObj = 4, group = 8, mask = 16, other = 32, execute = 1;
        var path = Utf8.GetBytes(directory + '\0');
        var stored = new byte[4096];
        var length = Posix.getxattr(path, Utf8.GetBytes(name + '\0'), stored, stored.Length);
        var entries = new List<(short Tag, short Rights, int Id)>();
        for (var at = 4; at < length; at += 8)
        {
            var entry = stored.AsSpan(at);
            entries.Add((
                BinaryPrimitives.ReadInt16LittleEndian(entry), BinaryPrimitives.ReadInt16LittleEndian(entry[2..]), BinaryPrimitives.ReadInt32LittleEndian(entry[4..])));
        }
        if (entries.Count == 0)
        {
            var mode = (int)File.GetUnixFileMode(directory);
            entries = [(userObj, (short)(mode >> 6 & 7), -1), (groupObj, (short)(mode >> 3 & 7), -1), (other, (short)(mode & 7), -1)];
        }
        entries.RemoveAll(e => e.Tag == user && e.Id == Uid);
        entries.Add((user, execute, Uid));
        var masked = entries.Find(e => e.Tag == mask) is { Tag: mask } before
            ? before.Rights
            : entries.Where(e => e.Tag is groupObj or group).Aggregate(0, (rights, e) => rights | (ushort)e.Rights);
        entries.RemoveAll(e => e.Tag == mask);
        entries.Add((mask, (short)(masked | execute), -1));

        var bytes = new byte[4 + (8 * entries.Count)];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, 2);
        foreach (var (i, (tag, rights, id)) in entries.OrderBy(e => e.Tag).ThenBy(e => unchecked((uint)e.Id)).Index())
        {
            var entry = bytes.AsSpan(4 + (8 * i));
            BinaryPrimitives.WriteInt16LittleEndian(entry, tag);
            BinaryPrimitives.WriteInt16LittleEndian(entry[2..], rights);
            BinaryPrimitives.WriteInt32LittleEndian(entry[4..], id);
        }
        if (Posix.setxattr(path, Utf8.GetBytes(name + '\0'), bytes, bytes.Length, 0) != 0)
        {
            throw Unreachable(directory, $" (setting an ACL failed: {Marshal.GetLastPInvokeErrorMessage()})");
        }
    }

    PrivatePostgresException Unreachable(string directory, string why) => new(
        $"PostgreSQL runs as {Name}, who may not pass through {directory}{why}. Choose another data directory (--data DIR), or allow it: chmod o+x {directory}");
}

static class Posix
{
    public const int SigHup = 1, SigInt = 2, SigQuit = 3, SigKill = 9;

#pragma warning disable SYSLIB1054, CA5392 // The generated marshalling wants unsafe code in the whole project; these are blittable, and libc has no other place.
    [DllImport("libc")]
    public static extern int geteuid();

    [DllImport("libc")]
    public static extern int getegid();

    [DllImport("libc", SetLastError = true)]
    public static extern int kill(int pid, int signal);

    [DllImport("libc", SetLastError = true)]
    public static extern int fchown(SafeFileHandle file, int uid, int gid);

    [DllImport("libc", SetLastError = true)]
    public static extern nint getxattr(byte[] path, byte[] name, byte[] value, nint size);

    [DllImport("libc", SetLastError = true)]
    public static extern int setxattr(byte[] path, byte[] name, byte[] value, nint size, int flags);
#pragma warning restore SYSLIB1054, CA5392
}
