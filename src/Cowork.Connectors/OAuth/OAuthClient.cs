using System.Buffers.Text;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace Cowork.Connectors;

/// <summary>Speaks OAuth 2.0 with sources: authorization code with PKCE (RFC 6749, RFC 7636), refresh, revocation (RFC 7009). All of it goes through the fence.</summary>
public sealed class OAuthClient(EgressFence fence, TimeProvider clock) : IDisposable
{
    const int AnswerBytesMax = 64 * 1024;

    const int TokenCharsMax = 8_192;

    static readonly TimeSpan AskMax = TimeSpan.FromSeconds(15);

    static readonly TimeSpan LifetimeMax = TimeSpan.FromDays(3_650);

    readonly HttpMessageInvoker http = new(fence.NewHandler(AskMax));

    /// <summary>256 random bits, for a code verifier or a state.</summary>
    public static string NewSecret() => Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    /// <summary>Where the user's browser goes.</summary>
    public static Uri AuthorizeUrl(OAuthProvider provider, string redirectUri, string state, string verifier)
    {
        List<KeyValuePair<string, string>> query =
        [
            new("response_type", "code"),
            new("client_id", provider.ClientId),
            new("redirect_uri", redirectUri),
            new("state", state),
            new("code_challenge", Base64Url.EncodeToString(SHA256.HashData(Encoding.ASCII.GetBytes(verifier)))),
            new("code_challenge_method", "S256"),
        ];
        if (!provider.Scopes.IsEmpty)
        {
            query.Add(new("scope", string.Join(' ', provider.Scopes)));
        }
        query.AddRange(provider.AuthorizeParameters);
        var separator = provider.Authorize.Query.Length > 0 ? '&' : '?';
        return new($"{provider.Authorize}{separator}{string.Join('&', query.Select(pair => $"{Uri.EscapeDataString(pair.Key)}={Uri.EscapeDataString(pair.Value)}"))}");
    }

    /// <summary>Exchanges an authorization code for tokens.</summary>
    internal ValueTask<OAuthAnswer> Exchange(OAuthProvider provider, string code, string verifier, string redirectUri, CancellationToken ct) => Tokens(
        provider, [new("grant_type", "authorization_code"), new("code", code), new("redirect_uri", redirectUri), new("code_verifier", verifier)], ct);

    /// <summary>Exchanges a refresh token for other tokens.</summary>
    internal ValueTask<OAuthAnswer> Refresh(OAuthProvider provider, string refreshToken, CancellationToken ct) =>
        Tokens(provider, [new("grant_type", "refresh_token"), new("refresh_token", refreshToken)], ct);

    /// <summary>Asks the source to take tokens back.</summary>
    /// <returns>Why it did not, and may when it is asked again; null: it did, or never will.</returns>
    public async ValueTask<string?> Revoke(OAuthProvider provider, string accessToken, string? refreshToken, CancellationToken ct)
    {
        var address = provider.Revoke
            ?? (provider.Revocation == OAuthRevocation.DeleteGrant ? new($"{provider.Api.TrimEnd('/')}/applications/{Uri.EscapeDataString(provider.ClientId)}/grant") : null);
        if (address is null)
        {
            return null;
        }
        using var request = NewRevocation(provider, address, accessToken, refreshToken);
        try
        {
            var (status, _) = await Send(request, ct);
            // Whatever else it has against the token, asking again does not change it.
            return status is >= 500 or 408 or 429 ? $"{address.Host} answers {status}." : null;
        }
        catch (Exception e) when (PlainReason.IsKnown(e) && !ct.IsCancellationRequested)
        {
            return PlainReason.Of(e, address.Host);
        }
    }

    public void Dispose() => http.Dispose();

    static HttpRequestMessage NewRevocation(OAuthProvider provider, Uri address, string accessToken, string? refreshToken)
    {
        switch (provider.Revocation)
        {
            case OAuthRevocation.Form:
                // With the refresh token the source ends the whole grant (RFC 7009, section 2.1).
                return NewRequest(
                    provider, address, [new("token", refreshToken ?? accessToken), new("token_type_hint", refreshToken is null ? "access_token" : "refresh_token")], asJson: false);
            case OAuthRevocation.Json:
                return NewRequest(provider, address, [new("token", accessToken)], asJson: true);
            case OAuthRevocation.DeleteGrant:
                var delete = NewRequest(provider with { ClientAuth = OAuthClientAuth.Basic }, address, [new("access_token", accessToken)], asJson: true);
                delete.Method = HttpMethod.Delete;
                return delete;
            case OAuthRevocation.Bearer:
                var post = new HttpRequestMessage(HttpMethod.Post, address);
                post.Headers.TryAddWithoutValidation("Authorization", $"Bearer {accessToken}");
                return post;
            default:
                throw new System.Diagnostics.UnreachableException(provider.Revocation.ToString());
        }
    }

    async ValueTask<OAuthAnswer> Tokens(OAuthProvider provider, List<KeyValuePair<string, string>> fields, CancellationToken ct)
    {
        using var request = NewRequest(provider, provider.Token, fields, provider.TokenTakesJson);
        try
        {
            var (status, text) = await Send(request, ct);
            return Read(provider.Token.Host, status, text);
        }
        catch (Exception e) when (PlainReason.IsKnown(e) && !ct.IsCancellationRequested)
        {
            return new(null, PlainReason.Of(e, provider.Token.Host), IsRefused: false);
        }
    }

    static HttpRequestMessage NewRequest(OAuthProvider provider, Uri address, List<KeyValuePair<string, string>> fields, bool asJson)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, address);
        request.Headers.TryAddWithoutValidation("Accept", "application/json");
        request.Headers.TryAddWithoutValidation("User-Agent", "cowork");
        foreach (var (name, value) in provider.Headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }
        if (provider is { ClientAuth: OAuthClientAuth.Basic, ClientSecret: { } secret })
        {
            // Both are encoded as in a form before they are put together.
            var credentials = $"{WebUtility.UrlEncode(provider.ClientId)}:{WebUtility.UrlEncode(secret)}";
            request.Headers.TryAddWithoutValidation("Authorization", $"Basic {Convert.ToBase64String(Encoding.UTF8.GetBytes(credentials))}");
        }
        else
        {
            fields = [.. fields, new("client_id", provider.ClientId)];
            fields = provider.ClientSecret is { } inBody ? [.. fields, new("client_secret", inBody)] : fields;
        }
        request.Content = asJson ? Json(fields) : new FormUrlEncodedContent(fields);
        return request;
    }

    static StringContent Json(List<KeyValuePair<string, string>> fields) => new(
        $"{{{string.Join(',', fields.Select(pair => $"\"{JsonEncodedText.Encode(pair.Key)}\":\"{JsonEncodedText.Encode(pair.Value)}\""))}}}", Encoding.UTF8, "application/json");

    async ValueTask<(int Status, string Text)> Send(HttpRequestMessage request, CancellationToken ct)
    {
        using var time = new CancellationTokenSource(AskMax, clock);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(ct, time.Token);
        using var response = await http.SendAsync(request, linked.Token);
        var body = await BodyText.Read(response.Content, AnswerBytesMax, linked.Token);
        return ((int)response.StatusCode, body.Text ?? "");
    }

    /// <summary>Some sources answer errors with 200, and some answer a form.</summary>
    static OAuthAnswer Read(string host, int status, string text)
    {
        var answer = Members(text);
        if (answer.GetValueOrDefault("error") is { Length: > 0 } error)
        {
            return status >= 500 || error is "temporarily_unavailable" or "server_error" or "slow_down"
                ? new(null, $"{host} answers {status}.", IsRefused: false)
                : new(null, $"{host} refuses: {CodeOf(error)}.", IsRefused: true);
        }
        if (status is < 200 or >= 300)
        {
            return new(null, $"{host} answers {status}.", IsRefused: status is 400 or 401 or 403);
        }
        if (answer.GetValueOrDefault("access_token") is not { } access || !IsToken(access))
        {
            return new(null, $"{host} answers without an access token that can be sent.", IsRefused: false);
        }
        var refresh = answer.GetValueOrDefault("refresh_token") is { } given && IsToken(given) ? given : null;
        var lifetime = double.TryParse(answer.GetValueOrDefault("expires_in"), NumberStyles.Float, CultureInfo.InvariantCulture, out var seconds) && seconds > 0
            ? TimeSpan.FromSeconds(Math.Min(seconds, LifetimeMax.TotalSeconds))
            : (TimeSpan?)null;
        return new(new(access, refresh, lifetime), null, IsRefused: false);
    }

    /// <summary>The texts and numbers of an answer.</summary>
    static Dictionary<string, string> Members(string text)
    {
        IEnumerable<KeyValuePair<string, string>> members;
        try
        {
            var json = JsonElement.Parse(text);
            members = json.ValueKind != JsonValueKind.Object ? [] : json.EnumerateObject()
                .Where(member => member.Value.ValueKind is JsonValueKind.String or JsonValueKind.Number)
                .Select(member => KeyValuePair.Create(member.Name, member.Value.ToString()));
        }
        catch (JsonException)
        {
            members = text.Split('&').Select(pair => pair.Split('=', 2)).Where(pair => pair.Length == 2)
                .Select(pair => KeyValuePair.Create(WebUtility.UrlDecode(pair[0]), WebUtility.UrlDecode(pair[1])));
        }
        return members.DistinctBy(member => member.Key).ToDictionary(StringComparer.Ordinal);
    }

    static bool IsToken(string text) => text.Length is > 0 and <= TokenCharsMax && text.All(c => c is > ' ' and <= '~');

    /// <summary>An error code as OAuth has them; what is none may be anything, and is not repeated.</summary>
    internal static string CodeOf(string error) =>
        error.Length is > 0 and <= 64 && error.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '_') ? error : "unknown_error";
}
