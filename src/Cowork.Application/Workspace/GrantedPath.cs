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
            ? new(Linux.Proc(Handle), new FileStreamOptions { Share = FileShare.ReadWrite | FileShare.Delete, BufferSize = 0 })
            : throw new InvalidOperationException(Unreadable ?? "It is a directory.");

        /// <summary>The entries of the very directory that was judged, by name.</summary>
        public IReadOnlyList<FileSystemInfo> Entries(int atMost) =>
        [
            .. new DirectoryInfo(Linux.Proc(Handle) + "/.")
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
        if (Begin(grant, path, out var root, out var real, out var relative) is { } not)
        {
            return not;
        }
        using (root)
        {
            var handle = Linux.Open($"{Linux.Proc(root)}/{relative}", out var error);
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
    }

    /// <summary>Opens the granted folder, and says where in it a path lies by its text alone. Answers what is wrong, or null and the open folder.</summary>
    /// <param name="real">Where the granted folder lies, links followed.</param>
    internal static GrantedPath? Begin(string grant, string path, out SafeFileHandle root, out string real, out string relative)
    {
        (root, real, relative) = (null!, "", "");
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
        if (Linux.Open(grant, out _) is not { } opened)
        {
            return new Missing(".", "The session's folder does not exist.");
        }
        // Dots are resolved as text first, so that nothing outside is ever looked up on the way back in.
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(Path.Combine(grant, path)));
        if (Linux.RealPath(opened) is { } lies && (Below(grant, full) ?? Below(lies, full)) is { } inside)
        {
            (root, real, relative) = (opened, lies, inside);
            return null;
        }
        opened.Dispose();
        return new Outside();
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
        if (Linux.RealPath(handle) is not { } path || Below(real, path) is not { } relative)
        {
            return new Outside();
        }
        return Linux.Look(handle) switch
        {
            null => new Missing(relative, "It cannot be looked at."),
            { Links: 0 } => new Missing(relative, "It was deleted just now."),
            { } stat => new Found(relative, stat.Type == Linux.FileType.Directory, stat.Length, stat.Version, WhyNot(stat), handle),
        };
    }

    /// <summary>Why a thing's content is neither read nor changed, null for an ordinary file or folder.</summary>
    internal static string? WhyNot(Linux.Stat stat) => stat switch
    {
        { Type: Linux.FileType.Directory } or { Type: Linux.FileType.Regular, Links: <= 1 } => null,
        { Type: Linux.FileType.Regular } => $"It has {stat.Links} hard links, and another of its names may lie outside the grant. A copy of it can be read.",
        _ => $"It is no file but a {stat.Type switch { Linux.FileType.Fifo => "FIFO", Linux.FileType.Socket => "socket", Linux.FileType.Link => "link", _ => "device" }}.",
    };

    /// <summary>Why nothing was opened, told so that a link out of the grant looks the same whether or not something is there.</summary>
    static GrantedPath NotThere(SafeFileHandle root, string real, string relative, int error)
    {
        if (error == Linux.NameTooLong)
        {
            return new Invalid("A name in the path is too long.");
        }
        var parts = relative.Split('/');
        for (var i = 1; i <= parts.Length; i++)
        {
            var prefix = $"{Linux.Proc(root)}/{string.Join('/', parts[..i])}";
            using var step = Linux.Open(prefix, out _);
            if (step is not null)
            {
                if (Linux.RealPath(step) is not { } path || Below(real, path) is not { } soFar)
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
        return new Missing(relative, error is Linux.AccessDenied or Linux.NotPermitted ? "The host may not open it." : GrantedEntry.Nothing);
    }

    internal static string? Below(string root, string path) =>
        path == root ? "."
        : root == "/" ? path[1..]
        : path.StartsWith(root, StringComparison.Ordinal) && path[root.Length] == '/' ? path[(root.Length + 1)..]
        : null;
}
