using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Creates a session. Refused: the id exists.</summary>
/// <param name="WorkspacePath">Absolute path of an existing folder.</param>
/// <param name="Metadata">A JSON object as text.</param>
/// <param name="AuthContext">A JSON object as text; null: the request had none.</param>
/// <param name="Header">The idempotency key that the same commit claims.</param>
public sealed record OpenSession(SessionKey Session, string WorkspacePath, string Metadata, string? AuthContext, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(Domain.Session.Aggregate, Session, new SessionCommand.Create(Session, WorkspacePath, Metadata, AuthContext, work.Now), Session);
        return Header is null ? refused : await Header.Claim(work, Domain.Session.Aggregate, Session) ?? refused;
    }
}
