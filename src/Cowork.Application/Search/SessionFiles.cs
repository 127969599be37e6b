using System.Globalization;

namespace Cowork.Application;

/// <summary>The limits of a search in a session's folder, and of the cache of indexed texts.</summary>
/// <param name="Files">Number of files.</param>
/// <param name="FileBytes">Size of a file; a larger one is left out.</param>
/// <param name="TotalBytes">Size of all files of one search.</param>
/// <param name="CacheBytes">Size of the cached files of all sessions. Their indexes take about eight times as much memory.</param>
/// <param name="SmallBytes">A search for the terms of one question keeps the whole index of a file up to this size.</param>
/// <param name="Parallel">Number of searches at once; the others wait.</param>
public sealed record FileBounds(
    int Files = 2_000, long FileBytes = 8 << 20, long TotalBytes = 32 << 20, long CacheBytes = 16 << 20, long SmallBytes = 256 << 10, int Parallel = 2);

/// <summary>The indexed texts of a session's folder.</summary>
/// <param name="Texts">Ordered by path.</param>
/// <param name="Notes">A sentence for each reason for which files were left out.</param>
public sealed record SessionTexts(IReadOnlyList<TextIndex> Texts, IReadOnlyList<string> Notes);

/// <summary>
/// Indexes the text files of a session's folder. An LRU cache bounded by bytes keeps each index until its file changes.
/// </summary>
public sealed class SessionFiles(Policy policy, FileBounds? bounds = null) : IDisposable
{
    readonly FileBounds bounds = bounds ?? new();
    readonly KeyedLock tenants = new();
    readonly SemaphoreSlim places = new((bounds ?? new()).Parallel);
    readonly Lock gate = new();
    readonly Dictionary<string, LinkedListNode<CachedText>> byKey = new(StringComparer.Ordinal);
    readonly LinkedList<CachedText> byUse = new();
    long cachedBytes;

    /// <summary>The cost of an entry beside its text, so that the cache also evicts empty files.</summary>
    const int EntryBytes = 1_024;

    sealed record CachedText(string Key, long Bytes, Lazy<TextIndex?> Text);

    /// <summary>
    /// Waits for one of the places in which searches hold texts in memory. A tenant has one of them at a time, so that its searches do not take those of others.
    /// </summary>
    /// <returns>Gives the place back when it is disposed.</returns>
    public async ValueTask<IDisposable> Enter(string tenant, CancellationToken ct)
    {
        var mine = await tenants.Enter(tenant, ct);
        try
        {
            await places.WaitAsync(ct);
        }
        catch
        {
            mine.Dispose();
            throw;
        }
        return new Place(mine, places);
    }

    public void Dispose() => places.Dispose();

    sealed class Place(IDisposable mine, SemaphoreSlim places) : IDisposable
    {
        public void Dispose()
        {
            places.Release();
            mine.Dispose();
        }
    }

    /// <summary>The text files of a folder that the policy allows to read. Links are not followed: a target inside the folder is found there.</summary>
    /// <param name="only">The terms that are looked for; null: any.</param>
    public SessionTexts Read(Grant workspace, CancellationToken ct, IReadOnlySet<string>? only = null)
    {
        var texts = new List<TextIndex>();
        var notes = new List<string>();
        using var root = GrantedPath.Open(workspace, ".");
        if (root is not GrantedPath.Found { IsDirectory: true } folder)
        {
            return new([], ["The session's folder does not exist, or a link has taken its place."]);
        }
        var walk = FolderWalk.Run(workspace, folder, policy, new(), ct);
        var (tooLarge, notText, unreadable) = (new List<string>(), new List<string>(), new List<string>());
        var (bytes, files, isTruncated) = (0L, 0, walk.IsTruncated);
        foreach (var entry in walk.Entries)
        {
            ct.ThrowIfCancellationRequested();
            if (entry.IsDirectory || entry.IsLink)
            {
                continue;
            }
            if (files >= bounds.Files || bytes >= bounds.TotalBytes)
            {
                isTruncated = true;
                break;
            }
            using var path = GrantedPath.Open(workspace, entry.Relative);
            if (path is not GrantedPath.Found { IsDirectory: false } file || !policy.MayShow(file.Relative))
            {
                continue;
            }
            if (file.WhyProtected is not null)
            {
                unreadable.Add(file.Shown);
            }
            else if (file.Size > bounds.FileBytes || bytes + file.Size > bounds.TotalBytes)
            {
                tooLarge.Add(file.Shown);
            }
            else if (TryGetText(file, only, out var text, ct))
            {
                files++;
                bytes += file.Size;
                if (text is null)
                {
                    notText.Add(file.Shown);
                }
                else
                {
                    texts.Add(text);
                }
            }
            else
            {
                unreadable.Add(file.Shown);
            }
        }
        Note(tooLarge, "too large to search");
        Note(notText, "not text");
        Note(unreadable, "not readable");
        if (isTruncated)
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

    /// <summary>False: the file cannot be read. A null text: the file is binary.</summary>
    bool TryGetText(GrantedPath.Found file, IReadOnlySet<string>? only, out TextIndex? text, CancellationToken ct)
    {
        var key = $"{file.Version} {file.Relative}";
        CachedText cached;
        if (only is not null && file.Size > bounds.SmallBytes && !IsCached(key))
        {
            try
            {
                text = ReadText(file, only, ct);
                return true;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                text = null;
                return false;
            }
        }
        lock (gate)
        {
            if (byKey.TryGetValue(key, out var node))
            {
                byUse.Remove(node);
                byUse.AddFirst(node);
                cached = node.Value;
            }
            else
            {
                // The first call reads the text from its own open file. The file stays open until then, because this call waits for the text.
                cached = new(key, file.Size + EntryBytes, new(() => ReadText(file, only: null, CancellationToken.None)));
                byKey[key] = byUse.AddFirst(cached);
                cachedBytes += cached.Bytes;
                while (cachedBytes > bounds.CacheBytes && byUse.Last is { } last && last.Value != cached)
                {
                    Evict(last.Value);
                }
            }
        }
        try
        {
            text = cached.Text.Value;
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            lock (gate)
            {
                Evict(cached);
            }
            text = null;
            return false;
        }
    }

    bool IsCached(string key)
    {
        lock (gate)
        {
            return byKey.ContainsKey(key);
        }
    }

    void Evict(CachedText cached)
    {
        if (byKey.TryGetValue(cached.Key, out var node) && node.Value == cached)
        {
            byKey.Remove(cached.Key);
            byUse.Remove(node);
            cachedBytes -= cached.Bytes;
        }
    }

    TextIndex? ReadText(GrantedPath.Found file, IReadOnlySet<string>? only, CancellationToken ct) =>
        FileText.Decode(FileText.ReadBytes(file, (int)bounds.FileBytes)) is { } text ? TextIndex.Of(file.Shown, text, only, ct) : null;
}
