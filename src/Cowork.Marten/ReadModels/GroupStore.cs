using Cowork.Application.Storage;
using Cowork.Domain;

using Npgsql;

namespace Cowork.Marten;

/// <summary>The tables of marks in the feeds of groups, and of connections to groups.</summary>
sealed class GroupStore(Database database) : IGroupStore
{
    const string OfGroup = "tenant_id = $1 AND session_id = $2";

    readonly string bySeq = $"SELECT feed_id, seq FROM {database.Schema}.group_marks WHERE {OfGroup} AND seq <= $3 ORDER BY seq DESC, feed_id DESC LIMIT 1";
    readonly string byFeedId = $"SELECT feed_id, seq FROM {database.Schema}.group_marks WHERE {OfGroup} AND feed_id <= $3 ORDER BY feed_id DESC LIMIT 1";
    readonly string putMarks = $"""
        INSERT INTO {database.Schema}.group_marks (tenant_id, session_id, feed_id, seq) SELECT $1, $2, n.feed_id, n.seq FROM unnest($3, $4) n (feed_id, seq)
        ON CONFLICT DO NOTHING
        """;

    readonly string connect = $"""
        INSERT INTO {database.Schema}.group_connections AS c (tenant_id, session_id, user_id, node, since)
            SELECT n.tenant_id, n.session_id, n.user_id, $1, n.since FROM unnest($2, $3, $4, $5) n (tenant_id, session_id, user_id, since)
        ON CONFLICT (tenant_id, session_id, user_id, node) DO UPDATE SET since = excluded.since WHERE c.since <> excluded.since
        """;

    readonly string disconnect = $"""
        DELETE FROM {database.Schema}.group_connections c USING unnest($2, $3, $4) n (tenant_id, session_id, user_id)
        WHERE c.tenant_id = n.tenant_id AND c.session_id = n.session_id AND c.user_id = n.user_id AND c.node = $1
        """;

    readonly string connected = $"""
        SELECT c.user_id, min(c.since) FROM {database.Schema}.group_connections c JOIN {database.Schema}.nodes n ON n.id = c.node AND n.expires > now()
        WHERE {OfGroup} GROUP BY c.user_id ORDER BY c.user_id COLLATE "C"
        """;

    readonly string forget = $"""
        DELETE FROM {database.Schema}.group_connections c WHERE NOT EXISTS (SELECT FROM {database.Schema}.nodes n WHERE n.id = c.node AND n.expires > now())
        """;

    public ValueTask<GroupMark> MarkBySeq(string org, SessionKey group, long seq, CancellationToken ct) => Mark(bySeq, org, group, seq, ct);

    public ValueTask<GroupMark> MarkByFeedId(string org, SessionKey group, long feedId, CancellationToken ct) => Mark(byFeedId, org, group, feedId, ct);

    public async ValueTask PutMarks(string org, SessionKey group, IReadOnlyList<GroupMark> marks, CancellationToken ct) => await database.WithReconnect(
        org,
        async connection => await connection.Execute(
            [
                new(putMarks)
                {
                    Parameters =
                    {
                        Parameter.Text(org), Parameter.Text(group.Value), Parameter.Longs([.. marks.Select(mark => mark.FeedId)]),
                        Parameter.Longs([.. marks.Select(mark => mark.Seq)]),
                    },
                },
            ],
            ct),
        ct);

    public async ValueTask PutConnections(string node, IReadOnlyList<GroupConnection> connections, CancellationToken ct) => await database.WithReconnect(
        ScopedConnection.Everyone,
        async connection =>
        {
            List<GroupConnection> come = [.. connections.Where(c => c.Since is not null)], gone = [.. connections.Where(c => c.Since is null)];
            var added = Of(connect, node, come);
            added.Parameters.Add(Parameter.Times([.. come.Select(c => c.Since!.Value.UtcDateTime)]));
            return await connection.Execute([added, Of(disconnect, node, gone)], ct);
        },
        ct);

    public ValueTask<IReadOnlyList<ConnectedUser>> Connected(string org, SessionKey group, CancellationToken ct) => database.WithReconnect<IReadOnlyList<ConnectedUser>>(
        org,
        async connection =>
        {
            await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(connected) { Parameters = { Parameter.Text(org), Parameter.Text(group.Value) } });
            var users = new List<ConnectedUser>();
            while (await reader.ReadAsync(ct))
            {
                users.Add(new(reader.GetString(0), reader.GetFieldValue<DateTimeOffset>(1)));
            }
            return users;
        },
        ct);

    public ValueTask<int> ForgetConnections(CancellationToken ct) =>
        database.WithReconnect(ScopedConnection.Everyone, async connection => await connection.Execute([new(forget)], ct), ct);

    ValueTask<GroupMark> Mark(string statement, string org, SessionKey group, long place, CancellationToken ct) => database.WithReconnect(
        org,
        async connection =>
        {
            await using var reader = await connection.Read(
                ct, new NpgsqlBatchCommand(statement) { Parameters = { Parameter.Text(org), Parameter.Text(group.Value), Parameter.Long(place) } });
            return await reader.ReadAsync(ct) ? new(reader.GetInt64(0), reader.GetInt64(1)) : GroupMark.Begin;
        },
        ct);

    static NpgsqlBatchCommand Of(string statement, string node, IReadOnlyList<GroupConnection> connections) => new(statement)
    {
        Parameters =
        {
            Parameter.Text(node), Parameter.Texts([.. connections.Select(c => c.Org)]), Parameter.Texts([.. connections.Select(c => c.Group.Value)]),
            Parameter.Texts([.. connections.Select(c => c.User)]),
        },
    };
}
