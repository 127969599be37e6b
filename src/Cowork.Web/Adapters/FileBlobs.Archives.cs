namespace Cowork.Web;

public sealed partial class FileBlobs
{
    public async ValueTask WriteArchive(string path, Stream bytes, CancellationToken ct)
    {
        var place = ArchivePath(path);
        var folder = Path.GetDirectoryName(place)!;
        Directory.CreateDirectory(folder);
        await Write(
            async file =>
            {
                await bytes.CopyToAsync(file, ct);
                return "";
            },
            _ => place);
        // Each folder down to it may be new.
        for (var made = folder; made.Length >= directory.Length; made = Path.GetDirectoryName(made)!)
        {
            Sync(made);
        }
    }

    public ValueTask<Stream?> OpenArchive(string path, CancellationToken ct)
    {
        try
        {
            return new(new FileStream(ArchivePath(path), new FileStreamOptions { Options = FileOptions.Asynchronous | FileOptions.SequentialScan }));
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return default;
        }
    }

    public ValueTask DeleteArchive(string path, CancellationToken ct)
    {
        var place = ArchivePath(path);
        if (File.Exists(place))
        {
            File.Delete(place);
            Sync(Path.GetDirectoryName(place)!);
        }
        return default;
    }

    /// <summary>No folder of blobs has such a name: theirs have two characters.</summary>
    string ArchivePath(string path) => Path.Combine(directory, path);
}
