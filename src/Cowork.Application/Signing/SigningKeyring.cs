using System.Security.Cryptography;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// The keys that the hosts of a database sign with. The first use of a purpose makes its first key; hosts that do so at once end with one. A host learns of a rotation on
/// another one within <see cref="FreshFor"/>, and of a new key at once when a token names it.
/// </summary>
/// <param name="operators">The operators' tenant, which keeps the keys.</param>
public sealed class SigningKeyring(CommandHandler handler, ICommandExecutor commands, MasterKeyring masters, TenantSecrets secrets, OperatorsTenant operators, TimeProvider clock)
{
    /// <summary>So long a host works with the keys that it knows before it looks into the log again.</summary>
    public static readonly TimeSpan FreshFor = TimeSpan.FromSeconds(5);

    /// <summary>So long a key of the orchestrator verifies after it was replaced: the longest life of what it signed, and hosts that have not heard of the rotation yet.</summary>
    public static readonly TimeSpan VerifiesFor = Limits.SessionCertificateLifetime + TimeSpan.FromMinutes(5);

    /// <summary>
    /// After a look into the log, an unknown key waits so long for the next one, which all that wait have together: whoever makes up names of keys makes no host ask its
    /// database each time, and a key that was made a moment ago is never taken for an unknown one.
    /// </summary>
    static readonly TimeSpan UnknownRest = TimeSpan.FromMilliseconds(250);

    /// <summary>Others may make the key at the same time; the second look finds it.</summary>
    const int TriesMax = 5;

    static readonly Origin By = new("system");

    readonly Lock gate = new();
    // They stay open as long as the process lives: a token is signed in less time than a key is opened.
    readonly Dictionary<string, ECDsa> privateKeys = [];
    readonly Dictionary<string, ECDsa> publicKeys = [];
    Task<SigningKeys>? nextLook;
    volatile Known? known;

    /// <summary>The key that signs for a purpose now.</summary>
    /// <exception cref="SecretUnreadableException">This host has not the master key of the database.</exception>
    public async ValueTask<SigningKey> Current(string purpose, CancellationToken ct)
    {
        var keys = await Keys(FreshFor, ct);
        for (var tries = 0; tries < TriesMax; tries++)
        {
            if (Usable(keys, purpose) is { } key)
            {
                return key;
            }
            await Make(purpose, keys.Current(purpose)?.Kid, ct);
            keys = await Keys(TimeSpan.Zero, ct);
        }
        throw new SecretUnreadableException("The database does not take a signing key.");
    }

    /// <summary>A key by its id, if it verifies now: a current one, a replaced one of the heads, or one of the orchestrator's that was replaced not long ago. Null: none.</summary>
    public async ValueTask<SigningKey?> Find(string kid, CancellationToken ct)
    {
        var keys = await Keys(FreshFor, ct);
        if (keys.Find(kid) is null)
        {
            keys = await NextLook().WaitAsync(ct);
        }
        return keys.Find(kid) is { } found && Verifies(found) ? found.Key : null;
    }

    /// <summary>
    /// The keys of all purposes that verify now, the oldest first. It makes none, because nobody need be known who asks for them: a purpose that has signed nothing has no key.
    /// </summary>
    public async ValueTask<IReadOnlyList<SigningKey>> Published(CancellationToken ct)
    {
        var keys = await Keys(FreshFor, ct);
        if (SigningKeys.Purposes.Any(purpose => keys.Current(purpose) is null))
        {
            // Another host may have made the first one just now, and a verifier that meets it asks here.
            keys = await Keys(UnknownRest, ct);
        }
        return [.. keys.Keys.Where(Verifies).Select(known => known.Key)];
    }

    /// <summary>Signs for a purpose with a new key from now on. When another host does the same at the same time, both end with one of the two keys.</summary>
    /// <exception cref="SecretUnreadableException">This host has not the master key of the database.</exception>
    public async ValueTask<SigningKey> Rotate(string purpose, CancellationToken ct)
    {
        await Make(purpose, (await Keys(TimeSpan.Zero, ct)).Current(purpose)?.Kid, ct);
        return (await Keys(TimeSpan.Zero, ct)).Current(purpose)!;
    }

    /// <summary>Signs a payload as a JWS with the purpose's current key.</summary>
    /// <param name="typ">The kind of the token, of its header.</param>
    /// <param name="payload">A JSON object.</param>
    /// <exception cref="SecretUnreadableException">This host has not the master key of the database.</exception>
    public async ValueTask<string> Sign(string purpose, string typ, string payload, CancellationToken ct)
    {
        var key = await Current(purpose, ct);
        return Jws.Sign(await PrivateOf(key, ct), key.Kid, typ, payload);
    }

    /// <summary>Signs bytes with a key: 64 bytes, r and s one after the other, of ECDSA with SHA-256 (RFC 9421, 3.3.4).</summary>
    /// <exception cref="SecretUnreadableException">This host has not the master key that the key is under.</exception>
    public async ValueTask<byte[]> SignData(SigningKey key, byte[] data, CancellationToken ct) =>
        (await PrivateOf(key, ct)).SignData(data, HashAlgorithmName.SHA256, DSASignatureFormat.IeeeP1363FixedFieldConcatenation);

    /// <summary>The token if a key of this purpose signed it that verifies now; null: none did.</summary>
    public async ValueTask<UnverifiedJws?> Verify(string purpose, string typ, string token, CancellationToken ct) =>
        Jws.Read(token, typ) is { } read && await Find(read.Kid, ct) is { } key && key.Purpose == purpose && await Jws.IsSignedBy(read, PublicOf(key)) ? read : null;

    /// <summary>Puts all private keys under a master key. Answers how many were under another one.</summary>
    /// <exception cref="SecretUnreadableException">A key is under a master key that is not there.</exception>
    internal async ValueTask<int> Rewrap(MasterKey master, CancellationToken ct)
    {
        var rewrapped = 0;
        foreach (var key in (await Keys(TimeSpan.Zero, ct)).Keys.Select(known => known.Key).Where(key => key.Wrapped.MasterId != master.Id))
        {
            if (key.Purpose == SigningKeys.Heads && masters.Find(key.Wrapped.MasterId) is null)
            {
                // It is another host's own.
                continue;
            }
            var pkcs8 = await Unwrap(key, ct);
            try
            {
                await Execute(new RewrapSigningKey(key.Kid, Envelope.Wrap(master, key, pkcs8)), ct);
            }
            finally
            {
                CryptographicOperations.ZeroMemory(pkcs8);
            }
            rewrapped++;
        }
        return rewrapped;
    }

    /// <summary>
    /// The key that this host signs with. Hosts may sign heads with keys of their own, because each of those verifies for ever: no host need have another one's master key.
    /// </summary>
    SigningKey? Usable(SigningKeys keys, string purpose) => purpose == SigningKeys.Heads
        ? keys.Keys.FindLast(known => known.Key.Purpose == purpose && masters.Find(known.Key.Wrapped.MasterId) is not null)?.Key
        : keys.Current(purpose);

    /// <summary>
    /// The master key that a new key is put under. A database that keeps no secret stays without one for its heads' sake: hosts that do not share a key can join it.
    /// </summary>
    async ValueTask<MasterKey> MasterFor(string purpose, CancellationToken ct)
    {
        if (purpose != SigningKeys.Heads)
        {
            return await secrets.Master(ct);
        }
        var current = (await handler.LatestState(operators.Org, MasterKeys.Aggregate, MasterKeys.Key, ct)).Current;
        return (current is null ? null : masters.Find(current)) ?? masters.Newest;
    }

    bool Verifies(KnownSigningKey found) => found.Key.Purpose != SigningKeys.Orchestrator || found.ReplacedAt is not { } replaced || clock.GetUtcNow() < replaced + VerifiesFor;

    async ValueTask Make(string purpose, string? replaces, CancellationToken ct)
    {
        var master = await MasterFor(purpose, ct);
        using var pair = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var publicKey = Jws.PublicOf(pair);
        var bare = new SigningKey(Jws.Thumbprint(publicKey), purpose, publicKey, new(master.Id, ""));
        var pkcs8 = pair.ExportPkcs8PrivateKey();
        var made = bare with { Wrapped = Envelope.Wrap(master, bare, pkcs8) };
        CryptographicOperations.ZeroMemory(pkcs8);
        await Execute(new MakeSigningKey(made, replaces), ct);
    }

    /// <summary>The keys as the log has them, or had them so long ago at the most. While the database is away, as they were.</summary>
    async ValueTask<SigningKeys> Keys(TimeSpan ageMax, CancellationToken ct)
    {
        if (known is { } recent && clock.GetElapsedTime(recent.ReadAt) < ageMax)
        {
            return recent.Keys;
        }
        var started = clock.GetTimestamp();
        try
        {
            var keys = await handler.LatestState(operators.Org, SigningKeys.Aggregate, SigningKeys.Key, ct);
            known = new(keys, started);
            return keys;
        }
        catch (StorageUnavailableException) when (ageMax > TimeSpan.Zero && known is not null)
        {
            return known.Keys;
        }
    }

    /// <summary>The keys as the log has them after now, by a look that has not begun.</summary>
    Task<SigningKeys> NextLook()
    {
        lock (gate)
        {
            return nextLook ??= Look();
        }

        async Task<SigningKeys> Look()
        {
            await Task.Yield();
            if (known is { } last && UnknownRest - clock.GetElapsedTime(last.ReadAt) is var rest && rest > TimeSpan.Zero)
            {
                await Task.Delay(rest, clock);
            }
            lock (gate)
            {
                nextLook = null;
            }
            return await Keys(TimeSpan.Zero, CancellationToken.None);
        }
    }

    async ValueTask<ECDsa> PrivateOf(SigningKey key, CancellationToken ct)
    {
        lock (gate)
        {
            if (privateKeys.TryGetValue(key.Kid, out var there))
            {
                return there;
            }
        }
        var pkcs8 = await Unwrap(key, ct);
        var pair = ECDsa.Create();
        try
        {
            pair.ImportPkcs8PrivateKey(pkcs8, out _);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(pkcs8);
        }
        return Keep(privateKeys, key.Kid, pair);
    }

    ECDsa PublicOf(SigningKey key)
    {
        lock (gate)
        {
            if (publicKeys.TryGetValue(key.Kid, out var there))
            {
                return there;
            }
        }
        return Keep(publicKeys, key.Kid, Jws.Import(key.Public) ?? throw new InvalidOperationException($"The signing key {key.Kid} is no point of P-256."));
    }

    ECDsa Keep(Dictionary<string, ECDsa> keys, string kid, ECDsa key)
    {
        lock (gate)
        {
            if (keys.TryAdd(kid, key))
            {
                return key;
            }
            key.Dispose();
            return keys[kid];
        }
    }

    /// <summary>PKCS#8 of a private key; the caller clears it. When it was wrapped anew meanwhile, this host may have its new master key only.</summary>
    async ValueTask<byte[]> Unwrap(SigningKey key, CancellationToken ct)
    {
        if (masters.Find(key.Wrapped.MasterId) is null)
        {
            key = (await Keys(TimeSpan.Zero, ct)).Find(key.Kid)?.Key ?? key;
        }
        return Envelope.Unwrap(
            masters.Find(key.Wrapped.MasterId) ?? throw new SecretUnreadableException(
                $"The signing key {key.Kid} is under the master key {key.Wrapped.MasterId}, and this host has {string.Join(", ", masters.Keys)} ({masters.Source})."),
            key);
    }

    async ValueTask Execute(ICommand command, CancellationToken ct)
    {
        if ((await commands.Execute(operators.Org, By, command, ct)).Refused is { Code: not "stream_busy" } refused)
        {
            throw new InvalidOperationException($"A signing key cannot be kept: {refused.Code}.");
        }
    }

    /// <param name="ReadAt">Timestamp of the clock before it was read.</param>
    sealed record Known(SigningKeys Keys, long ReadAt);
}
