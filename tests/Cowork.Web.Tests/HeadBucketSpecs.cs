using Amazon.S3;
using Amazon.S3.Model;

using Cowork.Application;

namespace Cowork.Web.Tests;

/// <summary>Heads in a bucket with object lock: what was sent stays, whoever has the keys of the bucket.</summary>
public sealed class HeadBucketSpecs
{
    static readonly HeadLine Head = new(7, 40, new('a', 64), new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero), "kid", "a.b.c");

    [Theory]
    [InlineData(true, "COMPLIANCE")]
    [InlineData(false, "GOVERNANCE")]
    public async Task A_head_is_locked_and_is_neither_replaced_nor_deleted(bool compliance, string mode)
    {
        await using var bucket = await LockedBucket.Start();
        using var s3 = bucket.Settings().NewClient(TimeSpan.FromSeconds(10));
        using var target = new HeadBucketTarget(s3, bucket.Settings(), 30, compliance, TimeProvider.System);
        await target.Send(Head, default);
        var sent = Assert.Single(bucket.Versions);
        Assert.Equal(("/heads/log/head-000000000007.json", mode), (sent.Key, sent.Mode));
        Assert.InRange(sent.Until!.Value, TimeProvider.System.GetUtcNow().AddDays(29), TimeProvider.System.GetUtcNow().AddDays(31));
        Assert.True(HeadLine.Parse(System.Text.Encoding.UTF8.GetString(sent.Body))!.Is(Head));
        // Sent again, and overwritten: the version that was there stays.
        await target.Send(Head with { TreeSize = 41 }, default);
        await s3.DeleteObjectAsync("heads", "log/head-000000000007.json");
        var refused = await Assert.ThrowsAsync<AmazonS3Exception>(() => s3.DeleteObjectAsync(Version(sent, bypass: false)));
        Assert.Equal("AccessDenied", refused.ErrorCode);
        if (compliance)
        {
            await Assert.ThrowsAsync<AmazonS3Exception>(() => s3.DeleteObjectAsync(Version(sent, bypass: true)));
            Assert.Same(sent, bucket.Versions[0]);
        }
        else
        {
            await s3.DeleteObjectAsync(Version(sent, bypass: true));
            Assert.DoesNotContain(sent, bucket.Versions);
        }
    }

    [Fact]
    public async Task What_the_bucket_refuses_is_said_and_is_tried_again()
    {
        await using var bucket = await LockedBucket.Start();
        async Task<string> Refused(S3Settings settings, int days)
        {
            using var target = new HeadBucketTarget(settings.NewClient(TimeSpan.FromSeconds(10)), settings, days, compliance: true, TimeProvider.System);
            return (await Assert.ThrowsAsync<HeadNotTakenException>(() => target.Send(Head, default).AsTask())).Message;
        }
        Assert.Contains("signature", await Refused(bucket.Settings("another"), 30), StringComparison.Ordinal);
        bucket.HasLock = false;
        Assert.Contains("Object Lock", await Refused(bucket.Settings(), 30), StringComparison.Ordinal);
        Assert.Empty(bucket.Versions);
        // Without retention a bucket needs no lock.
        using var unlocked = new HeadBucketTarget(bucket.Settings().NewClient(TimeSpan.FromSeconds(10)), bucket.Settings(), 0, compliance: true, TimeProvider.System);
        await unlocked.Send(Head, default);
        Assert.Null(Assert.Single(bucket.Versions).Mode);
    }

    static DeleteObjectRequest Version(LockedBucket.Version of, bool bypass) =>
        new() { BucketName = "heads", Key = of.Key["/heads/".Length..], VersionId = of.Id, BypassGovernanceRetention = bypass ? true : null };
}
