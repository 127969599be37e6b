using System.Buffers;
using System.Net;
using System.Security.Cryptography;

using Amazon.Runtime;
using Amazon.S3;
using Amazon.S3.Model;

using Cowork.Application;
using Cowork.Application.Storage;

namespace Cowork.Web;

/// <summary>
/// Blobs as objects of a bucket, which hosts share: <c>pending/abcd….RANDOM</c> until a commit is about to name them, then <c>ab/abcd…</c> for ever. Each writing has a
/// pending object of its own, so that a sweep which removes an old one never takes the one that somebody has just written (decisions 45 and 53). The bucket must read its own
/// writes and lists, as Amazon's does.
/// </summary>
public sealed partial class S3Blobs : IBlobs, IArchives, IBlobSweeper, IBlobWithdrawal, IDisposable
{
    /// <summary>A part of a larger blob; a smaller blob is put at once. S3 takes 10 000 parts of at least 5 MiB.</summary>
    const int PartBytes = 8 << 20;

    /// <summary>A request waits for its answer as long; a part of 8 MiB comes in this time over 3 Mbit/s.</summary>
    static readonly TimeSpan RequestTimeout = TimeSpan.FromSeconds(30);

    static readonly string[] FullCodes = ["QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "StorageFull"];

    readonly AmazonS3Client s3;
    readonly S3Settings settings;
    readonly string pending;

    public S3Blobs(S3Settings settings)
    {
        this.settings = settings;
        pending = $"{settings.Prefix}pending/";
        s3 = settings.NewClient(RequestTimeout);
    }

    public void Dispose() => s3.Dispose();

    /// <summary>A bucket has no end that could be looked at before.</summary>
    public bool HasRoom() => true;

    public async ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct)
    {
        var sha256 = Convert.ToHexStringLower(SHA256.HashData(bytes.Span));
        await Ask(async () =>
        {
            if (await Size(FinalOf(sha256), ct) != bytes.Length)
            {
                await PutObject(PendingOf(sha256), bytes, ct);
            }
        });
        return sha256;
    }

    public async ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct)
    {
        // A large blob has another name until its digest is known, at its end.
        var upload = $"{pending}upload.{Path.GetRandomFileName()}";
        var (key, sha256, length) = await Write(bytes, sha256 => sha256 is null ? upload : PendingOf(sha256), "application/octet-stream", ct);
        if (key == upload)
        {
            await Ask(async () =>
            {
                await Copy(upload, PendingOf(sha256), ct);
                await s3.DeleteObjectAsync(settings.Bucket, upload, ct);
            });
        }
        return (sha256, length);
    }

    /// <summary>Writes all that a stream holds as one object, which is there when it is whole.</summary>
    /// <param name="keyOf">The object's name by its digest, or before that is known (null).</param>
    async ValueTask<(string Key, string Sha256, long Bytes)> Write(Stream bytes, Func<string?, string> keyOf, string type, CancellationToken ct)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = ArrayPool<byte>.Shared.Rent(PartBytes);
        try
        {
            var (read, length) = (await Fill(), 0L);
            if (read < PartBytes)
            {
                var sha256 = Convert.ToHexStringLower(hash.GetHashAndReset());
                var whole = keyOf(sha256);
                await Ask(() => PutObject(whole, buffer.AsMemory(0, read), ct, type));
                return (whole, sha256, read);
            }
            var key = keyOf(null);
            var begin = new InitiateMultipartUploadRequest { BucketName = settings.Bucket, Key = key, ContentType = type };
            var id = (await Ask(() => s3.InitiateMultipartUploadAsync(begin, ct))).UploadId;
            try
            {
                var parts = new List<PartETag>();
                for (; read > 0; read = await Fill())
                {
                    var (number, count) = (parts.Count + 1, read);
                    var part = await Ask(() => s3.UploadPartAsync(
                        new UploadPartRequest
                        {
                            BucketName = settings.Bucket,
                            Key = key,
                            UploadId = id,
                            PartNumber = number,
                            PartSize = count,
                            InputStream = new MemoryStream(buffer, 0, count, writable: false),
                            UseChunkEncoding = false,
                        },
                        ct));
                    parts.Add(new(number, part.ETag));
                    length += count;
                }
                await Ask(() => s3.CompleteMultipartUploadAsync(
                    new CompleteMultipartUploadRequest { BucketName = settings.Bucket, Key = key, UploadId = id, PartETags = parts }, ct));
            }
            catch
            {
                await Abort(key, id);
                throw;
            }
            return (key, Convert.ToHexStringLower(hash.GetHashAndReset()), length);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        async ValueTask<int> Fill()
        {
            var count = await bytes.ReadAtLeastAsync(buffer.AsMemory(0, PartBytes), PartBytes, throwOnEndOfStream: false, ct);
            hash.AppendData(buffer, 0, count);
            return count;
        }
    }

    public async ValueTask Keep(IReadOnlyCollection<string> digests, CancellationToken ct)
    {
        foreach (var sha256 in digests)
        {
            if (!FileBlobs.IsDigest(sha256) || !await Ask(() => IsKept(sha256, ct)))
            {
                throw new InvalidDataException($"The blob {sha256} is missing. It was stored and not named for too long, or was removed.");
            }
        }
    }

    public async ValueTask Discard(string sha256, CancellationToken ct)
    {
        foreach (var key in FileBlobs.IsDigest(sha256) ? await Ask(() => PendingKeys(sha256, ct)) : [])
        {
            await s3.DeleteObjectAsync(settings.Bucket, key, ct);
        }
    }

    /// <summary>It is in both places for a moment, and found in one of them at any.</summary>
    public async ValueTask Withdraw(string sha256, CancellationToken ct)
    {
        if (!FileBlobs.IsDigest(sha256) || await Ask(() => Size(FinalOf(sha256), ct)) is null)
        {
            return;
        }
        await Ask(async () =>
        {
            await Copy(FinalOf(sha256), PendingOf(sha256), ct);
            await s3.DeleteObjectAsync(settings.Bucket, FinalOf(sha256), ct);
        });
    }

    public async ValueTask<byte[]?> Get(string sha256, CancellationToken ct)
    {
        await using var bytes = await Open(sha256, ct);
        if (bytes is null)
        {
            return null;
        }
        var all = new byte[bytes.Length];
        await bytes.ReadExactlyAsync(all, ct);
        return all;
    }

    public async ValueTask<Stream?> Open(string sha256, CancellationToken ct)
    {
        if (!FileBlobs.IsDigest(sha256))
        {
            return null;
        }
        return await Ask(async () =>
        {
            // The final name again at the end: it may be given between two looks.
            foreach (var key in (string[])[FinalOf(sha256), .. await Size(FinalOf(sha256), ct) is null ? await PendingKeys(sha256, ct) : [], FinalOf(sha256)])
            {
                if (await Size(key, ct) is { } size)
                {
                    return new S3ReadStream(this, key, size);
                }
            }
            return null;
        });
    }

    /// <summary>The blob has its final name: now, or already.</summary>
    async Task<bool> IsKept(string sha256, CancellationToken ct)
    {
        var final = FinalOf(sha256);
        if (await Size(final, ct) is not null)
        {
            return true;
        }
        foreach (var key in await PendingKeys(sha256, ct))
        {
            try
            {
                // A sweep removes what is pending, when it is old.
                await Copy(key, final, ct);
                return true;
            }
            catch (AmazonS3Exception e) when (e.StatusCode == HttpStatusCode.NotFound)
            {
                // A sweep was first; another writing of the same bytes may be there.
            }
        }
        return await Size(final, ct) is not null;
    }

    async Task<List<string>> PendingKeys(string sha256, CancellationToken ct) =>
        [.. (await s3.ListObjectsV2Async(new ListObjectsV2Request { BucketName = settings.Bucket, Prefix = $"{pending}{sha256}." }, ct)).S3Objects?.Select(o => o.Key) ?? []];

    /// <summary>Size of an object; null: there is none.</summary>
    async Task<long?> Size(string key, CancellationToken ct)
    {
        try
        {
            return (await s3.GetObjectMetadataAsync(settings.Bucket, key, ct)).ContentLength;
        }
        catch (AmazonS3Exception e) when (e.StatusCode == HttpStatusCode.NotFound && e.ErrorCode != "NoSuchBucket")
        {
            return null;
        }
    }

    async Task PutObject(string key, ReadOnlyMemory<byte> bytes, CancellationToken ct, string type = "application/octet-stream")
    {
        using var content = new MemoryStream(bytes.ToArray(), writable: false);
        await s3.PutObjectAsync(
            new PutObjectRequest
            {
                BucketName = settings.Bucket,
                Key = key,
                InputStream = content,
                ContentType = type,
                UseChunkEncoding = false,
            },
            ct);
    }

    Task<CopyObjectResponse> Copy(string from, string to, CancellationToken ct) => s3.CopyObjectAsync(settings.Bucket, from, settings.Bucket, to, ct);

    /// <summary>What is left of an upload that failed. When that fails, too, a sweep does it.</summary>
    async Task Abort(string key, string id)
    {
        try
        {
            await s3.AbortMultipartUploadAsync(settings.Bucket, key, id, CancellationToken.None);
        }
        catch (Exception e) when (e is AmazonServiceException or AmazonClientException or HttpRequestException or OperationCanceledException or IOException)
        {
            // The failure that led here is the one to be told.
        }
    }

    string FinalOf(string sha256) => $"{settings.Prefix}{sha256[..2]}/{sha256}";

    string PendingOf(string sha256) => $"{pending}{sha256}.{Path.GetRandomFileName()}";

    Task<bool> Ask(Func<Task> request) => Ask(async () =>
    {
        await request();
        return true;
    });

    /// <summary>A server that is away, or denies what the host must do, is no fault of the request: it is waited for like the database.</summary>
    /// <exception cref="StorageUnavailableException">The bucket cannot be reached or used.</exception>
    /// <exception cref="BlobStoreFullException">The bucket is full.</exception>
    async Task<T> Ask<T>(Func<Task<T>> request)
    {
        try
        {
            return await request();
        }
        catch (AmazonServiceException e) when (e.StatusCode == HttpStatusCode.InsufficientStorage || FullCodes.Contains(e.ErrorCode))
        {
            throw new BlobStoreFullException($"There is no room in {settings}.", e);
        }
        catch (AmazonServiceException e) when (e.StatusCode is HttpStatusCode.Forbidden or HttpStatusCode.Unauthorized or HttpStatusCode.NotFound or HttpStatusCode.BadRequest)
        {
            throw new StorageUnavailableException($"The blob store {settings} refuses this host ({e.ErrorCode}): {e.Message}", e) { IsDenied = true, OfBlobs = true };
        }
        catch (Exception e) when (e is AmazonServiceException or AmazonClientException or HttpRequestException or TimeoutException)
        {
            throw new StorageUnavailableException($"The blob store {settings} does not answer: {e.Message}", e) { OfBlobs = true };
        }
    }

    /// <summary>An object from any place. It asks for bytes when they are read, from where it stands to the end.</summary>
    sealed class S3ReadStream(S3Blobs blobs, string key, long length) : Stream
    {
        GetObjectResponse? answer;
        long position;

        public override bool CanRead => true;

        public override bool CanSeek => true;

        public override bool CanWrite => false;

        public override long Length => length;

        public override long Position
        {
            get => position;
            set => Seek(value, SeekOrigin.Begin);
        }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (position >= length || buffer.IsEmpty)
            {
                return 0;
            }
            var read = await blobs.Ask(async () =>
            {
                answer ??= await blobs.s3.GetObjectAsync(
                    new GetObjectRequest
                    {
                        BucketName = blobs.settings.Bucket,
                        Key = key,
                        ByteRange = position == 0 ? null : new ByteRange(position, length - 1),
                    },
                    cancellationToken);
                return await answer.ResponseStream.ReadAsync(buffer, cancellationToken);
            });
            position += read;
            return read > 0 ? read : throw new IOException($"The object {key} ended before its end.");
        }

        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
            ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override long Seek(long offset, SeekOrigin origin)
        {
            var to = offset + origin switch { SeekOrigin.Begin => 0, SeekOrigin.Current => position, _ => length };
            ArgumentOutOfRangeException.ThrowIfNegative(to);
            if (to != position)
            {
                answer?.Dispose();
                (answer, position) = (null, to);
            }
            return position;
        }

        public override int Read(byte[] buffer, int offset, int count) => ReadAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();

        public override void Flush()
        {
        }

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                answer?.Dispose();
            }
            base.Dispose(disposing);
        }
    }
}
