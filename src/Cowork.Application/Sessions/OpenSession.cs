using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Creates a session. Refused: the id exists.</summary>
/// <param name="WorkspacePath">Absolute path of an existing folder.</param>
/// <param name="Metadata">A JSON object as text.</param>
/// <param name="AuthContext">A JSON object as text; null: the request had none.</param>
/// <param name="Header">The idempotency key that the same commit claims.</param>
/// <param name="Model">Name of a configured model, for turns that name none; null: the host's default.</param>
public sealed record OpenSession(SessionKey Session, string WorkspacePath, string Metadata, string? AuthContext, RequestKey? Header = null, string? Model = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var create = new SessionCommand.Create(Session, WorkspacePath, Metadata, AuthContext, work.Now, Model);
        var refused = await work.Do(Domain.Session.Aggregate, Session, create, Session);
        return Header is null ? refused : await Header.Claim(work, Domain.Session.Aggregate, Session) ?? refused;
    }
}
