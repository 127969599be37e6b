using System.Collections.Immutable;

using Cowork.Connectors;

namespace Cowork.Web;

/// <summary>Reads <c>Cowork:Connectors:OAuth</c>: where this host is registered as an OAuth client.</summary>
static class OAuthConfiguration
{
    /// <exception cref="ArgumentException">The message is a sentence about the setting that does not fit.</exception>
    public static OAuthRegistrations Read(IConfigurationSection section) => new(section.GetChildren()
        .Select(entry => (Spec: OAuthSpec.All.FirstOrDefault(spec => Plain(spec.Id) == Plain(entry.Key)) ?? throw new ArgumentException(
            $"{entry.Path} is about no service with OAuth that is known here; there are {string.Join(", ", OAuthSpec.All.Select(spec => spec.Id))}."), entry))
        .ToImmutableDictionary(pair => pair.Spec.Id, pair => ProviderOf(pair.Spec, pair.entry)));

    /// <summary>The address under which users' browsers reach the host, without a slash at its end; null: the one by which it is asked.</summary>
    public static string? PublicUrl(IConfigurationSection connectors) => Address(connectors, "PublicUrl", null)?.AbsoluteUri.TrimEnd('/');

    /// <summary>A variable's name has no hyphen: GoogleSheets stands for google-sheets.</summary>
    static string Plain(string name) => name.Replace("-", "", StringComparison.Ordinal).Replace("_", "", StringComparison.Ordinal).ToLowerInvariant();

    static OAuthProvider ProviderOf(OAuthSpec spec, IConfigurationSection entry)
    {
        var usual = spec.Usual;
        var api = Address(entry, "Api", new(usual.Api))!.AbsoluteUri.TrimEnd('/');
        return usual with
        {
            ClientId = entry.Text("ClientId") ?? throw new ArgumentException($"{entry.Path}:ClientId is missing: {spec.Name} gives it to whoever registers an application."),
            ClientSecret = entry.Text("ClientSecret"),
            Authorize = Address(entry, "Authorize", usual.Authorize)!,
            Token = Address(entry, "Token", usual.Token)!,
            Revoke = Address(entry, "Revoke", usual.Revoke),
            Api = api,
            Scopes = entry.Text("Scopes") is { } scopes ? [.. scopes.Split([' ', ','], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)] : usual.Scopes,
        };
    }

    /// <summary>Tokens and the client's secret cross the network over TLS alone; on this machine they may do without.</summary>
    static Uri? Address(IConfigurationSection entry, string name, Uri? usual) =>
        entry.Text(name) is not { } text ? usual
        : Uri.TryCreate(text, UriKind.Absolute, out var address) && address.UserInfo.Length == 0 && address.Fragment.Length == 0
            && (address.Scheme == Uri.UriSchemeHttps || (address.Scheme == Uri.UriSchemeHttp && address.IsLoopback)) ? address
        : throw entry.InvalidValue(name, "an address that begins with https://");
}
