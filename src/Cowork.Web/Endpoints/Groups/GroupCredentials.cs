using System.Collections.Concurrent;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Groups;

/// <summary>
/// Tells connections to groups when what asked for their routing token is worth nothing any more, within a second on every host: an app's key is revoked, or an API token
/// is, or it expires, the secret that was sent is replaced, or the role is gone that messages need. Each host hears of commits, its own and those of the others, and looks
/// for what its connections rest on. A token of the authority ends with its time, or with the key that signed it; the roles that it names are what it says until then.
/// </summary>
/// <param name="authority">Null: nothing that its tokens opened goes on.</param>
public sealed class GroupCredentials(IRows rows, TimeProvider clock, AuthorityKeys? authority = null) : ICommitObserver
{
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(200);

    static readonly RequiredRole Needs = new(Roles.Member, Roles.Admin);

    static readonly ErrorResult Gone = ErrorResult.Of(TokenRefusals.Invalid("What it was issued for is no longer valid.")) with
    {
        Challenge = "Bearer realm=\"cowork\", error=\"invalid_token\"",
    };

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

    /// <summary>Why a credential lets nobody connect at this moment: 401 with <c>token_invalid</c>, 403 with <c>role_missing</c>. Null: it does.</summary>
    public async ValueTask<ErrorResult?> WhyGone(Watch watch, CancellationToken ct)
    {
        if (watch.Via is not { } via)
        {
            return null;
        }
        if (via.Kind == RoutingCredentialKind.AuthorityToken)
        {
            return via.Until <= clock.GetUtcNow() || authority is null || !await authority.Finds(via.Key, ct) ? Gone : null;
        }
        var row = await rows.Get(watch.Org, TableOf(via), via.Key, ct);
        return WhyGone(watch, row?.Json, clock.GetUtcNow()).Why;
    }

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        foreach (var entry in entries)
        {
            if (entry.Is<ApiTokenEvent.TokenRevoked>() || entry.Is<ApiTokenEvent.TokenRolesChanged>() || entry.Is<ApiTokenEvent.TokenRotated>()
                || entry.Is<AppKeyEvent.AppKeyRevoked>())
            {
                OthersWrote();
            }
        }
    }

    /// <summary>What ends a credential may be among what others wrote.</summary>
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
        var now = clock.GetUtcNow();
        var unsure = new List<Watch>();
        foreach (var (watch, _) in open)
        {
            if (watch.Gone.IsCompleted)
            {
                continue;
            }
            if (watch.Via!.Kind == RoutingCredentialKind.AuthorityToken)
            {
                if (watch.Via.Until <= now || authority?.Has(watch.Via.Key) == false)
                {
                    watch.End();
                }
            }
            else if (watch.Seen != known || watch.Until <= now)
            {
                unsure.Add(watch);
            }
        }
        foreach (var group in unsure.GroupBy(watch => (watch.Org, TableOf(watch.Via!))).ToList())
        {
            var there = (await rows.Get(group.Key.Org, group.Key.Item2, [.. group.Select(watch => watch.Via!.Key).Distinct()], ct))
                .ToDictionary(row => row.Key, row => row.Json, StringComparer.Ordinal);
            foreach (var watch in group)
            {
                var (gone, until) = WhyGone(watch, there.TryGetValue(watch.Via!.Key, out var row) ? (ReadOnlyMemory<byte>?)row : null, now);
                (watch.Seen, watch.Until) = (known, until);
                if (gone is not null)
                {
                    watch.End();
                }
            }
        }
    }

    /// <param name="row">Null: there is none.</param>
    static (ErrorResult? Why, DateTimeOffset? Until) WhyGone(Watch watch, ReadOnlyMemory<byte>? row, DateTimeOffset now)
    {
        if (row is not { } json)
        {
            return (Gone, null);
        }
        if (watch.Via!.Kind == RoutingCredentialKind.AppKey)
        {
            return (null, null);
        }
        var token = Tokens.Model.Read(json.Span)!;
        var isCurrent = watch.Via.IsOf(token.SecretSha256);
        if (!isCurrent && !watch.Via.IsOf(token.PreviousSha256))
        {
            return (Gone, null);
        }
        var until = isCurrent ? token.ExpiresAt : token.PreviousUntil;
        return (until <= now ? Gone : Needs.RefusalOf(token.Roles), until);
    }

    static string TableOf(RoutingCredential via) => via.Kind == RoutingCredentialKind.AppKey ? AppKeys.Model.Table : Tokens.Model.Table;

    /// <summary>A credential that is watched.</summary>
    public sealed class Watch : IDisposable
    {
        readonly TaskCompletionSource gone = new(TaskCreationOptions.RunContinuationsAsynchronously);
        readonly Action<Watch> leave;

        internal Watch(string org, RoutingCredential? via, Action<Watch> leave) => (Org, Via, this.leave) = (org, via, leave);

        /// <summary>Done when the credential is worth nothing any more.</summary>
        public Task Gone => gone.Task;

        internal string Org { get; }

        internal RoutingCredential? Via { get; }

        /// <summary>What had been heard of when it was looked at; it is looked at once in any case.</summary>
        internal long Seen { get; set; } = -1;

        /// <summary>When the credential ends by itself; null: it does not, or nobody has looked.</summary>
        internal DateTimeOffset? Until { get; set; }

        internal void End() => gone.TrySetResult();

        public void Dispose() => leave(this);
    }
}
