using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Adds a signed head to the log, if no other host was first.</summary>
/// <param name="Follows">Tree size of the head before it; 0: it is the first.</param>
/// <param name="Publish">It is sent to places outside the database.</param>
public sealed record SignHead(SignedHead Head, long Follows, bool Publish) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (Publish)
        {
            work.Start(HeadPublisher.Job);
        }
        return work.Do(AuditHeads.Aggregate, AuditHeads.Key, new AddHead(Head, Follows, work.Now));
    }
}
