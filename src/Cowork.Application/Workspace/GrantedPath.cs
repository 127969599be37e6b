using Microsoft.Win32.SafeHandles;

namespace Cowork.Application;

/// <summary>
/// A path of a tool call, resolved inside the granted folders. The path is opened first with <c>O_PATH</c>, which has no effect on FIFOs and devices. The kernel
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
    /// <param name="Grant">The grant that decides about the path.</param>
    /// <param name="Relative">The resolved path relative to that grant's folder.</param>
    /// <param name="Name">The resolved path as <see cref="Grants.NameOf"/> has it.</param>
    public sealed record Missing(Grant Grant, string Relative, string Name, string Reason) : GrantedPath
    {
        /// <summary>A granted folder itself is missing.</summary>
        internal static Missing Folder(Grants grants, Grant grant) =>
            new(grant, ".", grants.NameOf(grant, "."), "The session's folder does not exist, or a link has taken its place.");
    }

    /// <summary>An open file or folder.</summary>
    /// <param name="Grant">The grant that decides about it.</param>
    /// <param name="Relative">The resolved path relative to that grant's folder; <c>.</c> is the folder itself.</param>
    /// <param name="Name">The resolved path as <see cref="Grants.NameOf"/> has it.</param>
    /// <param name="Size">Size in bytes.</param>
    /// <param name="Version">Changes with the content: device, inode, size and times of the last change.</param>
    /// <param name="WhyProtected">Why the content must not be read; null: it is a regular file or a folder.</param>
    public sealed record Found(Grant Grant, string Relative, string Name, bool IsDirectory, long Size, string Version, string? WhyProtected, SafeFileHandle Handle) : GrantedPath
    {
        /// <summary>The path for people and models.</summary>
        public string Shown => VisibleText.Of(Name);

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

    /// <inheritdoc cref="Open(Grants, string)"/>
    public static GrantedPath Open(Grant grant, string path) => Open(Grants.Of(grant), path);

    /// <summary>Opens a path of a call.</summary>
    /// <param name="path">Relative to the first grant, or absolute.</param>
    public static GrantedPath Open(Grants grants, string path)
    {
        using var opened = new OpenedGrants(grants);
        if (opened.Find(path, out var folder, out var relative) is { } wrong)
        {
            return wrong;
        }
        var handle = Linux.Open($"{Linux.ProcPath(folder.Handle)}/{relative}", out var error);
        if (handle is null)
        {
            return WhyNotOpened(grants, opened, folder, relative, error);
        }
        var found = Judge(grants, opened, handle);
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

    static GrantedPath Judge(Grants grants, OpenedGrants opened, SafeFileHandle handle)
    {
        if (Linux.RealPath(handle) is not { } path || opened.Deciding(path) is not var (grant, relative))
        {
            return new Outside();
        }
        var name = grants.NameOf(grant, relative);
        return Linux.Status(handle) switch
        {
            null => new Missing(grant, relative, name, "It cannot be looked at."),
            { Links: 0 } => new Missing(grant, relative, name, "It was deleted just now."),
            { } stat => new Found(grant, relative, name, stat.Type == Linux.FileType.Directory, stat.Length, stat.Version, ProtectionOf(stat), handle),
        };
    }

    /// <summary>Why the content must be neither read nor changed; null: it is a regular file or a folder.</summary>
    internal static string? ProtectionOf(Linux.Stat stat) => stat switch
    {
        { Type: Linux.FileType.Directory } or { Type: Linux.FileType.Regular, Links: <= 1 } => null,
        { Type: Linux.FileType.Regular } => $"It has {stat.Links} hard links, and another of its names may lie outside the grant. A copy of it can be read.",
        _ => $"It is no file but a {stat.Type switch { Linux.FileType.Fifo => "FIFO", Linux.FileType.Socket => "socket", Linux.FileType.Link => "link", _ => "device" }}.",
    };

    /// <summary>Why the path was not opened. For a link out of the grants the answer is the same whether or not its target exists.</summary>
    static GrantedPath WhyNotOpened(Grants grants, OpenedGrants opened, OpenedGrants.Folder folder, string relative, int error)
    {
        if (error == Linux.NameTooLong)
        {
            return new Invalid("A name in the path is too long.");
        }
        var parts = relative.Split('/');
        var (reached, left) = (folder.Real, parts);
        for (var i = 1; i <= parts.Length; i++)
        {
            var prefix = $"{Linux.ProcPath(folder.Handle)}/{string.Join('/', parts[..i])}";
            using var step = Linux.Open(prefix, out _);
            if (step is not null)
            {
                if (Linux.RealPath(step) is not { } path || opened.Deciding(path) is null)
                {
                    return new Outside();
                }
                (reached, left) = (path, parts[i..]);
                continue;
            }
            if (new FileInfo(prefix).LinkTarget is not null)
            {
                return new Outside();
            }
            break;
        }
        // What is missing may be a granted folder in another one: the deepest decides, also about what is not there.
        return opened.Deciding(string.Join('/', [reached.TrimEnd('/'), .. left])) is var (grant, resolved)
            ? new Missing(
                grant, resolved, grants.NameOf(grant, resolved), error is Linux.AccessDenied or Linux.NotPermitted ? "The host may not open it." : GrantedEntry.NotFound)
            : new Outside();
    }

    /// <summary>The path relative to a root; <c>.</c>: the root itself; null: outside.</summary>
    internal static string? RelativeTo(string root, string path) =>
        path == root ? "."
        : root == "/" ? path[1..]
        : path.StartsWith(root, StringComparison.Ordinal) && path[root.Length] == '/' ? path[(root.Length + 1)..]
        : null;
}
