using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application;

using Microsoft.Win32.SafeHandles;

namespace Cowork.Web;

/// <summary>
/// Blobs as files below one directory, which hosts may share: <c>pending/abcd…</c> until a commit is about to name them, then <c>ab/abcd…</c> for ever. The move is
/// one <c>rename</c>, so that it happens, or finds nothing, whatever a sweep of another host does. A file of either name is whole, and its content is on disk (decision 45).
/// </summary>
public sealed partial class FileBlobs(string directory) : IBlobs, IArchives, IBlobSweeper, IBlobWithdrawal
{
    /// <summary>As much as one long text takes.</summary>
    const int RoomBytes = 1 << 20;

    /// <summary>Errors of the system: ENOSPC and EDQUOT.</summary>
    const int NoSpace = 28, OverQuota = 122;

    /// <summary>Looks for a blob that a sweep has in hand, and puts back when it is younger than it seemed.</summary>
    const int LooksMax = 20;

    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(50);

    readonly string pending = Path.Combine(directory, "pending");

    public async ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct)
    {
        var sha256 = Convert.ToHexStringLower(SHA256.HashData(bytes.Span));
        if (new FileInfo(PathOf(sha256)) is { Exists: true } there && there.Length == bytes.Length)
        {
            return sha256;
        }
        // What is pending is written anew: that makes it young, by the clock of the file system.
        return await Write(
            async file =>
            {
                await file.WriteAsync(bytes, ct);
                return sha256;
            },
            PendingOf);
    }

    public async ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct)
    {
        var length = 0L;
        var sha256 = await Write(
            async file =>
            {
                using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
                var buffer = new byte[128 * 1024];
                int read;
                while ((read = await bytes.ReadAsync(buffer, ct)) > 0)
                {
                    hash.AppendData(buffer, 0, read);
                    await file.WriteAsync(buffer.AsMemory(0, read), ct);
                    length += read;
                }
                return Convert.ToHexStringLower(hash.GetHashAndReset());
            },
            PendingOf);
        return (sha256, length);
    }

    public async ValueTask Keep(IReadOnlyCollection<string> digests, CancellationToken ct)
    {
        try
        {
            foreach (var sha256 in digests)
            {
                for (var look = 1; !(IsDigest(sha256) && IsKept(sha256)); look++)
                {
                    if (look == LooksMax || !IsDigest(sha256))
                    {
                        throw new InvalidDataException($"The blob {sha256} is missing. It was stored and not named for too long, or was removed.");
                    }
                    await Task.Delay(LookEvery, TimeProvider.System, ct);
                }
            }
        }
        catch (IOException e) when (IsFull(e))
        {
            throw Full(e);
        }
    }

    public ValueTask Discard(string sha256, CancellationToken ct)
    {
        if (IsDigest(sha256))
        {
            File.Delete(PendingOf(sha256));
        }
        return default;
    }

    /// <summary>The blob has its final name, on disk: now, or already.</summary>
    bool IsKept(string sha256)
    {
        var path = PathOf(sha256);
        var folder = Path.GetDirectoryName(path)!;
        if (!Directory.Exists(folder))
        {
            Directory.CreateDirectory(folder);
            Sync(directory);
        }
        try
        {
            File.Move(PendingOf(sha256), path, overwrite: true);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            if (!File.Exists(path))
            {
                return false;
            }
        }
        // Another host may have renamed it this very moment.
        Sync(folder);
        return true;
    }

    /// <summary>Written beside and renamed: two writers of the same bytes each bring a whole file, and either will do.</summary>
    /// <param name="write">Writes the bytes and answers their digest.</param>
    /// <param name="placeOf">Where the file of a digest belongs; its folder is there.</param>
    async ValueTask<string> Write(Func<FileStream, Task<string>> write, Func<string, string> placeOf)
    {
        Directory.CreateDirectory(pending);
        var writing = Path.Combine(pending, $".{Path.GetRandomFileName()}");
        try
        {
            string sha256;
            await using (var file = new FileStream(writing, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                BufferSize = 0,
                Options = FileOptions.Asynchronous,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }))
            {
                sha256 = await write(file);
                file.Flush(flushToDisk: true);
            }
            File.Move(writing, placeOf(sha256), overwrite: true);
            return sha256;
        }
        catch (Exception e)
        {
            File.Delete(writing);
            if (e is IOException full && IsFull(full))
            {
                throw Full(full);
            }
            throw;
        }
    }

    static bool IsFull(IOException e) => (e.HResult & 0xffff) is NoSpace or OverQuota;

    BlobStoreFullException Full(IOException e) => new($"There is no room in {directory}.", e);

    public bool HasRoom()
    {
        var trying = Path.Combine(directory, $".{Path.GetRandomFileName()}");
        try
        {
            Directory.CreateDirectory(directory);
            using var file = new FileStream(trying, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, PreallocationSize = RoomBytes });
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
        finally
        {
            File.Delete(trying);
        }
    }

    public async ValueTask<byte[]?> Get(string sha256, CancellationToken ct)
    {
        foreach (var path in PlacesOf(sha256))
        {
            try
            {
                return await File.ReadAllBytesAsync(path, ct);
            }
            catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
            {
                // Perhaps it is in the next place.
            }
        }
        return null;
    }

    public ValueTask<Stream?> Open(string sha256, CancellationToken ct) => new(OpenFile(sha256));

    FileStream? OpenFile(string sha256)
    {
        foreach (var path in PlacesOf(sha256))
        {
            try
            {
                return new FileStream(path, new FileStreamOptions { Options = FileOptions.Asynchronous | FileOptions.SequentialScan });
            }
            catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
            {
                // Perhaps it is in the next place.
            }
        }
        return null;
    }

    /// <summary>Where a blob may be, the first place again at the end: it may be moved there between two looks.</summary>
    string[] PlacesOf(string sha256) => IsDigest(sha256) ? [PathOf(sha256), PendingOf(sha256), PathOf(sha256)] : [];

    internal static bool IsDigest(string sha256) => sha256.Length == 64 && sha256.All(char.IsAsciiHexDigitLower);

    string PathOf(string sha256) => Path.Combine(directory, sha256[..2], sha256);

    string PendingOf(string sha256) => Path.Combine(pending, sha256);

    /// <summary>Brings a folder's names to disk: without it a power cut may take back a rename whose file was flushed.</summary>
    static void Sync(string folder)
    {
        using var handle = new SafeFileHandle(OpenFolder(Encoding.UTF8.GetBytes(folder + '\0'), CloseOnExec), ownsHandle: true);
        if (handle.IsInvalid)
        {
            throw new IOException($"The folder {folder} cannot be opened (errno {Marshal.GetLastPInvokeError()}).");
        }
        RandomAccess.FlushToDisk(handle);
    }

    // .NET opens no folders. Read-only is 0; the flag is the same on every Linux that .NET runs on.
    const int CloseOnExec = 0x80000;

    [DllImport("libc", EntryPoint = "open", SetLastError = true)]
    static extern int OpenFolder(byte[] path, int flags);
}
