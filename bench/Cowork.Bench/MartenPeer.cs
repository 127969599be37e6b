using JasperFx.Events;
using JasperFx.MultiTenancy;

using Marten;

namespace Cowork.Bench;

/// <summary>Marten by itself, as its users write with it: quick appends, a session for each, no feed, no hash chain, no read model.</summary>
static class MartenPeer
{
    public static async Task<Measured> Appends(string connectionString, int sessions, TimeSpan time, ProcessCpu cpu)
    {
        using var store = DocumentStore.For(o =>
        {
            o.Connection(connectionString);
            o.DatabaseSchemaName = "peer";
            o.Events.StreamIdentity = StreamIdentity.AsString;
            o.Events.TenancyStyle = TenancyStyle.Conjoined;
            o.Events.AppendMode = EventAppendMode.Quick;
            o.Events.AddEventType<PeerEvent>();
        });
        await store.Storage.ApplyAllConfiguredChangesToDatabaseAsync();
        return await Load.Run(sessions, TimeSpan.FromSeconds(2), time, cpu, async (worker, i) =>
        {
            await using var session = store.LightweightSession("default");
            // As many to a stream as in the engines' workload.
            session.Events.Append($"run-{worker}-{i / StorageBench.PerStream}", new PeerEvent("forty characters of text, more or less."));
            await session.SaveChangesAsync();
        });
    }

    public sealed record PeerEvent(string Text);
}
