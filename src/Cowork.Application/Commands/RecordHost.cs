using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Writes down that a host works.</summary>
/// <inheritdoc cref="HostEvent.HostStarted"/>
public sealed record RecordHostStart(string Node, string Version, string SettingsSha256, ImmutableList<HostSetting> Settings) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) =>
        work.Do(HostDay.Aggregate, DayKey.Of(work.Now), new HostCommand.Start(Node, Version, SettingsSha256, Settings, work.Now));
}

/// <summary>Writes down that a host was told to stop.</summary>
public sealed record RecordHostStop(string Node) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(HostDay.Aggregate, DayKey.Of(work.Now), new HostCommand.Stop(Node, work.Now));
}
