namespace Cowork.Application;

/// <summary>Reads files that somebody names, whatever they turn out to be.</summary>
public static class RegularFile
{
    /// <summary>
    /// Opens a file for reading. It is looked at before, so that a pipe or a device, which may have no end, is never read. Links are followed.
    /// </summary>
    /// <exception cref="IOException">It is there no more, is no regular file, or cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">This process may not read it.</exception>
    public static FileStream Open(string path)
    {
        using var named = path.Contains('\0', StringComparison.Ordinal) ? null : Linux.Open(path, out _);
        if (named is null)
        {
            throw new IOException("There is no such file, or it cannot be reached.");
        }
        if (Linux.Status(named) is not { Type: Linux.FileType.Regular })
        {
            throw new IOException("It is not a regular file.");
        }
        return new(Linux.ProcPath(named), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0, useAsync: true);
    }

    /// <summary>The whole content of a file (<see cref="Open"/>).</summary>
    /// <param name="bytesMax">Longer files are not read.</param>
    /// <exception cref="IOException">It is there no more, is no regular file, is too long, or cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">This process may not read it.</exception>
    public static async Task<byte[]> Read(string path, int bytesMax, CancellationToken ct)
    {
        await using var file = Open(path);
        return await Read(file, bytesMax, ct);
    }

    /// <summary>The rest of a stream.</summary>
    /// <param name="bytesMax">A longer rest is not read to its end.</param>
    /// <exception cref="IOException">The rest is too long, or cannot be read.</exception>
    public static async Task<byte[]> Read(Stream stream, int bytesMax, CancellationToken ct)
    {
        using var content = new MemoryStream(stream.CanSeek ? (int)Math.Min(stream.Length, bytesMax) : 0);
        var piece = new byte[64 * 1024];
        while (await stream.ReadAsync(piece, ct) is > 0 and var count)
        {
            if (content.Length + count > bytesMax)
            {
                throw new IOException($"It has more than {bytesMax} bytes.");
            }
            content.Write(piece, 0, count);
        }
        return content.ToArray();
    }
}
