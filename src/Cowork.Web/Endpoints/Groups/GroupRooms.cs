using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Threading.Channels;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Groups;

/// <summary>The groups that somebody is connected to through this host. Each has one reader of its feed, however many are connected.</summary>
public sealed class GroupRooms(FeedHub hub, GroupFeed feed, TimeProvider clock, ILogger<GroupRoom> logger)
{
    /// <summary>Messages of a reader that is behind, for one read of the database.</summary>
    const int BehindMax = 256;

    /// <summary>Bytes of them.</summary>
    const long BehindBytesMax = 1 << 20;

    static readonly TimeSpan RetryStorageAfter = TimeSpan.FromMilliseconds(500);

    readonly ConcurrentDictionary<(string Org, GroupKey Group), GroupRoom> rooms = new();

    /// <summary>Groups with a reader.</summary>
    public int Count => rooms.Count;

    /// <summary>Takes a seat in the group's room until it is disposed. From now on the seat hears when its user may no longer stay.</summary>
    public async ValueTask<GroupSeat> Enter(string org, GroupKey group, string user, CancellationToken ct)
    {
        while (true)
        {
            var room = rooms.GetOrAdd((org, group), key => new(key.Org, key.Group, hub, feed, clock, logger));
            if (room.Enter(this, user) is { } seat)
            {
                try
                {
                    await room.Started.WaitAsync(ct);
                    return seat;
                }
                catch
                {
                    seat.Dispose();
                    throw;
                }
            }
            // The last one has just left it, or it failed.
            rooms.TryRemove(new((org, group), room));
        }
    }

    internal void Leave(GroupRoom room, GroupSeat seat)
    {
        if (room.Leave(seat))
        {
            rooms.TryRemove(new((room.Org, room.Group), room));
        }
    }

    /// <summary>The messages after a place, every one once and in order, until the token is cancelled or the seat's user must go.</summary>
    internal async IAsyncEnumerable<GroupMessage> Follow(GroupRoom room, GroupSeat seat, long since, [EnumeratorCancellation] CancellationToken ct)
    {
        var last = since;
        while (!seat.IsOver(last))
        {
            if (room.After(last) is { } recent)
            {
                foreach (var message in recent)
                {
                    last = message.Seq;
                    yield return message;
                }
                if (recent.Count == 0)
                {
                    await seat.News.ReadAsync(ct);
                }
                continue;
            }
            foreach (var message in await Behind(room, last, ct))
            {
                last = message.Seq;
                yield return message;
            }
        }
    }

    /// <summary>Messages that the room no longer holds, and none that it has not shown yet.</summary>
    async ValueTask<IReadOnlyList<GroupMessage>> Behind(GroupRoom room, long since, CancellationToken ct)
    {
        while (true)
        {
            try
            {
                return (await feed.Page(room.Org, room.Group, since, BehindMax, BehindBytesMax, room.Seq, ct)).Messages;
            }
            catch (StorageUnavailableException)
            {
                // The reader stays until the database is back.
                await Task.Delay(RetryStorageAfter, clock, ct);
            }
        }
    }
}

/// <summary>
/// A group that somebody is connected to through this host: its feed is read once and rendered once for all of them. It holds the last messages; a reader that is further
/// behind reads the database, so that a slow one costs its place and nothing else.
/// </summary>
public sealed partial class GroupRoom : IDisposable
{
    /// <summary>Messages that are held at the most, and their bytes. The last one is always held.</summary>
    const int HeldMax = 512;
    const long HeldBytesMax = 1 << 20;

    /// <summary>Messages that a reader takes at once.</summary>
    const int TakenMax = 64;

    static readonly TimeSpan RetryStorageAfter = TimeSpan.FromMilliseconds(500);

    readonly Lock gate = new();
    readonly CancellationTokenSource over = new();
    readonly TaskCompletionSource started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly HashSet<GroupSeat> seats = [];
    readonly Queue<GroupMessage> held = [];
    readonly FeedHub hub;
    readonly GroupFeed feed;
    readonly TimeProvider clock;
    readonly ILogger logger;
    long heldBytes;
    long seq;
    bool isOver;

    internal GroupRoom(string org, GroupKey group, FeedHub hub, GroupFeed feed, TimeProvider clock, ILogger logger)
    {
        (Org, Group, this.hub, this.feed, this.clock, this.logger) = (org, group, hub, feed, clock, logger);
        _ = Run();
    }

    public string Org { get; }

    public GroupKey Group { get; }

    /// <summary>Seq of the last message that was shown.</summary>
    public long Seq => Volatile.Read(ref seq);

    /// <summary>Done when the room knows the end of the feed, and fails when it cannot learn it.</summary>
    internal Task Started => started.Task;

    /// <summary>Null: the room is over, and there will be another.</summary>
    internal GroupSeat? Enter(GroupRooms rooms, string user)
    {
        lock (gate)
        {
            if (isOver)
            {
                return null;
            }
            var seat = new GroupSeat(rooms, this, user);
            seats.Add(seat);
            return seat;
        }
    }

    /// <summary>True: it was the last one, and the room is over.</summary>
    internal bool Leave(GroupSeat seat)
    {
        lock (gate)
        {
            if (!seats.Remove(seat) || seats.Count > 0 || isOver)
            {
                return false;
            }
            isOver = true;
        }
        over.Cancel();
        return true;
    }

    /// <summary>Some of the messages after a place; empty: there are none yet. Null: the room no longer holds the next one.</summary>
    internal IReadOnlyList<GroupMessage>? After(long last)
    {
        lock (gate)
        {
            return last >= seq ? []
                : held.TryPeek(out var first) && first.Seq <= last + 1 ? [.. held.Skip((int)(last + 1 - first.Seq)).Take(TakenMax)]
                : null;
        }
    }

    async Task Run()
    {
        await Task.Yield();
        var ct = over.Token;
        try
        {
            var at = await feed.Head(Org, Group, ct);
            Volatile.Write(ref seq, at.Seq);
            started.TrySetResult();
            var marks = new List<GroupMark>();
            while (!ct.IsCancellationRequested)
            {
                try
                {
                    await foreach (var entry in hub.Follow(Org, Group.Session, at.FeedId, ct))
                    {
                        var messages = await feed.Render(Org, entry, at.Seq, ct);
                        at = GroupFeed.Pass(at, entry, messages.Count, marks);
                        Show(messages);
                        Judge(entry);
                        if (marks.Count > 0)
                        {
                            await feed.Leave(Org, Group, marks, ct);
                            marks.Clear();
                        }
                    }
                }
                catch (StorageUnavailableException)
                {
                    await clock.Pause(RetryStorageAfter, ct);
                }
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // Everybody has left.
        }
#pragma warning disable CA1031 // Whatever it is, those who are connected must not wait for messages that never come.
        catch (Exception e)
#pragma warning restore CA1031
        {
            if (e is not StorageUnavailableException)
            {
                LogFailed(logger, e, Group);
            }
            Fail(e);
        }
        finally
        {
            Dispose();
        }
    }

    public void Dispose() => over.Dispose();

    void Show(IReadOnlyList<GroupMessage> messages)
    {
        if (messages.Count == 0)
        {
            return;
        }
        lock (gate)
        {
            foreach (var message in messages)
            {
                held.Enqueue(message);
                heldBytes += message.Json.Length;
            }
            while (held.Count > 1 && (held.Count > HeldMax || heldBytes > HeldBytesMax))
            {
                heldBytes -= held.Dequeue().Json.Length;
            }
            Volatile.Write(ref seq, messages[^1].Seq);
            foreach (var seat in seats)
            {
                seat.Tell();
            }
        }
    }

    /// <summary>Ends the seats of those who may no longer stay after an event.</summary>
    void Judge(FeedEntry entry)
    {
        if (entry.Is<GroupEvent.GroupMemberRemoved>())
        {
            var user = ((GroupEvent.GroupMemberRemoved)entry.Read()).User;
            foreach (var seat in Those(seat => seat.User == user))
            {
                seat.End(GroupEnds.Removed);
            }
        }
        else if (entry.Is<GroupEvent.GroupArchived>())
        {
            // Everybody sees the conversation to its end.
            foreach (var seat in Those(_ => true))
            {
                seat.EndBehind(Seq, GroupEnds.Archived);
            }
        }
    }

    List<GroupSeat> Those(Func<GroupSeat, bool> whose)
    {
        lock (gate)
        {
            return [.. seats.Where(whose)];
        }
    }

    void Fail(Exception e)
    {
        lock (gate)
        {
            isOver = true;
        }
        if (!started.TrySetException(e))
        {
            Those(_ => true).ForEach(seat => seat.End(GroupEnds.Failed));
        }
    }

    [LoggerMessage(1, LogLevel.Error, "The feed of {Group} cannot be shown; those who are connected are disconnected")]
    static partial void LogFailed(ILogger logger, Exception e, GroupKey group);
}

/// <summary>A connection's place in a group's room.</summary>
public sealed class GroupSeat : IDisposable
{
    readonly Channel<bool> news = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });
    readonly TaskCompletionSource<SocketEnd> ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly GroupRooms rooms;
    readonly GroupRoom room;
    volatile Ending? ending;

    internal GroupSeat(GroupRooms rooms, GroupRoom room, string user) => (this.rooms, this.room, User) = (rooms, room, user);

    public string User { get; }

    /// <summary>Done when the user may no longer stay.</summary>
    public Task<SocketEnd> Ended => ended.Task;

    /// <summary>Seq of the last message that the room has shown.</summary>
    public long Seq => room.Seq;

    internal ChannelReader<bool> News => news.Reader;

    /// <inheritdoc cref="GroupRooms.Follow"/>
    public IAsyncEnumerable<GroupMessage> Follow(long since, CancellationToken ct) => rooms.Follow(room, this, since, ct);

    internal void Tell() => news.Writer.TryWrite(true);

    /// <summary>The user must go at once.</summary>
    internal void End(SocketEnd end)
    {
        ended.TrySetResult(end);
        Tell();
    }

    /// <summary>Nothing comes after a message: the user goes when it has been sent.</summary>
    internal void EndBehind(long seq, SocketEnd end)
    {
        ending = new(seq, end);
        Tell();
    }

    /// <summary>True: the user must go, or has everything up to the end.</summary>
    internal bool IsOver(long last)
    {
        if (ending is { } at && last >= at.Seq)
        {
            End(at.End);
        }
        return ended.Task.IsCompleted;
    }

    public void Dispose() => rooms.Leave(room, this);

    sealed record Ending(long Seq, SocketEnd End);
}

/// <summary>Why the host ends a connection to a group, beside the limits of <see cref="FrameGuard"/>. Codes from 4000 on are ours (docs/groups.md).</summary>
static class GroupEnds
{
    public static SocketEnd Stopping { get; } = new(1001, "The host stops. Reconnect with since.");

    public static SocketEnd Failed { get; } = new(1011, "Something went wrong here. Reconnect with since.");

    public static SocketEnd NoMemory { get; } = new(1013, "This host has no memory for the message at the moment.");

    public static SocketEnd AccessEnded { get; } = new(4401, "What the token was issued for is no longer valid.");

    public static SocketEnd Removed { get; } = new(4403, "You are no longer a member of the group.");

    public static SocketEnd Archived { get; } = new(4409, "The group is archived.");
}
