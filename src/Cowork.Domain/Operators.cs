using System.Collections.Immutable;

using static Cowork.Domain.OperatorsCommand;
using static Cowork.Domain.OperatorsEvent;

namespace Cowork.Domain;

public abstract record OperatorsCommand(DateTimeOffset Now)
{
    public sealed record Add(TokenKey TokenId, DateTimeOffset Now) : OperatorsCommand(Now);

    /// <summary>Takes a token off the list while another one on it works.</summary>
    /// <param name="Living">The tokens that work at this time.</param>
    public sealed record Remove(TokenKey TokenId, ImmutableList<TokenKey> Living, DateTimeOffset Now) : OperatorsCommand(Now);
}

public abstract record OperatorsEvent(DateTimeOffset At) : Event(At)
{
    public sealed record OperatorAdded(TokenKey TokenId, DateTimeOffset At) : OperatorsEvent(At);

    public sealed record OperatorRemoved(TokenKey TokenId, DateTimeOffset At) : OperatorsEvent(At);
}

/// <summary>
/// The tokens of the operators of a database, in one stream: whoever issues or revokes one writes to it, so that of two who revoke the last two tokens at once one
/// comes second and is refused.
/// </summary>
/// <param name="Tokens">Those that were not revoked. Some may have expired.</param>
public sealed record Operators(ImmutableList<TokenKey> Tokens)
{
    /// <summary>The principal that issues the first operator's token: a host at its start.</summary>
    public const string HostActor = "system";

    public static Aggregate<DigestKey, OperatorsCommand, OperatorsEvent, Operators> Aggregate { get; } = new("operators", new([]), Decide, Evolve);

    /// <summary>Of the one stream, in the operators' tenant.</summary>
    public static DigestKey Key { get; } = new(Ids.KeyOf("operators"));

    public static Decision<OperatorsEvent> Decide(OperatorsCommand command, Operators state) => command switch
    {
        Add c => state.Tokens.Contains(c.TokenId) ? Decision<OperatorsEvent>.Nothing : new OperatorAdded(c.TokenId, c.Now),
        Remove c when !state.Tokens.Contains(c.TokenId) => Decision<OperatorsEvent>.Nothing,
        Remove c when !c.Living.Exists(other => other != c.TokenId && state.Tokens.Contains(other)) =>
            Refusal.Conflict("last_operator", "This is the last operator's token that works. Issue another one first."),
        Remove c => new OperatorRemoved(c.TokenId, c.Now),
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static Operators Evolve(Operators state, OperatorsEvent e) => e switch
    {
        OperatorAdded a => new(state.Tokens.Add(a.TokenId)),
        OperatorRemoved r => new(state.Tokens.Remove(r.TokenId)),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
