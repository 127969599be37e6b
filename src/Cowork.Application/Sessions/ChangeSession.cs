using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Changes a session's title, goal and archiving.</summary>
/// <param name="Archived">Null: as it is.</param>
public sealed record ChangeSession(SessionKey Session, Optional<Content> Title, Optional<Content> Goal, bool? Archived, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.State(Domain.Session.Aggregate, Session) is Domain.Session.Open before
            ? await SessionOfGroup.WhyRefused(work, before) ?? await work.Do(
                Domain.Session.Aggregate, Session,
                new SessionCommand.Change(Title.Or(before.Title), Goal.Or(before.Goal), Archived ?? before.Archived, work.Now), Session)
            : Refusal.NotFound("session");
        return Header is null ? refused : await Header.Claim(work, Domain.Session.Aggregate, Session) ?? refused;
    }
}
