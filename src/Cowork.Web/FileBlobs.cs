using System.Security.Cryptography;

using Cowork.Application;

namespace Cowork.Web;

/// <summary>Blobs as files <c>ab/abcd…</c> below one directory, which hosts may share. A file of the final name is always whole and on disk.</summary>
public sealed class FileBlobs(string directory) : IBlobs
{
    public async ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct)
    {
        var sha256 = Convert.ToHexStringLower(SHA256.HashData(bytes.Span));
        var path = PathOf(sha256);
        if (File.Exists(path))
        {
            return sha256;
        }
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        // Written beside and renamed: two writers of the same bytes each bring a whole file, and either will do.
        var writing = $"{path}.{Path.GetRandomFileName()}";
        try
        {
            await using (var file = new FileStream(writing, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                BufferSize = 0,
                Options = FileOptions.Asynchronous,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }))
            {
                await file.WriteAsync(bytes, ct);
                file.Flush(flushToDisk: true);
            }
            File.Move(writing, path, overwrite: true);
        }
        catch
        {
            File.Delete(writing);
            throw;
        }
        return sha256;
    }

    public async ValueTask<byte[]?> Get(string sha256, CancellationToken ct)
    {
        if (sha256.Length != 64 || !sha256.All(c => char.IsAsciiHexDigitLower(c)))
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

    string PathOf(string sha256) => Path.Combine(directory, sha256[..2], sha256);
}
