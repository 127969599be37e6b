using System.Globalization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>How groups are kept.</summary>
public sealed record GroupOptions
{
    /// <summary><c>Cowork:Groups:IdleAfter</c>: a group in which nothing happens for so long is archived. Zero: none is.</summary>
    public TimeSpan IdleAfter { get; init; } = TimeSpan.FromDays(7);
}

/// <summary>
/// Archives groups in which nothing happens. Each active group is one job, due when it would be idle if nothing more happened: messages cost nothing, because whoever holds
/// the job looks when the group's last event was, and plans the next look from there.
/// </summary>
public sealed class IdleGroups(CommandHandler commands, IEventLog log, IJobQueue queue, GroupOptions options, TimeProvider clock) : IJobHandler
{
    /// <summary>The job's key is the group's.</summary>
    public const string JobKind = "group_idle";

    /// <summary>The longest pause between two looks: a clock that was wrong once must not keep a group for years.</summary>
    static readonly TimeSpan LookMax = TimeSpan.FromDays(1);

    static readonly Origin System = new("system");

    public string Kind => JobKind;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        var key = new GroupKey(claim.Key);
        if (options.IdleAfter <= TimeSpan.Zero)
        {
            // A host with another configuration, or this one after a restart, looks again.
            await queue.Release(claim, LookMax, ct);
            return true;
        }
        while (await Left(claim.Org, key, ct) is var (left, session))
        {
            if (left > TimeSpan.Zero)
            {
                await queue.Release(claim, left < LookMax ? left : LookMax, ct);
                return true;
            }
            if (await Archive(claim, key, session, ct))
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>False: something happened in the group after the look.</summary>
    /// <param name="session">The session's version at the look.</param>
    async Task<bool> Archive(Claim claim, GroupKey key, long session, CancellationToken ct)
    {
        var isIdle = false;
        var refused = await commands.Commit(
            claim.Org, System,
            async work =>
            {
                // What the look rests on is judged once more: a message that came first has moved the group's stream, and a run the session's.
                await work.PinnedState(Session.Aggregate, key.Session);
                isIdle = await work.Version(Session.Aggregate, key.Session) == session
                    && await work.State(Group.Aggregate, key) is Group.Live { Archive: null } group && group.SaidAt <= work.Now - options.IdleAfter;
                if (!isIdle)
                {
                    return null;
                }
                work.Finish(claim);
                return await new ArchiveGroup(key, Content.Of($"Nothing happened in it for {Text(options.IdleAfter)}."), null, ByAdmin: false).Close(work, isIdle: true);
            },
            ct, waitForStorage: true);
        return refused is null or { Code: "run_fenced" } ? isIdle
            : throw new InvalidOperationException($"The idle group {key} cannot be archived: {refused.Code}.");
    }

    /// <summary>How long the group is not idle yet if nothing happens, as of a version of its session; null: it is not active any more.</summary>
    async ValueTask<(TimeSpan Left, long Session)?> Left(string org, GroupKey key, CancellationToken ct)
    {
        if (await commands.LatestState(org, Group.Aggregate, key, ct) is not Group.Live { Archive: null } group)
        {
            return null;
        }
        var session = await commands.Known(org, Session.Aggregate, key.Session, static _ => false, ct);
        if (session.State.LiveRuns().Any())
        {
            return (options.IdleAfter, session.Version);
        }
        var head = (await log.Feed(org, key.Session, long.MaxValue, 1, ct)).Head;
        var last = (await log.Feed(org, key.Session, head - 1, 1, ct)).Entries is [var entry, ..] ? entry.At : group.SaidAt;
        return ((last > group.SaidAt ? last : group.SaidAt) + options.IdleAfter - clock.GetUtcNow(), session.Version);
    }

    static string Text(TimeSpan time) => time.TotalDays >= 1
        ? string.Create(CultureInfo.InvariantCulture, $"{time.TotalDays:0.##} days")
        : string.Create(CultureInfo.InvariantCulture, $"{time.TotalMinutes:0.##} minutes");
}
