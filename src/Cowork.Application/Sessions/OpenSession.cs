using System.Text.Json.Serialization;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Creates a session, or answers that there is one of this id.</summary>
/// <param name="Key">Of the session's stream.</param>
/// <param name="SessionId">As A shows it.</param>
/// <param name="WorkspacePath">Absolute; the folder is there.</param>
/// <param name="Metadata">A JSON object as text.</param>
/// <param name="AuthContext">A JSON object as text; null: none was sent.</param>
/// <param name="Header">Claimed together with the session's beginning.</param>
public sealed record OpenSession(string Key, string SessionId, string WorkspacePath, string Metadata, string? AuthContext, RequestKey? Header = null) : ICommand
{
    /// <summary>Makes what the request is answered with, kept for who sends it again; it is given the time of the session's beginning.</summary>
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
