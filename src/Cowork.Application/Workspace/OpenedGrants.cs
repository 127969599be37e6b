using System.Text;

using Cowork.Domain;

using Microsoft.Win32.SafeHandles;

namespace Cowork.Application;

/// <summary>
/// A session's granted folders, opened as they are needed, for the resolution of one path. What a path leads to is judged by where the open folders really lie, so that the
/// decision does not depend on how they are spelt.
/// </summary>
sealed class OpenedGrants(Grants grants) : IDisposable
{
    /// <summary>Longest path in UTF-8 bytes: Linux's limit less the prefix of the opened folder.</summary>
    const int PathBytesMax = 4_000;

    readonly Folder?[] opened = new Folder?[grants.Count];

    /// <summary>An open folder.</summary>
    /// <param name="Real">Its path, with every link followed.</param>
    public sealed record Folder(Grant Grant, SafeFileHandle Handle, string Real);

    /// <summary>
    /// The folder that a path of a call lies in, by its text alone: the kernel never looks up anything outside the grants. Answers the error, or null, the folder and the path
    /// relative to it.
    /// </summary>
    /// <param name="path">Relative to the first grant, or absolute.</param>
    public GrantedPath? Find(string path, out Folder folder, out string relative)
    {
        (folder, relative) = (null!, "");
        if (string.IsNullOrWhiteSpace(path))
        {
            return new GrantedPath.Invalid("The path is empty.");
        }
        if (!StorableText.IsStorable(path))
        {
            return new GrantedPath.Invalid("The path holds a NUL or a broken character.");
        }
        if (Encoding.UTF8.GetByteCount(path) > PathBytesMax)
        {
            return new GrantedPath.Invalid($"The path is longer than {PathBytesMax} bytes.");
        }
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(Path.Combine(grants.First.Path, path)));
        if (Deepest(full, i => grants[i].Path) is var (spelt, inSpelt))
        {
            return Open(spelt) is { } found ? Found(found, inSpelt, out folder, out relative) : GrantedPath.Missing.Folder(grants, grants[spelt]);
        }
        if (Deepest(full, i => Open(i)?.Real) is var (real, inReal))
        {
            return Found(Open(real)!, inReal, out folder, out relative);
        }
        return Open(0) is null ? GrantedPath.Missing.Folder(grants, grants.First) : new GrantedPath.Outside();
    }

    /// <summary>The grant that decides about a path with every link followed, and the path relative to its folder; null: the path is outside.</summary>
    public (Grant Grant, string Relative)? Deciding(string real) =>
        // Of a folder that cannot be opened the text stands: no grant around it takes its place.
        Deepest(real, i => Open(i)?.Real ?? grants[i].Path) is var (place, relative) ? (grants[place], relative) : null;

    /// <summary>The open folder of one of the grants; null: it is gone.</summary>
    public SafeFileHandle? HandleOf(Grant grant)
    {
        for (var i = 0; i < grants.Count; i++)
        {
            if (ReferenceEquals(grants[i], grant))
            {
                return Open(i)?.Handle;
            }
        }
        return null;
    }

    public void Dispose()
    {
        foreach (var folder in opened)
        {
            folder?.Handle.Dispose();
        }
    }

    static GrantedPath? Found(Folder found, string inside, out Folder folder, out string relative)
    {
        (folder, relative) = (found, inside);
        return null;
    }

    /// <summary>The deepest of the folders that holds a path.</summary>
    /// <param name="folderOf">The folder's path by its place in the grants; null: it has none.</param>
    (int Place, string Relative)? Deepest(string path, Func<int, string?> folderOf)
    {
        var (deepest, length) = (default((int, string)?), -1);
        for (var i = 0; i < grants.Count; i++)
        {
            if (folderOf(i) is { } folder && folder.Length > length && GrantedPath.RelativeTo(folder, path) is { } relative)
            {
                (deepest, length) = ((i, relative), folder.Length);
            }
        }
        return deepest;
    }

    Folder? Open(int place)
    {
        if (opened[place] is null && grants[place].Open().Folder is { } handle)
        {
            if (Linux.RealPath(handle) is { } real)
            {
                opened[place] = new(grants[place], handle, real);
            }
            else
            {
                handle.Dispose();
            }
        }
        return opened[place];
    }
}
