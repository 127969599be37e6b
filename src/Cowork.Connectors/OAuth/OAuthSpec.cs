using System.Collections.Immutable;
using System.Text.Json;

using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>A known service with OAuth 2.0: what it is, and how it differs from others. Only a registration is missing.</summary>
/// <param name="Usual">Its own addresses, with an empty client id.</param>
public sealed record OAuthSpec(string Id, string Name, string Description, OAuthProvider Usual)
{
    /// <summary>Error codes in a body of Slack's Web API that stand for 401.</summary>
    static readonly string[] RefusedTokens = ["invalid_auth", "not_authed", "token_expired", "token_revoked", "account_inactive"];

    /// <summary>Methods of Slack's Web API that change nothing, by the end of their names: all of its methods take GET.</summary>
    static readonly string[] SlackReads = ["list", "info", "history", "replies", "members", "test", "identity", "messages", "files", "all", "getPresence"];

    public static IReadOnlyList<OAuthSpec> All { get; } =
    [
        new("google-sheets", "Google Sheets", "Spreadsheets of a Google account.", Provider(
            "https://accounts.google.com/o/oauth2/v2/auth", "https://oauth2.googleapis.com/token", "https://oauth2.googleapis.com/revoke", "https://sheets.googleapis.com/v4",
            "https://www.googleapis.com/auth/spreadsheets") with
        {
            // Without them Google gives no refresh token.
            AuthorizeParameters = ImmutableDictionary<string, string>.Empty.Add("access_type", "offline").Add("prompt", "consent"),
        }),
        new("notion", "Notion", "Pages and databases of a Notion workspace.", Provider(
            "https://api.notion.com/v1/oauth/authorize", "https://api.notion.com/v1/oauth/token", "https://api.notion.com/v1/oauth/revoke", "https://api.notion.com/v1") with
        {
            ClientAuth = OAuthClientAuth.Basic,
            TokenTakesJson = true,
            Revocation = OAuthRevocation.Json,
            Probe = "users/me",
            AuthorizeParameters = ImmutableDictionary<string, string>.Empty.Add("owner", "user"),
            Headers = ImmutableDictionary<string, string>.Empty.Add("Notion-Version", "2022-06-28"),
        }),
        new("github", "GitHub", "Repositories, issues and pull requests of a GitHub account.", Provider(
            "https://github.com/login/oauth/authorize", "https://github.com/login/oauth/access_token", null, "https://api.github.com", "repo", "read:user") with
        {
            Revocation = OAuthRevocation.DeleteGrant,
            Probe = "user",
            Headers = ImmutableDictionary<string, string>.Empty.Add("X-GitHub-Api-Version", "2022-11-28"),
        }),
        new("slack", "Slack", "Channels and messages of a Slack workspace.", Provider(
            "https://slack.com/oauth/v2/authorize", "https://slack.com/api/oauth.v2.access", "https://slack.com/api/auth.revoke", "https://slack.com/api",
            "channels:read", "channels:history", "chat:write", "users:read") with
        {
            Revocation = OAuthRevocation.Bearer,
            Probe = "auth.test",
        }),
    ];

    /// <summary>The call changes nothing at this service.</summary>
    public bool IsRead(HttpCall call) =>
        call.IsRead && (Id != "slack" || SlackReads.Contains(call.Path.Split('?', 2)[0].Split('.', '/')[^1]));

    /// <summary>The service refuses the token, with a status of 200.</summary>
    public bool IsRefusal(string body)
    {
        if (Id != "slack" || !body.Contains("\"ok\"", StringComparison.Ordinal))
        {
            return false;
        }
        try
        {
            using var answer = JsonDocument.Parse(body);
            return answer.RootElement is { ValueKind: JsonValueKind.Object } root && root.TryGetProperty("ok", out var ok) && ok.ValueKind == JsonValueKind.False
                && root.TryGetProperty("error", out var error) && error.ValueKind == JsonValueKind.String && RefusedTokens.Contains(error.GetString());
        }
        catch (JsonException)
        {
            return false;
        }
    }

    /// <summary>As <c>GET /api/v1/connectors/specs</c> shows it. Tokens are all that it needs.</summary>
    public ConnectorSpec ToConnectorSpec() => new(Id, Name, Description, ConnectorAuth.OAuth2, []);

    static OAuthProvider Provider(string authorize, string token, string? revoke, string api, params string[] scopes) =>
        new("", null, new(authorize), new(token), revoke is null ? null : new(revoke), api, [.. scopes]);
}
