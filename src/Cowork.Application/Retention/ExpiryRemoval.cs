using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Removes the data of one deleted session, or of one day's events. Its first act is an event that says which data expires; once a signed head covers that, tombstones take the
/// place of the data, some with each transaction, and with them go the rows that were folded from it. It may be interrupted anywhere and repeated.
/// </summary>
public sealed class ExpiryRemoval(
    CommandHandler commands, ICommandExecutor executor, IExpiryStore store, IRetentionQueries queries, AuditHeadLog heads, ITexts texts, RetentionSweep sweep, IJobQueue queue)
    : IJobHandler
{
    /// <summary>The job's key is the stream that <see cref="IExpiryStore"/> knows what expires by.</summary>
    public const string JobKind = "expiry";

    /// <summary>So long what was deleted is there for whoever deleted it by mistake. The database refuses to remove anything that is younger.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromDays(1);

    /// <summary>Events of one transaction.</summary>
    public const int EventsMax = 500;

    /// <summary>The longest pause between two looks.</summary>
    static readonly TimeSpan LookMax = TimeSpan.FromDays(1);

    static readonly TimeSpan HeadPause = TimeSpan.FromSeconds(5);

    static readonly TimeSpan ModelsPause = TimeSpan.FromSeconds(1);

    /// <summary>The database lets minutes pass before the first event is removed.</summary>
    static readonly TimeSpan KeptPause = TimeSpan.FromMinutes(1);

    public string Kind => JobKind;

    /// <summary>The session of a stream; null: it is a day's.</summary>
    public static SessionKey? SessionOf(string stream) =>
        stream.StartsWith(Session.Aggregate.Name + "-", StringComparison.Ordinal) ? new(Session.Aggregate.KeyOf(stream)) : null;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        if (SessionOf(claim.Key) is { } session)
        {
            if (await Expire(claim.Org, session, ct) is { } pause)
            {
                return await Again(claim, pause, ct);
            }
            if (await commands.LatestState(claim.Org, Session.Aggregate, session, ct) is not Session.Expired { IsRemoved: false })
            {
                return false;
            }
        }
        else if (!await IsExpired(claim.Org, claim.Key, ct))
        {
            return false;
        }
        if (await NotCovered(claim.Org, claim.Key, ct))
        {
            return await Again(claim, HeadPause, ct);
        }
        for (var after = 0L; ;)
        {
            var removal = await store.Remove(claim.Org, claim.Key, after, EventsMax, ct);
            switch (removal.Step)
            {
                case RemovalStep.Later:
                    return await Again(claim, ModelsPause, ct);
                case RemovalStep.Kept:
                    return await Again(claim, KeptPause, ct);
                case RemovalStep.Further:
                    after = removal.Through;
                    continue;
                case RemovalStep.Done:
                    break;
            }
            break;
        }
        if (SessionOf(claim.Key) is { } of)
        {
            await texts.Remove(claim.Org, TextKey.OfSession(of), null, ct);
        }
        var finished = await executor.Execute(
            claim.Org, RetentionSweep.System, new FinishExpiry(claim.Key, await store.Figures(claim.Org, claim.Key, ct), claim), ct, waitForStorage: true);
        return finished.Refused?.Code switch
        {
            null or "run_fenced" => true,
            "stream_busy" => await Again(claim, ModelsPause, ct),
            var code => throw new InvalidOperationException($"The removal of {claim.Key} cannot be recorded: {code}."),
        };
    }

    /// <summary>Lets a deleted session expire if its time has come. Answers how long it is until somebody has to look again; null: there is nothing to wait for.</summary>
    async ValueTask<TimeSpan?> Expire(string org, SessionKey session, CancellationToken ct)
    {
        while (true)
        {
            var known = await commands.Known(org, Session.Aggregate, session, static _ => false, ct);
            if (known.State is not Session.Deleted { IsHeld: false, IsOfGroup: false } deleted)
            {
                return null;
            }
            var (days, _) = await sweep.Periods(org, ct);
            if (days == 0)
            {
                return null;
            }
            if (deleted.LiveRuns().Any() || (await queries.InUse(org, ct)).Contains(session.Value))
            {
                return LookMax;
            }
            var stream = Session.Aggregate.Stream(session);
            if (await store.Named(org, stream, ct) is not { } named)
            {
                return null;
            }
            // What retention has deleted waits for no second period, but for what a period has become longer by since.
            var wait = deleted.Days is { } over ? Grace + TimeSpan.FromDays(Math.Max(0, days - over)) : TimeSpan.FromDays(days);
            var left = named.LastAt + wait - await sweep.Now(ct);
            if (left > TimeSpan.Zero)
            {
                return left;
            }
            var result = await executor.Execute(
                org, RetentionSweep.System, new ExpireSession(session, named.After(Math.Max(deleted.Days ?? days, days)), known.Version), ct, waitForStorage: true);
            if (result.Refused is { Code: not ("session_held" or "session_active" or "stream_busy") } refused)
            {
                throw new InvalidOperationException($"The session {session} cannot expire: {refused.Code}.");
            }
        }
    }

    async ValueTask<bool> IsExpired(string org, string stream, CancellationToken ct) => stream.StartsWith(SecurityDay.Aggregate.Name + "-", StringComparison.Ordinal)
        ? (await commands.LatestState(org, SecurityDay.Aggregate, new DayKey(SecurityDay.Aggregate.KeyOf(stream)), ct)).Expiry == DayExpiry.Expired
        : (await commands.LatestState(org, HostDay.Aggregate, new DayKey(HostDay.Aggregate.KeyOf(stream)), ct)).Expiry == DayExpiry.Expired;

    /// <summary>True: no signed head has the event yet by which the data expired.</summary>
    async ValueTask<bool> NotCovered(string org, string stream, CancellationToken ct) =>
        await heads.Latest(ct) is not { } head || await store.ExpiredAt(org, stream, ct) is not { } position || head.Head.TreeSize < position;

    async Task<bool> Again(Claim claim, TimeSpan after, CancellationToken ct)
    {
        await queue.Release(claim, after < LookMax ? after : LookMax, ct);
        return true;
    }
}
