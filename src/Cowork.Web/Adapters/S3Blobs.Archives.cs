namespace Cowork.Web;

public sealed partial class S3Blobs
{
    public async ValueTask WriteArchive(string path, Stream bytes, CancellationToken ct)
    {
        // A sweep finds what an upload that is cut off leaves among what is pending.
        var upload = $"{pending}upload.{Path.GetRandomFileName()}";
        var (key, _, _) = await Write(bytes, sha256 => sha256 is null ? upload : ArchiveKey(path), "application/json", ct);
        if (key == upload)
        {
            await Ask(async () =>
            {
                await Copy(upload, ArchiveKey(path), ct);
                await s3.DeleteObjectAsync(settings.Bucket, upload, ct);
            });
        }
    }

    public async ValueTask<Stream?> OpenArchive(string path, CancellationToken ct) =>
        await Ask(async () => await Size(ArchiveKey(path), ct) is { } size ? new S3ReadStream(this, ArchiveKey(path), size) : null);

    public async ValueTask DeleteArchive(string path, CancellationToken ct) =>
        await Ask(async () => await s3.DeleteObjectAsync(settings.Bucket, ArchiveKey(path), ct));

    string ArchiveKey(string path) => settings.Prefix + path;
}
