using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Makes a session that forks from another one: it has its folders, connections, project and model, and its past up to an event, by reference. Refused: the other one is not there,
/// or is a group's.
/// </summary>
/// <param name="Session">The new session.</param>
/// <param name="Metadata">A JSON object as text: that of the other session.</param>
/// <param name="First">Starts the first run, with the same commit; null: none begins.</param>
public sealed record ForkSession(SessionKey Session, SessionFork Fork, string Metadata, ICommand? First, RequestKey? Header) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await Make(work);
        return Header is null ? refused : await Header.Claim(work, Domain.Session.Aggregate, Session) ?? refused;
    }

    async ValueTask<Refusal?> Make(UnitOfWork work)
    {
        if (await work.PinnedState(Domain.Session.Aggregate, Fork.SessionId) is not Session.Open source)
        {
            return Refusal.NotFound("session");
        }
        if (await SessionOfGroup.WhyRefused(work, source) is { } ofGroup)
        {
            return ofGroup;
        }
        if (source.Project is { } project && await work.PinnedState(Project.Aggregate, project) is not Project.Live)
        {
            return Refusal.NotFound("project");
        }
        var create = new SessionCommand.Create(
            Session, source.WorkspacePath, Metadata, source.AuthContext, work.Now, source.Model, source.Project, source.Title, source.Goal, source.Grants, source.Connectors,
            Fork: Fork, Subject: source.Subject);
        if (await work.Do(Domain.Session.Aggregate, Session, create, Session) is { } impossible)
        {
            return impossible;
        }
        if (First is null)
        {
            return null;
        }
        // The creation concerns no run, and what follows in its stream does.
        work.ContinueAfter();
        return await First.Decide(work);
    }
}

/// <summary>Forks sessions and runs.</summary>
public sealed class Forks(CommandHandler known, ICommandExecutor commands, Turns turns, IBlobs blobs, TimeProvider clock)
{
    readonly TextCommands texts = new(known, commands, blobs);

    /// <summary>Makes the session, and sends its first turn with the same commit.</summary>
    /// <param name="metadata">As in <see cref="ForkSession"/>.</param>
    /// <param name="message">The first turn; null: none.</param>
    public async Task<(SessionKey Session, CommandResult Result)> Make(
        string org, Origin by, SessionFork fork, string metadata, string? message, RequestKey? header, CancellationToken ct)
    {
        var session = SessionKey.New(clock.GetUtcNow());
        if (message is null)
        {
            return (session, await commands.Execute(org, by, new ForkSession(session, fork, metadata, null, header), ct));
        }
        var (turn, refused) = await turns.Prepare(org, new(session, message, null, null, null), ct);
        return turn is null
            ? (session, new(refused, []))
            : (session, await texts.Execute(org, by, new ForkSession(session, fork, metadata, turn.Submit, header), turn.Message, ct));
    }
}
