using System.Text;

using Cowork.Domain;

using Microsoft.Win32.SafeHandles;

namespace Cowork.Application;

/// <summary>
/// A path of a tool call, resolved inside one granted folder. The path is opened first with <c>O_PATH</c>, which has no effect on FIFOs and devices. The kernel
/// then tells what was opened and where it is (<c>/proc/self/fd</c>); the policy judges that, and reads use the same descriptor. A program that swaps links
/// meanwhile changes what is judged, never what is read after the verdict.
/// <para>
/// A regular file with several hard links is found and not read: its other names may be outside the grant, which the path does not show. Files of a git
/// checkout have one link; files of a pnpm store have several.
/// </para>
/// Needs Linux with <c>/proc</c>.
/// </summary>
public abstract record GrantedPath : IDisposable
{
    /// <summary>The text is not a valid path: empty, too long, or with characters that no file name has.</summary>
    public sealed record Invalid(string Reason) : GrantedPath;

    /// <summary>The path leads out of the grant. The answer does not reveal whether anything is there.</summary>
    public sealed record Outside : GrantedPath;

    /// <summary>The path does not exist, or the host cannot open it.</summary>
    /// <param name="Relative">The resolved path relative to the grant.</param>
    public sealed record Missing(string Relative, string Reason) : GrantedPath;

    /// <summary>An open file or folder.</summary>
    /// <param name="Relative">The resolved path relative to the grant; <c>.</c> is the grant itself.</param>
    /// <param name="Size">Size in bytes.</param>
    /// <param name="Version">Changes with the content: device, inode, size and times of the last change.</param>
    /// <param name="WhyProtected">Why the content must not be read; null: it is a regular file or a folder.</param>
    public sealed record Found(string Relative, bool IsDirectory, long Size, string Version, string? WhyProtected, SafeFileHandle Handle) : GrantedPath
    {
        /// <summary>The path for people and models.</summary>
        public string Shown => VisibleText.Of(Relative);

        /// <summary>Opens the judged file for reading.</summary>
        /// <exception cref="InvalidOperationException">It is <see cref="WhyProtected"/> or a directory.</exception>
        /// <exception cref="IOException">The system refuses.</exception>
        /// <exception cref="UnauthorizedAccessException">The host has no permission.</exception>
        public FileStream OpenRead() => WhyProtected is null && !IsDirectory
            ? new(Linux.ProcPath(Handle), new FileStreamOptions { Share = FileShare.ReadWrite | FileShare.Delete, BufferSize = 0 })
            : throw new InvalidOperationException(WhyProtected ?? "It is a directory.");

        /// <summary>The entries of the judged folder, ordered by name.</summary>
        public IReadOnlyList<FileSystemInfo> Entries(int entriesMax) =>
        [
            .. new DirectoryInfo(Linux.ProcPath(Handle) + "/.")
                .EnumerateFileSystemInfos("*", new EnumerationOptions { AttributesToSkip = 0, IgnoreInaccessible = true })
                .Take(entriesMax)
                .OrderBy(e => e.Name, StringComparer.Ordinal),
        ];

        protected override void Dispose(bool disposing)
        {
            Handle.Dispose();
            base.Dispose(disposing);
        }
    }

    /// <summary>Longest path in UTF-8 bytes: Linux's limit less the prefix of the opened folder.</summary>
    const int PathBytesMax = 4_000;

    /// <summary>Opens a path of a call.</summary>
    /// <param name="path">Relative to the grant, or absolute.</param>
    public static GrantedPath Open(Grant grant, string path)
    {
        if (OpenGrant(grant, path, out var root, out var real, out var relative) is { } invalid)
        {
            return invalid;
        }
        using (root)
        {
            var handle = Linux.Open($"{Linux.ProcPath(root)}/{relative}", out var error);
            if (handle is null)
            {
                return WhyNotOpened(root, real, relative, error);
            }
            var found = Judge(real, handle);
            if (found is not Found)
            {
                handle.Dispose();
            }
            return found;
        }
    }

    /// <summary>Opens the granted folder and makes a path relative to it by its text alone. Answers the error, or null and the open folder.</summary>
    /// <param name="real">The resolved path of the granted folder.</param>
    internal static GrantedPath? OpenGrant(Grant grant, string path, out SafeFileHandle root, out string real, out string relative)
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
        var (folder, _) = grant.Open();
        if (folder is not { } opened)
        {
            return new Missing(".", "The session's folder does not exist, or a link has taken its place.");
        }
        // Resolves dots in the text first, so that the kernel never looks up anything outside the grant.
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(Path.Combine(grant.Path, path)));
        if (Linux.RealPath(opened) is { } realGrant && (RelativeTo(grant.Path, full) ?? RelativeTo(realGrant, full)) is { } inside)
        {
            (root, real, relative) = (opened, realGrant, inside);
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
        if (Linux.RealPath(handle) is not { } path || RelativeTo(real, path) is not { } relative)
        {
            return new Outside();
        }
        return Linux.Status(handle) switch
        {
            null => new Missing(relative, "It cannot be looked at."),
            { Links: 0 } => new Missing(relative, "It was deleted just now."),
            { } stat => new Found(relative, stat.Type == Linux.FileType.Directory, stat.Length, stat.Version, ProtectionOf(stat), handle),
        };
    }

    /// <summary>Why the content must be neither read nor changed; null: it is a regular file or a folder.</summary>
    internal static string? ProtectionOf(Linux.Stat stat) => stat switch
    {
        { Type: Linux.FileType.Directory } or { Type: Linux.FileType.Regular, Links: <= 1 } => null,
        { Type: Linux.FileType.Regular } => $"It has {stat.Links} hard links, and another of its names may lie outside the grant. A copy of it can be read.",
        _ => $"It is no file but a {stat.Type switch { Linux.FileType.Fifo => "FIFO", Linux.FileType.Socket => "socket", Linux.FileType.Link => "link", _ => "device" }}.",
    };

    /// <summary>Why the path was not opened. For a link out of the grant the answer is the same whether or not its target exists.</summary>
    static GrantedPath WhyNotOpened(SafeFileHandle root, string real, string relative, int error)
    {
        if (error == Linux.NameTooLong)
        {
            return new Invalid("A name in the path is too long.");
        }
        var parts = relative.Split('/');
        for (var i = 1; i <= parts.Length; i++)
        {
            var prefix = $"{Linux.ProcPath(root)}/{string.Join('/', parts[..i])}";
            using var step = Linux.Open(prefix, out _);
            if (step is not null)
            {
                if (Linux.RealPath(step) is not { } path || RelativeTo(real, path) is not { } resolved)
                {
                    return new Outside();
                }
                relative = string.Join('/', [.. resolved == "." ? [] : new[] { resolved }, .. parts[i..]]);
                continue;
            }
            if (new FileInfo(prefix).LinkTarget is not null)
            {
                return new Outside();
            }
            break;
        }
        return new Missing(relative, error is Linux.AccessDenied or Linux.NotPermitted ? "The host may not open it." : GrantedEntry.NotFound);
    }

    /// <summary>The path relative to a root; <c>.</c>: the root itself; null: outside.</summary>
    internal static string? RelativeTo(string root, string path) =>
        path == root ? "."
        : root == "/" ? path[1..]
        : path.StartsWith(root, StringComparison.Ordinal) && path[root.Length] == '/' ? path[(root.Length + 1)..]
        : null;
}
