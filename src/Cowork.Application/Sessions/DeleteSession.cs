using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Deletes a session. The same commit cancels its live runs, or asks their drivers to.</summary>
/// <param name="Session">Key of the session.</param>
public sealed record DeleteSession(string Session) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (await work.Do(Domain.Session.Aggregate, Session, new SessionCommand.Delete(work.Now), Session) is { } refused)
        {
            return refused;
        }
        var queue = ((Session.Deleted)await work.State(Domain.Session.Aggregate, Session)).Queue;
        foreach (var runId in queue.Reverse())
        {
            if (await Turns.Cancel(work, Ids.Key(runId, "run")!) is { } notCancelled)
            {
                return notCancelled;
            }
        }
        return null;
    }
}
