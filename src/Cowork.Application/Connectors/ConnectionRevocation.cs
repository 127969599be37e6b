using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Gives the credentials of a deleted connection back to its source. A source that does not answer is asked again.</summary>
public sealed class ConnectionRevocation(ConnectorCatalog catalog, TenantSecrets secrets, CommandHandler handler) : IJobHandler
{
    /// <summary>The job's key is the connection's.</summary>
    public const string JobKind = "connection_revocation";

    public string Kind => JobKind;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        var connection = new ConnectionKey(claim.Key);
        if (await handler.LatestState(claim.Org, Connection.Aggregate, connection, ct) is Connection.Deleted { SpecId: var spec, Secret: { } secret }
            && catalog.Find(spec) is { } connector
            && await connector.Revoke(new(claim.Org, connection, spec, await secrets.Open(claim.Org, connection, secret, ct)), ct) is { } whyNot)
        {
            throw new IOException($"The credentials of {connection.Id} are not revoked: {whyNot}");
        }
        return false;
    }
}
