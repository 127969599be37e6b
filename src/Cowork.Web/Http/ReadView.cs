using System.Globalization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

namespace Cowork.Web.Http;

/// <summary>Endpoint metadata: the endpoint shows folds of the log alone, and takes <see cref="AsOf.Name"/>.</summary>
public sealed record TakesAsOf;

/// <summary>The query parameter that asks for what a host would have shown that had stopped at an earlier moment (docs/history.md).</summary>
public static class AsOf
{
    public const string Name = "as_of";

    public const string Description =
        "As it was then: the gid or the id of an event, or a time of ISO 8601. What was deleted since is shown to auditors, administrators and whom it belonged to.";

    const string Wanted = "Must be the gid of an event, the id of an event (a UUID), or a time of ISO 8601, like 2026-01-01T09:00:00Z. A plus is written %2B.";

    public static RouteHandlerBuilder TakesAsOf(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(new TakesAsOf());

    /// <summary>The position that a request asks for; null: it asks for what is there now.</summary>
    /// <exception cref="UnreadableRequestException">It is no moment of the log's.</exception>
    public static async ValueTask<long?> Position(HttpContext http, IPositions positions, TimeProvider clock)
    {
        if (!http.Request.Query.TryGetValue(Name, out var sent))
        {
            return null;
        }
        return await Position(Name, sent is [{ } one] ? one : "", Caller.Of(http).Org, positions, clock, http.RequestAborted);
    }

    /// <summary>The position of a moment.</summary>
    /// <param name="place">Where it stands in the request.</param>
    /// <exception cref="UnreadableRequestException">It is no moment of the log's.</exception>
    public static async ValueTask<long> Position(string place, string text, string org, IPositions positions, TimeProvider clock, CancellationToken ct)
    {
        if (long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var gid))
        {
            return gid <= await positions.Head(ct) ? gid : throw Ahead(place, "The log has not come to this position.");
        }
        if (Guid.TryParseExact(text, "D", out var id))
        {
            return await positions.Of(org, id, ct)
                ?? throw new UnreadableRequestException(ErrorResult.Invalid(place, "The tenant has no such event.", "unknown_event"));
        }
        return TimeQuery.Parse(text) is not { } time ? throw new UnreadableRequestException(ErrorResult.Invalid(place, Wanted))
            : time > clock.GetUtcNow() ? throw Ahead(place, "This time has not come yet.")
            : await positions.At(time, ct);
    }

    public static ErrorResult Unsupported(string why) => ErrorResult.Invalid(Name, why, "as_of_unsupported");

    static UnreadableRequestException Ahead(string place, string why) => new(ErrorResult.Invalid(place, why, "as_of_ahead"));
}

/// <summary>Refuses <c>as_of</c> where an endpoint would ignore it: what it shows follows the log, or was never in it.</summary>
public sealed class AsOfGuard(RequestDelegate next)
{
    public Task InvokeAsync(HttpContext http) =>
        http.GetEndpoint() is { } endpoint && endpoint.Metadata.GetMetadata<Dialect>() is not null && endpoint.Metadata.GetMetadata<TakesAsOf>() is null
        && http.Request.Query.ContainsKey(AsOf.Name)
            ? AsOf.Unsupported("This is only shown as it is now.").ExecuteAsync(http)
            : next(http);
}

/// <summary>What a request reads: everything as it is now, or as it was at a position of the log. Endpoints that read through it alone show either.</summary>
/// <param name="Position">Null: now.</param>
public sealed record ReadView(IRows Rows, long? Position, CommandHandler Commands, IEventLog Log)
{
    public static async ValueTask<ReadView> BindAsync(HttpContext http) =>
        await AsOf.Position(http, http.RequestServices.GetRequiredService<IPositions>(), http.RequestServices.GetRequiredService<TimeProvider>()) is { } position
            ? At(http, position)
            : http.RequestServices.GetRequiredService<ReadView>();

    /// <summary>What the caller of a request sees of a position that is not beyond the end of the log.</summary>
    public static ReadView At(HttpContext http, long position)
    {
        var services = http.RequestServices;
        var now = services.GetRequiredService<ReadView>();
        var caller = Caller.Of(http);
        var seesAll = caller.Roles.Contains(Roles.Auditor) || caller.Roles.Contains(Roles.Admin);
        var rows = new RowsAsOf(now.Rows, now.Commands, services.GetRequiredService<IReadOnlyList<IReadModel>>(), position, seesAll ? null : caller.Actor);
        return now with { Rows = rows, Position = position };
    }

    /// <summary>The state of a stream, with the writes of other hosts.</summary>
    public ValueTask<TState> State<TKey, TCommand, TEvent, TState>(string org, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key, CancellationToken ct)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class =>
        Position is { } position ? Commands.StateAsOf(org, aggregate, key, position, ct) : Commands.LatestState(org, aggregate, key, ct);

    /// <inheritdoc cref="State"/>
    /// <param name="does">True: the state that this host knows is new enough.</param>
    public async ValueTask<TState> Known<TKey, TCommand, TEvent, TState>(
        string org, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key, Func<TState, bool> does, CancellationToken ct)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class =>
        Position is { } position ? await Commands.StateAsOf(org, aggregate, key, position, ct) : (await Commands.Known(org, aggregate, key, does, ct)).State;

    /// <summary>Null: it does not exist, belongs to another tenant, its session is deleted, or that of a group which the caller does not see.</summary>
    public async ValueTask<RunRow?> FindRun(Caller caller, RunKey run, CancellationToken ct) => (await Rows.Find(caller, Runs.Model, run.Value, ct))?.Row;

    /// <summary>The run's row, also when its session is deleted.</summary>
    public async ValueTask<RunRow?> RunRow(string org, RunKey run, CancellationToken ct) =>
        await Rows.Get(org, Runs.Model.Table, run.Value, ct) is { } found ? Runs.Model.Read(found.Json.Span) : null;

    /// <summary>What concerns a run, in the order of the log.</summary>
    public async ValueTask<IReadOnlyList<FeedEntry>> OfRun(string org, SessionKey session, RunKey run, CancellationToken ct) =>
        await Log.OfRun(org, session, run, ct) is var entries && Position is { } position ? [.. entries.TakeWhile(e => e.Position <= position)] : entries;
}
