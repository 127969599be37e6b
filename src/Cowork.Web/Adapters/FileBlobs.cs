using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application;

using Microsoft.Win32.SafeHandles;

namespace Cowork.Web;

/// <summary>Blobs as files <c>ab/abcd…</c> below one directory, which hosts may share. A file of the final name is always whole and on disk.</summary>
public sealed class FileBlobs(string directory) : IBlobs
{
    /// <summary>As much as one long text takes.</summary>
    const int RoomBytes = 1 << 20;

    /// <summary>Errors of the system: ENOSPC and EDQUOT.</summary>
    const int NoSpace = 28, OverQuota = 122;

    public async ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct)
    {
        var sha256 = Convert.ToHexStringLower(SHA256.HashData(bytes.Span));
        if (new FileInfo(PathOf(sha256)) is { Exists: true } there && there.Length == bytes.Length)
        {
            // Another writer may have renamed it this very moment: its name must be on disk before this call says that it is.
            Sync(there.DirectoryName!);
            return sha256;
        }
        return await Write(async file =>
        {
            await file.WriteAsync(bytes, ct);
            return sha256;
        });
    }

    public async ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct)
    {
        var length = 0L;
        var sha256 = await Write(async file =>
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
        });
        return (sha256, length);
    }

    /// <summary>Written beside and renamed: two writers of the same bytes each bring a whole file, and either will do.</summary>
    /// <param name="write">Writes the bytes and answers their digest.</param>
    async ValueTask<string> Write(Func<FileStream, Task<string>> write)
    {
        Directory.CreateDirectory(directory);
        var writing = Path.Combine(directory, $".{Path.GetRandomFileName()}");
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
            var path = PathOf(sha256);
            var folder = Path.GetDirectoryName(path)!;
            if (!Directory.Exists(folder))
            {
                Directory.CreateDirectory(folder);
                Sync(directory);
            }
            File.Move(writing, path, overwrite: true);
            Sync(folder);
            return sha256;
        }
        catch (Exception e)
        {
            File.Delete(writing);
            if (e is IOException && (e.HResult & 0xffff) is NoSpace or OverQuota)
            {
                throw new BlobStoreFullException($"There is no room in {directory}.", e);
            }
            throw;
        }
    }

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
        if (sha256.Length != 64 || !sha256.All(char.IsAsciiHexDigitLower))
        {
            return null;
        }
        try
        {
            return await File.ReadAllBytesAsync(PathOf(sha256), ct);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }

    public Stream? Open(string sha256)
    {
        if (sha256.Length != 64 || !sha256.All(char.IsAsciiHexDigitLower))
        {
            return null;
        }
        try
        {
            return new FileStream(PathOf(sha256), new FileStreamOptions { Options = FileOptions.Asynchronous | FileOptions.SequentialScan });
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }

    string PathOf(string sha256) => Path.Combine(directory, sha256[..2], sha256);

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
