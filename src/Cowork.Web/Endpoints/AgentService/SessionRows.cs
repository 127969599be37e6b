using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>Rows that are hidden when their session is deleted.</summary>
static class SessionRows
{
    /// <summary>Finds a row by its key, of a model whose scope is the session. Null: it does not exist, belongs to another tenant, or its session is deleted.</summary>
    public static async ValueTask<(Row Stored, TRow Row)?> Find<TRow>(this IRows rows, string org, ReadModel<TRow> model, string key, CancellationToken ct)
        where TRow : class =>
        await rows.Get(org, model.Table, key, ct) is { } stored
        && model.Read(stored.Json.Span) is var row
        && (model.Scope!(row) is not { } session || await rows.Get(org, Projections.Sessions.Model.Table, session, ct) is not null)
            ? (stored, row)
            : null;

    /// <summary>Finds an artifact. Null: it does not exist, belongs to another tenant, or its session is deleted.</summary>
    public static async ValueTask<ArtifactRow?> FindArtifact(this IRows rows, string org, ArtifactKey artifact, CancellationToken ct) =>
        await rows.Get(org, Artifacts.Model.Table, artifact.Value, ct) is { } stored
        && Artifacts.Model.Read(stored.Json.Span) is var row
        && await rows.Get(org, Projections.Sessions.Model.Table, row.Owner, ct) is not null
            ? row
            : null;
}
