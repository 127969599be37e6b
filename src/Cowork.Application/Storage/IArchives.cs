namespace Cowork.Application;

/// <summary>Files that lie beside the blobs under names of ours, for whoever reads the bucket or the folder itself.</summary>
public interface IArchives
{
    /// <summary>Writes a file, durably, in place of one that is there. It is there when it is whole, and not before.</summary>
    /// <param name="path">Relative, with slashes: <c>groups/01h…/archives/20260101T090000000Z.json</c>.</param>
    /// <exception cref="BlobStoreFullException">There is no room.</exception>
    ValueTask WriteArchive(string path, Stream bytes, CancellationToken ct);

    /// <summary>The file, to be read piece by piece from any place; null: there is none.</summary>
    ValueTask<Stream?> OpenArchive(string path, CancellationToken ct);

    /// <summary>Removes a file; none is there: no-op. A bucket that keeps versions, or locks objects, keeps what it has to.</summary>
    ValueTask DeleteArchive(string path, CancellationToken ct);
}
