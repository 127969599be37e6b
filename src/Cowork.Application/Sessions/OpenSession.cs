using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Creates a session. Refused: the id exists, or there is no such project.</summary>
/// <param name="WorkspacePath">Absolute path of an existing folder.</param>
/// <param name="Metadata">A JSON object as text.</param>
/// <param name="AuthContext">A JSON object as text; null: the request had none.</param>
/// <param name="Header">The idempotency key that the same commit claims.</param>
/// <param name="Model">Name of a configured model, for turns that name none; null: the project's, or the host's default.</param>
/// <param name="Project">Null: the built-in one.</param>
/// <param name="Title">Null: the first turn gives one.</param>
/// <param name="Grants">Null: the folder is the only one, as <see cref="FolderGrant.Implicit"/> has it.</param>
/// <param name="Connectors">Null: the connections of its project.</param>
/// <param name="Subject">The data subject whose texts the session has; null: nobody's.</param>
/// <param name="Unfit">Why the request cannot be met; a repeat of one that was is answered all the same. Null: it can.</param>
public sealed record OpenSession(
    SessionKey Session, string WorkspacePath, string Metadata, string? AuthContext, RequestKey? Header = null, string? Model = null, ProjectKey? Project = null,
    Content? Title = null, Content? Goal = null, ImmutableList<FolderGrant>? Grants = null, ImmutableList<ConnectorGrant>? Connectors = null,
    Refusal? Unfit = null, string? Subject = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = Unfit ?? await Open(work);
        return Header is null ? refused : await Header.Claim(work, Domain.Session.Aggregate, Session) ?? refused;
    }

    async ValueTask<Refusal?> Open(UnitOfWork work)
    {
        // Pinned: no session begins in a project that is deleted at the same time.
        if (Project is { } project && await work.PinnedState(Domain.Project.Aggregate, project) is not Domain.Project.Live)
        {
            return Refusal.NotFound("project");
        }
        var create = new SessionCommand.Create(Session, WorkspacePath, Metadata, AuthContext, work.Now, Model, Project, Title, Goal, Grants, Connectors,
            Subject: Subject);
        return await work.Do(Domain.Session.Aggregate, Session, create, Session);
    }
}
