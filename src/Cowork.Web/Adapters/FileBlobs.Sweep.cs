namespace Cowork.Web;

/// <summary>What a sweep did, or would do.</summary>
/// <param name="Removed">Files that no commit named in time: blobs, and what uploads that were cut off left.</param>
/// <param name="RemovedBytes">Their size together.</param>
/// <param name="Left">Files that are too young.</param>
public sealed record SweepResult(long Removed, long RemovedBytes, long Left);

/// <summary>A blob store that removes what no commit has named.</summary>
public interface IBlobSweeper
{
    /// <summary>Removes what was put and not kept for a while.</summary>
    /// <param name="after">The age from which it is removed.</param>
    /// <param name="dryRun">Counts and removes nothing.</param>
    /// <returns>Null: another host, or another call, sweeps at the moment.</returns>
    ValueTask<SweepResult?> Sweep(TimeSpan after, bool dryRun, TimeProvider clock, CancellationToken ct);
}

public sealed partial class FileBlobs
{
    /// <summary>Files between two pauses. With the pause it bounds a sweep to 1 000 files a second; it holds one name at a time.</summary>
    const int SweptAtOnce = 100;

    static readonly TimeSpan SweepPause = TimeSpan.FromMilliseconds(100);

    /// <summary>
    /// Removes what was put and not kept for a while. It looks at no blob that a commit has named, or tried to name, so no state of a database can mislead it. Age is
    /// measured by the clock of the file system, which is one for all hosts.
    /// </summary>
    /// <param name="after">The age from which a file is removed.</param>
    /// <param name="dryRun">Counts and removes nothing.</param>
    /// <returns>Null: another host, or another call, sweeps the directory at the moment.</returns>
    public async ValueTask<SweepResult?> Sweep(TimeSpan after, bool dryRun, TimeProvider clock, CancellationToken ct)
    {
        Directory.CreateDirectory(pending);
        FileStream mine;
        try
        {
            // An exclusive lock of the file, which ends with the process. A file system without locks lets several sweep, which harms nobody.
            mine = new FileStream(Path.Combine(directory, SweepLock), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException) when (Directory.Exists(pending))
        {
            return null;
        }
        await using var held = mine;
        var before = Now() - after;
        var (removed, bytes, left, seen) = (0L, 0L, 0L, 0L);
        foreach (var file in Unnamed())
        {
            if (++seen % SweptAtOnce == 0)
            {
                await Task.Delay(SweepPause, clock, ct);
            }
            ct.ThrowIfCancellationRequested();
            try
            {
                if (file.LastWriteTimeUtc >= before || !(dryRun || Remove(file, before)))
                {
                    left++;
                    continue;
                }
                removed++;
                bytes += file.Length;
            }
            catch (FileNotFoundException)
            {
                // A commit has named it meanwhile.
            }
        }
        return new(removed, bytes, left);
    }

    const string SweepLock = ".sweep";

    /// <summary>What is pending, and temporary files of this release and of those before it.</summary>
    IEnumerable<FileInfo> Unnamed() =>
        new DirectoryInfo(pending).EnumerateFiles().Concat(new DirectoryInfo(directory).EnumerateFiles(".*").Where(file => file.Name != SweepLock));

    /// <summary>
    /// Takes the file out of the way of whoever would name it, looks at its age once more, and removes it. False: the same content was put again meanwhile, and is back
    /// in its place.
    /// </summary>
    bool Remove(FileInfo file, DateTime before)
    {
        var (path, taken) = (file.FullName, Path.Combine(pending, $".{Path.GetRandomFileName()}"));
        File.Move(path, taken);
        if (File.GetLastWriteTimeUtc(taken) >= before)
        {
            File.Move(taken, path, overwrite: true);
            return false;
        }
        File.Delete(taken);
        return true;
    }

    /// <summary>The time by the clock of the file system.</summary>
    DateTime Now()
    {
        var path = Path.Combine(pending, $".{Path.GetRandomFileName()}");
        try
        {
            using (File.Create(path))
            {
            }
            return File.GetLastWriteTimeUtc(path);
        }
        finally
        {
            File.Delete(path);
        }
    }
}
