using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application.Storage;
using Cowork.Domain;

using JasperFx;
using JasperFx.Events;
using JasperFx.MultiTenancy;

using Marten;

using Weasel.Core;

namespace Cowork.Marten;

/// <summary>Marten as the log wants it: string identity, conjoined tenancy, all metadata, event names of ours.</summary>
static class StoreConfiguration
{
    public static void Apply(StoreOptions store, Database database, StorageOptions options)
    {
        store.Connection(database.Unscoped);
        store.DatabaseSchemaName = options.Schema;
        // The serializer takes its naming policy from nothing but this.
        store.Serializer(new global::Marten.Services.SystemTextJsonSerializer(Json()) { Casing = Casing.SnakeCase });
        // Once, when the engine starts: see Schema.
        store.AutoCreateSchemaObjects = AutoCreate.None;
        // Whether something may be done again is the writer's decision.
        store.ConfigurePolly(_ => { });
        store.ConfigureWritePolly(_ => { });

        store.Events.DatabaseSchemaName = options.Schema;
        store.Events.StreamIdentity = StreamIdentity.AsString;
        store.Events.TenancyStyle = TenancyStyle.Conjoined;
        // Despite its name: with it an event's own timestamp is written, where plain Quick writes the server's, hours off in a session that is not in UTC.
        store.Events.AppendMode = EventAppendMode.QuickWithServerTimestamps;
        store.Events.EnableBigIntEvents = true;
        store.Events.MetadataConfig.HeadersEnabled = true;
        store.Events.MetadataConfig.CorrelationIdEnabled = true;
        store.Events.MetadataConfig.CausationIdEnabled = true;
        store.Events.MetadataConfig.UserNameEnabled = true;
        store.Listeners.Add(new RefuseAppends());
        foreach (var (name, type) in EventTypes.ByName)
        {
            store.Events.MapEventType(type.Shape, name);
        }
    }

    /// <summary>What Marten itself would append has no hash, takes no head row, and reaches no feed.</summary>
    sealed class RefuseAppends : DocumentSessionListenerBase
    {
        public override Task BeforeSaveChangesAsync(IDocumentSession session, CancellationToken token) =>
            session.PendingChanges.Streams().Count == 0
                ? Task.CompletedTask
                : throw new InvalidOperationException("Events are appended through Cowork's log, not through a session.");
    }

    /// <summary>Events in the form that the log has; anything else in Marten's own way.</summary>
    static JsonSerializerOptions Json() => new(EventJson.Options)
    {
        TypeInfoResolver = JsonTypeInfoResolver.Combine(EventJson.Options.TypeInfoResolver, new DefaultJsonTypeInfoResolver()),
    };
}
