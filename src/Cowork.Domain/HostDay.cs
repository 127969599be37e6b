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
}

/// <summary>The hosts that came and went on a day (UTC): nothing is decided by them, so the state is only how many events there are.</summary>
public sealed record HostDay(long Events)
{
    public static Aggregate<DayKey, HostCommand, HostEvent, HostDay> Aggregate { get; } = new("hosts", new(0), Decide, static (state, _) => new(state.Events + 1));

    public static Decision<HostEvent> Decide(HostCommand command, HostDay state) => command switch
    {
        HostCommand.Start c => new HostStarted(c.Node, c.Version, c.SettingsSha256, c.Settings, c.Now),
        HostCommand.Stop c => new HostStopped(c.Node, c.Now),
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };
}
