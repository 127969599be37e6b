using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Begins a request for a user's agreement at a source.</summary>
/// <param name="Key">Of the state that goes through the browser.</param>
public sealed record BeginAuthorization(DigestKey Key, AuthorizationTerms Terms) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(AuthorizationRequest.Aggregate, Key, new AuthorizationRequestCommand.Begin(Terms, work.Now));
}

/// <summary>Takes the answer to such a request, once. Refused: it was answered, has expired, or there is none.</summary>
/// <param name="Error">The source's error code; null: it gave an authorization code.</param>
public sealed record AnswerAuthorization(DigestKey Key, string? Error) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(AuthorizationRequest.Aggregate, Key, new AuthorizationRequestCommand.Receive(Error, work.Now));
}

/// <summary>Claims the refresh of a connection's tokens for an attempt. No-op when another attempt is under way, or there is no use in one.</summary>
public sealed record BeginConnectionRefresh(ConnectionKey Connection, long Revision, string Holder, TimeSpan Lease) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) =>
        work.Do(ConnectionRefresh.Aggregate, Connection, new ConnectionRefreshCommand.Begin(Revision, Holder, work.Now + Lease, work.Now));
}

/// <summary>Gives the claim back. When the source takes the refresh token no more, the connection shows it.</summary>
/// <param name="WhyFinal">Null: the source could not be asked.</param>
public sealed record FailConnectionRefresh(ConnectionKey Connection, long Revision, string Holder, string? WhyFinal) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work) =>
        await work.Do(ConnectionRefresh.Aggregate, Connection, new ConnectionRefreshCommand.Fail(Holder, WhyFinal is not null, work.Now))
        ?? (WhyFinal is null ? null : await work.Do(Domain.Connection.Aggregate, Connection, new ConnectionCommand.RecordProbe(Revision, new(WhyFinal), work.Now)));
}
