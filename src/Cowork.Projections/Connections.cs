using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.ConnectionEvent;

namespace Cowork.Projections;

/// <summary>A connection as <c>GET /api/v1/connectors/connections/{id}</c> shows it. It has no credentials, not even encrypted ones.</summary>
/// <param name="Status"><c>connected</c>, <c>error</c>, or <c>pending</c>: the user has to agree at the source.</param>
/// <param name="StatusDetail">Why the source was not reached; null unless <paramref name="Status"/> is <c>error</c>.</param>
/// <param name="CheckedAt">The time of the last probe; null: there was none.</param>
public sealed record ConnectionRow(
    ConnectionKey ConnectionId, string SpecId, string Name, string Status, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt,
    string? StatusDetail = null, DateTimeOffset? CheckedAt = null);

/// <summary>The read model of connections. A deleted one has no row.</summary>
public static class Connections
{
    public const string Connected = "connected";
    public const string Error = "error";
    public const string Pending = "pending";

    public static ReadModel<ConnectionRow> Model { get; } =
        new("connections", Connection.Aggregate.Name, RowJson.Default.ConnectionRow, Evolve, Scope: row => row.SpecId, Status: row => row.Status)
        {
            Lists = RowLists.OfTenant | RowLists.ByScope,
        };

    /// <summary>The tenant's connections, newest first.</summary>
    public static async ValueTask<IReadOnlyList<ListedConnection>> List(IRows rows, string org, int max, CancellationToken ct) =>
    [
        .. (await rows.List(org, Model.Table, new(Limit: max), ct)).Select(row => Model.Read(row.Json.Span))
            .Select(row => new ListedConnection(row.ConnectionId, row.Name, row.SpecId, row.Status)),
    ];

    public static ConnectionRow? Evolve(ConnectionRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (ConnectionCreated c, _) => new(c.ConnectionId, c.SpecId, c.Name, Pending, e.Actor, e.At, e.At),
        (_, null) => null,
        (ConnectionRenamed c, { } r) => r with { Name = c.Name, UpdatedAt = e.At },
        (ConnectionSecretReplaced, { } r) => r with { UpdatedAt = e.At },
        (ConnectionProbed { Outcome: var outcome }, { } r) => r with
        {
            Status = outcome.WhyNot is null ? Connected : Error,
            StatusDetail = outcome.WhyNot,
            CheckedAt = e.At,
        },
        (ConnectionDeleted, _) => null,
        (_, { } r) => r,
    };
}
