using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Creates a work of the principal who asks.</summary>
/// <param name="Header">The idempotency key that the same commit claims.</param>
public sealed record CreateWork(WorkKey Work, string Bucket, WorkCard Card, Content Payload, RequestKey? Header = null, string? Subject = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(
            Domain.Work.Aggregate, Work, new WorkCommand.Create(Work, work.By.Actor, Bucket, Card, Payload, null, work.Now, Subject), isNew: true);
        return Header is null ? refused : await Header.Claim(work, Domain.Work.Aggregate, Work) ?? refused;
    }
}

/// <summary>Creates a work with the payload, the bucket and the card of another one.</summary>
/// <param name="Label">Null: the other one's.</param>
public sealed record DuplicateWork(WorkKey From, WorkKey Work, string? Label, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.State(Domain.Work.Aggregate, From) is Domain.Work.Live from && from.Owner == work.By.Actor
            ? await work.Do(
                Domain.Work.Aggregate, Work,
                new WorkCommand.Create(Work, work.By.Actor, from.Bucket, from.Card with { Label = Label ?? from.Card.Label }, from.Payload, From, work.Now, from.Subject),
                isNew: true)
            : Refusal.NotFound("work");
        return Header is null ? refused : await Header.Claim(work, Domain.Work.Aggregate, Work) ?? refused;
    }
}

/// <summary>The members of a work that a client changes.</summary>
/// <param name="Label">Null: as it is.</param>
/// <param name="Payload">Null: as it is.</param>
public sealed record WorkChange(
    string? Label, Optional<Content> Metadata, Optional<string> Preview, Optional<ImmutableList<string>> Tags, Content? Payload)
{
    public WorkCard ApplyTo(WorkCard before) => new(Label ?? before.Label, Metadata.Or(before.Metadata), Preview.Or(before.Preview), Tags.Or(before.Tags));
}

/// <summary>Changes a work of the principal who asks.</summary>
/// <param name="OnlyAt">The versions that the client expects; null: any will do.</param>
public sealed record ChangeWork(WorkKey Work, WorkChange Change, ImmutableList<long>? OnlyAt, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.State(Domain.Work.Aggregate, Work) is Domain.Work.Live before
            ? await work.Do(
                Domain.Work.Aggregate, Work, new WorkCommand.Change(work.By.Actor, Change.ApplyTo(before.Card), Change.Payload, OnlyAt, work.Now))
            : Refusal.NotFound("work");
        return Header is null ? refused : await Header.Claim(work, Domain.Work.Aggregate, Work) ?? refused;
    }
}

/// <summary>Deletes a work of the principal who asks: nothing shows it any more, and the log keeps what happened.</summary>
/// <param name="OnlyAt">As of <see cref="ChangeWork"/>.</param>
public sealed record DeleteWork(WorkKey Work, ImmutableList<long>? OnlyAt) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) =>
        work.Do(Domain.Work.Aggregate, Work, new WorkCommand.Delete(work.By.Actor, OnlyAt, work.Now));
}
