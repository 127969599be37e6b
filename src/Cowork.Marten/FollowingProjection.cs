using System.Diagnostics.CodeAnalysis;

using Cowork.Application.Storage;
using Cowork.Domain;

using JasperFx.Events;
using JasperFx.Events.Daemon;
using JasperFx.Events.Descriptors;
using JasperFx.Events.Projections;
using JasperFx.Events.Subscriptions;

using Marten;

using Microsoft.Extensions.Logging;

namespace Cowork.Marten;

/// <summary>
/// A model that follows the log as an asynchronous projection of Marten's, whose one shard has the name of the model's checkpoint. Its batches are not made
/// of Marten's operations: those go tenant by tenant, after the checkpoint has been moved from wherever it is, and a model wants the log's order and a
/// checkpoint that is still the one its rows were loaded at.
/// </summary>
sealed class FollowingProjection : ProjectionBase, IProjectionSource<IDocumentOperations, IQuerySession>, ISubscriptionFactory<IDocumentOperations, IQuerySession>
{
    readonly IAsyncProjection model;
    readonly ISubscriptionRunner<IAsyncProjection> runner;

    public FollowingProjection(IAsyncProjection model, ISubscriptionRunner<IAsyncProjection> runner)
    {
        (this.model, this.runner) = (model, runner);
        Name = model.Table;
        IncludeArchivedEvents = true;
        IncludedEventTypes.AddRange(model.Types.Select(name => EventTypes.ByName[name]));
    }

    public ShardName Shard => ShardName.Compose(Name, version: Version);

    public SubscriptionType Type => SubscriptionType.EventProjection;

    public Type ImplementationType => model.GetType();

    public ShardName[] ShardNames() => [Shard];

    public IReadOnlyList<AsyncShard<IDocumentOperations, IQuerySession>> Shards() => [new(Options, ShardRole.Projection, Shard, this, this)];

    public SubscriptionDescriptor Describe(IEventStore store) => new(this, store);

    public ISubscriptionExecution BuildExecution(
        IEventStore<IDocumentOperations, IQuerySession> store, IEventDatabase database, ILoggerFactory loggerFactory, ShardName shardName) =>
        BuildExecution(store, database, loggerFactory.CreateLogger<FollowingProjection>(), shardName);

    public ISubscriptionExecution BuildExecution(
        IEventStore<IDocumentOperations, IQuerySession> store, IEventDatabase database, ILogger logger, ShardName shardName) =>
        new SubscriptionExecution<IAsyncProjection>(runner, model, database, shardName, logger);

    public bool TryBuildReplayExecutor(
        IEventStore<IDocumentOperations, IQuerySession> store, IEventDatabase database, [NotNullWhen(true)] out IReplayExecutor? executor)
    {
        executor = null;
        return false;
    }

    public IInlineProjection<IDocumentOperations> BuildForInline() => throw new InvalidOperationException($"{Name} follows the log.");
}
