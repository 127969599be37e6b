using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Seals and opens the secrets of tenants. Data keys are opened for one use and cleared. What a tenant's first secret needs, it makes: the master key's place in the log, and
/// the tenant's keys.
/// </summary>
/// <param name="operators">The operators' tenant, which keeps the ids of master keys.</param>
public sealed class TenantSecrets(CommandHandler handler, ICommandExecutor commands, MasterKeyring masters, OperatorsTenant operators, TimeProvider clock)
{
    /// <summary>Others may make the keys at the same time; the second look finds them.</summary>
    const int TriesMax = 5;

    static readonly Origin System = new("system");

    /// <summary>Why this host cannot work with the secrets of its database, as a sentence; null: it can.</summary>
    public async ValueTask<string?> WhyUnusable(CancellationToken ct) =>
        (await handler.LatestState(operators.Org, MasterKeys.Aggregate, MasterKeys.Key, ct)).Current is { } current && masters.Find(current) is null
            ? $"The secrets of this database are under the master key {current}, and this host has {string.Join(", ", masters.Keys)} ({masters.Source}). "
                + $"Give it that key: the file {Path.GetFileName(MasterKeyFile.In(""))} of the host that made it, or {MasterKeySource.Variable}."
            : null;

    /// <exception cref="SecretUnreadableException">This host has not the master key of the database.</exception>
    public async ValueTask<SealedSecret> Seal(string org, ConnectionKey connection, ImmutableDictionary<string, string> fields, CancellationToken ct)
    {
        var key = await Current(org, DataKeys.Secrets, ct);
        return await Use(org, key, raw => Envelope.Seal(raw, org, connection, key.Id, fields), ct);
    }

    /// <exception cref="SecretUnreadableException">This host has not the master key that the credentials are under, or they were changed.</exception>
    public async ValueTask<ImmutableDictionary<string, string>> Open(string org, ConnectionKey connection, SealedSecret secret, CancellationToken ct)
    {
        var keys = await handler.State(org, DataKeys.Aggregate, DataKeys.Key, ct);
        var key = keys.Find(secret.KeyId) ?? (await handler.LatestState(org, DataKeys.Aggregate, DataKeys.Key, ct)).Find(secret.KeyId)
            ?? throw new SecretUnreadableException($"The tenant has no data key {secret.KeyId}.");
        return await Use(org, key, raw => Envelope.Open(raw, org, connection, secret), ct);
    }

    /// <summary>
    /// An idempotency key for a request whose body holds secrets: what two requests are compared by is keyed, because everybody who reads the log could otherwise try passwords
    /// until their digest fits. Null stays null.
    /// </summary>
    /// <exception cref="SecretUnreadableException">This host has not the master key of the database.</exception>
    public async ValueTask<RequestKey?> Keyed(string org, RequestKey? key, CancellationToken ct)
    {
        if (key is null)
        {
            return null;
        }
        var digest = await Use(
            org, await Current(org, DataKeys.Requests, ct),
            raw => Convert.ToHexStringLower(HMACSHA256.HashData(raw, Encoding.ASCII.GetBytes(key.RequestSha256))), ct);
        return key with { RequestSha256 = digest, BytesSha256 = null };
    }

    /// <summary>Makes a data key of a purpose in place of another one; null: of none. When somebody else was first, theirs is there.</summary>
    internal async ValueTask Make(string org, string purpose, string? replaces, CancellationToken ct)
    {
        var master = await Master(ct);
        await Execute(operators.Org, new RegisterKeyTenant(org), ct);
        var id = Ids.NewKey(clock.GetUtcNow());
        var raw = Envelope.NewKey();
        var made = new DataKey(id, purpose, Envelope.Wrap(master, org, id, raw));
        CryptographicOperations.ZeroMemory(raw);
        await Execute(org, new MakeDataKey(made, replaces), ct);
    }

    /// <summary>The master key that the database is under. The first secret of a database puts it under this host's newest.</summary>
    internal async ValueTask<MasterKey> Master(CancellationToken ct)
    {
        for (var tries = 0; tries < TriesMax; tries++)
        {
            if ((await handler.LatestState(operators.Org, MasterKeys.Aggregate, MasterKeys.Key, ct)).Current is { } current)
            {
                return masters.Find(current) ?? throw Unknown(current);
            }
            await Execute(operators.Org, new AdoptMasterKey(masters.Newest.Id, null), ct);
        }
        throw new SecretUnreadableException("The database does not take a master key.");
    }

    /// <summary>The same key under another master key; null: it is under that one.</summary>
    internal async ValueTask<WrappedKey?> Rewrapped(string org, DataKey key, MasterKey master, CancellationToken ct) =>
        key.Wrapped.MasterId == master.Id ? null : await Use(org, key, raw => Envelope.Wrap(master, org, key.Id, raw), ct);

    async ValueTask<DataKey> Current(string org, string purpose, CancellationToken ct)
    {
        for (var tries = 0; tries < TriesMax; tries++)
        {
            if ((await handler.LatestState(org, DataKeys.Aggregate, DataKeys.Key, ct)).Current(purpose) is { } key)
            {
                return key;
            }
            await Make(org, purpose, null, ct);
        }
        throw new SecretUnreadableException("The tenant does not take a data key.");
    }

    /// <summary>Opens a data key for one use. When it was wrapped anew meanwhile, this host may have its new master key only.</summary>
    async ValueTask<T> Use<T>(string org, DataKey key, Func<byte[], T> use, CancellationToken ct)
    {
        if (masters.Find(key.Wrapped.MasterId) is not { } master)
        {
            key = (await handler.LatestState(org, DataKeys.Aggregate, DataKeys.Key, ct)).Find(key.Id) ?? key;
            master = masters.Find(key.Wrapped.MasterId) ?? throw Unknown(key.Wrapped.MasterId);
        }
        var raw = Envelope.Unwrap(master, org, key);
        try
        {
            return use(raw);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(raw);
        }
    }

    async ValueTask Execute(string org, ICommand command, CancellationToken ct)
    {
        if ((await commands.Execute(org, System, command, ct)).Refused is { Code: not "stream_busy" } refused)
        {
            throw new InvalidOperationException($"A key cannot be kept: {refused.Code}.");
        }
    }

    SecretUnreadableException Unknown(string id) =>
        new($"The secrets are under the master key {id}, and this host has {string.Join(", ", masters.Keys)} ({masters.Source}).");
}

/// <summary>The tenant in which a database keeps what is no tenant's own.</summary>
public sealed record OperatorsTenant(string Org);
