namespace Cowork.Application;

/// <summary>The limits of a walk.</summary>
/// <param name="Entries">Number of files and folders.</param>
/// <param name="Depth">Depth of nested folders.</param>
public sealed record WalkBounds(int Entries = 20_000, int Depth = 16);

/// <summary>A file, folder or link below a granted folder.</summary>
/// <param name="Name">As <see cref="Grants.NameOf"/> has it: relative to the first grant's folder, or absolute.</param>
/// <param name="Size">Size of a file in bytes.</param>
/// <param name="IsLink">A symbolic link; the walk lists it and does not follow it.</param>
/// <param name="IsNotWalked">A folder that the walk lists and does not enter: <c>.git</c> and similar, or too deep.</param>
public sealed record WalkEntry(string Name, bool IsDirectory, long Size, bool IsLink, bool IsNotWalked)
{
    /// <summary>The path for people and models.</summary>
    public string Shown => VisibleText.Of(Name);
}

/// <param name="Withheld">Number of entries that the policy hides.</param>
/// <param name="IsTruncated">There were more entries than <see cref="WalkBounds.Entries"/>.</param>
public sealed record Walk(IReadOnlyList<WalkEntry> Entries, int Withheld, bool IsTruncated);

/// <summary>Lists the entries below a granted folder. It follows no link and leaves out files that the policy does not allow to read.</summary>
public static class FolderWalk
{
    /// <summary>Folders of other programs' internal files; a walk enters one only if it starts there.</summary>
    static readonly HashSet<string> SkippedFolders = new([".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv"], StringComparer.Ordinal);

    /// <summary>Walks breadth-first, each folder in order of names; the result is in order of paths.</summary>
    /// <param name="from">An open folder; the caller closes it.</param>
    public static Walk Run(Grants grants, GrantedPath.Found from, Policy policy, WalkBounds bounds, CancellationToken ct)
    {
        var entries = new List<WalkEntry>();
        var (withheld, isTruncated) = (0, false);
        var folders = new Queue<(string Name, int Depth)>();
        List(from, 0);
        while (!isTruncated && folders.TryDequeue(out var next))
        {
            ct.ThrowIfCancellationRequested();
            using var folder = GrantedPath.Open(grants, next.Name);
            if (folder is GrantedPath.Found { IsDirectory: true } found && policy.MayShow(found.Relative))
            {
                List(found, next.Depth);
            }
        }
        entries.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name));
        return new(entries, withheld, isTruncated);

        void List(GrantedPath.Found folder, int depth)
        {
            // One more than the limit, to detect the truncation.
            foreach (var entry in EntriesOf(folder, bounds.Entries - entries.Count + 1))
            {
                if (entries.Count >= bounds.Entries)
                {
                    isTruncated = true;
                    return;
                }
                var name = Below(folder.Name, entry.Name);
                if (!policy.MayShow(Below(folder.Relative, entry.Name)))
                {
                    withheld++;
                    continue;
                }
                var isLink = entry.Attributes.HasFlag(FileAttributes.ReparsePoint);
                var isDirectory = !isLink && entry is DirectoryInfo;
                var isClosed = isDirectory && (SkippedFolders.Contains(entry.Name) || depth + 1 >= bounds.Depth);
                entries.Add(new(name, isDirectory, entry is FileInfo { Exists: true } file && !isLink ? file.Length : 0, isLink, isClosed));
                if (isDirectory && !isClosed)
                {
                    folders.Enqueue((name, depth + 1));
                }
            }
        }
    }

    internal static string Below(string folder, string name) => folder == "." ? name : $"{folder.TrimEnd('/')}/{name}";

    static IReadOnlyList<FileSystemInfo> EntriesOf(GrantedPath.Found folder, int entriesMax)
    {
        try
        {
            return folder.Entries(entriesMax);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return []; // the folder is gone, or the host has no permission
        }
    }
}
