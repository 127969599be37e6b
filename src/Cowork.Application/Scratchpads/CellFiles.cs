using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A file below an output root that a cell wrote, with what its content says of it. Its content is in the blob store.</summary>
public sealed record KeptFile(string Path, string Sha256, long Bytes, ArtifactFacts Facts);

/// <summary>
/// Finds what a cell wrote below the output roots: it looks before and after. Code that runs at the same time in the same folder, for another scratchpad or session, is not
/// told from it. Links are followed nowhere.
/// </summary>
public static class CellFiles
{
    /// <summary>Files and folders that are looked at.</summary>
    const int EntriesMax = 5_000;

    const int DepthMax = 16;

    /// <summary>Files of one cell that are kept.</summary>
    const int FilesMax = 200;

    /// <summary>Clocks of hosts, and of file systems, differ by no more.</summary>
    static readonly TimeSpan ClockSkew = TimeSpan.FromSeconds(2);

    /// <summary>The files below the output roots that cells may write to, by name (<see cref="Grants.NameOf"/>).</summary>
    /// <param name="since">Of an execution that began before: what was written since then counts as written by it. Null: it begins now.</param>
    public static IReadOnlyDictionary<string, (long Length, DateTime WrittenAt)> Look(Grants grants, DateTimeOffset? since, CancellationToken ct)
    {
        var files = new Dictionary<string, (long Length, DateTime WrittenAt)>(StringComparer.Ordinal);
        var folders = new Queue<(string Name, int Depth)>(
            grants.Where(grant => grant.CellsMayWrite).SelectMany(grant => grant.OutputRoots.Select(root => (grants.NameOf(grant, root), 0))));
        var left = EntriesMax;
        while (left > 0 && folders.TryDequeue(out var next))
        {
            ct.ThrowIfCancellationRequested();
            using var opened = GrantedPath.Open(grants, next.Name);
            if (opened is not GrantedPath.Found { IsDirectory: true } folder || !(folder.Grant.OutputRoots.Contains(folder.Relative) || folder.Grant.IsOutput(folder.Relative)))
            {
                continue;
            }
            foreach (var entry in Entries(folder, left))
            {
                left--;
                var name = FolderWalk.Below(folder.Name, entry.Name);
                if (entry.Attributes.HasFlag(FileAttributes.ReparsePoint))
                {
                    continue;
                }
                if (entry is DirectoryInfo && next.Depth < DepthMax)
                {
                    folders.Enqueue((name, next.Depth + 1));
                }
                else if (entry is FileInfo { Exists: true } file && (since is null || file.LastWriteTimeUtc < since.Value.UtcDateTime - ClockSkew))
                {
                    files[name] = (file.Length, file.LastWriteTimeUtc);
                }
            }
        }
        return files;
    }

    /// <summary>Keeps the files that are new, or have changed since the look. With whether there were more of them than are kept.</summary>
    public static async ValueTask<(IReadOnlyList<KeptFile> Files, bool AreMore)> Keep(
        Grants grants, IReadOnlyDictionary<string, (long Length, DateTime WrittenAt)> before, IBlobs blobs, CancellationToken ct)
    {
        var kept = new List<KeptFile>();
        var changed = Look(grants, null, ct).Where(file => !before.TryGetValue(file.Key, out var was) || was != file.Value).Select(file => file.Key);
        foreach (var path in changed.Order(StringComparer.Ordinal))
        {
            if (kept.Count == FilesMax)
            {
                return (kept, AreMore: true);
            }
            // A name that no log can hold is none of an artifact.
            if (StorableText.IsStorable(path) && await Keep(grants, path, blobs, ct) is var (sha256, bytes))
            {
                kept.Add(new(path, sha256, bytes, await ArtifactFacts.Of(blobs, path, sha256, ct)));
            }
        }
        return (kept, AreMore: false);
    }

    /// <summary>Makes the files a part of the session's artifacts.</summary>
    /// <param name="files">Their content is in the blob store.</param>
    public static async ValueTask<Refusal?> Discover(UnitOfWork work, SessionKey session, IReadOnlyList<KeptFile> files)
    {
        // A session's project never changes.
        var project = files.Count > 0 && await work.State(Session.Aggregate, session) is Session.Open open ? open.Project : null;
        foreach (var file in files)
        {
            var key = Artifact.KeyOf(session, file.Path);
            var discover = new ArtifactCommand.Discover(
                key, session, null, file.Path, file.Sha256, file.Bytes, OutputRoot.MediaType(file.Path), work.Now, file.Facts.Type, file.Facts.Title, project);
            if (await work.Do(Artifact.Aggregate, key, discover, session) is { } refused)
            {
                return refused;
            }
        }
        return null;
    }

    static async ValueTask<(string Sha256, long Bytes)?> Keep(Grants grants, string path, IBlobs blobs, CancellationToken ct)
    {
        using var opened = GrantedPath.Open(grants, path);
        if (opened is not GrantedPath.Found { IsDirectory: false, WhyProtected: null } file || !file.Grant.IsOutput(file.Relative) || file.Size > Limits.FileBytesMax)
        {
            return null;
        }
        try
        {
            await using var content = file.OpenRead();
            return await blobs.Put(content, ct);
        }
        catch (Exception e) when (e is (IOException or UnauthorizedAccessException) and not BlobStoreFullException)
        {
            return null; // it is gone again
        }
    }

    static IReadOnlyList<FileSystemInfo> Entries(GrantedPath.Found folder, int entriesMax)
    {
        try
        {
            return folder.Entries(entriesMax);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
