using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Says something to a run that has not ended: its model sees it with the next request. Refused with <c>task_ended</c> when there will be none, and with
/// <c>feedback_full</c> when too much waits for it.
/// </summary>
/// <param name="Text">Not blank, at most <see cref="Limits.MessageBytesMax"/> bytes, storable.</param>
public sealed record GiveFeedback(RunKey Run, Content Text, RequestKey? Header) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var session = Turns.SessionOf(await work.State(Domain.Run.Aggregate, Run));
        if (session is null)
        {
            return Refusal.NotFound("run");
        }
        var give = new RunCommand.GiveFeedback(Text, work.By.Actor, work.Now, work.By.Issuers);
        var refused = await SessionOfGroup.WhyRefused(work, session.Value, "run") ?? await work.Do(Domain.Run.Aggregate, Run, give, session, Run);
        return Header is null ? refused : await Header.Claim(work, Domain.Run.Aggregate, Run) ?? refused;
    }
}
