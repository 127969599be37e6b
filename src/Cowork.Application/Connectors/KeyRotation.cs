using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The connections of a tenant, newest first.</summary>
public delegate ValueTask<IReadOnlyList<ListedConnection>> ListConnections(string org, int max, CancellationToken ct);

/// <summary>
/// Puts the secrets of a database under other keys while hosts work with them. It may be interrupted anywhere and repeated: each step looks at what is there, and what was done
/// is not done again. Hosts open what is under the old keys as long as they have the old master key.
/// </summary>
public sealed class KeyRotation(
    CommandHandler handler, ICommandExecutor commands, TenantSecrets secrets, SigningKeyring signing, OperatorsTenant operators, ListConnections connections,
    SubjectKeyring subjects)
{
    /// <summary>Hosts may make a key, or seal a secret, with what they knew a moment ago; a further pass finds it.</summary>
    const int PassesMax = 10;

    const int SubjectsPage = 500;

    static readonly Origin By = new("system");

    /// <summary>What a rotation did.</summary>
    /// <param name="Rewrapped">Data keys that are under the new master key now.</param>
    /// <param name="Reencrypted">Connections whose credentials are under a new data key now.</param>
    /// <param name="SigningKeys">Signing keys that are under the new master key now.</param>
    /// <param name="Subjects">Keys of data subjects that are under the new master key now.</param>
    public sealed record Outcome(int Tenants, int Rewrapped, int Reencrypted, int SigningKeys = 0, int Subjects = 0);

    /// <summary>The id of the master key that the database is under; null: it has no secret yet.</summary>
    public async ValueTask<string?> Current(CancellationToken ct) => (await State(ct)).Current;

    /// <summary>Puts all data keys and signing keys under a master key, which hosts then use for new ones. No secret is encrypted anew.</summary>
    /// <exception cref="SecretUnreadableException">A data key is under a master key that is not there.</exception>
    public async Task<Outcome> Rewrap(MasterKey master, CancellationToken ct)
    {
        await Execute(operators.Org, new AdoptMasterKey(master.Id, (await State(ct)).Current), ct);
        var (rewrapped, signingKeys, persons) = (0, 0, 0);
        for (var pass = 0; pass < PassesMax; pass++)
        {
            var before = (rewrapped, signingKeys, persons);
            signingKeys += await signing.Rewrap(master, ct);
            foreach (var org in (await State(ct)).Orgs)
            {
                foreach (var key in (await handler.LatestState(org, DataKeys.Aggregate, DataKeys.Key, ct)).Keys)
                {
                    if (await secrets.Rewrapped(org, key, master, ct) is { } wrapped)
                    {
                        await Execute(org, new RewrapDataKey(key.Id, wrapped), ct);
                        rewrapped++;
                    }
                }
            }
            persons += await RewrapSubjects(master, ct);
            if ((rewrapped, signingKeys, persons) == before)
            {
                return new((await State(ct)).Orgs.Count, rewrapped, 0, signingKeys, persons);
            }
        }
        throw new InvalidOperationException("Hosts keep making keys under the old master key. Restart them, and repeat the rotation.");
    }

    /// <summary>
    /// Makes a new data key for each tenant and puts all credentials under it. A tenant whose last rotation was interrupted has its new key already, and gets no further one.
    /// </summary>
    /// <exception cref="SecretUnreadableException">A data key is under a master key that is not there.</exception>
    public async Task<Outcome> Reencrypt(CancellationToken ct)
    {
        var reencrypted = 0;
        var orgs = (await State(ct)).Orgs;
        foreach (var org in orgs)
        {
            var current = (await handler.LatestState(org, DataKeys.Aggregate, DataKeys.Key, ct)).Current(DataKeys.Secrets)?.Id;
            if (current is not null && (await Behind(org, current, ct)).Count == 0)
            {
                await secrets.Make(org, DataKeys.Secrets, current, ct);
            }
            reencrypted += await Reencrypt(org, ct);
        }
        return new(orgs.Count, 0, reencrypted);
    }

    async Task<int> RewrapSubjects(MasterKey master, CancellationToken ct)
    {
        var rewrapped = 0;
        while (await subjects.Store.NotUnder(master.Id, SubjectsPage, ct) is [_, ..] behind)
        {
            foreach (var (org, key) in behind)
            {
                await subjects.Store.Rewrap(org, key, subjects.Rewrapped(org, key.KeyId, key.Wrapped!, master), ct);
                rewrapped++;
            }
        }
        return rewrapped;
    }

    async Task<int> Reencrypt(string org, CancellationToken ct)
    {
        var reencrypted = 0;
        for (var pass = 0; pass < PassesMax; pass++)
        {
            if ((await handler.LatestState(org, DataKeys.Aggregate, DataKeys.Key, ct)).Current(DataKeys.Secrets)?.Id is not { } current
                || await Behind(org, current, ct) is not { Count: > 0 } behind)
            {
                return reencrypted;
            }
            foreach (var connection in behind)
            {
                var fields = await secrets.Open(org, connection.ConnectionId, connection.Secret!, ct);
                var secret = await secrets.Seal(org, connection.ConnectionId, fields, ct);
                await Execute(org, new ReencryptConnection(connection.ConnectionId, connection.Revision, secret), ct);
                reencrypted++;
            }
        }
        throw new InvalidOperationException("Hosts keep sealing secrets under the old data key. Repeat the rotation.");
    }

    /// <summary>Connections whose credentials are under an older data key.</summary>
    async ValueTask<List<Connection.Live>> Behind(string org, string current, CancellationToken ct)
    {
        var behind = new List<Connection.Live>();
        foreach (var listed in await connections(org, Limits.ConnectionsMax, ct))
        {
            if (await handler.LatestState(org, Connection.Aggregate, listed.Key, ct) is Connection.Live { Secret: { } secret } live && secret.KeyId != current)
            {
                behind.Add(live);
            }
        }
        return behind;
    }

    ValueTask<MasterKeys> State(CancellationToken ct) => handler.LatestState(operators.Org, MasterKeys.Aggregate, MasterKeys.Key, ct);

    async ValueTask Execute(string org, ICommand command, CancellationToken ct)
    {
        // A connection that was deleted meanwhile needs no other key.
        if ((await commands.Execute(org, By, command, ct, waitForStorage: true)).Refused is { Code: not ("stream_busy" or "not_found") } refused)
        {
            throw new InvalidOperationException($"A key cannot be changed: {refused.Code}.");
        }
    }
}
