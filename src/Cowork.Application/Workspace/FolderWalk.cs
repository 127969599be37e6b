namespace Cowork.Application;

/// <summary>How far a walk goes before it says that it stopped.</summary>
/// <param name="Entries">Files and folders looked at.</param>
/// <param name="Depth">Folders below each other.</param>
public sealed record WalkBounds(int Entries = 20_000, int Depth = 16);

/// <summary>A file, folder or link below a granted folder.</summary>
/// <param name="Relative">Relative to the grant, with <c>/</c>.</param>
/// <param name="Size">Bytes of a file.</param>
/// <param name="IsLink">A symbolic link; it is named, never followed.</param>
/// <param name="IsClosed">A folder that is named but not walked: <c>.git</c> and the like, or too deep.</param>
public sealed record Walked(string Relative, bool IsDirectory, long Size, bool IsLink, bool IsClosed);

/// <param name="Withheld">Entries that the policy keeps back.</param>
/// <param name="Cut">There was more than <see cref="WalkBounds.Entries"/>.</param>
public sealed record Walk(IReadOnlyList<Walked> Entries, int Withheld, bool Cut);

/// <summary>What lies below a granted folder, without following a link and without naming what the policy would not let be read.</summary>
public static class FolderWalk
{
    /// <summary>Folders full of what other programs made for themselves; they are walked only when they are asked for by name.</summary>
    static readonly HashSet<string> Machinery = new([".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv"], StringComparer.Ordinal);

    /// <summary>Folder by folder, nearest first, each in order of names; the answer is in order of paths.</summary>
    /// <param name="from">An open folder; the caller keeps it.</param>
    public static Walk Of(string grant, GrantedPath.Found from, Policy policy, WalkBounds bounds, CancellationToken ct)
    {
        var entries = new List<Walked>();
        var (withheld, cut) = (0, false);
        var folders = new Queue<(string Relative, int Depth)>();
        Look(from, 0);
        while (!cut && folders.TryDequeue(out var next))
        {
            ct.ThrowIfCancellationRequested();
            using var folder = GrantedPath.Open(grant, next.Relative);
            if (folder is GrantedPath.Found { IsDirectory: true } found && policy.MayShow(found.Relative))
            {
                Look(found, next.Depth);
            }
        }
        entries.Sort((a, b) => string.CompareOrdinal(a.Relative, b.Relative));
        return new(entries, withheld, cut);

        void Look(GrantedPath.Found folder, int depth)
        {
            // One more than may be kept, so that a cut is known.
            foreach (var entry in Listed(folder, bounds.Entries - entries.Count + 1))
            {
                if (entries.Count >= bounds.Entries)
                {
                    cut = true;
                    return;
                }
                var relative = folder.Relative == "." ? entry.Name : $"{folder.Relative}/{entry.Name}";
                if (!policy.MayShow(relative))
                {
                    withheld++;
                    continue;
                }
                var isLink = entry.Attributes.HasFlag(FileAttributes.ReparsePoint);
                var isDirectory = !isLink && entry is DirectoryInfo;
                var isClosed = isDirectory && (Machinery.Contains(entry.Name) || depth + 1 >= bounds.Depth);
                entries.Add(new(relative, isDirectory, entry is FileInfo { Exists: true } file && !isLink ? file.Length : 0, isLink, isClosed));
                if (isDirectory && !isClosed)
                {
                    folders.Enqueue((relative, depth + 1));
                }
            }
        }
    }

    static IReadOnlyList<FileSystemInfo> Listed(GrantedPath.Found folder, int atMost)
    {
        try
        {
            return folder.Entries(atMost);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return []; // gone, or closed to the host
        }
    }
}
