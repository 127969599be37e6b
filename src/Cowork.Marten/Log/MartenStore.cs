using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application.Storage;
using Cowork.Domain;

using JasperFx;
using JasperFx.Events;
using JasperFx.Events.Daemon;
using JasperFx.Events.Projections;
using JasperFx.MultiTenancy;

using Marten;

using Weasel.Core;

namespace Cowork.Marten;

/// <summary>Marten, told to keep the log exactly as the other engine does.</summary>
static class MartenStore
{
    /// <summary>Operations that go to the server at once: more than a flush has, so that it is one round trip.</summary>
    const int OperationsMax = 5_000;

    public static DocumentStore New(Database database, EngineOptions options, RowsProjection rows, AsyncDaemon daemon) => DocumentStore.For(o =>
    {
        o.Connection(database.Pool);
        o.DatabaseSchemaName = options.Schema;
        o.UpdateBatchSize = OperationsMax;
        // It takes its naming policy from nothing but this.
        o.Serializer(new global::Marten.Services.SystemTextJsonSerializer(Json()) { Casing = Casing.SnakeCase });
        // Only when the engine starts, and nothing that would have to be altered: see MartenFlush.Prepare.
        o.AutoCreateSchemaObjects = AutoCreate.None;
        // Whether something may be done again is the port's affair.
        o.ConfigurePolly(_ => { });
        o.ConfigureWritePolly(_ => { });

        o.Events.DatabaseSchemaName = options.Schema;
        o.Events.StreamIdentity = StreamIdentity.AsString;
        o.Events.TenancyStyle = TenancyStyle.Conjoined;
        // Despite its name: the timestamps are those of the events, where plain Quick writes the server's, hours off in a session that is not in UTC.
        o.Events.AppendMode = EventAppendMode.QuickWithServerTimestamps;
        o.Events.EnableBigIntEvents = true;
        o.Events.MetadataConfig.HeadersEnabled = true;
        o.Events.MetadataConfig.CorrelationIdEnabled = true;
        o.Events.MetadataConfig.CausationIdEnabled = true;
        o.Events.MetadataConfig.UserNameEnabled = true;
        foreach (var (name, type) in EventTypes.ByName)
        {
            o.Events.MapEventType(type, name);
        }
        o.Projections.Add(rows, ProjectionLifecycle.Inline, "rows");

        foreach (var projection in daemon.Projections)
        {
            o.Projections.Add(projection, ProjectionLifecycle.Async);
        }
        // The engine runs the daemon itself: Marten's own leader, once stopped in its tracks, would keep its advisory lock.
        o.Projections.AsyncMode = DaemonMode.ExternallyManaged;
        o.Projections.Wakeup = daemon.Wakeup;
        // Only in case that a commit was not heard of.
        o.Projections.SlowPollingTime = TimeSpan.FromSeconds(10);
        // An event that cannot be folded parks its model.
        (o.Projections.Errors.SkipApplyErrors, o.Projections.Errors.SkipSerializationErrors, o.Projections.Errors.SkipUnknownEvents) = (false, false, false);
    });

    /// <summary>Events as the log has them everywhere; what else Marten writes, in its own way.</summary>
    static JsonSerializerOptions Json() => new(EventJson.Options)
    {
        TypeInfoResolver = JsonTypeInfoResolver.Combine(EventJson.Options.TypeInfoResolver, new DefaultJsonTypeInfoResolver()),
    };
}
