using static Cowork.Domain.OneUseCommand;
using static Cowork.Domain.OneUseEvent;

namespace Cowork.Domain;

public abstract record OneUseCommand(DateTimeOffset Now)
{
    /// <inheritdoc cref="TokenUsed"/>
    public sealed record Use(string Issuer, string TokenId, DateTimeOffset ExpiresAt, DateTimeOffset Now) : OneUseCommand(Now);
}

public abstract record OneUseEvent(DateTimeOffset At) : Event(At)
{
    /// <summary>A signed request was accepted, with what it caused in the same commit. It is accepted never again.</summary>
    /// <param name="Issuer">Who signed it: an app's id, or the id of a group's controller.</param>
    /// <param name="TokenId">Its <c>jti</c>.</param>
    /// <param name="ExpiresAt">It would be refused from then on anyway.</param>
    public sealed record TokenUsed(string Issuer, string TokenId, DateTimeOffset ExpiresAt, DateTimeOffset At) : OneUseEvent(At);
}

/// <summary>A token that is accepted once. The claim is an event of its own stream, so that it holds on every host and after every restart.</summary>
public abstract record OneUse
{
    public sealed record Unused : OneUse;

    public sealed record Used : OneUse;

    /// <summary>The refusal of a token that was used before.</summary>
    public static Refusal Replayed { get; } = new("token_replayed", 401, "A request with this jti was accepted before. Sign each request anew, with a jti of its own.");

    public static Aggregate<DigestKey, OneUseCommand, OneUseEvent, OneUse> Aggregate { get; } = new("one_use", new Unused(), Decide, Evolve);

    /// <summary>Of the stream of one token.</summary>
    public static DigestKey StreamKey(string issuer, string tokenId) => new(Ids.KeyOf($"{issuer}\n{tokenId}"));

    public static Decision<OneUseEvent> Decide(OneUseCommand command, OneUse state) => (command, state) switch
    {
        (Use c, Unused) => new TokenUsed(c.Issuer, c.TokenId, c.ExpiresAt, c.Now),
        (Use, Used) => Replayed,
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static OneUse Evolve(OneUse state, OneUseEvent e) => e switch
    {
        TokenUsed => new Used(),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
