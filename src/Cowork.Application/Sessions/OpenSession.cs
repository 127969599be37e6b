using System.Text.Json.Serialization;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Creates a session. Refused: the id exists.</summary>
/// <param name="Key">Key of the session.</param>
/// <param name="SessionId">The id in contract A.</param>
/// <param name="WorkspacePath">Absolute path of an existing folder.</param>
/// <param name="Metadata">A JSON object as text.</param>
/// <param name="AuthContext">A JSON object as text; null: the request had none.</param>
/// <param name="Header">The idempotency key that the same commit claims.</param>
public sealed record OpenSession(string Key, string SessionId, string WorkspacePath, string Metadata, string? AuthContext, RequestKey? Header = null) : ICommand
{
    /// <summary>Makes the answer that the idempotency key stores, from the time of creation.</summary>
    [JsonIgnore]
    public Func<DateTimeOffset, ValueTask<StoredAnswer>>? Answer { get; init; }

    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var answer = Answer is null ? null : await Answer(work.Now);
        if (Header is not null && await Header.Claim(work, null, answer) is { } claimed)
        {
            return claimed;
        }
        return await work.Do(Session.Aggregate, Key, new SessionCommand.Create(SessionId, WorkspacePath, Metadata, AuthContext, work.Now), Key);
    }
}
