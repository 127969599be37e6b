using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>Body of <c>PUT /retention</c>. A period that is left out is the host's.</summary>
/// <param name="SessionsDays">So many days after its last event a session is deleted, and a day later what happened in it is removed; 0: it is kept for ever.</param>
/// <param name="SecurityDays">The same of security events; 0: they are kept for ever.</param>
/// <param name="Reason">Why, for who reads the log.</param>
public sealed record NewRetention(int? SessionsDays = null, int? SecurityDays = null, string? Reason = null) : IRequestBody<NewRetention>
{
    public static JsonTypeInfo<NewRetention> Json => OperationsJson.Default.NewRetention;

    public static bool IsClosed => true;

    public void Validate(ValidationErrors errors)
    {
        foreach (var (path, days) in new[] { ("$.sessions_days", SessionsDays), ("$.security_days", SecurityDays) })
        {
            if (days is not (null or 0 or (>= RetentionOptions.DaysMin and <= RetentionOptions.DaysMax)))
            {
                errors.Add(path, $"A number of days from {RetentionOptions.DaysMin} to {RetentionOptions.DaysMax}, or 0: for ever.");
            }
        }
        if (Reason is { Length: > Limits.NoteCharsMax })
        {
            errors.Add("$.reason", $"Has at most {Limits.NoteCharsMax} characters.");
        }
    }
}

/// <summary>Body of <c>POST /sessions/{id}/hold</c>.</summary>
/// <param name="Reason">Why what happened in the session must be kept.</param>
public sealed record NewHold(string Reason) : IRequestBody<NewHold>
{
    public static JsonTypeInfo<NewHold> Json => OperationsJson.Default.NewHold;

    public static bool IsClosed => true;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(Reason) || Reason.Length > Limits.NoteCharsMax)
        {
            errors.Add("$.reason", $"1 to {Limits.NoteCharsMax} characters are required.");
        }
    }
}

/// <param name="SessionsDays">Null: nothing is said.</param>
public sealed record RetentionPeriodsShape(int? SessionsDays, int? SecurityDays);

/// <param name="Days">Streams of days of security events and of hosts.</param>
/// <param name="IsCut">There are more.</param>
public sealed record DueShape(IReadOnlyList<SessionKey> Sessions, IReadOnlyList<string> Days, bool IsCut);

/// <param name="StreamId">Of the event that let the data expire.</param>
/// <param name="Gid">Of the event that says that the data is gone.</param>
public sealed record RemovedShape(string StreamId, long Events, long Gid, DateTimeOffset Ts);

/// <param name="Last">The newest first.</param>
public sealed record RemovedTotals(long Sessions, long Days, long Events, IReadOnlyList<RemovedShape> Last);

/// <param name="SessionsDays">The period that holds; 0: for ever.</param>
/// <param name="Tenant">What the tenant has set.</param>
/// <param name="Host">What holds where the tenant has set nothing.</param>
/// <param name="DryRun">Nothing was set: the answer says what would be due.</param>
/// <param name="Due">What the next look begins with.</param>
/// <param name="Held">Sessions that a legal hold keeps.</param>
public sealed record RetentionAnswer(
    int SessionsDays, int SecurityDays, RetentionPeriodsShape Tenant, RetentionPeriodsShape Host, bool DryRun, DueShape Due, RemovedTotals Removed,
    IReadOnlyList<SessionKey> Held);

static class RetentionEndpoints
{
    static readonly ChoiceQuery DryRun = new("dry_run", ["true", "false"], "false", "Say what would be due, and set nothing.");

    public static void MapRetention(this IEndpointRouteBuilder routes)
    {
        var retention = routes.MapGroup("/retention").WithTags("Retention");
        retention.MapGet("", Get).WithName("getRetention").RequireAuditor()
            .WithSummary("Show how long data is kept, what is due and what was removed")
            .Produces<RetentionAnswer>().Refuses();
        retention.MapPut("", Put).WithName("changeRetention").RequireAdmin()
            .WithSummary("Set how long the tenant's data is kept")
            .Takes(DryRun)
            .Produces<RetentionAnswer>().Refuses(400, 409, 413, 415, 422);
        var hold = routes.MapGroup("/sessions/{session_id}/hold").WithTags("Retention").RequireAdmin();
        hold.MapPost("", Hold).WithName("holdSession")
            .WithSummary("Keep what happened in a session from expiring, also when it is deleted")
            .Produces(204).Refuses(400, 404, 409, 410, 413, 415, 422);
        hold.MapDelete("", Release).WithName("releaseSession")
            .WithSummary("End a legal hold of a session")
            .Produces(204).Refuses(404, 409, 410, 422);
    }

    static async Task<IResult> Get(
        Caller caller, CommandHandler commands, RetentionSweep sweep, RetentionOptions options, IRows rows, IAsyncProjectionStore projections, CancellationToken ct) =>
        Shown(await Answer(caller.Org, (await Tenant(caller.Org, commands, ct)), isDryRun: false, sweep, options, rows, projections, ct));

    static async Task<IResult> Put(
        Body<NewRetention> body, HttpContext http, Caller caller, ICommandExecutor executor, CommandAnswers answers, CommandHandler commands, RetentionSweep sweep,
        RetentionOptions options, IRows rows, IAsyncProjectionStore projections, CancellationToken ct)
    {
        var periods = new RetentionPeriods(body.Value.SessionsDays, body.Value.SecurityDays);
        if (DryRun.Read(http) == "true")
        {
            return Shown(await Answer(caller.Org, periods, isDryRun: true, sweep, options, rows, projections, ct));
        }
        var result = await executor.Execute(caller.Org, caller.Origin, new ChangeRetention(periods, body.Value.Reason, body.Key), ct);
        return await answers.Of(
            caller.Org, result, Retention.Stream, body.Key, async _ => Shown(await Answer(caller.Org, periods, isDryRun: false, sweep, options, rows, projections, ct)), ct);
    }

    static async Task<IResult> Hold(
        PathKey<SessionKey> session, Body<NewHold> body, HttpContext http, Caller caller, ICommandExecutor executor, CancellationToken ct)
    {
        var refused = (await executor.Execute(caller.Org, caller.Origin, new HoldSession(session.Key, body.Value.Reason, body.Key), ct)).Refused;
        if (refused is { Code: not "idempotency_key_claimed" })
        {
            return ErrorResult.Of(refused);
        }
        http.Response.Begin(204, location: null, replayed: refused is not null);
        return TypedResults.NoContent();
    }

    static async Task<IResult> Release(PathKey<SessionKey> session, Caller caller, ICommandExecutor executor, CancellationToken ct) =>
        (await executor.Execute(caller.Org, caller.Origin, new ReleaseSession(session.Key), ct)).Refused is { } refused
            ? ErrorResult.Of(refused)
            : TypedResults.NoContent();

    static async ValueTask<RetentionPeriods> Tenant(string org, CommandHandler commands, CancellationToken ct) =>
        (await commands.LatestState(org, Retention.Aggregate, Retention.Key, ct)).Periods;

    static async ValueTask<RetentionAnswer> Answer(
        string org, RetentionPeriods tenant, bool isDryRun, RetentionSweep sweep, RetentionOptions options, IRows rows,
        IAsyncProjectionStore projections, CancellationToken ct)
    {
        var periods = options.Of(tenant);
        var due = await sweep.Due(org, periods, ct);
        var row = await Retained.Latest(org, rows, projections, ct);
        return new(
            periods.SessionsDays, periods.SecurityDays, new(tenant.SessionsDays, tenant.SecurityDays), new(options.SessionsDays, options.SecurityDays), isDryRun,
            new(due.Sessions, due.Days, due.IsCut),
            new(row.Sessions, row.Days, row.Events, [.. row.Last.Select(removed => new RemovedShape(removed.Stream, removed.Events, removed.Position, removed.At))]),
            [.. row.Held.Select(key => new SessionKey(key))]);
    }

    static JsonResult<RetentionAnswer> Shown(RetentionAnswer answer) => JsonResult.Of(200, answer, OperationsJson.Answers.RetentionAnswer);
}
