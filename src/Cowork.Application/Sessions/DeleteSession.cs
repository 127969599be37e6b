using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Deletes a session. The same commit cancels its live runs, or asks their drivers to. From this commit on nothing begins in it; <see cref="FileDeletion"/>
/// and <see cref="ScratchpadDeletion"/> delete what it has.
/// </summary>
/// <param name="Days">The period of retention that is over; null: somebody deletes it.</param>
/// <param name="WithProject">Its project is being deleted: a legal hold does not keep it in lists, and keeps what happened in it.</param>
public sealed record DeleteSession(SessionKey Session, int? Days = null, bool WithProject = false) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if ((await SessionOfGroup.WhyRefused(work, Session)
            ?? await work.Do(Domain.Session.Aggregate, Session, new SessionCommand.Delete(work.Now, Days, WithProject), Session)) is { } refused)
        {
            return refused;
        }
        var live = (await work.State(Domain.Session.Aggregate, Session)).LiveRuns();
        foreach (var run in live.Reverse())
        {
            if (await Turns.Cancel(work, run) is { } notCancelled)
            {
                return notCancelled;
            }
        }
        work.Start(new Job(FileDeletion.JobKind, FileDeletion.KeyOf(Session)));
        work.Start(new Job(ScratchpadDeletion.JobKind, Session.Value));
        return null;
    }
}

/// <summary>Deletes sessions of a deleted project with one commit. Those that were deleted before are passed over.</summary>
public sealed record DeleteSessions(IReadOnlyList<SessionKey> Sessions) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        foreach (var session in Sessions)
        {
            if (await work.State(Session.Aggregate, session) is Session.Open && await new DeleteSession(session, WithProject: true).Decide(work) is { } refused)
            {
                return refused;
            }
        }
        return null;
    }
}
