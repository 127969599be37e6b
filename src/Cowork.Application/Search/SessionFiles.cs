using System.Globalization;
using System.Security.Cryptography;
using System.Threading.Channels;

using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>The limits of searches in sessions' folders.</summary>
/// <param name="Files">Number of files of a folder that are indexed.</param>
/// <param name="FileBytes">Size of a file; a larger one is left out.</param>
/// <param name="TotalBytes">Size of all indexed files of a folder.</param>
/// <param name="AtOnceFiles">Number of new and changed files that a search indexes before it answers; more are indexed in the background.</param>
/// <param name="AtOnceBytes">Their size.</param>
/// <param name="ReadFiles">Number of files that a search reads directly while the index is not ready.</param>
/// <param name="ReadBytes">Their size.</param>
/// <param name="Parallel">Number of searches and indexings at once that hold texts in memory; the others wait.</param>
public sealed record FileBounds(
    int Files = 20_000, long FileBytes = 8 << 20, long TotalBytes = 256 << 20, int AtOnceFiles = 100, long AtOnceBytes = 1 << 20, int ReadFiles = 2_000,
    long ReadBytes = 32 << 20, int Parallel = 2);

/// <summary>A session's folders, and whose they are.</summary>
/// <param name="Subject">The data subject of the session; null: nobody.</param>
public sealed record SessionFolder(string Org, SessionKey Session, Grants Grants, string? Subject = null);

/// <summary>What a search in a session's files found.</summary>
/// <param name="Files">Names of the texts that were searched, ordered.</param>
/// <param name="Notes">A sentence for each reason for which files were left out, and one when the index was not ready.</param>
public sealed record FilesFound(SearchResult Result, IReadOnlyList<string> Files, IReadOnlyList<string> Notes);

/// <summary>The texts of a session's folder, read directly.</summary>
/// <param name="Texts">Ordered by path.</param>
/// <param name="Notes">A sentence for each reason for which files were left out.</param>
public sealed record SessionTexts(IReadOnlyList<TextIndex> Texts, IReadOnlyList<string> Notes);

/// <summary>
/// Searches the text files of sessions' folders, and the uploaded files that their runs see, by the index of texts. It brings the index of the folder up to date first: a
/// file that has not changed costs a look at its status. When much has changed, the index is made in the background, and the search reads the files directly and says so.
/// </summary>
public sealed partial class SessionFiles(
    Policy policy, ITexts index, RunFiles uploads, TimeProvider clock, ILogger<SessionFiles> logger, FileBounds? bounds = null) : ICommitObserver, IDisposable
{
    /// <summary>Hits beyond those that are asked for, because some may be of uploaded files that are deleted or not the run's.</summary>
    const int HitsBeyond = 20;

    /// <summary>Hits that are looked at to find enough of the run's among those of other data subjects' files.</summary>
    const int HitsMax = 1_000;

    const string NotText = "not text", NotReadable = "not readable";

    /// <summary>Folders and removals that wait for the background.</summary>
    const int WaitingMax = 10_000;

    static readonly TimeSpan SweepEvery = TimeSpan.FromHours(1);

    readonly FileBounds bounds = bounds ?? new();
    readonly (KeyedLock Tenants, SemaphoreSlim All) asking = (new(), new((bounds ?? new()).Parallel));
    readonly (KeyedLock Tenants, SemaphoreSlim All) indexing = (new(), new((bounds ?? new()).Parallel));
    readonly Lock gate = new();
    readonly Dictionary<(string Org, SessionKey Session), SessionFolder?> waiting = [];
    readonly Channel<(string Org, SessionKey Session)> work = Channel.CreateUnbounded<(string, SessionKey)>(new() { SingleReader = true });

    /// <summary>
    /// Waits for one of the places in which searches hold texts in memory. A tenant has one of them at a time, so that its searches do not take those of others.
    /// </summary>
    /// <returns>Gives the place back when it is disposed.</returns>
    public ValueTask<IDisposable> Enter(string tenant, CancellationToken ct) => Enter(asking, tenant, ct);

    /// <summary>The same for one text that the background indexes: no search waits for it.</summary>
    public ValueTask<IDisposable> EnterBackground(string tenant, CancellationToken ct) => Enter(indexing, tenant, ct);

    static async ValueTask<IDisposable> Enter((KeyedLock Tenants, SemaphoreSlim All) places, string tenant, CancellationToken ct)
    {
        var mine = await places.Tenants.Enter(tenant, ct);
        try
        {
            await places.All.WaitAsync(ct);
        }
        catch
        {
            mine.Dispose();
            throw;
        }
        return new Place(mine, places.All);
    }

    public void Dispose()
    {
        asking.All.Dispose();
        indexing.All.Dispose();
    }

    sealed class Place(IDisposable mine, SemaphoreSlim places) : IDisposable
    {
        public void Dispose()
        {
            places.Release();
            mine.Dispose();
        }
    }

    /// <summary>The best passages in the files that the policy allows to read, best first.</summary>
    public async ValueTask<FilesFound> Search(SessionFolder folder, string question, int limit, CancellationToken ct)
    {
        var visible = (await uploads.All(folder.Org, folder.Session, folder.Subject, ct)).Where(file => policy.MayShow(file.Path))
            .ToDictionary(file => TextKey.OfFile(file.File.File), StringComparer.Ordinal);
        List<string> scopes =
        [
            .. visible.Count > 0 ? [TextScope.Conversation(folder.Session)] : Array.Empty<string>(),
            .. visible.Values.Select(file => file.File.Project).OfType<ProjectKey>().Distinct().Select(TextScope.Project),
        ];
        var inFolder = await Prepare(folder, question, limit, ct);
        if (inFolder.Direct is null && inFolder.Files.Count > 0)
        {
            scopes.Add(TextScope.Folder(folder.Session));
        }
        var wanted = limit + (visible.Count > 0 ? HitsBeyond : 0);
        SearchResult result = new([], Stemmer.QueryTerms(question));
        if (scopes.Count > 0)
        {
            result = await TextSearch.Find(index, folder.Org, scopes, question, wanted, ct);
            while (result.Hits.Count == wanted && wanted < HitsMax && result.Hits.Count(hit => Named(hit) is not null) < limit)
            {
                wanted = Math.Min(HitsMax, 4 * wanted);
                result = await TextSearch.Find(index, folder.Org, scopes, question, wanted, ct);
            }
        }
        IEnumerable<Hit> hits = result.Hits.Select(Named).OfType<Hit>();
        if (inFolder.Direct is { } direct)
        {
            hits = hits.Concat(direct.Hits).OrderByDescending(hit => hit.Score);
            result = result with { UnknownTerms = scopes.Count == 0 ? direct.UnknownTerms : [.. result.UnknownTerms.Intersect(direct.UnknownTerms)] };
        }
        var processing = visible.Values.Count(file => file.File.IsProcessing);
        return new(
            result with { Hits = [.. hits.Take(limit)] },
            [.. visible.Values.Where(file => file.File.Text is not null).Select(file => file.Shown).Concat(inFolder.Files).Order(StringComparer.Ordinal)],
            [
                .. inFolder.Notes,
                .. processing == 0 ? Array.Empty<string>() : [string.Create(CultureInfo.InvariantCulture, $"The text of {processing} uploaded files is still being extracted.")],
            ]);

        // The index calls an uploaded file by its name, and may know of one that was deleted this moment.
        Hit? Named(Hit hit) => hit.Owner == TextKey.OfSession(folder.Session) ? hit
            : visible.GetValueOrDefault(hit.Owner) is { } file ? hit with { Passage = hit.Passage with { Source = file.Shown } }
            : null;
    }

    /// <summary>The folder is indexed, or read.</summary>
    /// <param name="Files">Names of the texts in the folder.</param>
    /// <param name="Direct">What was found by reading; null: the index is up to date.</param>
    sealed record Prepared(IReadOnlyList<string> Files, IReadOnlyList<string> Notes, SearchResult? Direct);

    async ValueTask<Prepared> Prepare(SessionFolder folder, string question, int limit, CancellationToken ct)
    {
        var files = Look(folder.Grants, ct);
        if (files.Present.Count == 0)
        {
            return new([], files.Notes, null);
        }
        var known = (await index.Of(folder.Org, TextKey.OfSession(folder.Session), ct)).ToDictionary(entry => entry.Name, StringComparer.Ordinal);
        var changed = Changed(files, known);
        if (changed.Count > bounds.AtOnceFiles || changed.Sum(file => file.Size) > bounds.AtOnceBytes)
        {
            Later((folder.Org, folder.Session), folder);
            return await Directly(folder, question, limit, ct);
        }
        List<string> unreadable = [];
        if (changed.Count > 0 || known.Count > files.Present.Count)
        {
            using var place = await Enter(folder.Org, ct);
            unreadable = await Update(folder, files, known, changed, static () => default, ct);
        }
        var leftOut = files.Present.Where(file => known.GetValueOrDefault(file.Name)?.LeftOut is not null).Select(file => file.Name).ToList();
        return new(
            [.. files.Present.Select(file => file.Name).Except(leftOut, StringComparer.Ordinal).Except(unreadable, StringComparer.Ordinal)],
            [.. files.Notes, .. Notes([(leftOut, NotText), (unreadable, NotReadable)])], null);
    }

    /// <summary>The text files of a folder that the policy allows to read, read now. Links are not followed: a target inside the folder is found there.</summary>
    /// <param name="only">The terms that are looked for; null: any.</param>
    public SessionTexts Read(Grants folders, CancellationToken ct, IReadOnlySet<string>? only = null)
    {
        var (texts, notText, unreadable) = (new List<TextIndex>(), new List<string>(), new List<string>());
        var files = Look(folders, bounds.ReadFiles, bounds.ReadBytes, ct);
        foreach (var file in files.Present)
        {
            ct.ThrowIfCancellationRequested();
            if (Bytes(folders, file) is not { } bytes)
            {
                unreadable.Add(file.Name);
            }
            else if (FileText.Decode(bytes) is { } text)
            {
                texts.Add(TextIndex.Of(file.Name, text, only, ct));
            }
            else
            {
                notText.Add(file.Name);
            }
        }
        return new(texts, [.. files.Notes, .. Notes([(notText, NotText), (unreadable, NotReadable)])]);
    }

    /// <summary>Indexes in the background what searches have left to it, and forgets the texts of deleted sessions, until it is told to stop.</summary>
    public async Task Run(CancellationToken ct)
    {
        try
        {
            using var hourly = new PeriodicTimer(SweepEvery, clock);
            var (next, due) = (work.Reader.WaitToReadAsync(ct).AsTask(), Task.FromResult(true));
            while (true)
            {
                if (due.IsCompleted)
                {
                    await Try(async () => await index.Sweep(ct));
                    due = hourly.WaitForNextTickAsync(ct).AsTask();
                }
                await Task.WhenAny(next, due);
                ct.ThrowIfCancellationRequested();
                while (work.Reader.TryRead(out var key))
                {
                    SessionFolder? folder;
                    lock (gate)
                    {
                        if (!waiting.Remove(key, out folder))
                        {
                            continue;
                        }
                    }
                    await Try(async () =>
                    {
                        if (folder is null)
                        {
                            await index.Remove(key.Org, TextKey.OfSession(key.Session), null, ct);
                        }
                        else
                        {
                            await Index(folder, ct);
                        }
                    });
                }
                next = next.IsCompleted ? work.Reader.WaitToReadAsync(ct).AsTask() : next;
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // Told to stop. The next search finds what is missing.
        }

        async Task Try(Func<Task> part)
        {
            try
            {
                await part();
            }
#pragma warning disable CA1031 // Whatever fails is logged, and found missing by the next search.
            catch (Exception e) when (!ct.IsCancellationRequested)
#pragma warning restore CA1031
            {
                LogFailed(logger, e);
            }
        }
    }

    /// <summary>Brings the index of a folder up to date, however long it takes.</summary>
    public async ValueTask Index(SessionFolder folder, CancellationToken ct)
    {
        var files = Look(folder.Grants, ct);
        var known = (await index.Of(folder.Org, TextKey.OfSession(folder.Session), ct)).ToDictionary(entry => entry.Name, StringComparer.Ordinal);
        await Update(folder, files, known, Changed(files, known), async () => await EnterBackground(folder.Org, ct), ct);
    }

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        foreach (var entry in entries)
        {
            if (entry.Session is { } session && entry.Is<SessionEvent.SessionDeleted>())
            {
                Later((entry.Org, session), null);
            }
        }
    }

    /// <summary>No-op: the node that deletes a session forgets its texts.</summary>
    public void OthersWrote()
    {
    }

    void Later((string Org, SessionKey Session) key, SessionFolder? folder)
    {
        lock (gate)
        {
            if (waiting.Count < WaitingMax && (waiting.TryAdd(key, folder) || (folder is null && waiting[key] is not null)))
            {
                waiting[key] = folder;
                work.Writer.TryWrite(key);
            }
        }
    }

    async ValueTask<Prepared> Directly(SessionFolder folder, string question, int limit, CancellationToken ct)
    {
        using var place = await Enter(folder.Org, ct);
        var read = Read(folder.Grants, ct, Stemmer.QueryTerms(question).ToHashSet(StringComparer.Ordinal));
        return new(
            [.. read.Texts.Select(text => text.Source)],
            [.. read.Notes, string.Create(CultureInfo.InvariantCulture, $"The index of the folder is being made: {read.Texts.Count} files were read directly.")],
            TextSearch.Find(read.Texts, question, limit, ct));
    }

    /// <param name="Path">As <see cref="Grants.NameOf"/> has it.</param>
    /// <param name="Name">The path for people and models.</param>
    sealed record PresentFile(string Path, string Name, string Version, long Size);

    sealed record Looked(IReadOnlyList<PresentFile> Present, IReadOnlyList<string> Notes);

    Looked Look(Grants folders, CancellationToken ct) => Look(folders, bounds.Files, bounds.TotalBytes, ct);

    /// <summary>The files that are to be searched: of all granted folders, each once, also where one folder lies in another.</summary>
    Looked Look(Grants folders, int filesMax, long bytesMax, CancellationToken ct)
    {
        var (present, tooLarge, unreadable, missing) = (new List<PresentFile>(), new List<string>(), new List<string>(), 0);
        var (seen, bytes, isTruncated) = (new HashSet<string>(StringComparer.Ordinal), 0L, false);
        foreach (var grant in folders)
        {
            using var root = GrantedPath.Open(folders, grant.Path);
            if (root is not GrantedPath.Found { IsDirectory: true } open)
            {
                missing++;
                continue;
            }
            var walk = FolderWalk.Run(folders, open, policy, new(), ct);
            isTruncated |= walk.IsTruncated;
            foreach (var entry in walk.Entries.Where(entry => !entry.IsDirectory && !entry.IsLink && seen.Add(entry.Name)))
            {
                ct.ThrowIfCancellationRequested();
                if (present.Count >= filesMax || bytes >= bytesMax)
                {
                    isTruncated = true;
                    break;
                }
                using var path = GrantedPath.Open(folders, entry.Name);
                if (path is not GrantedPath.Found { IsDirectory: false } file || !policy.MayShow(file.Relative))
                {
                    continue;
                }
                if (file.WhyProtected is not null)
                {
                    unreadable.Add(file.Shown);
                }
                else if (file.Size > bounds.FileBytes || bytes + file.Size > bytesMax)
                {
                    tooLarge.Add(file.Shown);
                }
                else
                {
                    bytes += file.Size;
                    present.Add(new(entry.Name, file.Shown, file.Version, file.Size));
                }
            }
        }
        return new(
            present,
            [
                .. missing == 0 ? Array.Empty<string>()
                    : [missing == folders.Count ? "The session's folder does not exist, or a link has taken its place."
                        : "A folder of the session does not exist, or a link has taken its place."],
                .. Notes([(tooLarge, "too large to search"), (unreadable, NotReadable)]),
                .. isTruncated
                    ? [string.Create(CultureInfo.InvariantCulture, $"The folder holds more than is searched ({filesMax} files, {bytesMax >> 20} MiB): the rest was left out.")]
                    : Array.Empty<string>(),
            ]);
    }

    static IEnumerable<string> Notes(IEnumerable<(List<string> Paths, string Why)> all) => all
        .Where(note => note.Paths.Count > 0)
        .Select(note => $"Left out as {note.Why}: {string.Join(", ", note.Paths.Take(3))}{(note.Paths.Count > 3 ? $" and {note.Paths.Count - 3} more" : "")}.");

    static List<PresentFile> Changed(Looked files, Dictionary<string, TextEntry> known) =>
        [.. files.Present.Where(file => known.GetValueOrDefault(file.Name)?.Version != file.Version)];

    /// <summary>Puts the changed files into the index and removes those that are gone. What has another version and the same content costs a look at its bytes.</summary>
    /// <param name="known">What the index has; it has what was put afterwards.</param>
    /// <param name="enter">Waits for the place of one file; null: the caller has one.</param>
    /// <returns>Names of files that could not be read.</returns>
    async ValueTask<List<string>> Update(
        SessionFolder folder, Looked files, Dictionary<string, TextEntry> known, List<PresentFile> changed, Func<ValueTask<IDisposable?>> enter, CancellationToken ct)
    {
        var (owner, same, unreadable) = (TextKey.OfSession(folder.Session), new List<TextEntry>(), new List<string>());
        foreach (var file in changed)
        {
            ct.ThrowIfCancellationRequested();
            using var place = await enter();
            if (Bytes(folder.Grants, file) is not { } bytes)
            {
                // The next search looks again.
                unreadable.Add(file.Name);
                continue;
            }
            var sha256 = Convert.ToHexStringLower(SHA256.HashData(bytes));
            if (known.GetValueOrDefault(file.Name) is { } before && before.Sha256 == sha256)
            {
                same.Add(known[file.Name] = before with { Version = file.Version });
                continue;
            }
            var text = FileText.Decode(bytes) is { } decoded ? TextIndex.Of(file.Name, decoded, ct: ct) : null;
            var entry = known[file.Name] = new(file.Name, file.Version, sha256, text is null ? NotText : null);
            await index.Put(folder.Org, new(owner, file.Name), entry, [TextScope.Folder(folder.Session)], text, ct);
        }
        if (same.Count > 0)
        {
            await index.Touch(folder.Org, owner, same, ct);
        }
        if (known.Keys.Except(files.Present.Select(file => file.Name), StringComparer.Ordinal).ToList() is { Count: > 0 } gone)
        {
            await index.Remove(folder.Org, owner, gone, ct);
        }
        return unreadable;
    }

    /// <summary>Null: the file is not there, or cannot be read.</summary>
    byte[]? Bytes(Grants folders, PresentFile looked)
    {
        try
        {
            using var path = GrantedPath.Open(folders, looked.Path);
            return path is GrantedPath.Found { IsDirectory: false, WhyProtected: null } file && policy.MayShow(file.Relative)
                ? FileText.ReadBytes(file, (int)bounds.FileBytes)
                : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    [LoggerMessage(70, LogLevel.Warning, "The index of texts is behind, and is made again by the next search")]
    static partial void LogFailed(ILogger logger, Exception e);
}
