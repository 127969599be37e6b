using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Web.Endpoints.Groups;

/// <summary>
/// Tells all hosts who is connected to a group through this one: a row for each user, with the name under which this node lives, so that a host that dies takes its
/// rows with it when its lease is over. A user's first connection and the end of the last one are written, and nothing between.
/// </summary>
/// <param name="node">The name under which this node lives now. It changes when a lease was lost.</param>
public sealed partial class GroupConnections(IGroupStore store, Func<string> node, TimeProvider clock, ILogger<GroupConnections> logger) : IDisposable
{
    /// <summary>So often the node's name, and what could not be written, is looked at again.</summary>
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);

    /// <summary>So often the rows of nodes that have died are deleted. Until then nobody is shown them.</summary>
    static readonly TimeSpan ForgetEvery = TimeSpan.FromMinutes(1);

    readonly Lock gate = new();
    readonly Dictionary<Connected, (int Count, DateTimeOffset Since)> open = [];
    readonly HashSet<Connected> changed = [];
    readonly SemaphoreSlim wake = new(0);

    /// <summary>Users of groups that are connected through this host.</summary>
    public int Count
    {
        get
        {
            lock (gate)
            {
                return open.Count;
            }
        }
    }

    /// <summary>Counts a connection until it is disposed.</summary>
    public IDisposable Open(string org, GroupKey group, string user)
    {
        var connected = new Connected(org, group.Session, user);
        lock (gate)
        {
            var (count, since) = open.GetValueOrDefault(connected, (0, clock.GetUtcNow()));
            open[connected] = (count + 1, since);
            if (count == 0)
            {
                Change(connected);
            }
        }
        return new Connection(() => Close(connected));
    }

    /// <summary>Writes until the token is cancelled. A node that leaves is no longer asked for its rows.</summary>
    public async Task Run(CancellationToken ct)
    {
        var (writtenAs, forgotten) = (node(), (long?)null);
        while (!ct.IsCancellationRequested)
        {
            try
            {
                if (forgotten is not { } at || clock.GetElapsedTime(at) >= ForgetEvery)
                {
                    await store.ForgetConnections(ct);
                    forgotten = clock.GetTimestamp();
                }
                if (node() is var now && now != writtenAs)
                {
                    // Rows under the old name are those of a node that has died.
                    lock (gate)
                    {
                        changed.UnionWith(open.Keys);
                    }
                    writtenAs = now;
                }
                await Write(writtenAs, ct);
                using var enough = CancellationTokenSource.CreateLinkedTokenSource(ct);
                await Task.WhenAny(wake.WaitAsync(enough.Token), Task.Delay(LookEvery, clock, enough.Token));
                await enough.CancelAsync();
            }
            catch (StorageUnavailableException)
            {
                await clock.Pause(LookEvery, ct);
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                break;
            }
#pragma warning disable CA1031 // Whatever it is, who is connected must go on being told.
            catch (Exception e)
#pragma warning restore CA1031
            {
                LogFailed(e);
                await clock.Pause(LookEvery, ct);
            }
        }
    }

    void Close(Connected connected)
    {
        lock (gate)
        {
            var (count, since) = open[connected];
            if (count > 1)
            {
                open[connected] = (count - 1, since);
                return;
            }
            open.Remove(connected);
            Change(connected);
        }
    }

    void Change(Connected connected)
    {
        changed.Add(connected);
        if (wake.CurrentCount == 0)
        {
            wake.Release();
        }
    }

    public void Dispose() => wake.Dispose();

    async Task Write(string name, CancellationToken ct)
    {
        List<GroupConnection> now;
        lock (gate)
        {
            now = [.. changed.Select(of => new GroupConnection(of.Org, of.Group, of.User, open.TryGetValue(of, out var there) ? there.Since : null))];
            changed.Clear();
        }
        if (now.Count == 0)
        {
            return;
        }
        try
        {
            await store.PutConnections(name, now, ct);
        }
        catch
        {
            lock (gate)
            {
                changed.UnionWith(now.Select(of => new Connected(of.Org, of.Group, of.User)));
            }
            throw;
        }
    }

    readonly record struct Connected(string Org, SessionKey Group, string User);

    sealed class Connection(Action close) : IDisposable
    {
        int isClosed;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref isClosed, 1) == 0)
            {
                close();
            }
        }
    }

    [LoggerMessage(1, LogLevel.Error, "Who is connected to groups could not be written, and is tried again")]
    partial void LogFailed(Exception e);
}
