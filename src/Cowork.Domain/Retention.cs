using static Cowork.Domain.RetentionEvent;

namespace Cowork.Domain;

/// <summary>How long a tenant's data is kept, in whole days.</summary>
/// <param name="SessionsDays">Of sessions after their last event, with all that happened in them; 0: for ever. Null: as the host's settings say.</param>
/// <param name="SecurityDays">Of the days of security events and of hosts; 0: for ever. Null: as the host's settings say.</param>
public sealed record RetentionPeriods(int? SessionsDays, int? SecurityDays);

/// <param name="Reason">Why, for who reads the log.</param>
public sealed record SetRetention(RetentionPeriods Periods, string? Reason, DateTimeOffset Now);

public abstract record RetentionEvent(DateTimeOffset At) : Event(At)
{
    /// <inheritdoc cref="RetentionPeriods"/>
    public sealed record RetentionSet(int? SessionsDays, int? SecurityDays, string? Reason, DateTimeOffset At) : RetentionEvent(At);
}

/// <summary>How long a tenant's data is kept.</summary>
public sealed record Retention(RetentionPeriods Periods)
{
    public static Aggregate<DigestKey, SetRetention, RetentionEvent, Retention> Aggregate { get; } = new(
        "retention", new(new RetentionPeriods(null, null)), Decide,
        static (_, e) => e switch
        {
            RetentionSet s => new(new RetentionPeriods(s.SessionsDays, s.SecurityDays)),
            _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
        });

    /// <summary>Of the tenant's one stream.</summary>
    public static DigestKey Key { get; } = new(Ids.KeyOf("retention"));

    public static string Stream { get; } = Aggregate.Stream(Key);

    public static Decision<RetentionEvent> Decide(SetRetention command, Retention state) =>
        command.Periods == state.Periods
            ? Decision<RetentionEvent>.Nothing
            : new RetentionSet(command.Periods.SessionsDays, command.Periods.SecurityDays, command.Reason, command.Now);
}

/// <summary>
/// The events whose data an event lets expire: those of its session's feed, or of its own stream where that is in no session, as far as <paramref name="Through"/>.
/// </summary>
/// <param name="Through">Id in the feed, or version in the stream, of the last of them.</param>
/// <param name="Events">How many they are.</param>
/// <param name="Digest">Hexadecimal SHA-256 over what stays of each of them in their order, so that it stays as it is.</param>
/// <param name="Days">The period that was over.</param>
public sealed record ExpiredEvents(long Through, long Events, string Digest, int Days)
{
    /// <summary>Aggregates whose streams are a session's own. Of the feed's other streams, those of schedules, budgets and groups, nothing expires with it.</summary>
    public static IReadOnlyList<string> Aggregates { get; } = ["session", "run", "artifact", "scratchpad", "file", "memory"];
}

/// <summary>An event that lets others expire: without it no data is taken out of the log.</summary>
public interface IExpiryEvent
{
    ExpiredEvents Expired { get; }
}

/// <summary>An event that says that the data which another event let expire is gone.</summary>
public interface IRemovalEvent
{
    /// <summary>Events whose data is gone.</summary>
    long Events { get; }

    /// <summary>Hexadecimal SHA-256 over the tombstones in the order of their events, so that their figures stay; null: an earlier release wrote it.</summary>
    string? TombstonesSha256 { get; }
}

/// <summary>A command that is still decided on a stream whose data expired.</summary>
public interface IExpiryCommand;
