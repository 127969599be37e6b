using System.Collections.Immutable;

using static Cowork.Domain.HostEvent;

namespace Cowork.Domain;

/// <summary>A setting of a host as an auditor reads it.</summary>
/// <param name="Name">As in the configuration: <c>Cowork:Auth:Mode</c>.</param>
/// <param name="Value">Never a secret; of one that has a secret, what is not secret of it.</param>
public sealed record HostSetting(string Name, string Value);

/// <summary>A host starts or stops.</summary>
public abstract record HostCommand(DateTimeOffset Now)
{
    /// <inheritdoc cref="HostStarted"/>
    public sealed record Start(string Node, string Version, string SettingsSha256, ImmutableList<HostSetting> Settings, DateTimeOffset Now) : HostCommand(Now);

    /// <inheritdoc cref="HostStopped"/>
    public sealed record Stop(string Node, DateTimeOffset Now) : HostCommand(Now);

    /// <summary>Lets the data of the day's events expire.</summary>
    public sealed record Expire(ExpiredEvents Expired, DateTimeOffset Now) : HostCommand(Now);

    /// <summary>The data is gone.</summary>
    public sealed record FinishExpiry(long Events, string TombstonesSha256, DateTimeOffset Now) : HostCommand(Now), IExpiryCommand;
}

/// <summary>Hosts that came and went, in the operators' tenant.</summary>
public abstract record HostEvent(DateTimeOffset At) : Event(At)
{
    /// <summary>A host works, under these settings.</summary>
    /// <param name="Node">As in <see cref="RunEvent.RunStarted"/>.</param>
    /// <param name="Version">Of the program, with the commit that it was built from.</param>
    /// <param name="SettingsSha256">Hexadecimal SHA-256 of the RFC 8785 form of <paramref name="Settings"/>: equal settings have the same.</param>
    /// <param name="Settings">Ordered by name.</param>
    public sealed record HostStarted(string Node, string Version, string SettingsSha256, ImmutableList<HostSetting> Settings, DateTimeOffset At) : HostEvent(At);

    /// <summary>A host was told to stop. One that was killed says nothing.</summary>
    public sealed record HostStopped(string Node, DateTimeOffset At) : HostEvent(At);

    /// <summary>The data of the day's events expired.</summary>
    public sealed record HostsExpired(ExpiredEvents Expired, DateTimeOffset At) : HostEvent(At), IExpiryEvent;

    /// <summary>The data is gone.</summary>
    public sealed record HostsRemoved(long Events, DateTimeOffset At, string? TombstonesSha256 = null) : HostEvent(At), IRemovalEvent;
}

/// <summary>The hosts that came and went on a day (UTC): nothing is decided by them, so the state is how many events there are, and what became of them.</summary>
public sealed record HostDay(long Events, DayExpiry Expiry = DayExpiry.None)
{
    public static Aggregate<DayKey, HostCommand, HostEvent, HostDay> Aggregate { get; } = new("hosts", new(0), Decide, Evolve);

    public static Decision<HostEvent> Decide(HostCommand command, HostDay state) => (command, state.Expiry) switch
    {
        (HostCommand.Start c, _) => new HostStarted(c.Node, c.Version, c.SettingsSha256, c.Settings, c.Now),
        (HostCommand.Stop c, _) => new HostStopped(c.Node, c.Now),
        (HostCommand.Expire c, DayExpiry.None) when state.Events > 0 => new HostsExpired(c.Expired, c.Now),
        (HostCommand.FinishExpiry c, DayExpiry.Expired) => new HostsRemoved(c.Events, c.Now, c.TombstonesSha256),
        (HostCommand.Expire or HostCommand.FinishExpiry, _) => Decision<HostEvent>.Nothing,
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    static HostDay Evolve(HostDay state, HostEvent e) => e switch
    {
        HostsExpired => state with { Expiry = DayExpiry.Expired },
        HostsRemoved => state with { Expiry = DayExpiry.Removed },
        HostStarted or HostStopped => state with { Events = state.Events + 1 },
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
