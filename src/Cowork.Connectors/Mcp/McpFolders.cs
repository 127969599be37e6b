using System.ComponentModel;
using System.Diagnostics;
using System.Security.Cryptography;

using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>
/// The folders of programs that speak MCP. Beside each lies a file that this host locks while the folder is in use: whatever of a host that was killed is left in the parent
/// folder, which several hosts may share, is known by a lock that nobody holds, and goes when another host starts.
/// </summary>
sealed class McpFolders
{
    const string Prefix = "cowork-mcp-";

    const string LockSuffix = ".lock";

    const int TriesMax = 10;

    /// <summary>A folder without a lock is of an earlier release, which had none. It may be in use, but not for so long.</summary>
    static readonly TimeSpan WithoutLockMax = TimeSpan.FromDays(1);

    static readonly TimeSpan RemovalMax = TimeSpan.FromSeconds(10);

    readonly string parent;
    readonly TimeProvider clock;

    public McpFolders(string parent, TimeProvider clock)
    {
        (this.parent, this.clock) = (parent, clock);
        Swept = Task.Run(Sweep);
    }

    /// <summary>What hosts that were killed had left is gone.</summary>
    public Task Swept { get; }

    /// <summary>A new folder that this process alone may enter. A folder that is for all cannot have a name that others guess.</summary>
    /// <exception cref="IOException">It cannot be made.</exception>
    public Folder New()
    {
        Directory.CreateDirectory(parent);
        for (var tries = 1; ; tries++)
        {
            var path = Path.Combine(parent, $"{Prefix}{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16))}");
            try
            {
                // First the lock, and at the end it goes last: a folder without one is nobody's.
                var held = new FileStream(path + LockSuffix, new FileStreamOptions
                {
                    Mode = FileMode.CreateNew,
                    Access = FileAccess.ReadWrite,
                    Share = FileShare.None,
                    UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
                });
                Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
                return new(path, held);
            }
            catch (IOException) when (tries < TriesMax)
            {
                // Another host's sweep had the lock between its making and its locking.
            }
        }
    }

    async Task Sweep()
    {
        try
        {
            foreach (var path in Directory.EnumerateFiles(parent, $"{Prefix}*{LockSuffix}").ToList())
            {
                if (new FileInfo(path).LinkTarget is null && FolderOwner.WhyNotOurs(path) is null && TryLock(path) is { } left)
                {
                    await new Folder(path[..^LockSuffix.Length], left).DisposeAsync();
                }
            }
            foreach (var path in Directory.EnumerateDirectories(parent, $"{Prefix}*").ToList())
            {
                if (!File.Exists(path + LockSuffix) && clock.GetUtcNow() - Directory.GetLastWriteTimeUtc(path) > WithoutLockMax)
                {
                    await Remove(path);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // There is no such folder yet, or another host is at the same.
        }
    }

    /// <summary>Null: somebody holds it, or it has gone.</summary>
    static FileStream? TryLock(string path)
    {
        try
        {
            return new(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>
    /// A program may have been another user's, and one of its children may still change what is in the folder: <c>rm</c> never follows a link that is put in its way.
    /// </summary>
    static async Task Remove(string path)
    {
        using var time = new CancellationTokenSource(RemovalMax);
        try
        {
            using var removal = Process.Start(new ProcessStartInfo("/bin/rm", ["-rf", "--one-file-system", "--", path]) { RedirectStandardError = true })!;
            await removal.StandardError.ReadToEndAsync(time.Token);
            await removal.WaitForExitAsync(time.Token);
        }
        catch (Exception e) when (e is Win32Exception or IOException or OperationCanceledException)
        {
            // What is left goes when a host starts.
        }
    }

    /// <param name="held">The lock.</param>
    public sealed class Folder(string path, FileStream held) : IAsyncDisposable
    {
        public string Path => path;

        /// <summary>Removes it. Where something is left of it, its lock stays, unlocked, and another host's sweep tries again.</summary>
        public async ValueTask DisposeAsync()
        {
            await Remove(path);
            if (!Directory.Exists(path))
            {
                File.Delete(path + LockSuffix);
            }
            await held.DisposeAsync();
        }
    }
}
