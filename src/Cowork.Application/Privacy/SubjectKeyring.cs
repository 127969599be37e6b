using System.Collections.Concurrent;
using System.Security.Cryptography;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// The keys of data subjects that this process has used. A key is read when it is first needed; <see cref="Refresh"/> finds those that were destroyed since, by any host.
/// </summary>
public sealed class SubjectKeyring(ISubjectStore store, Func<MasterKeyring?> masters) : IContentKeys
{
    /// <summary>Blobs that were put last and are found before a commit names them.</summary>
    const int PutMax = 10_000;

    readonly ConcurrentDictionary<(string Org, string Subject), SubjectKey?> keys = new();
    readonly ConcurrentDictionary<(string Org, string Subject, string Sha256), string> blobs = new();
    readonly LastUsed<string, PutBlob> put = new(PutMax);
    readonly ConcurrentDictionary<string, TenantKeys> tenants = new();

    /// <summary>What this process knows of a tenant.</summary>
    sealed class TenantKeys
    {
        /// <summary>Number of the last erasure that is known here.</summary>
        public long Erased;

        /// <summary>Erasures whose copies outside the log are still being removed.</summary>
        public volatile IReadOnlySet<string> Pending = new HashSet<string>();
    }

    /// <summary>Called when keys of a tenant are gone: what was made with them must be forgotten.</summary>
    public event Action<string>? Erased;

    public ISubjectStore Store => store;

    public byte[]? Of(string org, string subject, string stream) => Find(org, subject)?.ContentKey(stream);

    /// <summary>The key of a subject; null: it was erased, or there never was one. The log says which.</summary>
    /// <exception cref="SecretUnreadableException">
    /// This host has not the master key that it is under, or there is no such key as the log knows: it was destroyed, replaced or put back by something else than an erasure.
    /// </exception>
    public SubjectKey? Find(string org, string subject)
    {
        if (keys.TryGetValue((org, subject), out var known))
        {
            return known;
        }
        tenants.GetOrAdd(org, _ => new());
        // A subject that is not there yet may be there a moment later. The log is asked first: the commit that makes a key makes both.
        if (store.Logged(org, subject) is not { } logged)
        {
            return null;
        }
        var row = logged.IsErased ? null : store.Find(org, subject);
        if (logged.IsErased || (row?.Wrapped is null && store.Logged(org, subject)!.IsErased))
        {
            return keys.GetOrAdd((org, subject), (SubjectKey?)null);
        }
        if (row is not { Wrapped: { } wrapped } || row.KeyId != logged.KeyId)
        {
            throw new SecretUnreadableException(
                $"The key {logged.KeyId} of the data subject {subject} of {org} is not in the table subject_keys, and the log has no erasure of the subject: restore the table.");
        }
        var raw = Open(org, row.KeyId, wrapped);
        return logged.Commitment is null || SubjectKey.Commitment(raw) == logged.Commitment
            ? keys.GetOrAdd((org, subject), new SubjectKey(org, raw))
            : throw new SecretUnreadableException($"The key {row.KeyId} of the data subject {subject} of {org} is not the one that the log has a commitment to.");
    }

    /// <summary>
    /// Destroys what this process has of keys that are gone. A request that begins after an erasure calls it before it reads anything, so that nothing of what this process
    /// remembers is shown. It costs nothing for tenants without data subjects; <see cref="RefreshAll"/> finds those that have some.
    /// </summary>
    public async ValueTask Refresh(string org, CancellationToken ct)
    {
        if (!tenants.TryGetValue(org, out var tenant))
        {
            return;
        }
        var since = Volatile.Read(ref tenant.Erased);
        var found = await store.ErasedSince(org, since, ct);
        if (found.Last == since && found.Pending.Count == 0 && tenant.Pending.Count == 0)
        {
            return;
        }
        var areErased = true;
        foreach (var subject in found.Subjects)
        {
            areErased &= Forget(org, subject);
        }
        tenant.Pending = found.Pending;
        if (found.Last != since)
        {
            if (areErased)
            {
                // A number that the table alone tells must not hide those of later erasures.
                Volatile.Write(ref tenant.Erased, found.Last);
            }
            Erased?.Invoke(org);
        }
    }

    /// <summary>Refreshes all tenants that have data subjects. Rows show what subjects said without any key, so that a process must know them before it has used one.</summary>
    public async ValueTask RefreshAll(CancellationToken ct)
    {
        foreach (var org in await store.Tenants(ct))
        {
            tenants.GetOrAdd(org, _ => new());
        }
        foreach (var org in tenants.Keys)
        {
            await Refresh(org, ct);
        }
    }

    /// <summary>True: rows of the tenant may still show what was erased.</summary>
    public bool IsErasing(string org) => tenants.TryGetValue(org, out var tenant) && tenant.Pending.Count > 0;

    /// <summary>Subjects whose copies outside the log are still being removed.</summary>
    public IReadOnlySet<string> Erasing(string org) => tenants.TryGetValue(org, out var tenant) ? tenant.Pending : new HashSet<string>();

    /// <summary>The digest under which the blob store has a subject's blob, which is sealed; null: it has it as it is, or not at all.</summary>
    public string? BlobOf(string org, string subject, string sha256) =>
        blobs.TryGetValue((org, subject, sha256), out var known) ? known : store.BlobOf(org, subject, sha256);

    /// <summary>Notes a blob that was put a moment ago, and that no commit has named yet.</summary>
    internal void Remember(string org, SealedBlob blob)
    {
        blobs[(org, blob.Subject, blob.Sha256)] = blob.StoredSha256;
        put.Put(blob.Sha256, new(org, blob));
    }

    /// <summary>The subject and digest of the ciphertext of a blob; null: none is known.</summary>
    internal async ValueTask<(string Org, SealedBlob Blob)?> SealedBlobOf(string sha256, CancellationToken ct) =>
        put.Get(sha256) is var (org, blob) && Find(org, blob.Subject) is not null ? (org, blob) : await store.SealedBlobOf(sha256, ct);

    sealed record PutBlob(string Org, SealedBlob Blob);

    /// <summary>A new key and its wrapped form.</summary>
    internal static (string Commitment, WrappedKey Wrapped) New(MasterKey master, string org, string keyId)
    {
        var raw = Envelope.NewKey();
        try
        {
            return (SubjectKey.Commitment(raw), Envelope.Wrap(master, org, keyId, raw));
        }
        finally
        {
            CryptographicOperations.ZeroMemory(raw);
        }
    }

    /// <summary>The same key under another master key.</summary>
    internal WrappedKey Rewrapped(string org, string keyId, WrappedKey wrapped, MasterKey master)
    {
        var raw = Open(org, keyId, wrapped);
        try
        {
            return Envelope.Wrap(master, org, keyId, raw);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(raw);
        }
    }

    /// <summary>False: the log has no erasure of the subject.</summary>
    bool Forget(string org, string subject)
    {
        var isErased = store.Logged(org, subject)?.IsErased == true;
        if (keys.TryGetValue((org, subject), out var there))
        {
            there?.Destroy();
        }
        if (isErased)
        {
            keys[(org, subject)] = null;
        }
        else
        {
            // The table says what the log does not: who needs the key finds that out.
            keys.TryRemove((org, subject), out _);
        }
        foreach (var blob in blobs.Keys.Where(blob => (blob.Org, blob.Subject) == (org, subject)))
        {
            blobs.TryRemove(blob, out _);
        }
        return isErased;
    }

    byte[] Open(string org, string keyId, WrappedKey wrapped)
    {
        var ring = masters() ?? throw new SecretUnreadableException("This program has no master key.");
        var master = ring.Find(wrapped.MasterId)
            ?? throw new SecretUnreadableException($"The key {keyId} of a data subject is under the master key {wrapped.MasterId}, which is not here ({ring.Source}).");
        return Envelope.Unwrap(master, org, new DataKey(keyId, "subject", wrapped));
    }
}
