namespace Cowork.Application;

/// <summary>A blob store that takes a blob back: it is pending again, and found as before.</summary>
public interface IBlobWithdrawal
{
    /// <summary>
    /// The blob is as if it had just been put: <see cref="IBlobs.Keep"/> keeps it, and a sweep removes it after its time where nobody does. No-op: there is no such blob.
    /// </summary>
    ValueTask Withdraw(string sha256, CancellationToken ct);
}

/// <summary>
/// Removes blobs that only removed events have named. What no event names any more is made pending; a while later, when a commit that was under way at that moment is in the
/// log, it is looked for once more, and kept if it is named. The sweep of the blob store removes the rest in its time.
/// </summary>
public sealed class ExpiredBlobs(IExpiryStore store, IBlobs blobs, IBlobWithdrawal withdrawal, TimeProvider clock)
{
    /// <summary>Blobs of one look through the log.</summary>
    const int BlobsMax = 10_000;

    /// <summary>Longer than a commit is under way, and much shorter than the sweep waits.</summary>
    static readonly TimeSpan SecondLook = TimeSpan.FromMinutes(5);

    /// <summary>Looks once. True: some wait for their second look.</summary>
    public async ValueTask<bool> Sweep(CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        while (await store.Blobs(now - SecondLook, BlobsMax, ct) is [_, ..] found)
        {
            var named = await store.StillNamed([.. found.Select(blob => blob.Sha256)], ct);
            foreach (var blob in found)
            {
                if (named.Contains(blob.Sha256))
                {
                    if (blob.WithdrawnAt is not null)
                    {
                        await blobs.Keep([blob.Sha256], ct);
                    }
                }
                else if (blob.WithdrawnAt is null)
                {
                    await withdrawal.Withdraw(blob.Sha256, ct);
                }
            }
            var unnamed = found.Where(blob => !named.Contains(blob.Sha256)).ToLookup(blob => blob.WithdrawnAt is not null, blob => blob.Sha256);
            await store.Forget([.. found.Where(blob => named.Contains(blob.Sha256))], ct);
            await store.Note([.. unnamed[false]], now, ct);
            await store.Drop([.. unnamed[true]], ct);
        }
        return (await store.Blobs(DateTimeOffset.MaxValue, 1, ct)).Count > 0;
    }
}
