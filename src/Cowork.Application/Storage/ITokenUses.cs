using Cowork.Domain;

namespace Cowork.Application.Storage;

/// <summary>
/// When tokens were used last. It is no fact of the log: it can be lost, and a rebuild does not bring it back.
/// </summary>
public interface ITokenUses
{
    /// <summary>Those of the tokens that were used, in no order.</summary>
    ValueTask<IReadOnlyList<TokenUse>> Get(string org, IReadOnlyList<TokenKey> tokens, CancellationToken ct);

    /// <summary>Writes down uses, each token once. What is written already and later stays.</summary>
    ValueTask Put(IReadOnlyList<TokenUse> uses, CancellationToken ct);
}

/// <param name="Org">The token's tenant.</param>
/// <param name="At">The minute of its last use.</param>
public sealed record TokenUse(string Org, TokenKey Token, DateTimeOffset At);
