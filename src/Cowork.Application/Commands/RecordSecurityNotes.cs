using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Writes down what a host has seen of who came in, who did not, and what was taken out, in the tenant's stream of the day.</summary>
public sealed record RecordSecurityNotes(ImmutableList<SecurityNote> Notes) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(SecurityDay.Aggregate, DayKey.Of(work.Now), new RecordSecurity(Notes, work.Now));
}
