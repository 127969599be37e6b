using Cowork.Domain;

namespace Cowork.Application.Storage;

/// <summary>
/// What a database keeps of groups beside the log: marks in their feeds, and who is connected. None of it is a fact. A mark that is lost is counted again from the feed,
/// and a host that lives writes its connections again.
/// </summary>
public interface IGroupStore
{
    /// <summary>The last mark of the group's feed whose message is not after <paramref name="seq"/>; <see cref="GroupMark.Begin"/>: there is none.</summary>
    ValueTask<GroupMark> MarkBySeq(string org, SessionKey group, long seq, CancellationToken ct);

    /// <summary>The last mark of the group's feed whose event is not after <paramref name="feedId"/>; <see cref="GroupMark.Begin"/>: there is none.</summary>
    ValueTask<GroupMark> MarkByFeedId(string org, SessionKey group, long feedId, CancellationToken ct);

    /// <summary>Keeps marks. One that is there stays, because any host counts the same.</summary>
    ValueTask PutMarks(string org, SessionKey group, IReadOnlyList<GroupMark> marks, CancellationToken ct);

    /// <summary>Writes who is, and who is no longer, connected to a node.</summary>
    ValueTask PutConnections(string node, IReadOnlyList<GroupConnection> connections, CancellationToken ct);

    /// <summary>Who is connected to a node that lives, each user once, ordered by user.</summary>
    ValueTask<IReadOnlyList<ConnectedUser>> Connected(string org, SessionKey group, CancellationToken ct);

    /// <summary>Deletes the connections of nodes that do not live any more. Answers how many there were.</summary>
    ValueTask<int> ForgetConnections(CancellationToken ct);
}

/// <summary>A place in a group's feed.</summary>
/// <param name="FeedId">Of an event; 0: before the first.</param>
/// <param name="Seq">Of the last message that the feed shows up to that event, the event included.</param>
public readonly record struct GroupMark(long FeedId, long Seq)
{
    public static GroupMark Begin => default;
}

/// <param name="Since">Null: the user is no longer connected to the node.</param>
public sealed record GroupConnection(string Org, SessionKey Group, string User, DateTimeOffset? Since);

/// <param name="Since">When the first of the user's connections that are open began.</param>
public sealed record ConnectedUser(string User, DateTimeOffset Since);
