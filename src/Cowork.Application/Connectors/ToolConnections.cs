using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A connection whose source has tools.</summary>
/// <param name="ToolPart">What stands for it in the names of its tools.</param>
public sealed record ToolConnection(ConnectionKey Key, string SpecId, string ToolPart);

/// <summary>
/// The connections of each tenant whose sources have tools. Each round of each run asks for them, and most tenants have none: a list is remembered until this node commits
/// something of a connection, or another node anything.
/// </summary>
public sealed class ToolConnections(IRunQueries queries, ConnectorCatalog catalog) : ICommitObserver
{
    const int TenantsMax = 4_096;

    readonly LastUsed<string, Remembered> tenants = new(TenantsMax);
    long changes;

    /// <summary>Those of a tenant, the oldest first.</summary>
    public async ValueTask<ImmutableArray<ToolConnection>> Of(string org, CancellationToken ct)
    {
        var now = Volatile.Read(ref changes);
        if (tenants.Get(org) is { } known && known.At == now)
        {
            return known.Connections;
        }
        var listed = (await queries.Connections(org, Limits.ConnectionsMax, ct)).Where(connection => catalog.Find(connection.SpecId) is { HasTools: true }).ToList();
        var names = OutsideToolNames.OfConnections(listed.Select(connection => (connection.Key, connection.Name)));
        var found = listed.OrderBy(connection => connection.Key.Value, StringComparer.Ordinal)
            .Select(connection => new ToolConnection(connection.Key, connection.SpecId, names[connection.Key])).ToImmutableArray();
        tenants.Put(org, new(now, found));
        return found;
    }

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        foreach (var entry in entries)
        {
            if (EventTypes.TypeOf(entry.Type)?.BaseType == typeof(ConnectionEvent))
            {
                Interlocked.Increment(ref changes);
            }
        }
    }

    public void OthersWrote() => Interlocked.Increment(ref changes);

    sealed record Remembered(long At, ImmutableArray<ToolConnection> Connections);
}
