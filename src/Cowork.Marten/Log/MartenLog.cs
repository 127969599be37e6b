using System.Runtime.ExceptionServices;

using Cowork.Application.Storage;

using JasperFx.Events;

using Marten;
using Marten.Services;

using Npgsql;

using Event = Cowork.Domain.Event;

namespace Cowork.Marten;

/// <summary>The log with its streams fetched by Marten. Feeds are tables of ours, read as on the other engine.</summary>
sealed class MartenLog(IEventLog shared, Database database, IDocumentStore store) : IEventLog
{
    public ValueTask<AppendResult> Append(Commit commit, CancellationToken ct) => shared.Append(commit, ct);

    public ValueTask<StreamSlice> Load(string org, string stream, long after, int max, CancellationToken ct) => database.WithReconnect<StreamSlice>(
        async connection =>
        {
            if (stream.Length == 0)
            {
                // Marten takes that for every stream.
                return new(0, HashChain.Root, []);
            }
            var key = Parameter.Holdable(stream);
            await using var session = store.QuerySession(In(Parameter.Holdable(org), connection));
            try
            {
                // The event before the first comes along for its hash.
                var events = await session.Events.FetchStreamAsync(key, version: after + max, fromVersion: after, token: ct);
                if (events.Count == 0 && after > 0 && await session.Events.FetchStreamStateAsync(key, ct) is { } state)
                {
                    // There are fewer events than the caller thinks.
                    events = await session.Events.FetchStreamAsync(key, fromVersion: state.Version, token: ct);
                }
                return events.Count == 0
                    ? new(0, HashChain.Root, [])
                    : new(events[^1].Version, HashOf(events[^1]) ?? HashChain.Root, [.. events.Where(e => e.Version > after).Select(e => Recorded(org, stream, e))]);
            }
            catch (Exception e) when (TakeHead.Unwrapped(e) is NpgsqlException inner)
            {
                ExceptionDispatchInfo.Throw(inner);
                throw;
            }
        },
        ct);

    public ValueTask<FeedPage> Feed(string org, string? session, long after, int max, CancellationToken ct) => shared.Feed(org, session, after, max, ct);

    public ValueTask<IReadOnlyList<FeedEntry>> OfRun(string org, string session, string run, CancellationToken ct) => shared.OfRun(org, session, run, ct);

    public IAsyncEnumerable<RecordedEvent> Scan(long after, CancellationToken ct) => shared.Scan(after, ct);

    static SessionOptions In(string org, NpgsqlConnection connection)
    {
        var options = SessionOptions.ForConnection(connection);
        options.TenantId = org;
        return options;
    }

    static string? HashOf(IEvent e) => e.GetHeader("hash")?.ToString();

    /// <summary>An event as the port has it.</summary>
    public static RecordedEvent Recorded(string org, string stream, IEvent e)
    {
        var at = e.Timestamp.ToUniversalTime();
        var read = (Event)e.Data with { At = at };
        return new(org, stream, e.Version, e.Id, e.EventTypeName, read, EventJson.Write(read), at, e.UserName ?? "", HashOf(e) ?? "", e.Sequence, e.CorrelationId,
            e.CausationId);
    }
}
