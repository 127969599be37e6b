using System.Collections.Immutable;
using System.Globalization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The connections that the runs of a session may use, opened for one call.</summary>
public sealed class ConnectionAccess(CommandHandler handler, ICommandExecutor commands, ConnectionSecrets secrets, ConnectorCatalog catalog)
{
    static readonly Origin OfSystem = new("system");

    /// <summary>What the session may use.</summary>
    public async ValueTask<GrantedConnections> Granted(string org, SessionKey session, CancellationToken ct)
    {
        if (await handler.State(org, Session.Aggregate, session, ct) is not Session.Open open)
        {
            return new(null, []);
        }
        var named = open.Project is { IsGeneral: false } key
            && await handler.LatestState(org, Project.Aggregate, key, ct) is Project.Live { Definition.ConnectorIds: { IsEmpty: false } ids }
            ? ids.Select(ConnectionKey.Parse).OfType<ConnectionKey>().ToHashSet()
            : null;
        return new(named, open.Connectors);
    }

    /// <summary>Opens a connection for a call of the session's run.</summary>
    /// <returns>Null: the run cannot use it, and the sentence says why.</returns>
    public async ValueTask<(OpenedConnection? Opened, string? WhyNot)> Open(string org, SessionKey session, ConnectionKey key, CancellationToken ct)
    {
        if (await handler.LatestState(org, Connection.Aggregate, key, ct) is not Connection.Live live)
        {
            return (null, "There is no such connection. The action list of query_connector answers those that there are.");
        }
        var granted = await Granted(org, session, ct);
        if (!granted.Includes(key, live.SpecId))
        {
            return (null, granted.ByConnectors is null ? "The project of this conversation does not use that connection." : "The session is not granted that connection.");
        }
        if (catalog.Find(live.SpecId) is not { } connector)
        {
            return (null, $"This host cannot connect to {live.SpecId}.");
        }
        if (live.Secret is null)
        {
            return (null, "The connection waits for its user to agree at the source.");
        }
        try
        {
            return (new(org, live, await secrets.Settings(org, live, ct), connector, granted.AllowsActions(key, live.SpecId)), null);
        }
        catch (SecretUnreadableException)
        {
            return (null, "This host cannot open the connection's credentials at the moment.");
        }
    }

    /// <summary>The connection shows what a call found out about its source.</summary>
    public async ValueTask Note(OpenedConnection opened, ConnectorAnswer answer, CancellationToken ct)
    {
        var (live, reached) = (opened.Live, answer is ConnectorAnswer.Failed { IsUnreachable: true } failed ? new ProbeOutcome(failed.Reason) : new());
        if (live.Probed != reached)
        {
            await commands.Execute(opened.Org, OfSystem, new RecordConnectionProbe(live.ConnectionId, live.Revision, reached), ct, waitForStorage: true);
        }
    }
}

/// <summary>The connections that a session may use.</summary>
/// <param name="ByProject">Those of its project; null: any, because it names none.</param>
/// <param name="ByConnectors">What its creation granted; null: it granted nothing in particular.</param>
public sealed record GrantedConnections(IReadOnlySet<ConnectionKey>? ByProject, ImmutableList<ConnectorGrant>? ByConnectors)
{
    public bool Includes(ConnectionKey key, string provider) =>
        ByProject?.Contains(key) != false && (ByConnectors is null || ByConnectors.Any(grant => Covers(grant, key, provider)));

    /// <summary>False: the connection is only read.</summary>
    public bool AllowsActions(ConnectionKey key, string provider) =>
        ByConnectors is null || ByConnectors.Any(grant => grant.AllowActions && Covers(grant, key, provider));

    static bool Covers(ConnectorGrant grant, ConnectionKey key, string provider) =>
        grant.Provider == provider && (grant.ConnectionId is not { } only || only == key);
}

/// <summary>A connection with its credentials, for the time of one call. Its text tells none of them.</summary>
/// <param name="AllowsActions">False: the session's grant allows reads alone.</param>
public sealed record OpenedConnection(string Org, Connection.Live Live, ConnectionSettings Settings, IConnector Connector, bool AllowsActions)
{
    /// <summary>Why a call is not granted; null: it is.</summary>
    public string? WhyNotGranted(string kind) => AllowsActions || kind is not (CallSubject.ConnectorWrite or CallSubject.ConnectorAlter)
        ? null
        : $"The session's grant of {Live.SpecId} allows no actions, only reads.";

    /// <summary>
    /// The source as people are shown it. Another revision has other credentials, and perhaps leads to another source: an approval is for this one.
    /// </summary>
    public string Source => string.Create(CultureInfo.InvariantCulture, $"{Live.Name}: {Live.SpecId}, {Live.ConnectionId.Id}, revision {Live.Revision}");

    public override string ToString() => Live.ConnectionId.Id;
}
