using System.Collections.Concurrent;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

namespace Cowork.Web.Endpoints.Groups;

/// <summary>
/// Tells connections to groups when the API token or the key of an app that asked for their routing token is revoked, within a second on every host: each hears of
/// commits, its own and those of the others, and looks for what its connections rest on.
/// </summary>
public sealed class GroupCredentials(IRows rows, TimeProvider clock) : ICommitObserver
{
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(200);

    readonly ConcurrentDictionary<Watch, bool> open = new();
    long heard;

    /// <summary>Watches a credential until the watch is disposed.</summary>
    /// <param name="via">Null: there is nothing to revoke.</param>
    public Watch Enter(string org, RoutingCredential? via)
    {
        var watch = new Watch(org, via, watch => open.TryRemove(watch, out _));
        if (via is not null)
        {
            open[watch] = true;
        }
        return watch;
    }

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        foreach (var entry in entries)
        {
            if (entry.Is<ApiTokenEvent.TokenRevoked>() || entry.Is<AppKeyEvent.AppKeyRevoked>())
            {
                OthersWrote();
            }
        }
    }

    /// <summary>Revocations may be among what others wrote.</summary>
    public void OthersWrote() => Interlocked.Increment(ref heard);

    /// <summary>Looks until the token is cancelled.</summary>
    public async Task Run(CancellationToken ct)
    {
        while (await clock.Pause(LookEvery, ct))
        {
            try
            {
                await Look(ct);
            }
            catch (StorageUnavailableException)
            {
                // They are looked at again in a moment.
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                return;
            }
        }
    }

    async Task Look(CancellationToken ct)
    {
        var known = Interlocked.Read(ref heard);
        foreach (var group in open.Keys.Where(watch => watch.Seen != known).GroupBy(watch => (watch.Org, TableOf(watch.Via!))).ToList())
        {
            var there = (await rows.Get(group.Key.Org, group.Key.Item2, [.. group.Select(watch => watch.Via!.Key).Distinct()], ct))
                .Select(row => row.Key).ToHashSet(StringComparer.Ordinal);
            foreach (var watch in group)
            {
                watch.Seen = known;
                if (!there.Contains(watch.Via!.Key))
                {
                    watch.End();
                }
            }
        }
    }

    static string TableOf(RoutingCredential via) => via.IsAppKey ? AppKeys.Model.Table : Tokens.Model.Table;

    /// <summary>A credential that is watched.</summary>
    public sealed class Watch : IDisposable
    {
        readonly TaskCompletionSource gone = new(TaskCreationOptions.RunContinuationsAsynchronously);
        readonly Action<Watch> leave;

        internal Watch(string org, RoutingCredential? via, Action<Watch> leave) => (Org, Via, this.leave) = (org, via, leave);

        /// <summary>Done when the credential is revoked.</summary>
        public Task Gone => gone.Task;

        internal string Org { get; }

        internal RoutingCredential? Via { get; }

        /// <summary>What had been heard of when it was looked at; it is looked at once in any case.</summary>
        internal long Seen { get; set; } = -1;

        internal void End() => gone.TrySetResult();

        public void Dispose() => leave(this);
    }
}
