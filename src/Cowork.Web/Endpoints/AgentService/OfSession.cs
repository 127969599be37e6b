using Cowork.Application.Storage;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>What is out of sight once its session was deleted.</summary>
static class OfSession
{
    /// <summary>A row that lists under its session, and what it holds. Null: there is none, it is another tenant's, or its session was deleted.</summary>
    public static async ValueTask<(Row Stored, TRow Row)?> Find<TRow>(this IRows rows, string org, ReadModel<TRow> model, string key, CancellationToken ct)
        where TRow : class =>
        await rows.Get(org, model.Table, key, ct) is { } stored
        && model.Read(stored.Json.Span) is var row
        && await rows.Get(org, Projections.Sessions.Model.Table, model.Scope!(row)!, ct) is not null
            ? (stored, row)
            : null;
}
