using static Cowork.Domain.AuthorizationRequestCommand;
using static Cowork.Domain.AuthorizationRequestEvent;

namespace Cowork.Domain;

/// <summary>Commands to a request for a user's agreement at a source (RFC 6749, section 4.1.1).</summary>
public abstract record AuthorizationRequestCommand(DateTimeOffset Now)
{
    public sealed record Begin(AuthorizationTerms Terms, DateTimeOffset Now) : AuthorizationRequestCommand(Now);

    /// <summary>The user's browser comes back. A request is answered once.</summary>
    /// <param name="Error">The source's error code; null: it gave an authorization code.</param>
    public sealed record Receive(string? Error, DateTimeOffset Now) : AuthorizationRequestCommand(Now);
}

public abstract record AuthorizationRequestEvent(DateTimeOffset At) : Event(At)
{
    public sealed record AuthorizationRequested(AuthorizationTerms Terms, DateTimeOffset At) : AuthorizationRequestEvent(At);

    /// <param name="Error">The source's error code, <c>access_denied</c> when the user declined; null: it gave an authorization code.</param>
    public sealed record AuthorizationAnswered(string? Error, DateTimeOffset At) : AuthorizationRequestEvent(At);
}

/// <summary>What an authorization is asked for.</summary>
/// <param name="Connection">The connection that gets the tokens.</param>
/// <param name="NewName">The connection does not exist yet, and is created with this name; null: it exists.</param>
/// <param name="Verifier">The code verifier (RFC 7636), encrypted as a secret of the connection.</param>
/// <param name="RedirectUri">Where the source sends the browser; the code is exchanged with the same address.</param>
/// <param name="By">The principal that asks: <c>user:ann</c>.</param>
/// <param name="ExpiresAt">From then on an answer is refused.</param>
public sealed record AuthorizationTerms(
    ConnectionKey Connection, string SpecId, string? NewName, SealedSecret Verifier, string RedirectUri, string By, DateTimeOffset ExpiresAt);

/// <summary>
/// A request for a user's agreement at a source. Its stream is named by the digest of the state that goes through the user's browser: only who has the state finds it.
/// </summary>
public abstract record AuthorizationRequest
{
    public sealed record None : AuthorizationRequest;

    public sealed record Pending(AuthorizationTerms Terms) : AuthorizationRequest;

    public sealed record Answered(AuthorizationTerms Terms) : AuthorizationRequest;

    public static Aggregate<DigestKey, AuthorizationRequestCommand, AuthorizationRequestEvent, AuthorizationRequest> Aggregate { get; } =
        new("authorization", new None(), Decide, Evolve);

    /// <summary>Key of the stream of a state.</summary>
    public static DigestKey StreamKey(string state) => new(Ids.KeyOf($"authorization\n{state}"));

    public static Decision<AuthorizationRequestEvent> Decide(AuthorizationRequestCommand command, AuthorizationRequest state) => (command, state) switch
    {
        (Begin c, None) => new AuthorizationRequested(c.Terms, c.Now),
        (Begin c, Pending s) when s.Terms == c.Terms => Decision<AuthorizationRequestEvent>.Nothing,
        (Receive c, Pending s) => c.Now < s.Terms.ExpiresAt ? new AuthorizationAnswered(c.Error, c.Now) : Expired,
        (Receive, Answered) => Used,
        (Receive, None) => Refusal.NotFound("authorization"),
        _ => throw new System.Diagnostics.UnreachableException($"{command.GetType().Name} in {state.GetType().Name}"),
    };

    public static AuthorizationRequest Evolve(AuthorizationRequest state, AuthorizationRequestEvent e) => (e, state) switch
    {
        (AuthorizationRequested c, None) => new Pending(c.Terms),
        (AuthorizationAnswered, Pending s) => new Answered(s.Terms),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    public static Refusal Expired { get; } = Refusal.Conflict("authorization_expired", "The authorization was not given in time. Start it again.");

    public static Refusal Used { get; } = Refusal.Conflict("authorization_used", "The authorization was answered before. Start it again.");
}
