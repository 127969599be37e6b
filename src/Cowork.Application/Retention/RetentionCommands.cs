using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Sets how long the tenant's data is kept, and looks at once for what is due.</summary>
public sealed record ChangeRetention(RetentionPeriods Periods, string? Reason, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(Domain.Retention.Aggregate, Domain.Retention.Key, new SetRetention(Periods, Reason, work.Now));
        work.Start(new Job(RetentionSweep.JobKind, RetentionSweep.JobKey));
        return Header is null ? refused : await Header.Claim(work, Domain.Retention.Aggregate, Domain.Retention.Key) ?? refused;
    }
}

/// <summary>Keeps what happened in a session from expiring, also after its deletion, until it is released.</summary>
public sealed record HoldSession(SessionKey Session, string Reason, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await SessionOfGroup.WhyRefused(work, Session)
            ?? await work.Do(Domain.Session.Aggregate, Session, new SessionCommand.Hold(Reason, work.Now), Session)
            ?? (await SubjectOf(work, Session) is { } subject ? await work.Do(DataSubject.Aggregate, subject, new DataSubjectCommand.Hold(Session, work.Now)) : null);
        return Header is null ? refused : await Header.Claim(work, Domain.Session.Aggregate, Session) ?? refused;
    }

    /// <summary>The stream of the data subject whose session it is; null: it is nobody's.</summary>
    internal static async ValueTask<DigestKey?> SubjectOf(UnitOfWork work, SessionKey session) =>
        (await work.State(Domain.Session.Aggregate, session) as IOfSubject)?.Subject is { } subject ? DataSubject.KeyOf(subject) : null;
}

/// <summary>Ends what <see cref="HoldSession"/> began.</summary>
public sealed record ReleaseSession(SessionKey Session) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work) =>
        await SessionOfGroup.WhyRefused(work, Session)
            ?? await work.Do(Domain.Session.Aggregate, Session, new SessionCommand.Release(work.Now), Session)
            ?? (await HoldSession.SubjectOf(work, Session) is { } subject
                ? await work.Do(DataSubject.Aggregate, subject, new DataSubjectCommand.Release(Session, work.Now))
                : null);
}

/// <summary>Deletes a session whose period is over, as somebody would, and plans the removal. No-op: something happened in it after it was looked at.</summary>
/// <param name="Version">Of the session's stream when it was looked at.</param>
public sealed record RetireSession(SessionKey Session, int Days, long Version) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (await work.Version(Domain.Session.Aggregate, Session) != Version
            || await work.State(Domain.Session.Aggregate, Session) is not Session.Open { IsHeld: false, Group: null } open || open.LiveRuns().Any())
        {
            return null;
        }
        var refused = await new DeleteSession(Session, Days).Decide(work);
        work.Start(new Job(ExpiryRemoval.JobKind, Domain.Session.Aggregate.Stream(Session), work.Now + ExpiryRemoval.Grace));
        return refused;
    }
}

/// <summary>Lets the data of a deleted session expire. No-op: something happened in its stream after it was looked at.</summary>
/// <param name="Version">Of the session's stream when it was looked at.</param>
public sealed record ExpireSession(SessionKey Session, ExpiredEvents Expired, long Version) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work) =>
        await work.Version(Domain.Session.Aggregate, Session) == Version
            ? await work.Do(Domain.Session.Aggregate, Session, new SessionCommand.Expire(Expired, work.Now), Session)
            : null;
}

/// <summary>Lets the data of a day's security events, or of its hosts', expire, and starts the removal.</summary>
/// <param name="Stream">Of the day.</param>
public sealed record ExpireDay(string Stream, ExpiredEvents Expired) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        work.Start(new Job(ExpiryRemoval.JobKind, Stream));
        return Stream.StartsWith(SecurityDay.Aggregate.Name + "-", StringComparison.Ordinal)
            ? await work.Do(SecurityDay.Aggregate, new(SecurityDay.Aggregate.KeyOf(Stream)), new ExpireSecurity(Expired, work.Now))
            : await work.Do(HostDay.Aggregate, new(HostDay.Aggregate.KeyOf(Stream)), new HostCommand.Expire(Expired, work.Now));
    }
}

/// <summary>Records that the data is gone, and ends the job.</summary>
public sealed record FinishExpiry(string Stream, RemovedFigures Removed, Claim Claim) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        work.Finish(Claim);
        return ExpiryRemoval.SessionOf(Stream) is { } session
            ? await work.Do(
                Session.Aggregate, session, new SessionCommand.FinishExpiry(Removed.Events, Removed.Bytes, Removed.Blobs, Removed.TombstonesSha256, work.Now), session)
            : Stream.StartsWith(SecurityDay.Aggregate.Name + "-", StringComparison.Ordinal)
                ? await work.Do(
                    SecurityDay.Aggregate, new(SecurityDay.Aggregate.KeyOf(Stream)), new FinishSecurityExpiry(Removed.Events, Removed.TombstonesSha256, work.Now))
                : await work.Do(
                    HostDay.Aggregate, new(HostDay.Aggregate.KeyOf(Stream)), new HostCommand.FinishExpiry(Removed.Events, Removed.TombstonesSha256, work.Now));
    }
}
