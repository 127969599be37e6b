using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.ProjectEvent;

namespace Cowork.Projections;

/// <summary>A project as <c>GET /api/v1/projects/{id}</c> shows it.</summary>
public sealed record ProjectRow(ProjectKey ProjectId, ProjectDefinition Definition, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

/// <summary>The read model of projects. A deleted project has no row, and the built-in one never has.</summary>
public static class Projects
{
    public static ReadModel<ProjectRow> Model { get; } = new("projects", Project.Aggregate.Name, RowJson.Default.ProjectRow, Evolve)
    {
        Lists = RowLists.OfTenant,
        OwnerMember = "created_by",
        Form = 2,
    };

    /// <summary>The built-in project, which is as old as time.</summary>
    public static ProjectRow General { get; } =
        new(ProjectKey.General, new("General", null, [], [], null), "system", DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch);

    public static ProjectRow? Evolve(ProjectRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (ProjectCreated c, _) => new(c.ProjectId, c.Definition, e.Actor, e.At, e.At),
        (_, null) => null,
        (ProjectChanged c, { } r) => r with { Definition = c.Definition, UpdatedAt = e.At },
        (ProjectDeleted, _) => null,
        (_, { } r) => r,
    };
}
