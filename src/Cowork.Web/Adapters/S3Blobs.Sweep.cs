using Amazon.S3;
using Amazon.S3.Model;

namespace Cowork.Web;

public sealed partial class S3Blobs
{
    readonly SemaphoreSlim sweeping = new(1);

    /// <summary>
    /// Removes what was put and not kept for a while, and uploads in parts that were begun and not ended. It looks at no object that a commit has named, or tried to
    /// name. Age is measured by the server's clock. Several hosts may sweep at once: each removal is of one object that is old, and nobody writes it again.
    /// </summary>
    public async ValueTask<SweepResult?> Sweep(TimeSpan after, bool dryRun, TimeProvider clock, CancellationToken ct)
    {
        if (!await sweeping.WaitAsync(TimeSpan.Zero, ct))
        {
            return null;
        }
        try
        {
            return await Ask(() => SweepAll(after, dryRun, ct));
        }
        finally
        {
            sweeping.Release();
        }
    }

    async Task<SweepResult?> SweepAll(TimeSpan after, bool dryRun, CancellationToken ct)
    {
        var before = await Now(ct) - after;
        var (removed, bytes, left) = (0L, 0L, 0L);
        var list = new ListObjectsV2Request { BucketName = settings.Bucket, Prefix = pending };
        do
        {
            var page = await s3.ListObjectsV2Async(list, ct);
            foreach (var file in page.S3Objects ?? [])
            {
                if (file.LastModified?.ToUniversalTime() is not { } written || written >= before)
                {
                    left++;
                    continue;
                }
                if (!dryRun)
                {
                    await s3.DeleteObjectAsync(settings.Bucket, file.Key, ct);
                }
                removed++;
                bytes += file.Size ?? 0;
            }
            list.ContinuationToken = page.NextContinuationToken;
        }
        while (list.ContinuationToken is not null);
        foreach (var upload in await Uploads(ct))
        {
            if (upload.Initiated?.ToUniversalTime() is not { } began || began >= before)
            {
                left++;
                continue;
            }
            if (!dryRun)
            {
                await s3.AbortMultipartUploadAsync(settings.Bucket, upload.Key, upload.UploadId, ct);
            }
            removed++;
        }
        return new(removed, bytes, left);
    }

    /// <summary>Uploads in parts that have not ended. A server without such a list has a rule of its own for them, or keeps them.</summary>
    async Task<List<MultipartUpload>> Uploads(CancellationToken ct)
    {
        try
        {
            return (await s3.ListMultipartUploadsAsync(new ListMultipartUploadsRequest { BucketName = settings.Bucket, Prefix = pending }, ct)).MultipartUploads ?? [];
        }
        catch (AmazonS3Exception e) when (e.ErrorCode is "NotImplemented" or "MethodNotAllowed")
        {
            return [];
        }
    }

    /// <summary>The time by the server's clock.</summary>
    async Task<DateTime> Now(CancellationToken ct)
    {
        var probe = $"{settings.Prefix}sweep.{Path.GetRandomFileName()}";
        await PutObject(probe, default, ct);
        try
        {
            return (await s3.GetObjectMetadataAsync(settings.Bucket, probe, ct)).LastModified?.ToUniversalTime()
                ?? throw new InvalidDataException($"The server of {settings} does not say when an object was written.");
        }
        finally
        {
            await s3.DeleteObjectAsync(settings.Bucket, probe, CancellationToken.None);
        }
    }
}
