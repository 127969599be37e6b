using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A connection with its opened secrets, for the time of one use. It is never stored or logged: its text tells nothing.</summary>
/// <param name="connection">Whose they are; null: no connection yet has them.</param>
/// <param name="fields">Values by the keys of the spec's fields, and what the connector itself keeps (OAuth tokens).</param>
/// <param name="revision">Version of the connection at which the secrets were read, for <see cref="IConnectionSecrets.Replace"/>.</param>
public sealed class ConnectionSettings(string org, ConnectionKey connection, string spec, ImmutableDictionary<string, string> fields, long revision = 0)
{
    public string Org { get; } = org;

    public ConnectionKey Connection { get; } = connection;

    /// <summary>Id of the spec: connectors of several specs tell them apart by it.</summary>
    public string Spec { get; } = spec;

    public ImmutableDictionary<string, string> Fields { get; } = fields;

    public long Revision { get; } = revision;

    /// <summary>The value of a field; null: it was not given.</summary>
    public string? this[string key] => Fields.GetValueOrDefault(key);

    public override string ToString() => $"settings of {Connection}";
}

/// <summary>Keeps what connections know: encrypted in the log, opened for one use.</summary>
public interface IConnectionSecrets
{
    /// <summary>The connection's settings, without a field while it waits for its user's agreement; null: there is no such connection.</summary>
    /// <exception cref="SecretUnreadableException">This host has not the master key that the secrets are under.</exception>
    ValueTask<ConnectionSettings?> Open(string org, ConnectionKey connection, CancellationToken ct);

    /// <summary>
    /// Puts other fields in the place of a connection's, for example refreshed tokens. Answers the settings as they are now: those of another node, when it was first.
    /// Null: the connection was deleted.
    /// </summary>
    /// <param name="before">As they were opened.</param>
    /// <param name="fields">All fields, also those that stay.</param>
    ValueTask<ConnectionSettings?> Replace(ConnectionSettings before, ImmutableDictionary<string, string> fields, CancellationToken ct);
}

/// <summary>A secret cannot be opened: another master key wrapped it, or it was changed.</summary>
public sealed class SecretUnreadableException(string message) : Exception(message);
