using System.Collections.Concurrent;

using Cowork.Application;
using Cowork.Application.Storage;

namespace Cowork.Testing;

/// <summary>Archives in memory.</summary>
public sealed class InMemoryArchives : IArchives
{
    readonly ConcurrentDictionary<string, byte[]> files = new(StringComparer.Ordinal);

    /// <summary>Every writing, also of a file that was there.</summary>
    public ConcurrentQueue<(string Path, byte[] Bytes)> Written { get; } = new();

    /// <summary>The bucket is away.</summary>
    public bool IsAway { get; set; }

    public IReadOnlyDictionary<string, byte[]> Files => files;

    public async ValueTask WriteArchive(string path, Stream bytes, CancellationToken ct)
    {
        if (IsAway)
        {
            throw new StorageUnavailableException("The bucket is away.") { OfBlobs = true };
        }
        using var all = new MemoryStream();
        await bytes.CopyToAsync(all, ct);
        files[path] = all.ToArray();
        Written.Enqueue((path, all.ToArray()));
    }

    public ValueTask DeleteArchive(string path, CancellationToken ct)
    {
        files.TryRemove(path, out _);
        return default;
    }

    public ValueTask<Stream?> OpenArchive(string path, CancellationToken ct) => new(files.TryGetValue(path, out var bytes) ? new MemoryStream(bytes, writable: false) : null);
}
