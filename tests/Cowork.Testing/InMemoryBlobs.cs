using System.Collections.Concurrent;
using System.Security.Cryptography;

using Cowork.Application;
using Cowork.Application.Storage;

namespace Cowork.Testing;

/// <summary>Blobs for as long as the test takes.</summary>
public sealed class InMemoryBlobs : IBlobs, IBlobWithdrawal
{
    readonly ConcurrentDictionary<string, bool> pending = new();

    /// <summary>Those that were taken back and not kept since.</summary>
    public IReadOnlyCollection<string> Withdrawn => [.. pending.Keys];

    /// <summary>Withdrawals that were tried.</summary>
    public int Withdrawals { get; private set; }

    /// <summary>The store does not answer who takes something back.</summary>
    public bool IsAway { get; set; }

    public ValueTask Withdraw(string sha256, CancellationToken ct)
    {
        Withdrawals++;
        if (IsAway)
        {
            throw new StorageUnavailableException("It is away.") { OfBlobs = true };
        }
        pending[sha256] = true;
        return default;
    }

    public bool HasRoom() => true;

    readonly ConcurrentDictionary<string, byte[]> bySha256 = new();

    public ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct)
    {
        var sha256 = Convert.ToHexStringLower(SHA256.HashData(bytes.Span));
        bySha256[sha256] = bytes.ToArray();
        return new(sha256);
    }

    public async ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct)
    {
        using var all = new MemoryStream();
        await bytes.CopyToAsync(all, ct);
        return (await Put(all.ToArray(), ct), all.Length);
    }

    public ValueTask Keep(IReadOnlyCollection<string> digests, CancellationToken ct)
    {
        if (digests.FirstOrDefault(d => !bySha256.ContainsKey(d)) is { } missing)
        {
            throw new InvalidDataException($"The blob {missing} is missing.");
        }
        foreach (var sha256 in digests)
        {
            pending.TryRemove(sha256, out _);
        }
        return default;
    }

    /// <summary>How many there are.</summary>
    public int Count => bySha256.Count;

    /// <summary>Loses all of them.</summary>
    public void Forget() => bySha256.Clear();

    public ValueTask<Stream?> Open(string sha256, CancellationToken ct) => new(bySha256.TryGetValue(sha256, out var bytes) ? new MemoryStream(bytes, writable: false) : null);

    public ValueTask<byte[]?> Get(string sha256, CancellationToken ct) => new(bySha256.GetValueOrDefault(sha256));
}
