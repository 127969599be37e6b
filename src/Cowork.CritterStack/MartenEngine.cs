using Cowork.Application.Storage;
using Cowork.Npgsql;

namespace Cowork.CritterStack;

/// <summary>The storage engine on Marten: the same tables as the other engine's, in a database that either opens.</summary>
public sealed class MartenEngine(EngineOptions options) : IEngine
{
    readonly NpgsqlEngine shared = new(options);

    public string Name => "marten";

    public IEventLog Log => shared.Log;

    public IRows Rows => shared.Rows;

    public IJobQueue Jobs => shared.Jobs;

    public ISnapshots Snapshots => shared.Snapshots;

    public ICommitObserver? Observer
    {
        get => shared.Observer;
        set => shared.Observer = value;
    }

    public bool IsUp => shared.IsUp;

    public string Node => shared.Node;

    public Task StartAsync(CancellationToken ct) => shared.StartAsync(ct);

    public ValueTask DisposeAsync() => shared.DisposeAsync();
}
