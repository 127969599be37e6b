namespace Cowork.Connectors;

/// <summary>What a token endpoint gave.</summary>
/// <param name="Refresh">Null: it gave none, and an earlier one stays.</param>
/// <param name="Lifetime">Of the access token; null: it says none.</param>
sealed record OAuthTokens(string Access, string? Refresh, TimeSpan? Lifetime)
{
    /// <summary>Never shows a token.</summary>
    public override string ToString() => "tokens";
}

/// <summary>The answer of a token endpoint.</summary>
/// <param name="Tokens">Null: there are none, and <paramref name="WhyNot"/> says why.</param>
/// <param name="WhyNot">A sentence.</param>
/// <param name="IsRefused">The source refuses the code or the refresh token; false: it could not be asked, or answers what makes no sense.</param>
sealed record OAuthAnswer(OAuthTokens? Tokens, string? WhyNot, bool IsRefused);
