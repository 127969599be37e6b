using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The credentials of connections, in the log under the tenant's data key.</summary>
public sealed class ConnectionSecrets(CommandHandler handler, ICommandExecutor commands, TenantSecrets secrets) : IConnectionSecrets
{
    static readonly Origin System = new("system");

    public async ValueTask<ConnectionSettings?> Open(string org, ConnectionKey connection, CancellationToken ct) =>
        await handler.LatestState(org, Connection.Aggregate, connection, ct) is Connection.Live live ? await Settings(org, live, ct) : null;

    public async ValueTask<ConnectionSettings?> Replace(ConnectionSettings before, ImmutableDictionary<string, string> fields, CancellationToken ct)
    {
        var secret = await secrets.Seal(before.Org, before.Connection, fields, ct);
        var result = await commands.Execute(before.Org, System, new ReplaceConnectionSecret(before.Connection, before.Revision, secret), ct);
        return result.Refused switch
        {
            null or { Code: "stream_busy" } => await Open(before.Org, before.Connection, ct),
            _ => null,
        };
    }

    internal async ValueTask<ConnectionSettings> Settings(string org, Connection.Live live, CancellationToken ct) => new(
        org, live.ConnectionId, live.SpecId,
        live.Secret is null ? ImmutableDictionary<string, string>.Empty : await secrets.Open(org, live.ConnectionId, live.Secret, ct), live.Revision);
}
