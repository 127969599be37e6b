namespace Cowork.Web;

public sealed partial class FileBlobs
{
    /// <summary>One rename, so that a commit which names the blob at the same moment finds it in one of its places. It is young again by the file system's clock.</summary>
    public ValueTask Withdraw(string sha256, CancellationToken ct)
    {
        if (!IsDigest(sha256) || !File.Exists(PathOf(sha256)))
        {
            return default;
        }
        Directory.CreateDirectory(pending);
        var (young, path) = (Now(), PathOf(sha256));
        try
        {
            File.SetLastWriteTimeUtc(path, young);
            File.Move(path, PendingOf(sha256), overwrite: true);
            Sync(Path.GetDirectoryName(path)!);
            Sync(pending);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            // Another host was first.
        }
        return default;
    }
}
