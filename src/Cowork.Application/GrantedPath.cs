using System.Runtime.InteropServices;
using System.Text;

using Cowork.Domain;

using Microsoft.Win32.SafeHandles;

namespace Cowork.Application;

/// <summary>
/// What a path in a tool call comes to, inside one granted folder. The path is opened first, by <c>O_PATH</c>, which touches nothing: no FIFO waits, no
/// device acts. Then the kernel is asked what was opened and where that lies (<c>/proc/self/fd</c>), and only that is judged and later read,
/// through the same descriptor. Whoever swaps links while this goes on changes what is judged, never what is read after it was judged.
/// <para>
/// A regular file with more than one hard link is found but not read: its other name may lie outside every grant, and no path tells. Files of a git
/// checkout have one link; files of a pnpm store do not.
/// </para>
/// Needs Linux with <c>/proc</c>.
/// </summary>
public abstract record GrantedPath : IDisposable
{
    /// <summary>No path at all: empty, too long, or not text that a file's name can be.</summary>
    public sealed record Invalid(string Why) : GrantedPath;

    /// <summary>Leads out of the grant. Nothing is said about what is there, not even whether it exists.</summary>
    public sealed record Outside : GrantedPath;

    /// <param name="Relative">Where it would lie, relative to the grant.</param>
    public sealed record Missing(string Relative, string Why) : GrantedPath;

    /// <param name="Relative">Where it lies, links followed, relative to the grant; <c>.</c> for the grant itself.</param>
    /// <param name="Size">In bytes.</param>
    /// <param name="Version">Changes when the content does: inode, size and time of the last change.</param>
    /// <param name="Unreadable">Why the content is not read, null for an ordinary file.</param>
    public sealed record Found(string Relative, bool IsDirectory, long Size, string Version, string? Unreadable, SafeFileHandle Handle) : GrantedPath
    {
        /// <summary>The very file that was judged, opened for reading.</summary>
        /// <exception cref="InvalidOperationException">It is <see cref="Unreadable"/> or a directory.</exception>
        /// <exception cref="IOException">The system refuses, or <see cref="UnauthorizedAccessException"/>.</exception>
        public FileStream OpenRead() => Unreadable is null && !IsDirectory
            ? new(Proc(Handle), new FileStreamOptions { Share = FileShare.ReadWrite | FileShare.Delete, BufferSize = 0 })
            : throw new InvalidOperationException(Unreadable ?? "It is a directory.");

        /// <summary>The entries of the very directory that was judged, by name.</summary>
        public IReadOnlyList<FileSystemInfo> Entries(int atMost) =>
        [
            .. new DirectoryInfo(Proc(Handle) + "/.")
                .EnumerateFileSystemInfos("*", new EnumerationOptions { AttributesToSkip = 0, IgnoreInaccessible = true })
                .Take(atMost)
                .OrderBy(e => e.Name, StringComparer.Ordinal),
        ];

        protected override void Dispose(bool disposing)
        {
            Handle.Dispose();
            base.Dispose(disposing);
        }
    }

    /// <summary>Longest path, in UTF-8 bytes: Linux's own limit, less what is put before it.</summary>
    const int PathBytesMax = 4_000;

    /// <summary>Opens a path of a call.</summary>
    /// <param name="grant">Absolute path of the granted folder.</param>
    /// <param name="path">Relative to the grant, or absolute.</param>
    public static GrantedPath Open(string grant, string path)
    {
        if (string.IsNullOrWhiteSpace(path))
        {
            return new Invalid("The path is empty.");
        }
        if (!StorableText.IsStorable(path))
        {
            return new Invalid("The path holds a NUL or a broken character.");
        }
        if (Encoding.UTF8.GetByteCount(path) > PathBytesMax)
        {
            return new Invalid($"The path is longer than {PathBytesMax} bytes.");
        }
        grant = Path.TrimEndingDirectorySeparator(Path.GetFullPath(grant));
        using var root = OpenAt(grant, out _);
        if (root is null || RealPath(root) is not { } real)
        {
            return new Missing(".", "The session's folder does not exist.");
        }
        // Dots are resolved as text first, so that nothing outside is ever looked up on the way back in.
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(Path.Combine(grant, path)));
        if ((Below(grant, full) ?? Below(real, full)) is not { } relative)
        {
            return new Outside();
        }
        var handle = OpenAt($"{Proc(root)}/{relative}", out var error);
        if (handle is null)
        {
            return NotThere(root, real, relative, error);
        }
        var found = Judge(real, handle);
        if (found is not Found)
        {
            handle.Dispose();
        }
        return found;
    }

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected virtual void Dispose(bool disposing)
    {
    }

    static GrantedPath Judge(string real, SafeFileHandle handle)
    {
        if (RealPath(handle) is not { } path || Below(real, path) is not { } relative)
        {
            return new Outside();
        }
        if (Statx((int)handle.DangerousGetHandle(), [0], AtEmptyPath, StatxBasic, out var stat) != 0)
        {
            return new Missing(relative, "It cannot be looked at.");
        }
        return stat switch
        {
            { Links: 0 } => new Missing(relative, "It was deleted just now."),
            { Type: FileType.Directory } => Of(null),
            { Type: FileType.Regular, Links: 1 } => Of(null),
            { Type: FileType.Regular } => Of($"It has {stat.Links} hard links, and another of its names may lie outside the grant. A copy of it can be read."),
            _ => Of($"It is no file but a {stat.Type switch { FileType.Fifo => "FIFO", FileType.Socket => "socket", _ => "device" }}."),
        };

        Found Of(string? unreadable) => new(
            relative, stat.Type == FileType.Directory, checked((long)stat.Size),
            $"{stat.DeviceMajor}:{stat.DeviceMinor}:{stat.Inode}:{stat.Size}:{stat.Modified.Seconds}.{stat.Modified.Nanoseconds}:{stat.Changed.Seconds}.{stat.Changed.Nanoseconds}",
            unreadable, handle);
    }

    /// <summary>Why nothing was opened, told so that a link out of the grant looks the same whether or not something is there.</summary>
    static GrantedPath NotThere(SafeFileHandle root, string real, string relative, int error)
    {
        if (error == NameTooLong)
        {
            return new Invalid("A name in the path is too long.");
        }
        var parts = relative.Split('/');
        for (var i = 1; i <= parts.Length; i++)
        {
            var prefix = $"{Proc(root)}/{string.Join('/', parts[..i])}";
            using var step = OpenAt(prefix, out _);
            if (step is not null)
            {
                if (RealPath(step) is not { } path || Below(real, path) is not { } soFar)
                {
                    return new Outside();
                }
                relative = string.Join('/', [.. soFar == "." ? [] : new[] { soFar }, .. parts[i..]]);
                continue;
            }
            if (new FileInfo(prefix).LinkTarget is not null)
            {
                return new Outside();
            }
            break;
        }
        return new Missing(relative, error is AccessDenied or NotPermitted ? "The host may not open it." : "There is no such file or folder.");
    }

    static string? Below(string root, string path) =>
        path == root ? "."
        : root == "/" ? path[1..]
        : path.StartsWith(root, StringComparison.Ordinal) && path[root.Length] == '/' ? path[(root.Length + 1)..]
        : null;

    static string Proc(SafeFileHandle handle) => $"/proc/self/fd/{handle.DangerousGetHandle()}";

    /// <summary>Where the opened thing lies now. Pipes and the like have names that are no paths.</summary>
    static string? RealPath(SafeFileHandle handle) => new FileInfo(Proc(handle)).LinkTarget is { } path && path.StartsWith('/') ? path : null;

    static SafeFileHandle? OpenAt(string path, out int error)
    {
        var fd = OpenFile(Encoding.UTF8.GetBytes(path + '\0'), OPath | OCloseOnExec);
        error = fd < 0 ? Marshal.GetLastPInvokeError() : 0;
        return fd < 0 ? null : new SafeFileHandle(fd, ownsHandle: true);
    }

    // These values and the layout of struct statx are the same on every Linux that .NET runs on.
    const int OPath = 0x200000;
    const int OCloseOnExec = 0x80000;
    const int AtEmptyPath = 0x1000;
    const uint StatxBasic = 0x7ff;
    const int NotPermitted = 1;
    const int AccessDenied = 13;
    const int NameTooLong = 36;

    enum FileType
    {
        Fifo = 0x1000,
        Directory = 0x4000,
        Regular = 0x8000,
        Socket = 0xc000,
    }

    [StructLayout(LayoutKind.Sequential)]
    struct StatTime
    {
        public long Seconds;
        public uint Nanoseconds;
        public int Reserved;
    }

    [StructLayout(LayoutKind.Sequential, Size = 256)]
    struct Stat
    {
        public uint Mask;
        public uint BlockSize;
        public ulong Attributes;
        public uint Links;
        public uint User;
        public uint Group;
        public ushort Mode;
        public ushort Spare;
        public ulong Inode;
        public ulong Size;
        public ulong Blocks;
        public ulong AttributesMask;
        public StatTime Accessed;
        public StatTime Born;
        public StatTime Changed;
        public StatTime Modified;
        public uint RealDeviceMajor;
        public uint RealDeviceMinor;
        public uint DeviceMajor;
        public uint DeviceMinor;

        public readonly FileType Type => (FileType)(Mode & 0xf000);
    }

    [DllImport("libc", EntryPoint = "open", SetLastError = true)]
    static extern int OpenFile(byte[] path, int flags);

    [DllImport("libc", EntryPoint = "statx", SetLastError = true)]
    static extern int Statx(int fd, byte[] path, int flags, uint mask, out Stat stat);
}
