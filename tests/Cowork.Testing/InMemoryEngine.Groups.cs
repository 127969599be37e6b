using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Testing;

public sealed partial class InMemoryEngine : IGroupStore
{
    readonly Dictionary<(string Org, SessionKey Group), SortedDictionary<long, long>> groupMarks = [];
    readonly Dictionary<(string Org, SessionKey Group, string User, string Node), DateTimeOffset> connections = [];

    public ValueTask<GroupMark> MarkBySeq(string org, SessionKey group, long seq, CancellationToken ct) => LastMark(org, group, mark => mark.Seq <= seq, ct);

    public ValueTask<GroupMark> MarkByFeedId(string org, SessionKey group, long feedId, CancellationToken ct) => LastMark(org, group, mark => mark.FeedId <= feedId, ct);

    public ValueTask PutMarks(string org, SessionKey group, IReadOnlyList<GroupMark> marks, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            if (!groupMarks.TryGetValue((org, group), out var there))
            {
                groupMarks[(org, group)] = there = [];
            }
            foreach (var mark in marks)
            {
                there.TryAdd(mark.FeedId, mark.Seq);
            }
            return default;
        }
    }

    public ValueTask PutConnections(string node, IReadOnlyList<GroupConnection> connections, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            foreach (var connection in connections)
            {
                var key = (connection.Org, connection.Group, connection.User, node);
                if (connection.Since is { } since)
                {
                    this.connections[key] = since;
                }
                else
                {
                    this.connections.Remove(key);
                }
            }
            return default;
        }
    }

    public ValueTask<IReadOnlyList<ConnectedUser>> Connected(string org, SessionKey group, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new([.. connections.Where(c => c.Key.Org == org && c.Key.Group == group && nodes.Any(node => node.Id == c.Key.Node && node.IsAlive))
                .GroupBy(c => c.Key.User, (user, of) => new ConnectedUser(user, of.Min(c => c.Value))).OrderBy(user => user.User, StringComparer.Ordinal)]);
        }
    }

    public ValueTask<int> ForgetConnections(CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            var dead = connections.Keys.Where(key => !nodes.Any(node => node.Id == key.Node && node.IsAlive)).ToList();
            dead.ForEach(key => connections.Remove(key));
            return new(dead.Count);
        }
    }

    ValueTask<GroupMark> LastMark(string org, SessionKey group, Func<GroupMark, bool> fits, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new((groupMarks.GetValueOrDefault((org, group)) ?? []).Select(mark => new GroupMark(mark.Key, mark.Value)).LastOrDefault(fits));
        }
    }
}
