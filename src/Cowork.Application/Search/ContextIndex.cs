using System.Security.Cryptography;
using System.Threading.Channels;

using Cowork.Application.Models;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>A passage of a file in a folder that the caller may read (contract C, <c>ContextItem</c>).</summary>
/// <param name="Path">Absolute.</param>
/// <param name="Score">By BM25, or by reciprocal ranks where vectors were used: greater is better, and comparable within one answer.</param>
/// <param name="StartLine">From 1.</param>
/// <param name="TokenCount">An estimate.</param>
/// <param name="UpdatedAt">When the file was last written.</param>
public sealed record ContextItem(string Path, string Content, double Score, int StartLine, int EndLine, long TokenCount, DateTimeOffset UpdatedAt);

/// <summary>What a query found.</summary>
/// <param name="Items">Best first.</param>
/// <param name="ByVectors">True: vectors were compared beside the search by words.</param>
public sealed record ContextFound(IReadOnlyList<ContextItem> Items, bool ByVectors);

/// <summary>A file or folder of which nothing is indexed.</summary>
public sealed record LeftOutFile(string Path, string Reason);

/// <summary>What a request to index files came to.</summary>
/// <param name="Accepted">Files that are new or changed.</param>
/// <param name="Unchanged">Files that the index has as they are.</param>
/// <param name="Removed">Files that are gone, and have left the index.</param>
/// <param name="Pending">Files of the tenant that wait to be read on this host.</param>
public sealed record ContextSync(int Accepted, int Unchanged, int Removed, int Pending, IReadOnlyList<LeftOutFile> LeftOut);

/// <summary>
/// The files that clients of contract C keep indexed, in the folders that their sessions are granted: each file in chunks, in the one index of texts, by folder. What is
/// in a folder that none of the caller's live sessions is granted is neither read nor shown: that is judged for each request, for each file.
/// </summary>
public sealed partial class ContextIndex(
    IRunQueries queries, IWorkspaces workspaces, Policy policy, ITexts texts, ContextVectors vectors, SessionFiles places, ILogger<ContextIndex> logger)
{
    public const string Outside = "outside the grants", NotReadable = "not readable", NotText = "not text", TooLarge = "too large", Withheld = "withheld by the policy",
        TooMany = "too many files";

    /// <summary>Sessions of a caller whose grants count, the newest.</summary>
    const int SessionsMax = 200;

    /// <summary>Files that a request may lead to, with those of its folders.</summary>
    const int FilesMax = 20_000;

    /// <summary>Files that are indexed before the request is answered; more of them, or larger ones, are indexed afterwards.</summary>
    const int AtOnceFiles = 100;

    const long AtOnceBytes = 1 << 20;

    /// <summary>Files that are put into the index together.</summary>
    const int BatchFiles = 64;

    const long BatchBytes = 1 << 20;

    /// <summary>Files that may wait on a host.</summary>
    const int WaitingMax = 200_000;

    /// <summary>Passages beyond those that are asked for, because some may be of files that are gone or granted no longer.</summary>
    const int HitsBeyond = 50;

    /// <summary>The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).</summary>
    const int RankOffset = 60;

    readonly Channel<(string Org, Folder Folder)> work = Channel.CreateUnbounded<(string, Folder)>(new() { SingleReader = true });
    readonly Lock gate = new();
    readonly Dictionary<string, int> pending = [];

    /// <summary>Brings files into the index, or out of it when they are gone. A file that is there unchanged costs a look at its status.</summary>
    /// <param name="paths">Absolute paths of files and folders.</param>
    /// <returns>Refused: too much waits to be indexed.</returns>
    public async ValueTask<(ContextSync? Done, Refusal? Refused)> Sync(string org, string actor, IReadOnlyList<string> paths, CancellationToken ct)
    {
        var leftOut = new List<LeftOutFile>();
        var folders = (await GrantsOf(org, actor, ct)).ConvertAll(grant => new Folder(grant));
        var files = 0;
        foreach (var path in paths)
        {
            ct.ThrowIfCancellationRequested();
            var (reason, full) = (Outside, Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)));
            foreach (var folder in folders.Where(folder => folder.MayHold(full)))
            {
                // A file in two grants, of which one lies in the other, is indexed for both: a session may have either.
                reason = Look(folder, path, ref files, ct) is var why && why == Outside ? reason : why ?? "";
            }
            if (reason.Length > 0)
            {
                leftOut.Add(new(path, reason));
            }
        }
        var (unchanged, removed, accepted) = (0, 0, 0);
        foreach (var folder in folders.Where(folder => !folder.IsEmpty))
        {
            var known = (await texts.Of(org, folder.Owner, ct)).ToDictionary(entry => entry.Name, StringComparer.Ordinal);
            var gone = folder.Gone(known.Keys);
            if (gone.Count > 0)
            {
                await texts.Remove(org, folder.Owner, gone, ct);
            }
            removed += gone.Count;
            unchanged += folder.KeepChanged(known);
            accepted += folder.Changed.Count;
            vectors.Asked(org, folder.Owner);
            leftOut.AddRange(folder.Unchanged.Where(entry => entry.LeftOut is not null).Select(entry => new LeftOutFile(folder.PathOf(entry.Name), entry.LeftOut!)));
        }
        if (accepted <= AtOnceFiles && folders.Sum(folder => folder.Changed.Sum(file => file.Size)) <= AtOnceBytes)
        {
            using var place = await places.Enter(org, ct);
            foreach (var folder in folders)
            {
                leftOut.AddRange(await Index(org, folder, static () => default, ct));
            }
        }
        else if (!Later(org, folders.Where(folder => folder.Changed.Count > 0)))
        {
            return (null, Refusal.TooMany("context_queue_full", $"{WaitingMax} files wait to be indexed."));
        }
        lock (gate)
        {
            return (new(accepted, unchanged, removed, pending.GetValueOrDefault(org), leftOut), null);
        }
    }

    /// <summary>The best passages in the folders that the caller's sessions are granted now, best first.</summary>
    public async ValueTask<ContextFound> Query(string org, string actor, string query, int max, CancellationToken ct)
    {
        var folders = (await GrantsOf(org, actor, ct)).ConvertAll(grant => new Folder(grant)).ToDictionary(folder => folder.Owner, StringComparer.Ordinal);
        if (folders.Count == 0)
        {
            return new([], false);
        }
        List<string> scopes = [.. folders.Values.Select(folder => folder.Scope)];
        // The model is asked meanwhile.
        var nearest = vectors.Nearest(org, scopes, query, max + HitsBeyond, ct);
        var words = TextSearch.Find(texts, org, scopes, query, max + HitsBeyond, ct).AsTask();
        await Task.WhenAll(nearest, words);
        var (near, hits) = (await nearest, (await words).Hits);
        var (items, shown) = (new List<ContextItem>(), new HashSet<(string, int, int)>());
        foreach (var hit in near.Count == 0 ? hits : Fused(hits, near))
        {
            if (items.Count == max)
            {
                break;
            }
            if (folders.GetValueOrDefault(hit.Owner) is { } folder && Open(folder.Grant, hit.Passage.Source) is { } file)
            {
                using (file)
                {
                    var path = folder.PathOf(file.Relative);
                    if (shown.Add((path, hit.Passage.FirstLine, hit.Passage.LastLine)))
                    {
                        items.Add(new(
                            path, hit.Passage.Text, Math.Round(hit.Score, 6), hit.Passage.FirstLine, hit.Passage.LastLine,
                            TokenEstimate.Of(TokenEstimate.BytesOf(hit.Passage.Text)), new(File.GetLastWriteTimeUtc(file.Handle), TimeSpan.Zero)));
                    }
                }
            }
        }
        return new(items, near.Count > 0);
    }

    /// <summary>Both rankings in one: a chunk's score is the sum of 1 / (60 + rank) over those that have it.</summary>
    static IEnumerable<Hit> Fused(IReadOnlyList<Hit> hits, IReadOnlyList<(string Owner, Passage Passage)> near) =>
        hits.Select((hit, rank) => (hit.Owner, hit.Passage, hit.Coverage, Rank: rank + 1))
            .Concat(near.Select((hit, rank) => (hit.Owner, hit.Passage, Coverage: 0.0, Rank: rank + 1)))
            .GroupBy(hit => (hit.Owner, hit.Passage))
            .Select(hit => new Hit(hit.Key.Passage, hit.Sum(place => 1.0 / (RankOffset + place.Rank)), hit.Max(place => place.Coverage)) { Owner = hit.Key.Owner })
            .OrderByDescending(hit => hit.Score);

    /// <summary>Indexes what requests have left to the background, until it is told to stop. What is left then, the next request finds changed.</summary>
    public async Task Run(CancellationToken ct)
    {
        try
        {
            await foreach (var (org, folder) in work.Reader.ReadAllAsync(ct))
            {
                try
                {
                    await Index(org, folder, async () => await places.EnterBackground(org, ct), ct);
                }
#pragma warning disable CA1031 // Whatever fails is logged, and found changed by the next request.
                catch (Exception e) when (!ct.IsCancellationRequested)
#pragma warning restore CA1031
                {
                    LogFailed(logger, e);
                }
                finally
                {
                    Done(org, folder.Changed.Count);
                }
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // Told to stop.
        }
    }

    /// <summary>The folders that the caller's live sessions are granted, each once, the deepest first.</summary>
    async ValueTask<List<Grant>> GrantsOf(string org, string actor, CancellationToken ct)
    {
        var found = new Dictionary<string, Grant>(StringComparer.Ordinal);
        foreach (var session in await queries.SessionsBy(org, actor, SessionsMax, ct))
        {
            foreach (var grant in await workspaces.Grants(org, session, ct) ?? Enumerable.Empty<Grant>())
            {
                found.TryAdd(grant.Path, grant);
            }
        }
        return [.. found.Values.OrderByDescending(grant => grant.Path.Length).ThenBy(grant => grant.Path, StringComparer.Ordinal)];
    }

    /// <summary>Adds what a path stands for to a folder. Answers why nothing of it is indexed; null: it is, or it is gone.</summary>
    string? Look(Folder folder, string path, ref int files, CancellationToken ct)
    {
        using var opened = GrantedPath.Open(folder.Grant, path);
        switch (opened)
        {
            case GrantedPath.Missing missing when policy.MayShow(missing.Relative):
                folder.AddGone(missing.Relative);
                return null;
            case GrantedPath.Found { IsDirectory: true } open when policy.MayShow(open.Relative):
                return Walk(folder, open, ref files, ct);
            case GrantedPath.Found found:
                return Add(folder, found, ref files);
            case GrantedPath.Missing:
                return Withheld;
            default:
                return Outside;
        }
    }

    string? Walk(Folder folder, GrantedPath.Found open, ref int files, CancellationToken ct)
    {
        var walk = FolderWalk.Run(Grants.Of(folder.Grant), open, policy, new(FilesMax), ct);
        foreach (var entry in walk.Entries)
        {
            ct.ThrowIfCancellationRequested();
            if (entry.IsDirectory || entry.IsLink)
            {
                continue;
            }
            using var path = GrantedPath.Open(folder.Grant, entry.Name);
            if (path is GrantedPath.Found { IsDirectory: false } file && Add(folder, file, ref files) == TooMany)
            {
                return TooMany;
            }
        }
        if (walk.IsTruncated)
        {
            return TooMany;
        }
        // What the index has below the folder and the walk has not is gone.
        folder.AddGone(open.Relative);
        return null;
    }

    string? Add(Folder folder, GrantedPath.Found file, ref int files)
    {
        var why = !policy.MayShow(file.Relative) ? Withheld
            : file.WhyProtected is not null ? NotReadable
            : file.Size > Limits.ContextFileBytesMax ? TooLarge
            : null;
        if (why is not null)
        {
            // It may have been indexed before it became what it is.
            folder.AddGone(file.Relative);
            return why;
        }
        if (folder.Present.ContainsKey(file.Relative))
        {
            return null;
        }
        if (files >= FilesMax)
        {
            return TooMany;
        }
        files++;
        folder.Present.Add(file.Relative, new(file.Relative, file.Version, file.Size));
        return null;
    }

    /// <summary>Puts changed files into the index, in batches. What has another version and the same content costs a look at its bytes.</summary>
    /// <param name="enter">Waits for the place of one batch; null: the caller has one.</param>
    /// <returns>Files of which nothing is found.</returns>
    async ValueTask<List<LeftOutFile>> Index(string org, Folder folder, Func<ValueTask<IDisposable?>> enter, CancellationToken ct)
    {
        var (leftOut, same, gone) = (new List<LeftOutFile>(), new List<TextEntry>(), new List<string>());
        for (var from = 0; from < folder.Changed.Count;)
        {
            using var place = await enter();
            var (batch, bytes) = (new List<NewText>(), 0L);
            for (; from < folder.Changed.Count && batch.Count < BatchFiles && bytes < BatchBytes; from++)
            {
                ct.ThrowIfCancellationRequested();
                var file = folder.Changed[from];
                if (Read(folder.Grant, file.Relative) is not { } content)
                {
                    gone.Add(file.Relative);
                    leftOut.Add(new(folder.PathOf(file.Relative), NotReadable));
                    continue;
                }
                bytes += content.Length;
                var sha256 = Convert.ToHexStringLower(SHA256.HashData(content));
                if (folder.Known.GetValueOrDefault(file.Relative) is { } before && before.Sha256 == sha256)
                {
                    same.Add(before with { Version = file.Version });
                    continue;
                }
                var text = FileText.Decode(content) is { } decoded ? TextIndex.OfChunks(file.Relative, decoded, ct) : null;
                if (text is null)
                {
                    leftOut.Add(new(folder.PathOf(file.Relative), NotText));
                }
                batch.Add(new(new(folder.Owner, file.Relative), new(file.Relative, file.Version, sha256, text is null ? NotText : null), [folder.Scope], text));
            }
            if (batch.Count > 0)
            {
                await texts.Put(org, batch, ct);
                vectors.Changed(org, folder.Owner);
            }
        }
        if (same.Count > 0)
        {
            await texts.Touch(org, folder.Owner, same, ct);
        }
        if (gone.Count > 0)
        {
            await texts.Remove(org, folder.Owner, gone, ct);
        }
        return leftOut;
    }

    /// <summary>The file's bytes; null: it is not there, may not be read, or has grown.</summary>
    byte[]? Read(Grant grant, string relative)
    {
        try
        {
            using var file = Open(grant, relative);
            return file is null || file.Size > Limits.ContextFileBytesMax ? null : FileText.ReadBytes(file, Limits.ContextFileBytesMax);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>A file under its own name, and no link to it; null: it is not there, or may not be read.</summary>
    GrantedPath.Found? Open(Grant grant, string relative)
    {
        var path = GrantedPath.Open(grant, relative);
        if (path is GrantedPath.Found { IsDirectory: false, WhyProtected: null } file && file.Relative == relative && policy.MayShow(relative))
        {
            return file;
        }
        path.Dispose();
        return null;
    }

    bool Later(string org, IEnumerable<Folder> folders)
    {
        List<Folder> changed = [.. folders];
        lock (gate)
        {
            var count = changed.Sum(folder => folder.Changed.Count);
            if (pending.Values.Sum() + count > WaitingMax)
            {
                return false;
            }
            pending[org] = pending.GetValueOrDefault(org) + count;
        }
        changed.ForEach(folder => work.Writer.TryWrite((org, folder)));
        return true;
    }

    void Done(string org, int files)
    {
        lock (gate)
        {
            if ((pending[org] -= files) == 0)
            {
                pending.Remove(org);
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Files that a client wants to have indexed could not be: the next request to index them finds them changed")]
    static partial void LogFailed(ILogger logger, Exception e);

    /// <param name="Relative">Resolved path relative to the grant.</param>
    sealed record PresentFile(string Relative, string Version, long Size);

    /// <summary>A granted folder with what a request says of it.</summary>
    sealed class Folder(Grant grant)
    {
        readonly HashSet<string> gone = new(StringComparer.Ordinal);
        readonly Lazy<string?> real = new(() => RealPathOf(grant));

        public Grant Grant { get; } = grant;

        public string Owner { get; } = TextKey.OfGrant(grant.Path);

        public string Scope { get; } = TextScope.Grant(grant.Path);

        public Dictionary<string, PresentFile> Present { get; } = new(StringComparer.Ordinal);

        public IReadOnlyDictionary<string, TextEntry> Known { get; private set; } = new Dictionary<string, TextEntry>();

        public IReadOnlyList<PresentFile> Changed { get; private set; } = [];

        public IReadOnlyList<TextEntry> Unchanged { get; private set; } = [];

        public bool IsEmpty => Present.Count == 0 && gone.Count == 0;

        /// <summary>False: by its text alone, the path lies outside the folder. Opening the folder for each path of a long list would say the same at a cost.</summary>
        public bool MayHold(string full) =>
            GrantedPath.RelativeTo(Grant.Path, full) is not null || (real.Value is { } followed && GrantedPath.RelativeTo(followed, full) is not null);

        /// <summary>What the index has at a path or below it is gone, but for what is present.</summary>
        public void AddGone(string relative) => gone.Add(relative);

        public string PathOf(string relative) => System.IO.Path.Combine(Grant.Path, relative);

        /// <summary>The texts of files that are there no more.</summary>
        public List<string> Gone(IEnumerable<string> known) =>
            gone.Count == 0 ? [] : [.. known.Where(name => !Present.ContainsKey(name) && (gone.Contains(".") || AtAndAbove(name).Any(gone.Contains)))];

        /// <summary>Tells what has changed from what has not. Answers how many have not.</summary>
        public int KeepChanged(Dictionary<string, TextEntry> known)
        {
            Known = known;
            Changed = [.. Present.Values.Where(file => known.GetValueOrDefault(file.Relative)?.Version != file.Version)];
            Unchanged = [.. Present.Values.Select(file => known.GetValueOrDefault(file.Relative) is { } entry && entry.Version == file.Version ? entry : null).OfType<TextEntry>()];
            return Unchanged.Count;
        }

        static string? RealPathOf(Grant grant)
        {
            using var folder = grant.Open().Folder;
            return folder is null ? null : Linux.RealPath(folder);
        }

        static IEnumerable<string> AtAndAbove(string name)
        {
            for (var end = name.Length; end > 0; end = name.LastIndexOf('/', end - 1))
            {
                yield return name[..end];
            }
        }
    }
}
