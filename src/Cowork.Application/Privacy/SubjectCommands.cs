using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Gives a data subject a key. No-op when it has one. Refused: it was erased.</summary>
public sealed record MakeSubjectKey(string Subject, string KeyId, string Commitment, WrappedKey Wrapped) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var key = DataSubject.KeyOf(Subject);
        if (await work.Do(DataSubject.Aggregate, key, new DataSubjectCommand.MakeKey(Subject, KeyId, Commitment, work.Now)) is { } refused)
        {
            return refused;
        }
        if (await work.State(DataSubject.Aggregate, key) is DataSubject.Active { KeyId: var made } && made == KeyId)
        {
            work.Change(new SubjectKeyChange(Subject, KeyId, Wrapped));
        }
        return null;
    }
}

/// <summary>Destroys the key of a data subject, and starts the job that removes copies of what it opened. No-op when it is gone.</summary>
/// <param name="By">The principal.</param>
public sealed record EraseSubject(string Subject, string By) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var key = DataSubject.KeyOf(Subject);
        var before = await work.State(DataSubject.Aggregate, key);
        if (await work.Do(DataSubject.Aggregate, key, new DataSubjectCommand.Erase(By, work.Now)) is { } refused)
        {
            return refused;
        }
        if (before is DataSubject.Active { KeyId: var id })
        {
            work.Change(new SubjectKeyChange(Subject, id, null));
            work.Start(new Job(SubjectErasure.JobKind, key.Value));
        }
        return null;
    }
}

/// <summary>Notes that copies of an erased subject's texts are gone, whoever removed them: a job that waits has nothing left to do.</summary>
public sealed record CompleteErasure(DigestKey Key, long Streams, long Blobs) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        work.Cancel(SubjectErasure.JobKind, Key.Value);
        return work.Do(DataSubject.Aggregate, Key, new DataSubjectCommand.Complete(Streams, Blobs, work.Now));
    }
}
