using System.Globalization;

namespace Cowork.Application;

/// <summary>How much of a session's folder is searched, and how much of it is kept in memory for the next search.</summary>
/// <param name="Files">Files.</param>
/// <param name="FileBytes">A larger file is left out.</param>
/// <param name="TotalBytes">Of all files of one search.</param>
/// <param name="CacheBytes">Of the texts kept for all sessions together; what they take in memory is some eight times as much.</param>
public sealed record FileBounds(int Files = 2_000, long FileBytes = 8 << 20, long TotalBytes = 32 << 20, long CacheBytes = 32 << 20);

/// <param name="Texts">In order of their paths.</param>
/// <param name="Notes">A sentence for each thing that was left out.</param>
public sealed record FilesRead(IReadOnlyList<TextIndex> Texts, IReadOnlyList<string> Notes);

/// <summary>
/// The texts in a session's folder, ready to be searched. Each file is cut and counted once and kept until it changes, the least recently used
/// ones being forgotten first.
/// </summary>
public sealed class SessionFiles(Policy policy, FileBounds? bounds = null)
{
    readonly FileBounds bounds = bounds ?? new();
    readonly Lock gate = new();
    readonly Dictionary<string, LinkedListNode<Kept>> byKey = new(StringComparer.Ordinal);
    readonly LinkedList<Kept> byUse = new();
    long keptBytes;

    /// <summary>What an entry costs beside its text, so that empty files are forgotten too.</summary>
    const int EntryBytes = 1_024;

    sealed record Kept(string Key, long Bytes, Lazy<TextIndex?> Text);

    /// <summary>Every text file of a folder that the policy lets be read. Links are not followed: what they lead to inside the folder is met there.</summary>
    public FilesRead Read(string workspace, CancellationToken ct)
    {
        var texts = new List<TextIndex>();
        var notes = new List<string>();
        using var root = GrantedPath.Open(workspace, ".");
        if (root is not GrantedPath.Found { IsDirectory: true } folder)
        {
            return new([], ["The session's folder does not exist."]);
        }
        var walk = FolderWalk.Of(workspace, folder, policy, new(), ct);
        var (tooLarge, notText, closed) = (new List<string>(), new List<string>(), new List<string>());
        var (bytes, files, isCut) = (0L, 0, walk.Cut);
        foreach (var entry in walk.Entries)
        {
            ct.ThrowIfCancellationRequested();
            if (entry.IsDirectory || entry.IsLink)
            {
                continue;
            }
            if (files >= bounds.Files || bytes >= bounds.TotalBytes)
            {
                isCut = true;
                break;
            }
            using var path = GrantedPath.Open(workspace, entry.Relative);
            if (path is not GrantedPath.Found { IsDirectory: false } file || !policy.MayShow(file.Relative))
            {
                continue;
            }
            if (file.Unreadable is not null)
            {
                closed.Add(file.Relative);
            }
            else if (file.Size > bounds.FileBytes || bytes + file.Size > bounds.TotalBytes)
            {
                tooLarge.Add(file.Relative);
            }
            else if (TryText(file, out var text))
            {
                files++;
                bytes += file.Size;
                if (text is null)
                {
                    notText.Add(file.Relative);
                }
                else
                {
                    texts.Add(text);
                }
            }
            else
            {
                closed.Add(file.Relative);
            }
        }
        Note(tooLarge, "too large to search");
        Note(notText, "not text");
        Note(closed, "not readable");
        if (isCut)
        {
            notes.Add(string.Create(CultureInfo.InvariantCulture,
                $"The folder holds more than is searched ({bounds.Files} files, {bounds.TotalBytes >> 20} MiB): the rest was left out."));
        }
        return new(texts, notes);

        void Note(List<string> paths, string why)
        {
            if (paths.Count > 0)
            {
                notes.Add($"Left out as {why}: {string.Join(", ", paths.Take(3))}{(paths.Count > 3 ? $" and {paths.Count - 3} more" : "")}.");
            }
        }
    }

    /// <summary>False when the file cannot be read; the text is null when it is binary.</summary>
    bool TryText(GrantedPath.Found file, out TextIndex? text)
    {
        var key = $"{file.Version} {file.Relative}";
        Kept kept;
        lock (gate)
        {
            if (byKey.TryGetValue(key, out var node))
            {
                byUse.Remove(node);
                byUse.AddFirst(node);
                kept = node.Value;
            }
            else
            {
                // Whoever comes first makes it, from this call's open file: it stays open until the text is made, because this call waits for it.
                kept = new(key, file.Size + EntryBytes, new(() => Make(file)));
                byKey[key] = byUse.AddFirst(kept);
                keptBytes += kept.Bytes;
                while (keptBytes > bounds.CacheBytes && byUse.Last is { } last && last.Value != kept)
                {
                    Forget(last.Value);
                }
            }
        }
        try
        {
            text = kept.Text.Value;
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            lock (gate)
            {
                Forget(kept);
            }
            text = null;
            return false;
        }
    }

    void Forget(Kept kept)
    {
        if (byKey.TryGetValue(kept.Key, out var node) && node.Value == kept)
        {
            byKey.Remove(kept.Key);
            byUse.Remove(node);
            keptBytes -= kept.Bytes;
        }
    }

    TextIndex? Make(GrantedPath.Found file) =>
        FileText.Decode(FileText.ReadBytes(file, (int)bounds.FileBytes)) is { } text ? TextIndex.Of(file.Relative, text) : null;
}
